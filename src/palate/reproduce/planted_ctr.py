r"""A click table whose true probabilities are known: linear effects, products of pairs and of triples of fields.

Row ``b`` has a value ``v_f`` in each of ``F`` fields, Zipf distributed. A value has an effect ``c_f[v]`` and a vector
``u_f[v]`` in ``R^3``. With ``std`` for "shifted and scaled to mean 0 and deviation 1 over the rows",

.. math::
    z = .8\,\mathrm{std}\Big(\sum_f c_f\Big) + \mathrm{std}\Big(\sum_{(f,g) \in P} a_{fg}\,\pi(u_f, u_g)\Big)
      + .5\,\mathrm{std}\Big(\sum_{(f,g,h) \in T} \sum_k u_{fk} u_{gk} u_{hk}\Big) - 1.5,
    \qquad y \sim \mathrm{Bernoulli}(\sigma(z))

``P`` is a random half of the pairs, ``T`` are two triples. The pair term ``pi`` is ``<u_f, u_g>`` (``bilinear``) or
``relu(<u_f, r>) <u_g, s>`` with fixed random ``r, s`` (``gated``). The labels are all that a model may see.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from pydantic import Field

from palate.config import Config
from palate.data.features import FeatureSpec
from palate.data.rank_table import RankTable
from palate.data.split import Part

__all__ = ["PlantedCTR", "PlantedCTRConfig", "planted_ctr"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]


class PlantedCTRConfig(Config):
    """Settings of the table; the defaults are the reduced setting of QNN-alpha.

    Attributes:
        num_fields: Number of fields ``F``.
        values: Values per field ``V``.
        zipf: Exponent of the values' frequencies, ``p_v ~ 1 / v^zipf``.
        train: Rows to learn from.
        validation: Rows to choose by.
        test: Rows to judge by.
        linear: Weight of the linear part.
        pairs: Weight of the pair part.
        triples: Weight of the triple part.
        num_triples: How many triples there are.
        bias: Added to every logit.
        interaction: Form of the pair term.
        seed: Seed of effects and rows.
    """

    num_fields: int = Field(12, ge=3)
    values: int = Field(25, ge=2)
    zipf: float = Field(0.9, ge=0)
    train: int = Field(80_000, ge=1)
    validation: int = Field(15_000, ge=1)
    test: int = Field(40_000, ge=1)
    linear: float = 0.8
    pairs: float = 1.0
    triples: float = 0.5
    num_triples: int = Field(2, ge=1)
    bias: float = -1.5
    interaction: Literal["bilinear", "gated"] = "bilinear"
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class PlantedCTR:
    """The table in three parts, and the truth for judging.

    Attributes:
        spec: The fields as a model sees them.
        tables: Encoded rows with labels.
        logits: True log-odds of each part, float64 ``[N]``.
    """

    spec: FeatureSpec
    tables: dict[Part, RankTable]
    logits: dict[Part, FloatArray]


def planted_ctr(config: PlantedCTRConfig | None = None) -> PlantedCTR:
    """Draw the table; the same settings give the same rows.

    Example:
        >>> data = planted_ctr(PlantedCTRConfig(train=100, validation=10, test=10))
        >>> len(data.tables["train"]), data.spec.num_ids
        (100, 324)
    """
    config = PlantedCTRConfig() if config is None else config
    rng = np.random.default_rng([config.seed, 20])
    rows = config.train + config.validation + config.test
    frequency = np.arange(1, config.values + 1, dtype=np.float64) ** -config.zipf
    values = rng.choice(config.values, size=(rows, config.num_fields), p=frequency / frequency.sum())
    logits = _logits(values, config, rng)
    labels = (rng.random(rows) < 1.0 / (1.0 + np.exp(-logits))).astype(np.float32)

    spec = FeatureSpec.from_sizes(**{f"field_{f}": config.values + 2 for f in range(config.num_fields)})
    offsets = np.array([field.offset + 1 for field in spec.fields])  # row 0 of a field is PAD
    ids = (values + offsets).astype(np.int32)
    cuts = np.cumsum([config.train, config.validation])
    parts: tuple[Part, ...] = ("train", "validation", "test")
    pieces = zip(parts, np.split(ids, cuts), np.split(labels, cuts), np.split(logits, cuts), strict=True)
    tables: dict[Part, RankTable] = {}
    truth: dict[Part, FloatArray] = {}
    for part, part_ids, part_labels, part_logits in pieces:
        tables[part] = RankTable(ids=part_ids, labels=part_labels)
        truth[part] = part_logits
    return PlantedCTR(spec, tables, truth)


def _logits(values: IntArray, config: PlantedCTRConfig, rng: np.random.Generator) -> FloatArray:
    fields = range(config.num_fields)
    effects = rng.normal(size=(config.num_fields, config.values))
    vectors = rng.normal(size=(config.num_fields, config.values, 3))
    linear = sum((effects[f][values[:, f]] for f in fields), start=np.zeros(len(values)))

    pairs = list(combinations(fields, 2))
    chosen = rng.permutation(len(pairs))[: len(pairs) // 2]
    weights = rng.normal(size=len(chosen))
    gate, other = rng.normal(size=(2, 3))
    paired = np.zeros(len(values))
    for weight, place in zip(weights, chosen, strict=True):
        f, g = pairs[place]
        u_f, u_g = vectors[f][values[:, f]], vectors[g][values[:, g]]
        if config.interaction == "bilinear":
            paired += weight * np.einsum("bk,bk->b", u_f, u_g)
        else:
            paired += weight * np.maximum(u_f @ gate, 0.0) * (u_g @ other)

    tripled = np.zeros(len(values))
    for _ in range(config.num_triples):
        f, g, h = rng.choice(config.num_fields, size=3, replace=False)
        tripled += (vectors[f][values[:, f]] * vectors[g][values[:, g]] * vectors[h][values[:, h]]).sum(axis=1)
    return (
        config.linear * _standard(linear)
        + config.pairs * _standard(paired)
        + config.triples * _standard(tripled)
        + config.bias
    )


def _standard(values: FloatArray) -> FloatArray:
    return np.asarray((values - values.mean()) / values.std())
