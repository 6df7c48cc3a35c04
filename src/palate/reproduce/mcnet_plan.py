"""What the reproduction of MCNet fits: every method on planted worlds and on two real tables, ablations, sweeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from palate.reproduce.calibration_cells import CalibrationCell

__all__ = ["AWARE", "FIELDS_WORLD", "FREE", "HARD", "REAL", "Plan", "Row", "full_plan", "smoke_plan"]

FREE = ("none", "histogram", "isotonic", "platt", "temperature", "beta", "gauss", "gamma", "sir")
AWARE = ("platt-per-field", "neucalib", "sbcr", "desc", "umc", "adacalib", "mbct", "confcalib")
SLOW = ("neucalib", "sbcr", "desc", "umc")  # three seeds
HARD = {"concentration": 0.2, "bend": 2.0}
FIELDS_WORLD = {"values": 30, "more_fields": (12, 5), "pair_spread": 0.3}
RealTable = Literal["promotions", "movielens"]
REAL: tuple[RealTable, ...] = ("promotions", "movielens")
# Chained bins are evaluated for every context of a batch; with many combinations of values ten of them are enough work.
LIGHT = {"bins": 10, "nodes": 8}
_RATES = tuple({"learning_rate": rate} for rate in (3e-3, 1e-2, 3e-2))
# The budget of every method: three settings of what matters most to it. Methods with no settings have none to try.
GRIDS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "histogram": tuple({"bins": bins} for bins in (10, 20, 50)),
    "sir": tuple({"bins": bins} for bins in (20, 100, 400)),
    "platt-per-field": tuple({"prior_strength": strength} for strength in (None, 1.0, 10.0)),
    "mbct": tuple({"shrinkage": shrinkage} for shrinkage in (0.2, 0.5, 1.0)),
    "confcalib": tuple({"sharpness": sharpness} for sharpness in (1.0, 3.0, 10.0)),
    "mcnet": tuple({"bins": bins} for bins in (1, 5, None)),
    **dict.fromkeys(("neucalib", "sbcr", "desc", "umc", "adacalib"), _RATES),
}


@dataclass(frozen=True, eq=False)
class Row:
    """One line of the table: a method with its settings on a kind of rows.

    Attributes:
        name: Name of the line.
        method: Public name of the calibrator.
        settings: Its settings, but for the one that is chosen.
        use_context: Whether it sees the context.
        table: ``planted`` or a real table.
        rows: Planted rows to calibrate on.
        world: Settings of the planted world.
        thinned: Share of the negatives that the base model saw.
        seeds: How many of the plan's seeds.
        like: Line whose chosen setting is taken; its own when empty.
    """

    name: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    use_context: bool = False
    table: Literal["planted", "promotions", "movielens"] = "planted"
    rows: int = 100_000
    world: Mapping[str, Any] = field(default_factory=dict)
    thinned: float = 1.0
    seeds: int = 5
    like: str = ""

    @property
    def grid(self) -> tuple[Mapping[str, Any], ...]:
        """Settings of which the best is chosen on rows that neither fit nor judge."""
        return GRIDS.get(self.method, ())


@dataclass(frozen=True)
class Plan:
    """What is fitted: lines, seeds, and how much data."""

    rows: tuple[Row, ...]
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    test_rows: int = 300_000
    shrink: int = 1

    def seeds_of(self, row: Row) -> tuple[int, ...]:
        """Return the seeds of a line."""
        return self.seeds[: row.seeds]

    def cell(self, row: Row, seed: int, chosen: Mapping[str, Any] | None = None, **more: Any) -> CalibrationCell:
        """Return one cell: a line with a seed and what was chosen for it."""
        planted = row.table == "planted"
        return CalibrationCell(
            method=row.method,
            settings={**(chosen or {}), **row.settings},
            use_context=row.use_context,
            table=row.table,
            rows=row.rows // self.shrink if planted else 100_000,
            test_rows=self.test_rows // self.shrink if planted else 300_000,
            world=dict(row.world),
            thinned=row.thinned,
            seed=seed,
            shrink=1 if planted else self.shrink,
            **more,
        )

    def choosers(self) -> tuple[Row, ...]:
        """Return the lines whose settings are chosen, each for itself and for those like it."""
        return tuple(row for row in self.rows if row.grid and not row.like)

    def trials(self, row: Row) -> list[CalibrationCell]:
        """Return the cells that choose a line's setting, in the order of its grid: first seed, no test rows."""
        return [self.cell(row, self.seeds[0], setting, choosing=True) for setting in row.grid]


def mcnet(name: str, *, like: str = "MCNet-Field", seeds: int = 5, rows: int = 100_000, **settings: Any) -> Row:
    """Return a line of MCNet with the context on data A."""
    return Row(name, "mcnet", settings, use_context=True, rows=rows, seeds=seeds, like="" if name == like else like)


def full_plan() -> Plan:
    """Return the reduced setting."""
    return Plan((*_data_a(), *_forty_thousand(), *_hard(), *_several_fields(), *_thinned(), *_real()))


