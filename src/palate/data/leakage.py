"""Does a split, or a column, tell training what only the test may know?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl

from palate.data.schema import Role
from palate.data.split import PARTS, Split, fingerprint_rows
from palate.data.tokens import TokenIndex
from palate.errors import LeakageError, Problem

if TYPE_CHECKING:
    from palate.data.dataset import Dataset

__all__ = ["check_leakage", "require_no_leakage"]

IntArray = np.ndarray[Any, np.dtype[np.int64]]
FloatArray = np.ndarray[Any, np.dtype[np.float64]]

# A single honest column does not order the rows of a held-out part almost perfectly.
_SUSPICIOUS_AUC = 0.999


class _Fitted(Protocol):
    @property
    def fitted_on(self) -> str: ...


def check_leakage(dataset: Dataset, split: Split, *, encoder: _Fitted | None = None) -> list[Problem]:
    """Look for ways in which held-out rows reach training; an empty list means that none was found.

    It checks that

    * every row id exists, once, in one part;
    * the same user, item and time do not stand in two parts;
    * nothing in an earlier part of a split by time is later than a later part;
    * no row of a user that trains is later than the one held out, in leave-one-out;
    * no column of the log orders held-out rows almost perfectly by itself (AUC above .999): it copies the label;
    * the encoder, when given, was fitted on exactly the rows of train.

    Args:
        dataset: The data set.
        split: The split of its rows.
        encoder: A fitted :class:`~palate.data.encoder.FeatureEncoder`.
    """
    problems = list(_row_problems(dataset, split))
    if problems:
        return problems  # the other checks need row ids that can be trusted
    problems += _repeated_events(dataset, split)
    if split.how == "time":
        problems += _later_parts(dataset, split)
    if split.how == "leave-one-out":
        problems += _later_rows_of_users(dataset, split)
    problems += _copies_of_the_label(dataset, split)
    if encoder is not None and encoder.fitted_on != fingerprint_rows(split.train):
        problems.append(
            Problem(
                "the encoder was fitted on other rows than those of train",
                "Fit it again: FeatureEncoder.fit(dataset, split.train).",
            )
        )
    return problems


def require_no_leakage(dataset: Dataset, split: Split, *, encoder: _Fitted | None = None) -> None:
    """Do what :func:`check_leakage` does, and refuse a split that leaks.

    Raises:
        LeakageError: With all that was found.
    """
    problems = check_leakage(dataset, split, encoder=encoder)
    if problems:
        raise LeakageError(f'The split of "{dataset.name}" leaks.', problems=problems)


def _row_problems(dataset: Dataset, split: Split) -> Iterator[Problem]:
    total = len(dataset)
    met: dict[str, IntArray] = {}
    for part in PARTS:
        rows = split.part(part)
        inside = (rows >= 0) & (rows < total)
        if not inside.all():
            message = f"{part} names rows that the log of {total:,} does not have"
            yield _rows_problem(message, "Split this data set again.", rows[~inside])
        met[part] = np.bincount(rows[inside], minlength=total)
        repeated = int((met[part] > 1).sum())
        if repeated:
            yield Problem(f"{part} holds rows more than once", "Split the data set again.", count=repeated)
    for one, other in itertools.combinations(PARTS, 2):
        shared = np.flatnonzero((met[one] > 0) & (met[other] > 0))
        if len(shared):
            yield _rows_problem(f"rows are in {one} and in {other}", "Split the data set again.", shared)


def _repeated_events(dataset: Dataset, split: Split) -> Iterator[Problem]:
    """Find the same user, item and time in two parts; in a log without times, rows that are alike throughout."""
    schema = dataset.schema
    if not all(schema.has("interactions", role) for role in (Role.USER, Role.ITEM)):
        return
    roles = (Role.USER, Role.ITEM, Role.TIME)
    timed = schema.has("interactions", Role.TIME)
    columns = [column.name for column in schema.columns("interactions", *(roles if timed else ()))]
    part = np.full(len(dataset), -1, dtype=np.int8)
    for place, name in enumerate(PARTS):
        part[split.part(name)] = place
    log = dataset.scan().select(columns).collect()
    log = log.with_columns(pl.Series("__part", part), pl.Series("__row", np.arange(len(part))))
    both = (
        log.filter(pl.col("__part") >= 0)
        .group_by(columns)
        .agg(pl.col("__part").n_unique().alias("__parts"), pl.col("__row").max())
        .filter(pl.col("__parts") > 1)
    )
    if len(both):
        what = "the same user, item and time stand" if timed else "the same row stands"
        yield _rows_problem(
            f"{what} in more than one part",
            "Drop repeated rows before the split.",
            np.sort(both.get_column("__row").to_numpy()),
        )


def _later_parts(dataset: Dataset, split: Split) -> Iterator[Problem]:
    times = dataset.times()
    for one, other in itertools.combinations(PARTS, 2):
        earlier, later = split.part(one), split.part(other)
        if len(earlier) and len(later):
            wrong = earlier[times[earlier] > times[later].min()]
            if len(wrong):
                message = f"rows of {one} are later than the first row of {other}"
                yield _rows_problem(message, "Split by time again: split_by_time(dataset).", wrong)


def _later_rows_of_users(dataset: Dataset, split: Split) -> Iterator[Problem]:
    if not dataset.schema.has("interactions", Role.TIME):
        return
    times = dataset.times()
    users = dataset.scan().select(dataset.schema.name_of("interactions", Role.USER)).collect().to_series()
    codes = TokenIndex.of(users).positions(users)
    for one, other in itertools.combinations(PARTS, 2):
        first = np.full(int(codes.max(initial=-1)) + 2, np.iinfo(np.int64).max)
        np.minimum.at(first, codes[split.part(other)], times[split.part(other)])
        first[-1] = np.iinfo(np.int64).max  # rows without a user
        earlier = split.part(one)
        wrong = earlier[times[earlier] > first[codes[earlier]]]
        if len(wrong):
            message = f"rows of {one} are later than the same user's row of {other}"
            yield _rows_problem(message, "Split again: leave_one_out(dataset).", wrong)


def _copies_of_the_label(dataset: Dataset, split: Split) -> Iterator[Problem]:
    if not dataset.has_labels:
        return
    labels = dataset.labels()
    held_out = np.concatenate([split.validation, split.test])
    if len(np.unique(labels[held_out])) < 2 or not len(split.train):
        return
    for column in dataset.schema.columns("interactions", Role.CATEGORICAL, Role.NUMERIC):
        values = dataset.scan().select(column.name).collect().to_series()
        if column.role == Role.NUMERIC:
            scores = values[held_out].cast(pl.Float64).fill_nan(None).fill_null(strategy="mean").fill_null(0).to_numpy()
        else:
            scores = _mean_labels(values[split.train], labels[split.train], values[held_out])
        auc = _auc(scores, labels[held_out])
        if max(auc, 1 - auc) > _SUSPICIOUS_AUC:
            yield Problem(
                f"the column alone orders held-out rows with AUC {max(auc, 1 - auc):.4f}: it knows the label",
                "Leave it out, or give it the role ignore, unless it is really known before the label is.",
                file="interactions",
                column=column.name,
            )


def _mean_labels(train: pl.Series, labels: np.ndarray[Any, Any], others: pl.Series) -> FloatArray:
    """Score values by the mean label that their category had in train; unknown ones by the mean of all."""
    categories = TokenIndex.of(train)
    codes = categories.positions(train)
    sums = np.bincount(codes + 1, labels, minlength=len(categories) + 1)
    counts = np.bincount(codes + 1, minlength=len(categories) + 1)
    means = np.divide(sums, counts, out=np.full(len(sums), labels.mean(), dtype=np.float64), where=counts > 0)
    scores: FloatArray = means[categories.positions(others) + 1]
    return scores


def _auc(scores: FloatArray, labels: np.ndarray[Any, Any]) -> float:
    """Return the share of (positive, negative) pairs in the right order, ties counted half."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    positives = float(labels.sum())
    negatives = len(labels) - positives
    return float((ranks[labels > 0.5].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _rows_problem(message: str, remedy: str, rows: IntArray) -> Problem:
    return Problem(message, remedy, file="interactions", row=int(rows[0]), row_kind="row", count=len(rows))
