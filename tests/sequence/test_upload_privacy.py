"""What uploads give away: attacks whose success is known, and the table of a small fitted model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from palate.data.sequence_source import SequenceSource
from palate.data.sequences import SequenceLog, pad_histories
from palate.errors import ConfigError, DataError
from palate.evaluate.next_item import evaluate_next_item
from palate.sequence.cocorrrec import CoCorrRec, CoCorrRecConfig
from palate.sequence.inversion import item_posterior
from palate.sequence.summary_attack import fit_probe, recover_step
from palate.sequence.upload_attack import Attacker, Noise
from palate.sequence.upload_privacy import Upload, measure_upload_privacy

ITEMS = 60
SETTINGS = {"embedding_size": 16, "num_heads": 2, "mini_batch_size": 4, "sync_every": 4, "max_length": 16}


def planted_log(users: int = 300, seed: int = 0) -> SequenceLog:
    """Walks around a ring of items: the next item is one to three places further."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(8, 17, users)
    walks = [generator.integers(ITEMS) + generator.integers(1, 4, length).cumsum() for length in lengths]
    return SequenceLog(np.concatenate(walks) % ITEMS + 1, np.concatenate([[0], lengths.cumsum()]), ITEMS)


@pytest.fixture(scope="module")
def fitted() -> tuple[CoCorrRec, SequenceLog]:
    log = planted_log()
    torch.manual_seed(0)
    model = CoCorrRec(ITEMS, CoCorrRecConfig(**SETTINGS))
    source = SequenceSource(log.drop_last(1), batch_size=64, max_length=16)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(8):
        for step in range(source.steps(epoch)):
            optimiser.zero_grad()
            model.loss(source.batch(epoch, step)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
    return model.eval(), log


@pytest.fixture(scope="module")
def table(fitted):
    model, log = fitted
    uploads = (
        Upload("none"),
        Upload("hidden"),
        Upload("hidden", 1.0),
        Upload("hidden", 50.0),
        Upload("summary-each-click"),
        Upload("summary"),
    )
    return {
        row.upload.name: row
        for row in measure_upload_privacy(
            model, log.drop_last(1), log.last(), uploads=uploads, attacked=100, taught=600, epochs=30
        )
    }


def test_hidden_states_are_the_click_history(table):
    row = table["hidden states"]
    assert (row.recovered, row.last_item, row.last_item_10, row.attacked) == (1.0, 1.0, 1.0, 100)
    assert row.recovered_interval.low == row.recovered_interval.high == 1.0


def test_noise_hides_more_the_more_there_is_and_in_the_end_leaves_a_guess(table):
    guess, little, much = table["nothing"], table["hidden states, noise 1x"], table["hidden states, noise 50x"]
    assert guess.recovered < little.recovered < 1.0
    assert abs(much.recovered - guess.recovered) < 0.1
    assert abs(much.last_item - guess.last_item) < 0.1


def test_a_summary_hides_more_than_states_but_not_everything(table):
    guess, summary = table["nothing"], table["summary"]
    assert guess.recovered + 0.1 < summary.recovered < 1.0
    assert guess.last_item_10 < summary.last_item_10


def test_summaries_after_every_click_are_the_click_history_again(table):
    assert table["summary after every click"].recovered > 0.99
    assert table["summary after every click"].last_item > 0.99


def test_ranking_is_what_the_evaluation_says_and_a_summary_keeps_all_of_it(fitted, table):
    model, log = fitted
    whole = evaluate_next_item(model, log.drop_last(1), log.last(), metrics=("recall@10", "ndcg@10"))
    assert table["hidden states"].ndcg.value == whole["ndcg@10"].value
    assert table["summary"].recall.value == whole["recall@10"].value
    model.lag = None
    alone = evaluate_next_item(model, log.drop_last(1), log.last(), metrics=("ndcg@10",))
    model.lag = 0
    assert table["nothing"].ndcg.value == alone["ndcg@10"].value
    assert table["nothing"].ndcg.value != table["hidden states"].ndcg.value
    noisy = table["hidden states, noise 50x"].ndcg.value
    assert noisy != table["hidden states"].ndcg.value


def test_sizes_are_those_on_the_wire(fitted, table):
    _, log = fitted
    assert Upload("hidden").bytes(10, 64) == 1280
    assert table["summary"].bytes == 256
    assert table["nothing"].bytes == 0
    kept = np.minimum(log.drop_last(1).lengths, 16)
    assert abs(table["hidden states"].bytes / (2 * 16) - kept.mean()) < 1


def test_a_row_of_results_has_means_and_intervals(table):
    row = table["summary"].to_row()
    assert row["row"] == "summary"
    for name in ("recovered", "recall@10", "ndcg@10"):
        low, high = row[name]["interval"]
        assert low <= row[name]["mean"] <= high
    assert row["attack"] == "vectors told by a network"


def test_the_model_is_left_as_it_was_and_the_same_seed_gives_the_same(fitted):
    model, log = fitted
    model.train()
    model.lag = 4
    uploads = (Upload("hidden", 1.0), Upload("summary", 0.5))
    settings = {"uploads": uploads, "attacked": 20, "taught": 300, "epochs": 2, "seed": 3}
    before = torch.get_rng_state()
    first = measure_upload_privacy(model, log.drop_last(1), log.last(), **settings)
    assert torch.equal(torch.get_rng_state(), before)
    assert (model.training, model.lag, model.upload) == (True, 4, None)
    model.eval()
    model.lag = 0
    assert [row.to_row() for row in measure_upload_privacy(model, log.drop_last(1), log.last(), **settings)] == [
        row.to_row() for row in first
    ]


def test_models_and_logs_that_cannot_be_attacked_are_refused(fitted):
    model, log = fitted
    base = CoCorrRec(ITEMS, CoCorrRecConfig(mode="base", **SETTINGS))
    with pytest.raises(ConfigError, match="uploads nothing"):
        measure_upload_privacy(base, log.drop_last(1), log.last())
    empty = SequenceLog(np.array([3, 4]), np.array([0, 2]), ITEMS)
    with pytest.raises(DataError, match="1 users have a history"):
        measure_upload_privacy(model, empty, np.array([5]))


def test_noise_clips_to_a_norm_first():
    clipped = Noise(0.0, 5.0, 0).clipped(torch.tensor([[3.0, 4.0], [6.0, 8.0], [0.0, 0.0]]))
    torch.testing.assert_close(clipped, torch.tensor([[3.0, 4.0], [3.0, 4.0], [0.0, 0.0]]))
    rows = torch.zeros(20_000, 2)
    assert abs(float(Noise(2.0, 1.0, 0)(rows).std()) - 2.0) < 0.05
    assert torch.equal(Noise(0.0, None, 0)(rows), rows)


def test_the_posterior_weighs_evidence_and_popularity():
    vectors = torch.tensor([[0.0], [1.0], [3.0]])
    prior = torch.tensor([0.0, 0.25, 0.75]).log()
    # at 2 both are as near; noise 1: exp(-1/2) either way
    posterior = item_posterior(torch.tensor([[2.0], [1.0]]), vectors, 1.0, prior).exp()
    odds = 0.25 / (0.75 * math.exp(-2))
    torch.testing.assert_close(posterior[0], torch.tensor([0.0, 0.25, 0.75]))
    torch.testing.assert_close(posterior[1], torch.tensor([0.0, odds / (1 + odds), 1 / (1 + odds)]))


def test_the_step_attack_is_the_recurrence_itself(fitted):
    model, _ = fitted
    items = torch.randint(1, ITEMS + 1, (5, 7), generator=torch.Generator().manual_seed(2))
    cells = (model.gcn.attention.gru, model.gcn.bias.gru)
    with torch.inference_mode():
        states = model.gcn.summaries(model.hidden(items))
        vectors = model.hidden(torch.arange(ITEMS + 1))
    before, after = [state[:, 5] for state in states], [state[:, 6] for state in states]
    assert torch.equal(recover_step(before, after, vectors, cells), items[:, 6])
    ten = recover_step(before, after, vectors, cells, k=10)
    assert ten.shape == (5, 10)
    assert torch.equal(ten[:, 0], items[:, 6])
    assert recover_step([before[0][:0]], [after[0][:0]], vectors, cells[:1]).shape == (0,)


def test_the_probe_learns_what_a_summary_plainly_says():
    # the summary of a prefix holds the vectors of its last two items as they are
    generator = torch.Generator().manual_seed(0)
    vectors = torch.eye(6)
    items = torch.randint(1, 6, (300, 4), generator=generator)
    hidden = vectors[items]
    before = torch.cat([torch.zeros(300, 1, 6), hidden[:, :-1]], 1)
    lengths = torch.randint(1, 5, (300,), generator=generator)
    probe = fit_probe(torch.cat([hidden, before], -1), hidden, lengths, epochs=60, reach=3)
    assert probe.errors[0] < 0.1
    assert probe.errors[1] < 0.1
    assert probe.errors[2] > 0.3  # nothing is said about the one before
    asked = torch.cat([vectors[[1, 4]], vectors[[5, 2]]], 1)
    prior = torch.full((6,), 0.2).log()
    posterior = probe.posterior(asked, vectors, prior)
    assert posterior.shape == (2, 3, 6)
    assert posterior.argmax(-1)[:, :2].tolist() == [[1, 5], [4, 2]]
    assert torch.isneginf(posterior[..., 0]).all()
    torch.testing.assert_close(posterior.exp().sum(-1), torch.ones(2, 3))


def test_made_up_histories_are_as_long_as_known_ones_and_meet_every_item(fitted):
    model, log = fitted
    known = pad_histories(log, np.arange(5), 16)
    attacker = Attacker(model, known, known, taught=400)
    assert len(attacker._taught) == 400
    assert set(attacker._taught_lengths.tolist()) == set(known[1].tolist())
    vectors = attacker._taught_hidden.reshape(-1, 16).unique(dim=0)
    assert len(vectors) == ITEMS + 1  # and that of padding
    assert len(Attacker(model, known, known, taught=3)._taught) == 3


def test_an_attacker_gets_as_many_guesses_as_there_are_clicks(fitted):
    model, _ = fitted
    known = torch.tensor([[7, 7, 8, 9]]), torch.tensor([4])
    secret = torch.tensor([[7, 8, 7, 0], [9, 0, 0, 0]]), torch.tensor([3, 1])
    found = Attacker(model, known, secret).attack("none")
    # guesses by popularity: 7, then 8 and 9; the first user gets three for the two items, the second one guess
    assert found.shares.tolist() == [1.0, 0.0]
    assert found.last.tolist() == [1.0, 0.0]
    assert found.last_10.tolist() == [1.0, 1.0]
