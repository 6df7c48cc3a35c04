"""Ways to split a log into train, validation and test.

Every way is deterministic: the same data set and settings give the same rows, whatever the machine. Rows of a part
stand in the order of the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from palate.data.leakage import check_leakage, require_no_leakage
from palate.data.schema import Role
from palate.data.split import PARTS, Part, Split
from palate.data.tokens import TokenIndex, as_text
from palate.errors import ConfigError, DataError, Problem, SchemaError, suggest

if TYPE_CHECKING:
    from palate.data.dataset import Dataset

__all__ = [
    "Part",
    "Split",
    "check_leakage",
    "leave_one_out",
    "require_no_leakage",
    "split_by_column",
    "split_by_ratio",
    "split_by_time",
    "split_by_user",
]

IntArray = np.ndarray[Any, np.dtype[np.int64]]
Fractions = Sequence[float]

_NAMES: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


def split_by_time(dataset: Dataset, fractions: Fractions = (0.8, 0.1, 0.1)) -> Split:
    """Split by time: the earliest rows train, the latest test.

    Rows are ordered by time, and rows of the same second by their place in the log; the order is cut at the given
    shares exactly. So rows of one second may fall on both sides of a cut, and nothing in train is later than
    anything in test.

    Args:
        dataset: A data set with a time column.
        fractions: Shares of train, validation and test; they sum to 1.

    Raises:
        ConfigError: If the fractions are not three shares.
        DataError: If a part would be empty.
    """
    order = np.argsort(dataset.times(), kind="stable")
    return _cut(order, fractions, how="time", settings={})


def split_by_ratio(dataset: Dataset, fractions: Fractions = (0.8, 0.1, 0.1), *, seed: int = 0) -> Split:
    """Split at random by rows, as the published CTR benchmarks do.

    It asks how well gaps in the past are filled, not how well the future is foreseen; for that use
    :func:`split_by_time`.

    Args:
        dataset: The data set.
        fractions: Shares of train, validation and test; they sum to 1. The cuts are at ``floor(share * N)``.
        seed: Seed of the order.
    """
    order = _generator(seed).permutation(len(dataset))
    return _cut(order, fractions, how="ratio", settings={"seed": seed})


def split_by_user(dataset: Dataset, fractions: Fractions = (0.8, 0.1, 0.1), *, seed: int = 0) -> Split:
    """Split at random by users: all rows of a user fall into one part, so test users are new.

    Args:
        dataset: A data set with a user in every row.
        fractions: Shares of the *users*.
        seed: Seed of the order.
    """
    codes = _user_codes(dataset)
    users = _generator(seed).permutation(int(codes.max(initial=-1)) + 1)
    parts = _cut(users, fractions, how="user", settings={"seed": seed})
    train, validation, test = (np.flatnonzero(np.isin(codes, parts.part(part))) for part in PARTS)
    return Split(train, validation, test, how="user", settings=parts.settings)


def split_by_column(dataset: Dataset, column: str | None = None) -> Split:
    """Take the split that a column of the log states.

    Args:
        dataset: The data set.
        column: The column; the one with the role ``split`` when left out. Its values are ``train``, ``validation``
            (or ``valid``, ``val``, ``dev``) and ``test``, in any case. A part may be missing, but not ``train``.

    Raises:
        SchemaError: If there is no such column.
        DataError: If it has other values.
    """
    name = dataset.schema.name_of("interactions", Role.SPLIT) if column is None else column
    known = dataset.scan().collect_schema().names()
    if name not in known:
        raise SchemaError(f'The log has no column "{name}".', remedy=suggest(name, known))
    values = as_text(dataset.scan().select(name).collect().to_series()).cast(pl.String).str.to_lowercase()
    unknown = values.filter(~values.is_in(list(_NAMES)).fill_null(False))
    if len(unknown):
        counts = unknown.value_counts(sort=True, name="rows").head(20)
        remedy = 'Write "train", "validation" or "test".'
        problems = [
            Problem(
                "this is not the name of a part", remedy, file="interactions", column=name, value=value, count=count
            )
            for value, count in counts.iter_rows()
        ]
        raise DataError(f'The column "{name}" does not state a split.', problems=problems)
    parts = values.replace_strict(_NAMES, return_dtype=pl.String).to_numpy()
    train, validation, test = (np.flatnonzero(parts == part) for part in PARTS)
    if not len(train):
        raise DataError(f'The column "{name}" leaves no rows to train on.')
    return Split(train, validation, test, how="column", settings={"column": name})


def leave_one_out(dataset: Dataset, *, min_rows: int = 3) -> Split:
    """Hold out the last row of each user for test and the one before for validation.

    Rows of a user are ordered by time, and rows of the same second (or all, in a log without times) by their place
    in the log. Users with fewer than ``min_rows`` rows, and rows without a user, train only.

    Args:
        dataset: A data set with a user column.
        min_rows: Fewest rows of a user that is tested, at least 3.

    Raises:
        ConfigError: If ``min_rows`` is below 3.
        DataError: If no user has so many rows.
    """
    if min_rows < 3:
        raise ConfigError(f"min_rows is {min_rows}.", remedy="It must be at least 3: train, validation and test.")
    codes = _user_codes(dataset)
    timed = dataset.schema.has("interactions", Role.TIME)
    keys = (dataset.times(), codes) if timed else (codes,)
    order = np.lexsort(keys)
    counts = np.bincount(codes + 1)[1:]
    ends = np.cumsum(counts) + int((codes < 0).sum())
    last = ends[counts >= min_rows]
    if not len(last):
        raise DataError(f"No user has {min_rows} rows.", remedy="Split by time or by ratio instead.")
    test, validation = order[last - 1], order[last - 2]
    train = np.setdiff1d(np.arange(len(codes)), np.concatenate([test, validation]))
    return Split(train, np.sort(validation), np.sort(test), how="leave-one-out", settings={"min_rows": min_rows})


def _cut(order: IntArray, fractions: Fractions, *, how: str, settings: dict[str, Any]) -> Split:
    shares = tuple(float(share) for share in fractions)
    if len(shares) != 3 or min(shares) < 0 or shares[0] == 0 or abs(sum(shares) - 1) > 1e-6:
        raise ConfigError(
            f"fractions is {tuple(fractions)}.",
            remedy="Give three shares that sum to 1, such as (0.8, 0.1, 0.1); validation or test may be 0.",
        )
    first, second = _cuts(len(order), shares)
    train, validation, test = (np.sort(part) for part in (order[:first], order[first:second], order[second:]))
    for part, rows, share in zip(PARTS, (train, validation, test), shares, strict=True):
        if share and not len(rows):
            raise DataError(
                f"The part {part} would be empty: {share:g} of {len(order):,}.", remedy="Give it a larger share."
            )
    return Split(train, validation, test, how=how, settings={"fractions": list(shares), **settings})


def _cuts(rows: int, shares: Fractions) -> tuple[int, int]:
    """Return where validation and test begin: ``floor(share * rows)``, as in the published splits."""
    # The small term undoes the rounding of sums such as 0.7 + 0.2.
    first, second = (int(rows * share + 1e-6) for share in (shares[0], shares[0] + shares[1]))
    return first, second if shares[2] else rows


def _user_codes(dataset: Dataset) -> IntArray:
    """Return the number of each row's user, by first appearance, -1 where there is none: int64 ``[N]``."""
    name = dataset.schema.name_of("interactions", Role.USER)
    users = dataset.scan().select(name).collect().to_series()
    return TokenIndex.of(users).positions(users).astype(np.int64)


def _generator(seed: int) -> np.random.Generator:
    if seed < 0:
        raise ConfigError(f"seed is {seed}.", remedy="It must be at least 0.")
    return np.random.default_rng(seed)
