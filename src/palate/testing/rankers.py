"""The laws of a ranker, over a small world with every kind of field."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from palate.config import SIZES
from palate.data.features import FeatureSpec, FieldSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.contract import Ranker
from palate.registry import find
from palate.testing.battery import Battery, BatteryReport, NotApplicable, refuses

__all__ = ["RANKER_LAWS", "check_ranker", "small_spec", "small_table"]


def small_spec(*, every_kind: bool = False) -> FeatureSpec:
    """Return three categorical fields; with ``every_kind`` also a numeric, a sequence and a vector field."""
    fields = [
        FieldSpec(name="user", kind="categorical", size=70, offset=0),
        FieldSpec(name="item", kind="categorical", size=14, offset=70),
        FieldSpec(name="hour", kind="categorical", size=6, offset=84),
    ]
    if every_kind:
        fields += [
            FieldSpec(name="price", kind="numeric"),
            FieldSpec(name="tags", kind="sequence", size=9, offset=90, length=4),
            FieldSpec(name="history", kind="sequence", size=14, offset=70, length=3, shares="item"),
            FieldSpec(name="picture", kind="vector", size=0, dimensions=5),
        ]
    return FeatureSpec(fields=tuple(fields))


def small_table(spec: FeatureSpec, rows: int = 64, seed: int = 0) -> RankBatch:
    """Return random rows for ``spec``; each row has a user of its own, so that every model can learn it by heart."""
    generator = torch.Generator().manual_seed(seed)

    def draw(size: int, *shape: int) -> Tensor:
        return torch.randint(1, size, shape, generator=generator)

    categorical = spec.of_kind("categorical")
    ids = torch.stack([f.offset + draw(f.size, rows) for f in categorical], dim=1)
    ids[:, 0] = categorical[0].offset + 1 + torch.arange(rows) % (categorical[0].size - 2)
    sequences = []
    for f in spec.of_kind("sequence"):
        entries = f.offset + draw(f.size, rows, f.length)
        kept = torch.randint(0, f.length + 1, (rows, 1), generator=generator)
        kept[0] = f.length
        padding = torch.arange(f.length)[None, :] < f.length - kept
        sequences.append(entries.masked_fill(padding, f.offset))
    numeric = len(spec.of_kind("numeric"))
    vectors = spec.of_kind("vector")
    labels = torch.zeros(rows)
    labels[torch.randperm(rows, generator=generator)[: rows // 2]] = 1.0
    return RankBatch(
        ids=ids,
        numeric=torch.randn(rows, numeric, generator=generator) if numeric else None,
        sequences=tuple(sequences),
        vectors=draw(8, rows, len(vectors)) if vectors else None,
        labels=labels,
    )


@dataclass(frozen=True)
class RankerCase:
    """What the laws run on: a way to build the model, for the plain and the full small world."""

    build: Callable[[FeatureSpec], Ranker]
    config_class: type[Any]
    plain: FeatureSpec = field(default_factory=small_spec)
    full: FeatureSpec = field(default_factory=lambda: small_spec(every_kind=True))

    def model(self, *, every_kind: bool = False, seed: int = 0) -> Ranker:
        """Return a freshly built model in evaluation mode."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.build(self.full if every_kind else self.plain).eval()


RANKER_LAWS = Battery[RankerCase]("ranker")


def check_ranker(ranker: str | type[Ranker], **settings: Any) -> BatteryReport:
    """Run the laws of a ranker on a registered name or a class; raise ``AssertionError`` with all that are broken.

    Example:
        >>> print(check_ranker("lr"))  # doctest: +ELLIPSIS
        lr: ... laws hold, 0 broken
    """
    factory = cast("type[Ranker]", find("ranker", ranker).factory) if isinstance(ranker, str) else ranker
    name = ranker if isinstance(ranker, str) else ranker.__name__

    def build(spec: FeatureSpec) -> Ranker:
        vectors = {f.name: torch.randn(8, f.dimensions) for f in spec.of_kind("vector")}
        config = factory.Config.sized("tiny", **settings)
        return factory(spec, config, vectors=vectors or None)

    return RANKER_LAWS.require(RankerCase(build, factory.Config), name)


@torch.enable_grad()
def _train(model: Ranker, batch: RankBatch, steps: int, learning_rate: float = 0.01) -> list[Tensor]:
    """Take Adam steps and return, per parameter, the largest gradient magnitude that was seen."""
    model.train()
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate)
    largest = [torch.zeros(()) for _ in model.parameters()]
    for _ in range(steps):
        optimiser.zero_grad()
        model.loss(batch).backward()  # type: ignore[no-untyped-call]
        for place, parameter in enumerate(model.parameters()):
            if parameter.grad is not None:
                largest[place] = torch.maximum(largest[place], parameter.grad.abs().max())
        optimiser.step()
    model.eval()
    return largest


def _warm(case: RankerCase, *, every_kind: bool = False) -> tuple[Ranker, RankBatch]:
    """Return a model after a few steps, so that its scores are not all alike, and its batch."""
    model = case.model(every_kind=every_kind)
    batch = small_table(model.spec)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        _train(model, batch, 5)
    return model, batch


