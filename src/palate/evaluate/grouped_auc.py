"""AUC inside groups (users, sites, sessions): does the model order what one user sees?"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from palate.errors import ConfigError, suggest
from palate.evaluate.columns import (
    AnyArray,
    FloatArray,
    IntArray,
    as_groups,
    as_labels,
    as_scores,
    as_weights,
)

__all__ = ["GroupAUC", "gauc", "per_group_auc"]


class GroupAUC(NamedTuple):
    """The area of each group: ``groups [G]`` ascending, ``auc [G]`` (NaN where one class is missing), ``rows [G]``."""

    groups: AnyArray
    auc: FloatArray
    rows: FloatArray


def per_group_auc(scores: ArrayLike, labels: ArrayLike, groups: ArrayLike, weight: ArrayLike | None = None) -> GroupAUC:
    """Return the AUC of every group at once, ties counting one half.

    One sort of a key (group, score, label) puts all groups side by side; sums over runs of equal keys do the rest.

    Args:
        scores: Real numbers without NaN.
        labels: 0 or 1.
        groups: Any integers or texts.
        weight: Not negative; a weight of 2 is the same as the row twice.

    Shapes:
        inputs: ``[N]``; results: ``[G]``, one entry for each distinct group.

    Returns:
        Group ids, areas (NaN for a group with one class), and rows per group (their weight, where weights are given).

    Raises:
        DataError: For NaN, labels other than 0 and 1, or unequal lengths.

    Example:
        >>> per_group_auc([0.2, 0.1, 0.9, 0.7, 0.6], [0, 1, 1, 1, 0], [7, 7, 7, 8, 8]).auc.tolist()
        [0.5, 1.0]
    """
    column = as_scores(scores)
    positive = as_labels(labels, len(column))
    ids, group = as_groups(groups, len(column))
    weights = as_weights(weight, len(column))
    level, num_levels = _levels(column)
    key = ((group * num_levels + level) << 1) | positive
    mass: AnyArray
    if weights is None:
        key.sort()
        mass = np.ones(len(key), np.int64)
    else:
        order = np.argsort(key)
        key, mass = key[order], weights[order]
    block = key >> 1
    starts = np.concatenate([[0], np.flatnonzero(block[1:] != block[:-1]) + 1])
    owner = block[starts] // num_levels
    all_mass = np.add.reduceat(mass, starts)
    positives = np.add.reduceat(mass * (key & 1), starts)
    return GroupAUC(ids, *_areas(owner, positives, all_mass - positives))


def gauc(
    scores: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    average: Literal["rows", "groups"] = "rows",
    weight: ArrayLike | None = None,
) -> float:
    """Return the mean AUC over the groups that have both classes.

    ``gAUC = sum_u n_u AUC_u / sum_u n_u`` with ``average="rows"``; the plain mean (avgAUC) with ``"groups"``.

    Groups with a single class are skipped; :func:`per_group_auc` shows which. NaN when every group is skipped.

    Raises:
        ConfigError: If ``average`` is neither of the two.
        DataError: As for :func:`per_group_auc`.

    Example:
        >>> round(gauc([0.2, 0.1, 0.9, 0.7, 0.6, 0.5], [0, 1, 1, 1, 0, 1], list("AAABBC")), 12)
        0.7

    Source:
        Zhu et al. (2017), Optimized Cost per Click in Taobao Display Advertising.
    """
    if average not in ("rows", "groups"):
        raise ConfigError(f'gauc has no average "{average}".', remedy=suggest(str(average), ["rows", "groups"]))
    found = per_group_auc(scores, labels, groups, weight)
    defined = ~np.isnan(found.auc)
    if not defined.any():
        return float("nan")
    shares = found.rows[defined] if average == "rows" else np.ones(int(defined.sum()))
    return float(np.dot(found.auc[defined], shares) / shares.sum())


def _levels(column: AnyArray) -> tuple[IntArray, int]:
    """Return for each row the place of its score among the distinct scores, and how many there are at most."""
    if column.dtype == np.float32:
        # The bits of a float, read as an integer, keep its order once negative numbers are mirrored.
        bits = (column + np.float32(0)).view(np.int32).astype(np.int64)  # + 0 joins -0.0 and 0.0
        return np.where(bits >= 0, bits, -(2**31) - bits) + 2**31, 2**32
    order = np.argsort(column)
    ordered = column[order]
    place = np.empty(len(column), np.int64)
    place[order] = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])
    return place, len(column)


def _areas(owner: IntArray, positives: AnyArray, negatives: AnyArray) -> tuple[FloatArray, FloatArray]:
    """Return area and rows per group from the masses of each run of equal (group, score)."""
    first = np.concatenate([[0], np.flatnonzero(owner[1:] != owner[:-1]) + 1])
    before = np.cumsum(negatives) - negatives
    before = before - np.repeat(before[first], np.diff(np.append(first, len(owner))))
    twice = np.add.reduceat(positives * (2 * before + negatives), first)
    total_positive, total_negative = np.add.reduceat(positives, first), np.add.reduceat(negatives, first)
    pairs = 2.0 * total_positive * total_negative
    area = np.divide(twice, pairs, out=np.full(len(first), np.nan), where=pairs > 0)
    return np.minimum(area, 1.0), (total_positive + total_negative).astype(np.float64)
