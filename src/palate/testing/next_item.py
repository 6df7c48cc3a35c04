"""The laws of a next-item model, in two small worlds whose right answers are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from palate.config import SIZES
from palate.data.sequences import SequenceBatch, SequenceLog, pad_histories
from palate.errors import ConfigError
from palate.registry import find
from palate.sequence.contract import NextItemModel
from palate.testing.battery import Battery, BatteryReport, NotApplicable, refuses

__all__ = ["NEXT_ITEM_LAWS", "check_next_item_model", "two_camps"]

NUM_ITEMS = 12


def two_camps(users: int = 80, seed: int = 0) -> SequenceLog:
    """Return a log in which each user takes only odd items, or only even ones, in the order 1 3 5 .. or 2 4 6 .."""
    rng = np.random.default_rng(seed)
    camps = [np.arange(1, NUM_ITEMS + 1, 2), np.arange(2, NUM_ITEMS + 1, 2)]
    rows = []
    for user in range(users):
        start, length = rng.integers(0, 6), rng.integers(3, 9)
        rows.append(camps[user % 2][(start + np.arange(length)) % 6])
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return SequenceLog(np.concatenate(rows).astype(np.int64), offsets.astype(np.int64), NUM_ITEMS)


@dataclass(frozen=True)
class NextItemCase:
    """What the laws run on: a way to build the model, and its class."""

    build: Callable[[], NextItemModel]
    factory: type[NextItemModel]

    def fresh(self, seed: int = 0) -> NextItemModel:
        """Return a freshly built model in evaluation mode."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.build().eval()

    def trained(self, steps: int = 8, learning_rate: float = 0.01) -> NextItemModel:
        """Return a model that has seen the two camps: counted, or trained for some steps."""
        model, log = self.fresh(), two_camps()
        if self.factory.learns_by == "counting":
            model.count(log)
            return model.eval()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            _train(model, log, steps, learning_rate)
        return model


NEXT_ITEM_LAWS = Battery[NextItemCase]("next-item model")


def check_next_item_model(model: str | type[NextItemModel], **settings: Any) -> BatteryReport:
    """Run the laws of a next-item model on a registered name or a class; raise with all that are broken.

    Example:
        >>> print(check_next_item_model("popularity"))  # doctest: +ELLIPSIS
        popularity: ... laws hold, 0 broken...
    """
    factory = cast("type[NextItemModel]", find("next-item", model).factory) if isinstance(model, str) else model
    name = model if isinstance(model, str) else model.__name__

    def build() -> NextItemModel:
        return factory(NUM_ITEMS, factory.Config.sized("tiny", **settings))

    return NEXT_ITEM_LAWS.require(NextItemCase(build, factory), name)


def training_batch(log: SequenceLog) -> SequenceBatch:
    """Return the whole log as one batch: each position's target is the item after it."""
    items, lengths = pad_histories(log, np.arange(log.num_users), 64)
    targets = torch.zeros_like(items)
    targets[:, :-1] = items[:, 1:]
    inputs = items.clone()
    inputs[torch.arange(len(lengths)), lengths - 1] = 0
    width = int(lengths.max()) - 1
    return SequenceBatch(
        items=inputs[:, :width],
        lengths=lengths - 1,
        targets=targets[:, :width],
        users=torch.arange(log.num_users),
        negatives=torch.randint(1, NUM_ITEMS + 1, (len(lengths), width, 4)),
    )


@torch.enable_grad()
def _train(model: NextItemModel, log: SequenceLog, steps: int, learning_rate: float) -> list[float]:
    model.train()
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate)
    largest = [0.0 for _ in model.parameters()]
    for _ in range(steps):
        optimiser.zero_grad()
        model.loss(training_batch(log)).backward()  # type: ignore[no-untyped-call]
        for place, parameter in enumerate(model.parameters()):
            if parameter.grad is not None:
                gradient = parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad
                largest[place] = max(largest[place], float(gradient.abs().max()))
        optimiser.step()
    model.eval()
    return largest


def _histories() -> tuple[Tensor, Tensor]:
    items = torch.tensor([[1, 3, 5, 7], [2, 4, 0, 0], [6, 0, 0, 0], [9, 11, 1, 0]])
    return items, torch.tensor([4, 2, 1, 3])


