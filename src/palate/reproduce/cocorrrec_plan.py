"""What is trained for CoCorrRec's claims: rows, grids, logs and seeds, all fixed before the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from palate.reproduce.cocorrrec_cells import SequenceCell
from palate.reproduce.cocorrrec_logs import LogName

__all__ = ["COUNTED", "DEVICE", "Choice", "Plan", "Row", "full_plan", "smoke_plan"]

WIDTH = 64
DEVICE: Mapping[str, Any] = {"embedding_size": WIDTH, "num_heads": 4, "max_length": 50}
COUNTED = ("popularity", "item-to-item", "transitions")
# Rows of each size: small batches where there are few users, as many steps as a minute of a core allows.
BATCHES: Mapping[LogName, int] = {"movielens": 32, "beauty": 128, "drift": 32}


@dataclass(frozen=True, slots=True)
class Choice:
    """What is tuned: the step size and the share that is dropped."""

    learning_rate: float
    dropout: float


@dataclass(frozen=True, eq=False)
class Row:
    """One line of the table: a model with its settings.

    Attributes:
        name: Name in the table.
        model: Public name.
        settings: Its settings.
        like: Row whose choice is used; by default the row chooses for itself.
        logs: Where it is trained.
        epochs: Epochs over those of the plan.
        beauty: Settings that differ on the cosmetics.
    """

    name: str
    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    like: str = ""
    logs: tuple[LogName, ...] = ("movielens",)
    epochs: int = 1
    beauty: Mapping[str, Any] = field(default_factory=dict)

    @property
    def counted(self) -> bool:
        """Whether it learns in one pass, without anything to choose."""
        return self.model in COUNTED


@dataclass(frozen=True)
class Plan:
    """Rows, the two grids, seeds and sizes.

    On each log the step size is chosen at the first share of dropout, then the share at that step size, by the
    validation items with the log's first seed.
    """

    rows: tuple[Row, ...]
    learning_rates: tuple[float, ...] = (1e-3, 2e-3, 5e-3)
    dropouts: tuple[float, ...] = (0.2, 0.5)
    seeds: Mapping[LogName, tuple[int, ...]] = field(
        default_factory=lambda: {"movielens": (0, 1, 2), "drift": (0, 1, 2), "beauty": (0, 1, 2)}
    )
    epochs: Mapping[LogName, int] = field(default_factory=lambda: {"movielens": 24, "drift": 16, "beauty": 8})
    users: Mapping[LogName, int] = field(default_factory=dict)
    device_users: int = 1000
    attack: Mapping[str, int] = field(default_factory=lambda: {"attacked": 300, "taught": 2000, "epochs": 20})
    lengths: tuple[int, ...] = (10, 50, 200, 1000)

    def cell(self, row: Row, log: LogName, seed: int, choice: Choice | None, digest: str = "") -> SequenceCell:
        """Return one cell."""
        settings, rate = dict(row.settings), {}
        if choice is not None:
            rate = {"learning_rate": choice.learning_rate}
            settings["dropout"] = choice.dropout
            settings |= {"attention_dropout": choice.dropout} if row.model == "sasrec" else {}
        if log == "beauty":
            settings |= row.beauty
        return SequenceCell(
            log=log,
            model=row.model,
            settings=settings,
            epochs=self.epochs[log] * row.epochs,
            batch_size=BATCHES[log],
            seed=seed,
            users=self.users.get(log, 0),
            digest=digest if log == "beauty" else "",
            **rate,
        )

    def choosers(self, log: LogName) -> Sequence[Row]:
        """Return the rows that choose for themselves on ``log``."""
        return [row for row in self.on(log) if not row.like and not row.counted]

    def on(self, log: LogName) -> Sequence[Row]:
        """Return the rows that are trained on ``log``."""
        return [row for row in self.rows if log in row.logs]


def device(name: str, mode: str, *, like: str = "", **rest: Any) -> Row:
    """Return a row of CoCorrRec; what is no field of a row is a setting."""
    fields = {key: rest.pop(key) for key in ("logs", "epochs", "beauty") if key in rest}
    return Row(name, "cocorrrec", {**DEVICE, "mode": mode, **rest}, like=like, **fields)


def full_plan() -> Plan:
    """Return the reduced setting."""
    films: tuple[LogName, ...] = ("movielens",)
    drift: tuple[LogName, ...] = ("movielens", "drift")
    everywhere: tuple[LogName, ...] = ("movielens", "drift", "beauty")
    wide = {"embedding_size": WIDTH, "max_length": 50}
    rows = (
        Row("popularity", "popularity", logs=everywhere),
        Row("item-to-item", "item-to-item", logs=("movielens", "beauty")),
        Row("transitions", "transitions", logs=everywhere),
        Row("transitions, undamped", "transitions", {"damping": 0.0}, logs=everywhere),
        Row("GRU4Rec", "gru4rec", wide, logs=everywhere),
        Row("SASRec", "sasrec", {**wide, "num_layers": 2, "num_heads": 2}, logs=everywhere),
        Row("BERT4Rec", "bert4rec", {**wide, "num_layers": 2, "num_heads": 2, "initial_std": 0.1}, logs=films),
        Row("Mamba4Rec", "mamba4rec", {**wide, "num_layers": 1}, logs=films),
        Row("LRURec", "lrurec", {**wide, "num_layers": 2}, logs=everywhere),
        Row("TTT4Rec", "ttt4rec", {**wide, "num_layers": 1, "num_heads": 4}, logs=drift),
        device("SCN", "base", logs=everywhere),
        device("SCN, a = 0", "base", inner_rate=0.0, logs=everywhere),
        device("SCN + GCN", "causal", logs=everywhere, beauty={"sync_every": 5}),
        # Trained at the last position of each stretch alone, as its form demands: so it gets twice the passes.
        device("SCN + GCN, paper", "paper", like="SCN + GCN", epochs=2),
        device("SCN + GCN, only dA", "causal", like="SCN + GCN", correct="attention"),
        device("SCN + GCN, only db", "causal", like="SCN + GCN", correct="bias"),
        device("SCN, m = 1", "base", like="SCN", mini_batch_size=1),
        device("SCN, m = 5", "base", like="SCN", mini_batch_size=5),
        device("SCN, m = 25", "base", like="SCN", mini_batch_size=25),
        device("SCN, TTT-MLP", "base", like="SCN", inner="mlp"),
        device("SCN, residual", "base", like="SCN", residual=True, logs=everywhere),
    )
    return Plan(rows)


def smoke_plan() -> Plan:
    """Return the same rows in seconds: few users, one point of each grid, two seeds, two epochs, narrow models."""

    def small(row: Row) -> Row:
        settings = {**row.settings, "embedding_size": 16} if "embedding_size" in row.settings else row.settings
        return Row(row.name, row.model, settings, row.like, row.logs, beauty=row.beauty)

    return Plan(
        tuple(small(row) for row in full_plan().rows),
        learning_rates=(5e-3,),
        dropouts=(0.2,),
        seeds={"movielens": (0, 1), "drift": (0, 1), "beauty": (0,)},
        epochs={"movielens": 2, "drift": 2, "beauty": 1},
        users={"movielens": 40, "drift": 120, "beauty": 300},
        device_users=30,
        attack={"attacked": 20, "taught": 100, "epochs": 2},
        lengths=(10, 50),
    )