def smoke_plan() -> Plan:
    """Return the same lines in seconds: a fiftieth of the data, two seeds, small networks."""
    quick: dict[str, dict[str, Any]] = {
        "mcnet": {"hidden_size": 8, "epochs": 1},
        "neucalib": {"hidden_sizes": (8,), "epochs": 1},
        "sbcr": {"segments": 10, "hidden_sizes": (8,), "epochs": 1},
        "desc": {"hidden_sizes": (8,), "epochs": 1},
        "umc": {"hidden_size": 8, "hidden_sizes": (8,), "epochs": 1},
        "adacalib": {"bin_numbers": (2, 4), "hidden_sizes": (8,), "epochs": 1},
        "mbct": {"trees": 3, "views": 5},
    }
    rows = (replace(row, settings={**row.settings, **quick.get(row.method, {})}) for row in full_plan().rows)
    return Plan(tuple(rows), seeds=(0, 1), shrink=50)


def _data_a() -> list[Row]:
    """All methods at 100,000 rows, and what each part of MCNet does."""
    rows = [Row(name, name) for name in FREE]
    rows += [Row(name, name, use_context=True, seeds=3 if name in SLOW else 5) for name in AWARE]
    rows += [
        Row("MCNet-None", "mcnet"),
        Row("MCNet-None, strict", "mcnet", {"strict": True}),
        mcnet("MCNet-Field"),
        mcnet("MCNet-Field, strict", like="MCNet-Field, strict", strict=True),
        mcnet("MCNet-Field, alpha 0", order_weight=0.0),
        mcnet("MCNet-Field, context in offset only", context_use="offset"),
        mcnet("MCNet-Field, beta 0.3", balance_weight=0.3),
        mcnet("MCNet-Field, beta 1", balance_weight=1.0),
        mcnet("MCNet-Field, beta 0.1", balance_weight=0.1, seeds=3),
        mcnet("MCNet-Field, beta 0.3, no averages", balance_weight=0.3, balance_decay=0.0, seeds=3),
        mcnet("MCNet-Field, alpha 1", order_weight=1.0, seeds=3),
        mcnet("MCNet-Field, prob axis", axis="prob", seeds=3),
    ]
    return rows + [mcnet(f"MCNet-Field, K {bins}", bins=bins, seeds=3) for bins in (1, 5, 10, 50)]


def _forty_thousand() -> list[Row]:
    """Fewer rows: weights of the order term, chained bins, the balance term, and the simple rule."""
    small: dict[str, Any] = {"rows": 40_000, "seeds": 3}
    rows = [mcnet(f"40k: MCNet-Field, alpha {a:g}", order_weight=a, **small) for a in (0.0, 0.001, 0.01, 0.05, 0.1)]
    rows += [mcnet("40k: MCNet-Field, strict", like="MCNet-Field, strict", strict=True, **small)]
    rows += [mcnet("40k: MCNet-Field, beta 0.3", balance_weight=0.3, **small)]
    return [*rows, Row("40k: platt-per-field", "platt-per-field", use_context=True, like="platt-per-field", **small)]


def _hard() -> list[Row]:
    """Rare values rarer, maps twice as curved."""
    return _elsewhere("hard", HARD, ("platt-per-field", "adacalib", "umc", "sbcr"))


def _several_fields() -> list[Row]:
    """Three fields, of which two interact."""
    none = replace(Row("fields: MCNet-None", "mcnet", world=FIELDS_WORLD, seeds=3), like="MCNet-None")
    rows = [none, *_elsewhere("fields", FIELDS_WORLD, ("platt-per-field", "adacalib", "umc", "sbcr"))]
    return [replace(row, settings={**row.settings, **LIGHT}, seeds=3) if "strict" in row.name else row for row in rows]


def _elsewhere(label: str, world: Mapping[str, Any], peers: tuple[str, ...]) -> list[Row]:
    """Return peers and MCNet in another world, with the settings chosen on data A."""
    rows = [
        Row(
            f"{label}: {name}",
            name,
            use_context=True,
            world=world,
            seeds=5 if name == "platt-per-field" else 3,
            like=name,
        )
        for name in peers
    ]
    ours = (mcnet("MCNet-Field"), mcnet("MCNet-Field, strict", like="MCNet-Field, strict", strict=True))
    return rows + [replace(row, name=f"{label}: {row.name}", world=world, like=row.name) for row in ours]


def _thinned() -> list[Row]:
    """A base model that saw a tenth of the negatives."""
    lines: list[tuple[str, str, dict[str, Any]]] = [
        ("none", "none", {}),
        ("correction, rate known", "prior-correction", {"rate": 0.1}),
        ("correction, rate estimated", "prior-correction", {}),
        ("platt", "platt", {}),
        ("isotonic", "isotonic", {}),
        ("MCNet-None", "mcnet", {}),
    ]
    rows = [Row(f"thinned: {name}", method, settings, thinned=0.1, seeds=3) for name, method, settings in lines]
    return [replace(row, like="MCNet-None") if row.method == "mcnet" else row for row in rows]


def _real() -> list[Row]:
    """Every method on the scores of QNN-alpha, three networks for each table, chosen for that table."""
    rows = []
    for table in REAL:
        light = LIGHT if table == "promotions" else {}  # three fields
        shared: dict[str, Any] = {"table": table, "seeds": 3}
        rows += [Row(f"{table}: {name}", name, **shared) for name in FREE]
        rows += [Row(f"{table}: {name}", name, use_context=True, **shared) for name in AWARE]
        rows += [
            Row(f"{table}: MCNet-None", "mcnet", **shared),
            Row(f"{table}: MCNet", "mcnet", use_context=True, **shared),
            Row(f"{table}: MCNet, strict", "mcnet", {"strict": True, **light}, use_context=True, **shared),
        ]
    return rows