def _close(left: Tensor, right: Tensor, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


@NEXT_ITEM_LAWS.law
def sizes_are_valid_and_configs_round_trip(case: NextItemCase) -> None:
    for size in SIZES:
        config = case.factory.Config.sized(size)
        assert case.factory.Config.model_validate_json(config.model_dump_json()) == config


@NEXT_ITEM_LAWS.law
def an_unknown_setting_is_refused(case: NextItemCase) -> None:
    settings: dict[str, Any] = {"no_such_setting": 1}
    refuses(ConfigError, "no_such_setting", lambda: case.factory.Config(**settings))


@NEXT_ITEM_LAWS.law
@torch.no_grad()
def every_item_gets_a_finite_score_and_padding_none(case: NextItemCase) -> None:
    scores = case.trained().score(*_histories())
    assert scores.shape == (4, NUM_ITEMS + 1), f"scores have shape {tuple(scores.shape)}"
    assert scores[:, 0].isneginf().all(), "padding has a score"
    assert torch.isfinite(scores[:, 1:]).all()


@NEXT_ITEM_LAWS.law
@torch.no_grad()
def one_history_scores_as_in_a_batch(case: NextItemCase) -> None:
    model = case.trained()
    items, lengths = _histories()
    together = model.score(items, lengths)
    for row in range(4):
        alone = model.score(items[row : row + 1, : int(lengths[row])], lengths[row : row + 1])
        _close(alone[0, 1:], together[row, 1:])


@NEXT_ITEM_LAWS.law
@torch.no_grad()
def padding_has_no_influence(case: NextItemCase) -> None:
    model = case.trained()
    items, lengths = _histories()
    padded = torch.nn.functional.pad(items, (0, 5))
    _close(model.score(padded, lengths)[:, 1:], model.score(items, lengths)[:, 1:])


@NEXT_ITEM_LAWS.law
@torch.no_grad()
def an_empty_history_has_a_defined_answer(case: NextItemCase) -> None:
    model = case.trained()
    empty = model.score(torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
    assert torch.isfinite(empty[:, 1:]).all()
    mixed = model.score(torch.tensor([[1, 3], [0, 0]]), torch.tensor([2, 0]))
    _close(mixed[1, 1:], empty[0, 1:])


@NEXT_ITEM_LAWS.law
@torch.no_grad()
def a_history_beyond_the_maximum_is_cut(case: NextItemCase) -> None:
    model = case.trained()
    long = torch.from_numpy(np.tile([1, 3, 5, 7, 9, 11], 80))[None, :]
    assert torch.isfinite(model.score(long, torch.tensor([long.shape[1]]))[:, 1:]).all()


@NEXT_ITEM_LAWS.law
@torch.no_grad()
def scoring_changes_neither_input_nor_model(case: NextItemCase) -> None:
    model = case.trained()
    items, lengths = _histories()
    before, state = items.clone(), {key: value.clone() for key, value in model.state_dict().items()}
    assert torch.equal(model.score(items, lengths), model.score(items, lengths)), "two calls differ"
    assert torch.equal(items, before)
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


@NEXT_ITEM_LAWS.law
def ranking_is_sorted_distinct_and_leaves_out_what_it_must(case: NextItemCase) -> None:
    model = case.trained()
    items, lengths = _histories()
    ranking = model.rank(items, lengths, NUM_ITEMS + 5, exclude=items)
    for row in range(4):
        kept = ranking.items[row][ranking.items[row] > 0]
        seen = set(items[row].tolist()) - {0}
        assert len(kept) == NUM_ITEMS - len(seen), "items are missing or came twice"
        assert not seen & set(kept.tolist()), "an excluded item was returned"
        scores = ranking.scores[row][: len(kept)]
        assert (scores[:-1] >= scores[1:]).all(), "scores do not fall"


@NEXT_ITEM_LAWS.law
def the_camp_of_the_user_is_learned(case: NextItemCase) -> None:
    if not case.factory.personalised:
        raise NotApplicable("the model gives everybody the same list")
    model = case.trained(steps=150, learning_rate=0.02)
    histories = torch.tensor([[1, 3, 5], [2, 4, 6], [7, 9, 11], [8, 10, 12]])
    best = model.rank(histories, torch.full((4,), 3), 1, exclude=histories).items
    assert (best % 2 == histories[:, :1] % 2).all(), f"odd and even are mixed: {best.tolist()}"


@NEXT_ITEM_LAWS.law
def gradients_reach_every_parameter(case: NextItemCase) -> None:
    if case.factory.learns_by == "counting":
        raise NotApplicable("the model counts and has no gradient")
    model = case.fresh()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        largest = _train(model, two_camps(), 6, 0.01)
    silent = [name for (name, _), size in zip(model.named_parameters(), largest, strict=True) if not size > 0]
    assert not silent, f"no gradient reaches {', '.join(silent)}"


@NEXT_ITEM_LAWS.law
def the_same_seed_gives_the_same_model(case: NextItemCase) -> None:
    one, two = case.trained().state_dict(), case.trained().state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)


@NEXT_ITEM_LAWS.law
@torch.no_grad()
def a_copy_by_state_scores_the_same(case: NextItemCase) -> None:
    model, other = case.trained(), case.fresh(seed=9)
    other.load_state_dict(model.state_dict())
    assert torch.equal(model.score(*_histories()), other.eval().score(*_histories()))
