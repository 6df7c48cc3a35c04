from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from palate.data.sequences import SequenceLog
from palate.errors import ConfigError, DataError, NonFiniteError, UnknownNameError
from palate.evaluate.next_item import evaluate_next_item

LOW = float("-inf")


class Table(nn.Module):
    """Scores an item by a fixed table, row by the last item of the history (row 0 for an empty history)."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table)
        self.lengths: list[int] = []
        self.dropout = nn.Dropout(0.5)

    def score(self, items: Tensor, lengths: Tensor) -> Tensor:
        self.lengths.append(items.shape[1])
        last = items.gather(1, (lengths - 1).clamp(min=0)[:, None])[:, 0]
        scores = self.dropout(self.table[last])
        return scores.index_fill(1, torch.tensor([0]), LOW)

    def rank(self, items: Tensor, lengths: Tensor, k: int, *, exclude: Tensor | None = None) -> SimpleNamespace:
        scores = self.score(items, lengths)
        if exclude is not None:
            scores = scores.scatter(1, exclude, LOW)
        best = scores.topk(min(k, scores.shape[1] - 1), dim=1)
        return SimpleNamespace(items=torch.where(best.values.isneginf(), 0, best.indices), scores=best.values)


def log(*histories: list[int], num_items: int = 6) -> SequenceLog:
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in histories])])
    return SequenceLog(np.array([i for history in histories for i in history], np.int64), offsets, num_items)


def falling(num_items: int = 6) -> Table:
    """Item 1 is always best, then 2, and so on."""
    return Table(-torch.arange(num_items + 1.0).repeat(num_items + 1, 1))


def random_world(seed: int = 0, users: int = 60, num_items: int = 40) -> tuple[Table, SequenceLog, np.ndarray]:
    rng = np.random.default_rng(seed)
    histories = [rng.permutation(np.arange(1, num_items + 1))[: rng.integers(1, 9)].tolist() for _ in range(users)]
    table = torch.from_numpy(np.round(rng.normal(size=(num_items + 1, num_items + 1)), 1)).float()
    return Table(table), log(*histories, num_items=num_items), rng.integers(0, num_items + 1, users)


def test_hand_numbers_with_seen_items_out_of_the_race() -> None:
    found = evaluate_next_item(falling(), log([1, 2], [3], [6, 5]), [3, 5, 2], ks=(1, 3), resamples=100)
    # 3 after 1 and 2 are gone: 1st; 5 without 3: 4th; 2: 2nd
    assert found.ranks.tolist() == [1.0, 4.0, 2.0]
    assert found["hr@1"].value == pytest.approx(1 / 3)
    assert found["hr@3"].value == pytest.approx(2 / 3)
    assert found["ndcg@3"].value == pytest.approx((1 + 0 + 1 / math.log2(3)) / 3)
    assert found["mrr"].value == pytest.approx((1 + 1 / 4 + 1 / 2) / 3)
    assert found["hr@3"].per_user is not None
    assert found["hr@3"].per_user.tolist() == [1.0, 0.0, 1.0]
    assert found.table.setting.candidates == "full catalogue (6 items)"
    assert found.table.setting.filtering == "items already seen"


def test_hand_numbers_with_all_items_in_the_race() -> None:
    found = evaluate_next_item(falling(), log([1, 2], [3], [6, 5]), [3, 5, 2], exclude_seen=False, resamples=100)
    assert found.ranks.tolist() == [3.0, 5.0, 2.0]
    assert found.table.setting.filtering == "none"


def test_a_model_without_opinion_gets_the_middle_rank() -> None:
    flat = Table(torch.zeros(7, 7))
    assert evaluate_next_item(flat, log([1], [2, 3]), [2, 1], resamples=10).ranks.tolist() == [3.0, 2.5]


def test_the_checkerboard_is_solved_by_the_model_that_knows_it() -> None:
    # Users alternate between item i and i + 3; the next item is the other one.
    other = torch.zeros(7, 7)
    for item in range(1, 7):
        other[item, (item + 2) % 6 + 1] = 1.0
    histories = log(*[[item, (item + 2) % 6 + 1] for item in range(1, 7)])
    found = evaluate_next_item(Table(other), histories, np.arange(1, 7), exclude_seen=False, metrics=["hr@1"])
    assert found["hr@1"].value == 1.0
    misses = evaluate_next_item(Table(other), histories, np.arange(1, 7), metrics=["hr@1"])
    assert misses["hr@1"].value == 0.0
    assert np.isinf(misses.ranks).all()
    assert "6 users whose target was already seen, counted as misses" in misses.table.setting.notes


def test_users_without_target_or_history_are_counted() -> None:
    found = evaluate_next_item(falling(), log([1], [], [2]), [0, 2, 1], metrics=["hr@2"], resamples=100)
    assert math.isnan(found.ranks[0])
    assert found.ranks[1:].tolist() == [2.0, 1.0]
    result = found["hr@2"]
    assert (result.count, result.skipped, result.value) == (2, 1, 1.0)
    assert "1 users without target, skipped" in found.table.setting.notes
    assert "1 users with an empty history" in found.table.setting.notes
    nobody = evaluate_next_item(falling(), log([1], [2]), [0, 0], metrics=["hr@2"])
    assert math.isnan(nobody["hr@2"].value)
    assert nobody["hr@2"].count == 0


@pytest.mark.parametrize("options", [{}, {"sampled": 7}, {"through": "lists", "metrics": ["hr@5", "coverage@5"]}])
def test_the_batch_size_does_not_matter(options: dict) -> None:
    model, histories, targets = random_world()
    one, many = (
        evaluate_next_item(model, histories, targets, batch_size=size, resamples=50, **options) for size in (7, 512)
    )
    np.testing.assert_array_equal(one.ranks, many.ranks)
    assert one.to_dict(per_user=True) == many.to_dict(per_user=True)


def test_ranks_agree_with_a_plain_count() -> None:
    model, histories, targets = random_world(1)
    model.eval()
    found = evaluate_next_item(model, histories, targets, resamples=10)
    for user, target in enumerate(targets):
        seen = histories.items[histories.offsets[user] : histories.offsets[user + 1]]
        scores = model.table[seen[-1]].detach().numpy()
        others = [item for item in range(1, 41) if item not in seen and item != target]
        if target == 0:
            assert math.isnan(found.ranks[user])
        elif target in seen:
            assert found.ranks[user] == math.inf
        else:
            expected = 1 + sum(
                float(scores[i] > scores[target]) + 0.5 * float(scores[i] == scores[target]) for i in others
            )
            assert found.ranks[user] == expected


def test_some_users_are_evaluated_as_in_the_whole() -> None:
    model, histories, targets = random_world(2)
    whole = evaluate_next_item(model, histories, targets, resamples=10)
    users = np.random.default_rng(0).permutation(60)[:25]
    np.testing.assert_array_equal(
        evaluate_next_item(model, histories, targets, users=users, resamples=10).ranks, whole.ranks[users]
    )


def test_items_beyond_the_window_are_hidden_from_the_model_but_stay_excluded() -> None:
    model, histories = falling(), log([1, 2, 3, 4])
    found = evaluate_next_item(model, histories, [5], max_length=2, resamples=10)
    assert model.lengths == [2]
    assert found.ranks.tolist() == [1.0]
    assert "the model sees the last 2 items" in found.table.setting.notes
    model.config = SimpleNamespace(max_length=3)  # type: ignore[assignment]
    evaluate_next_item(model, histories, [5], resamples=10)
    assert model.lengths[-1] == 3


def test_other_items_can_be_excluded_than_those_of_the_history() -> None:
    found = evaluate_next_item(falling(), log([6]), [4], seen=log([1, 2, 3]), resamples=10)
    assert found.ranks.tolist() == [1.0]


def test_sampled_candidates_are_labelled_and_make_it_easier() -> None:
    model, histories, targets = random_world(3)
    full = evaluate_next_item(model, histories, targets, resamples=10)
    few = evaluate_next_item(model, histories, targets, sampled=5, seed=2, resamples=10)
    assert few.table.setting.candidates == "sampled: the target and 5 of 40 items, uniform, seed 2"
    finite = np.isfinite(full.ranks)
    assert (few.ranks[finite] <= full.ranks[finite]).all()
    assert (few.ranks[finite] <= 6).all()
    assert np.array_equal(np.isinf(few.ranks), np.isinf(full.ranks))
    assert np.array_equal(np.isnan(few.ranks), np.isnan(full.ranks))
    everyone = evaluate_next_item(model, histories, targets, sampled=40, resamples=10)
    np.testing.assert_array_equal(everyone.ranks, full.ranks)


def test_lists_agree_with_scores_up_to_ties() -> None:
    model, histories, targets = random_world(4)
    with torch.no_grad():
        model.table += torch.rand(model.table.shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    metrics = ["hr@5", "ndcg@5", "coverage@3"]
    by_scores = evaluate_next_item(model, histories, targets, metrics=metrics, resamples=10)
    by_lists = evaluate_next_item(model, histories, targets, metrics=metrics, through="lists", resamples=10)
    assert by_lists.values() == pytest.approx(by_scores.values())
    assert by_lists.table.setting.candidates.endswith("through lists of 5")
    inside = by_scores.ranks <= 5
    np.testing.assert_array_equal(by_lists.ranks[inside], by_scores.ranks[inside])
    longer = evaluate_next_item(model, histories, targets, metrics=["hr@90"], through="lists", resamples=10)
    assert longer["hr@90"].value == pytest.approx(float((by_scores.ranks[targets > 0] < np.inf).mean()))


def test_coverage_counts_the_items_that_are_shown() -> None:
    found = evaluate_next_item(falling(), log([1], [2]), [3, 3], metrics=["coverage@2"], resamples=10)
    # lists 2, 3 and 1, 3
    assert found["coverage@2"].value == pytest.approx(3 / 6)
    assert (found["coverage@2"].unit, found["coverage@2"].interval) == ("items", None)


def test_intervals_hold_the_value_and_the_document_is_json() -> None:
    model, histories, targets = random_world(5, users=300)
    found = evaluate_next_item(model, histories, targets, split="validation")
    for result in found.table:
        assert result.interval is not None
        assert result.value in result.interval
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["setting"]["split"] == "validation"
    assert "hr@5" in str(found)
    assert "<table>" in found._repr_html_()


def test_dropout_is_off_while_evaluating_and_on_again_after() -> None:
    model, histories, targets = random_world(6)
    model.train()
    first = evaluate_next_item(model, histories, targets, resamples=10)
    assert model.training
    second = evaluate_next_item(model, histories, targets, resamples=10)
    np.testing.assert_array_equal(first.ranks, second.ranks)
    with pytest.raises(DataError):
        evaluate_next_item(model, SequenceLog(histories.items, histories.offsets, 50), targets)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_plain_object_can_be_evaluated() -> None:
    popular = SimpleNamespace(score=lambda items, lengths: torch.tensor([[LOW, 3.0, 2.0, 1.0]]).repeat(len(items), 1))
    assert evaluate_next_item(popular, log([1], num_items=3), [3], resamples=10).ranks.tolist() == [2.0]


def broken(items: Tensor, lengths: Tensor) -> Tensor:
    scores = torch.zeros(len(items), 7)
    scores[items[:, 0] == 3, 2] = math.nan
    return scores


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"model": SimpleNamespace(score=broken), "batch_size": 1}, NonFiniteError, "batch 1, first for user 1"),
        ({"histories": log([1], [2], [3], num_items=9)}, DataError, r"shape \[3, 7\]; \[3, 10\]"),
        ({"targets": [1, 2]}, DataError, "targets has 2 rows; 3 are expected"),
        ({"targets": [1, 2, 7]}, DataError, "the catalogue has 1 to 6"),
        ({"targets": [1, 2, -1]}, DataError, "Give 0 to a user without target"),
        ({"users": [3]}, DataError, "the histories have 0 to 2"),
        ({"seen": log([1])}, DataError, "seen has 1 users"),
        ({"seen": log([1], [1], [9], num_items=9)}, DataError, "seen has items from 1 to 9"),
        ({"metrics": ["ndgc@5"]}, UnknownNameError, 'Did you mean "ndcg"'),
        ({"metrics": ["auc"]}, UnknownNameError, "ranking metric"),
        ({"through": "list"}, ConfigError, '"scores" or "lists"'),
        ({"through": "lists", "metrics": ["mrr"]}, ConfigError, "Lists have an end"),
        ({"through": "lists", "sampled": 3}, ConfigError, "Lists have an end"),
        ({"sampled": 0}, ConfigError, "sampled = 0"),
        ({"sampled": 3, "metrics": ["coverage@5"]}, ConfigError, "no coverage"),
        ({"batch_size": 0}, ConfigError, "batch_size = 0"),
        ({"max_length": 0}, ConfigError, "max_length = 0"),
        ({"level": 2.0}, ConfigError, "level = 2.0"),
    ],
)
def test_bad_input_is_named(change: dict, error: type[Exception], says: str) -> None:
    settings = {"model": falling(), "histories": log([1, 2], [3], [6, 5]), "targets": [3, 5, 2], **change}
    with pytest.raises(error, match=says):
        evaluate_next_item(**settings)