def _close(left: Tensor, right: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


@RANKER_LAWS.law
def sizes_are_valid_and_configs_round_trip(case: RankerCase) -> None:
    for size in SIZES:
        config = case.config_class.sized(size)
        assert case.config_class.model_validate_json(config.model_dump_json()) == config


@RANKER_LAWS.law
def an_unknown_setting_is_refused(case: RankerCase) -> None:
    refuses(ConfigError, "no_such_setting", lambda: case.config_class(no_such_setting=1))


@RANKER_LAWS.law
@torch.no_grad()
def logits_are_one_finite_float_per_row(case: RankerCase) -> None:
    for every_kind in (False, True):
        model = case.model(every_kind=every_kind)
        logits = model(small_table(model.spec))
        assert logits.shape == (64,), f"logits have shape {tuple(logits.shape)}, expected (64,)"
        assert logits.dtype == torch.float32
        assert torch.isfinite(logits).all()


@RANKER_LAWS.law
@torch.no_grad()
def loss_at_the_start_is_that_of_a_coin(case: RankerCase) -> None:
    model = case.model()
    batch = small_table(model.spec)
    value = float(functional.binary_cross_entropy_with_logits(model(batch), cast(Tensor, batch.labels)))
    assert abs(value - math.log(2)) < 0.15, f"{value:.3f} at the start, expected about {math.log(2):.3f}"


@RANKER_LAWS.law
@torch.no_grad()
def a_batch_scores_as_its_single_rows(case: RankerCase) -> None:
    model, batch = _warm(case, every_kind=True)
    with torch.no_grad():
        whole = model(batch)
        _close(torch.cat([model(batch.rows(row, row + 1)) for row in range(8)]), whole[:8])
        _close(model(batch.rows(8, 40)), whole[8:40])


@RANKER_LAWS.law
def scoring_changes_neither_input_nor_model(case: RankerCase) -> None:
    model, batch = _warm(case, every_kind=True)
    before, state = copy.deepcopy(batch), copy.deepcopy(model.state_dict())
    with torch.no_grad():
        first, second = model(batch), model(batch)
    assert torch.equal(first, second), "two calls in evaluation mode differ"
    assert torch.equal(before.ids, batch.ids)
    assert all(torch.equal(a, b) for a, b in zip(before.sequences, batch.sequences, strict=True))
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


@RANKER_LAWS.law
def labels_do_not_reach_the_score(case: RankerCase) -> None:
    model, batch = _warm(case)
    flipped = RankBatch(ids=batch.ids, labels=1 - cast(Tensor, batch.labels))
    unlabelled = RankBatch(ids=batch.ids)
    with torch.no_grad():
        assert torch.equal(model(batch), model(flipped))
        assert torch.equal(model(batch), model(unlabelled))


@RANKER_LAWS.law
def padding_has_no_influence(case: RankerCase) -> None:
    model, batch = _warm(case, every_kind=True)
    longer = [f.replace(length=f.length + 2) if f.kind == "sequence" else f for f in model.spec.fields]
    wide = case.build(FeatureSpec(fields=tuple(longer))).eval()
    wide.load_state_dict(model.state_dict())
    pads = [spec.offset for spec in model.spec.of_kind("sequence")]
    sequences = tuple(functional.pad(s, (2, 0), value=pad) for s, pad in zip(batch.sequences, pads, strict=True))
    padded = RankBatch(ids=batch.ids, numeric=batch.numeric, sequences=sequences, vectors=batch.vectors)
    with torch.no_grad():
        _close(wide(padded), model(batch))


@RANKER_LAWS.law
def padding_rows_stay_zero(case: RankerCase) -> None:
    model, _ = _warm(case, every_kind=True)
    offsets = [spec.offset for spec in model.spec.of_kind("categorical", "sequence")]
    tables = [
        m.weight for m in model.modules() if isinstance(m, nn.Embedding) and m.num_embeddings == model.spec.num_ids
    ]
    if not tables:
        raise NotApplicable("the model has no table over all ids")
    for table in tables:
        assert not table[offsets].any(), "a padding row of the table is not zero after training"


@RANKER_LAWS.law
def gradients_reach_every_parameter(case: RankerCase) -> None:
    model = case.model(every_kind=True)
    batch = small_table(model.spec, rows=64)
    largest = _train(model, batch, 5)
    silent = [name for (name, _), size in zip(model.named_parameters(), largest, strict=True) if not size > 0]
    assert not silent, f"no gradient reaches {', '.join(silent)}"


@RANKER_LAWS.law
def one_batch_is_learned_by_heart(case: RankerCase) -> None:
    model = case.model()
    batch = small_table(model.spec)
    labels = cast(Tensor, batch.labels)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _train(model, batch, 250, learning_rate=0.02)
    with torch.no_grad():
        value = float(functional.binary_cross_entropy_with_logits(model(batch), labels))
    assert value < 0.3, f"log loss {value:.3f} on the 64 rows it was trained on"


@RANKER_LAWS.law
def the_same_seed_gives_the_same_model(case: RankerCase) -> None:
    weights = [_warm(case)[0].state_dict() for _ in range(2)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@RANKER_LAWS.law
def a_copy_by_state_scores_the_same(case: RankerCase) -> None:
    model, batch = _warm(case, every_kind=True)
    other = case.model(every_kind=True, seed=7)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model(batch), other(batch))


@RANKER_LAWS.law
def bfloat16_stays_near(case: RankerCase) -> None:
    model, batch = _warm(case)
    with torch.no_grad():
        exact = model(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(batch).float()
    assert torch.isfinite(rough).all()
    bound = 0.05 * float(exact.abs().max()) + 0.02
    assert float((exact - rough).abs().max()) < bound, "bfloat16 moves the logits by more than 5 %"
