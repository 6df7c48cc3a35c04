"""Batches of sequences: what they hold, how full they are, and that they depend on (seed, epoch, step) alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from palate.data.sequence_source import SequenceSource
from palate.data.sequences import SequenceBatch, SequenceLog
from palate.errors import ConfigError, DataError


def log_of(*sequences: list[int], num_items: int) -> SequenceLog:
    offsets = np.cumsum([0, *map(len, sequences)])
    return SequenceLog(np.array([item for row in sequences for item in row], dtype=np.int64), offsets, num_items)


@pytest.fixture(scope="module")
def log() -> SequenceLog:
    generator = np.random.default_rng(0)
    lengths = np.minimum(generator.geometric(0.12, 3000), 90)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return SequenceLog(generator.integers(1, 201, int(offsets[-1])), offsets, 200)


def batches(source: SequenceSource, epoch: int = 0) -> list[SequenceBatch]:
    return [source.batch(epoch, step) for step in range(source.steps(epoch))]


def same(one: SequenceBatch, two: SequenceBatch) -> bool:
    names = ("items", "lengths", "targets", "users", "negatives", "log_q")
    pairs = [(getattr(one, name), getattr(two, name)) for name in names]
    return all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


def test_a_batch_by_hand() -> None:
    source = SequenceSource(log_of([1, 2, 3, 4, 5], [6], [7, 8], [], num_items=9), batch_size=4, max_length=3)
    assert source.steps(0) == 1
    batch = source.batch(0, 0)
    rows = sorted(zip(batch.users.tolist(), batch.items.tolist(), batch.targets.tolist(), strict=True))
    assert rows == [(0, [2, 3, 4], [3, 4, 5]), (2, [7, 0, 0], [8, 0, 0])]
    assert sorted(batch.lengths.tolist()) == [1, 3]


def test_every_user_with_something_to_predict_comes_once_per_epoch(log: SequenceLog) -> None:
    users = torch.cat([batch.users for batch in batches(SequenceSource(log, batch_size=64))])
    assert sorted(users.tolist()) == np.flatnonzero(log.lengths >= 2).tolist()


def test_all_windows_make_every_item_but_the_first_a_target_once(log: SequenceLog) -> None:
    source = SequenceSource(log, batch_size=64, max_length=7, windows="all")
    for epoch in (0, 1):
        pairs = []
        for batch in batches(source, epoch):
            assert batch.items.shape[1] <= 7
            owner = batch.users[:, None].expand_as(batch.targets)
            real = batch.targets > 0
            pairs.append(torch.stack([owner[real], batch.items[real], batch.targets[real]]))
        seen = torch.cat(pairs, 1).T.tolist()
        owner = np.repeat(np.arange(log.num_users), log.lengths)
        inside = owner[1:] == owner[:-1]
        wanted = np.stack([owner[1:], log.items[:-1], log.items[1:]], 1)[inside].tolist()
        assert sorted(seen) == sorted(wanted)


def test_all_windows_move_between_epochs() -> None:
    source = SequenceSource(log_of(list(range(1, 41)), num_items=40), max_length=7, windows="all")
    assert len({batches(source, epoch)[0].items.tolist()[0][0] for epoch in range(20)}) > 1
    assert len({tuple(sorted(source.batch(epoch, 0).lengths.tolist())) for epoch in range(20)}) > 1


def test_targets_are_the_next_items(log: SequenceLog) -> None:
    for batch in batches(SequenceSource(log, batch_size=64, max_length=20)):
        inside = torch.arange(batch.items.shape[1])[None, :] < batch.lengths[:, None]
        assert torch.equal(batch.items > 0, inside)
        assert torch.equal(batch.targets > 0, inside)
        assert torch.equal(batch.items[:, 1:][inside[:, 1:]], batch.targets[:, :-1][inside[:, 1:]])
        ends = batch.targets[torch.arange(len(batch)), batch.lengths - 1]
        assert torch.equal(ends, torch.from_numpy(log.items[log.offsets[1:][batch.users.numpy()] - 1]))


def test_batches_are_nearly_full(log: SequenceLog) -> None:
    cells = real = 0
    for batch in batches(SequenceSource(log, batch_size=64)):
        cells += batch.items.numel()
        real += int(batch.lengths.sum())
    assert real / cells > 0.9, real / cells
    assert log.lengths.mean() / 50 < 0.2  # padding every history to 50 would waste four fifths


def test_pure_in_seed_epoch_and_step(log: SequenceLog) -> None:
    source = SequenceSource(log, batch_size=64, seed=3, num_negatives=2)
    later = source.batch(1, 5)
    source.batch(0, 0)
    assert same(later, source.batch(1, 5))
    assert same(later, SequenceSource(log, batch_size=64, seed=3, num_negatives=2).batch(1, 5))
    assert not same(later, SequenceSource(log, batch_size=64, seed=4, num_negatives=2).batch(1, 5))
    assert not same(later, source.batch(2, 5))


@pytest.mark.parametrize("settings", [{}, {"num_negatives": 3}, {"num_negatives": 3, "negatives": "shared"}])
def test_shards_together_are_the_whole_batch(log: SequenceLog, settings: dict[str, object]) -> None:
    whole = SequenceSource(log, batch_size=63, **settings)
    shards = [whole.shard(rank, 4) for rank in range(4)]
    assert {shard.steps(0) for shard in shards} == {whole.steps(0)}
    for step in (0, whole.steps(0) - 1):
        batch, parts = whole.batch(0, step), [shard.batch(0, step) for shard in shards]
        for rank, part in enumerate(parts):
            assert torch.equal(part.users, batch.users[rank::4])
            assert torch.equal(part.items, batch.items[rank::4, : part.items.shape[1]])
            if batch.negatives is not None and batch.negatives.dim() == 3:
                assert torch.equal(part.negatives, batch.negatives[rank::4, : part.items.shape[1]])


def test_negatives_are_never_the_target_and_reach_every_other_item() -> None:
    log = log_of(*[[1, 2, 3, 4, 5]] * 50, num_items=5)
    batch = SequenceSource(log, batch_size=50, num_negatives=8).batch(0, 0)
    assert batch.negatives.shape == (50, 4, 8)
    assert not (batch.negatives == batch.targets[:, :, None]).any()
    for column, target in enumerate((2, 3, 4, 5)):
        assert set(batch.negatives[:, column].unique().tolist()) == set(range(1, 6)) - {target}


def test_popular_items_are_drawn_in_proportion() -> None:
    log = log_of([1] * 8 + [2], [1] * 8 + [3] * 3, num_items=4)
    source = SequenceSource(log, num_negatives=40_000, negatives="shared", sampler="popularity", power=1.0)
    batch = source.batch(0, 0)
    share = torch.bincount(batch.negatives, minlength=5) / 40_000
    torch.testing.assert_close(share, torch.tensor([0, 0.8, 0.05, 0.15, 0]), atol=0.01, rtol=0)
    torch.testing.assert_close(batch.log_q.exp(), torch.tensor([0, 0.8, 0.05, 0.15, 0])[batch.negatives])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"max_length": 0}, "max_length is 0"),
        ({"windows": "al"}, 'Did you mean "all"'),
        ({"negatives": "some"}, "negatives is"),
        ({"sampler": "popular"}, 'Did you mean "popularity"'),
        ({"rank": 2, "world": 2}, "rank is 2"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SequenceSource(log_of([1, 2], num_items=3), **settings)


def test_a_batch_too_small_for_the_processes_is_refused(log: SequenceLog) -> None:
    with pytest.raises(ConfigError, match="cannot be shared by 8 processes"):
        SequenceSource(log, batch_size=4).shard(0, 8).steps(0)


def test_no_batch_is_a_crumb(log: SequenceLog) -> None:
    source = SequenceSource(log, batch_size=64)
    sizes = {len(batch) for batch in batches(source)}
    assert max(sizes) <= 64
    assert max(sizes) - min(sizes) <= 1


def test_a_log_without_pairs_is_refused() -> None:
    with pytest.raises(DataError, match="None of the 2 users has two items"):
        SequenceSource(log_of([1], [2], num_items=3))
    with pytest.raises(ConfigError, match="one item"):
        SequenceSource(log_of([1, 1], num_items=1), num_negatives=1)
