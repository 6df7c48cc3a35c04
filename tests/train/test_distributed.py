from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from palate.errors import NonFiniteError, TrainingError
from palate.saving import load_folder
from palate.train import optimisers, tables
from palate.train.batches import take_rows
from palate.train.contract import TrainConfig
from palate.train.distributed import World
from palate.train.loop import fit
from palate.train.result import TrainResult

V, D, F = 50, 4, 3
# Batches of 13, 8 and 1 rows: unequal parts, and a part without rows.
ROWS = (13, 8, 1)


class Net(nn.Module):
    def __init__(self, *, seed: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.table = nn.Embedding(V, D)
        self.net = nn.Sequential(nn.Linear(D * F, 6), nn.ReLU(), nn.Dropout(dropout), nn.Linear(6, 1))

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        ids, labels = batch
        logits = self.net(self.table(ids).flatten(1)).squeeze(1)
        return nn.functional.binary_cross_entropy_with_logits(logits, labels)


class Source:
    def steps(self, epoch: int) -> int:
        return len(ROWS)

    def batch(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(10 * epoch + step)
        ids = torch.randint(0, V, (ROWS[step], F), generator=generator)
        return ids, (ids.sum(1) % 2).float()


class Sharding(Source):
    """Deals rows in turn instead of in blocks."""

    part = slice(None)

    def shard(self, rank: int, world: int) -> Sharding:
        source = Sharding()
        source.part = slice(rank, None, world)
        return source

    def batch(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        ids, labels = super().batch(epoch, step)
        return ids[self.part], labels[self.part]


def validate(model: nn.Module) -> dict[str, float]:
    return {"auc": float(sum(weight.sum() for weight in model.parameters()))}


def case(name: str, folder: Path | None) -> tuple[Net, TrainResult]:
    """Run one of the cases below, in whatever world this process is in."""
    optimisers.SMALL_TABLE = 0 if name == "rows" else 1 << 20
    tables.PIECE = 64
    update = name if name in ("lazy", "rowwise") else "dense"
    config = TrainConfig(
        epochs=4, learning_rate=0.02, table_update=update, embedding_l2=0.01, gradient_clip=0.5, patience=9, log_every=2
    )
    source = Sharding() if name == "sharded" else Source()
    # Each process starts with weights of its own; those of rank 0 count.
    model = Net(seed=int(os.environ.get("RANK", "0")))
    result = fit(model, source, config, validate=validate, run_folder=folder)
    return model, result


CASES = ["dense", "rows", "lazy", "rowwise", "sharded"]


def resumed(folder: Path) -> None:
    """With dropout: interrupt one process only, go on, and compare with a run that was not interrupted."""
    rank = int(os.environ["RANK"])
    config = TrainConfig(epochs=3, learning_rate=0.02)

    class Interrupting(Source):
        def batch(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
            if (epoch, step, rank) == (1, 1, 1):
                raise_interrupt()
            return super().batch(epoch, step)

    whole = Net(dropout=0.4)
    fit(whole, Source(), config, run_folder=folder / "whole")
    cut = fit(Net(dropout=0.4), Interrupting(), config, run_folder=folder / "cut")
    assert (cut.stopped_because, cut.steps) == ("interrupted", 5), cut
    model = Net(seed=8, dropout=0.4)
    result = fit(model, Source(), config, run_folder=folder / "cut")
    assert result.resumed_from is not None
    pairs = zip(model.parameters(), whole.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def failing(folder: Path) -> None:
    """A validation that fails on rank 0, or a bad row on rank 1, ends the run in every process."""

    def broken(model: nn.Module) -> dict[str, float]:
        raise ZeroDivisionError

    expected = ZeroDivisionError if os.environ["RANK"] == "0" else TrainingError
    with pytest.raises(expected):
        fit(Net(), Source(), TrainConfig(), validate=broken)

    class Poisoned(Source):
        def batch(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
            ids, labels = super().batch(epoch, step)
            labels[-1] = float("nan")  # a row of rank 1
            return ids, labels

    with pytest.raises(NonFiniteError, match="the loss is nan"):
        fit(Net(), Poisoned(), TrainConfig(), run_folder=folder / "bad")


def raise_interrupt() -> None:
    import signal
    import threading
    import time

    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)
    time.sleep(0.2)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    # In the way of torchrun: nobody has set up the processes; the first fit does, and the others go on in its group.
    rank = int(os.environ["RANK"])
    for name in CASES:
        model, result = case(name, folder / name)
        state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        losses = torch.tensor([record.train_loss for record in result.history])
        save_file({**state, "losses": losses}, folder / f"{name}-{rank}.safetensors")
    resumed(folder)
    failing(folder)
    assert torch.distributed.is_initialized(), "the group outlives every fit"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Run all cases once in two processes, started by torchrun."""
    folder = tmp_path_factory.mktemp("world")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    local = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [*torchrun, __file__, str(folder)], env=os.environ | local, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{done.stdout[-1000:]}\n{done.stderr[-5000:]}"
    return folder


@pytest.mark.parametrize("name", CASES)
def test_two_processes_equal_one_with_the_joint_batch(folder, name, monkeypatch):
    monkeypatch.setattr(optimisers, "SMALL_TABLE", optimisers.SMALL_TABLE)
    monkeypatch.setattr(tables, "PIECE", tables.PIECE)
    expected, result = case(name, None)
    ranks = [load_file(folder / f"{name}-{rank}.safetensors") for rank in range(2)]
    for key, tensor in expected.state_dict().items():
        assert torch.equal(ranks[0][key], ranks[1][key]), key
        torch.testing.assert_close(ranks[0][key], tensor, rtol=0, atol=1e-6)
        assert not torch.equal(tensor, Net().state_dict()[key]), "training changed it"
    losses = torch.tensor([record.train_loss for record in result.history])
    torch.testing.assert_close(ranks[0]["losses"], losses, rtol=0, atol=1e-6)
    assert torch.equal(ranks[0]["losses"], ranks[1]["losses"])


def test_rank_zero_alone_writes(folder):
    saved = load_folder(folder / "lazy" / "checkpoint-000012")
    assert {name.split(".")[0] for name in saved.tensors("randomness")} == {"0", "1"}
    lines = (folder / "lazy" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 6 + 4


def test_each_process_saves_its_part_of_a_bad_batch(folder):
    parts = [load_folder(folder / "bad" / f"non-finite-0-0-rank-{rank}") for rank in range(2)]
    assert [part.document("report")["inputs"] for part in parts] == [[], ["batch.1"]]
    assert [len(part.tensors("batch")["batch.1"]) for part in parts] == [6, 7]


def test_a_world_of_one_changes_nothing():
    world = World.join(torch.device("cpu"))
    source = Source()
    assert (world.rank, world.size, world.first) == (0, 1, True)
    assert world.shard(source) is source
    assert world.average({}, 2.5, 3.0, False) == (2.5, 3.0, False)
    assert world.tell({"a": 1}) == {"a": 1}
    assert world.collect({"x": torch.ones(1)})["0.x"].item() == 1.0


def test_the_parts_of_a_batch_are_the_whole():
    batch = Source().batch(0, 0)
    slices = [World(rank, 4).shard(Source()).batch(0, 0) for rank in range(4)]
    for place, tensor in enumerate(batch):
        assert torch.equal(torch.cat([part[place] for part in slices]), tensor)
    assert take_rows({"a": batch, "b": None}, 2, 4)["a"][0].shape == (2, F)


def test_a_batch_that_cannot_be_cut_says_what_it_needs():
    class Opaque:
        def __len__(self) -> int:
            return 4

    class Strange(Source):
        def batch(self, epoch: int, step: int) -> Opaque:  # type: ignore[override]
            return Opaque()

    with pytest.raises(TrainingError, match=r"type Opaque.*rows\(start, stop\)"):
        World(0, 2).shard(Strange()).batch(0, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
