"""From cells of text to typed columns, with every cell that does not fit named.

A type is settled by *all* cells of a column, not by a sample: reading begins with the narrowest type that the
first block allows, and starts over with a wider one (:class:`WidenError`) when a later cell needs it. So the result
does not depend on the size of a block, and ids keep their spelling: ``007`` is text and never becomes 7. Where a
number is expected, ``true`` and ``false`` count as 1 and 0, and white space around it does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from palate.data.readers.contract import Batch, Finding, Kind, WidenError
from palate.data.readers.records import Records

__all__ = ["NO_ID", "Defect", "TypedCells", "type_cells"]

NO_ID = ("NaN", "nan", "NAN", "NULL", "null", "None", "none", "<NA>", "N/A", "\\N")
_TRUTH = {
    word: digit for digit, words in (("1", "true"), ("0", "false")) for word in (words, words.title(), words.upper())
}
_MOMENTS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d")


@dataclass(frozen=True, slots=True)
class _Typed:
    """A column as typed so far: its values, where cells do not fit, and why; or the wider type it needs."""

    values: pl.Series
    bad: pl.Series | None = None
    problem: str = ""
    remedy: str = ""
    wider: pl.DataType | None = None


@dataclass(frozen=True, slots=True)
class Defect:
    """A cell that does not fit: its row (from 0 in this block), and why."""

    row: int
    column: str
    value: str | None
    problem: str
    remedy: str


@dataclass(frozen=True, slots=True)
class TypedCells:
    """Typed columns of a block; rows with a defect are still there.

    Attributes:
        frame: All rows.
        bad: Boolean ``[N]``, where a row has a defect.
        defects: What is wrong with these rows.
    """

    frame: pl.DataFrame
    bad: pl.Series
    defects: tuple[Defect, ...] = ()

    def batch(self, records: Records) -> Batch:
        """Return the good rows with their places, and the bad ones as findings."""
        findings = [
            Finding(int(records.places[d.row]), records.raw(d.row), d.problem, d.remedy, d.column, d.value)
            for d in self.defects
        ]
        kept = records.keep((~self.bad).to_numpy()) if findings else records
        every = (*records.findings, *findings)
        return Batch(self.frame.filter(~self.bad), kept.places, kept.raw, every, len({each.row for each in every}))


def type_cells(cells: pl.DataFrame, kinds: Mapping[str, Kind], types: dict[str, pl.DataType]) -> TypedCells:
    """Type the text columns of one block.

    Args:
        cells: Text columns.
        kinds: How to understand each column (``any`` when it is not named).
        types: Types settled by earlier blocks; those that this block settles are added.

    Raises:
        WidenError: If a cell needs a wider type than the one settled earlier.
    """
    columns, wider = [], {}
    defects: list[Defect] = []
    bad = pl.repeat(False, cells.height, eager=True, dtype=pl.Boolean)
    for text in cells:
        kind = kinds.get(text.name, Kind.ANY)
        known = types.get(text.name)
        typed = _type(text, kind, known)
        while typed.wider is not None and known is None:
            typed = _type(text, kind, typed.wider)
        if typed.wider is not None:
            wider[text.name] = typed.wider
            continue
        # Rows without a time are set aside by a rule, so a block without any settles nothing.
        if known is None and (kind is not Kind.TIME or typed.values.null_count() < cells.height):
            types[text.name] = typed.values.dtype
        columns.append(typed.values)
        if typed.bad is not None and typed.bad.any():
            bad |= typed.bad
            rows = typed.bad.arg_true().to_list()
            defects += [Defect(row, text.name, text[row], typed.problem, typed.remedy) for row in rows]
    if wider:
        raise WidenError(wider)
    # By name and not as a list: Polars renames a column without a name in a list.
    return TypedCells(pl.DataFrame({column.name: column for column in columns}), bad, tuple(defects))


def _type(text: pl.Series, kind: Kind, known: pl.DataType | None) -> _Typed:
    match kind:
        case Kind.TEXT:
            return _Typed(text)
        case Kind.ID | Kind.CATEGORY:
            return _as_id(text, kind, known)
        case Kind.NUMBER:
            return _as_number(text, known)
        case Kind.TIME:
            return _as_time(text, known)
        case Kind.ANY:
            return _as_anything(text, known)


def _as_id(text: pl.Series, kind: Kind, known: pl.DataType | None) -> _Typed:
    missing = text.is_in(NO_ID).fill_null(False) if kind is Kind.ID else None
    values = text if missing is None or not missing.any() else text.set(missing, None)
    if known is None or known == pl.Int64:
        whole = _whole(values)
        if whole is None:
            return _Typed(text, wider=pl.String())
        values = whole
    remedy = 'Drop the row, or fill the id. If this really is an id, rename it: it reads like "missing".'
    return _Typed(values, missing, "the id is missing", remedy)


def _as_number(text: pl.Series, known: pl.DataType | None) -> _Typed:
    text = text.str.strip_chars()
    if text.is_in(list(_TRUTH)).any():
        text = text.replace(_TRUTH)
    whole = _whole(text) if known is None or known == pl.Int64 else None
    if whole is not None:
        return _Typed(whole)
    fractions = text.cast(pl.Float64, strict=False)
    bad = ~fractions.is_finite().fill_null(False) & text.is_not_null() & (text != "")
    problem, remedy = "the cell is not a finite number", "Mend the cell, or leave it empty when it is not known."
    if known is None or known == pl.Int64:
        # A cell that is no number must not make the others fractions.
        whole = _whole(text.set(bad, None))
        return _Typed(text, wider=pl.Float64()) if whole is None else _Typed(whole, bad, problem, remedy)
    return _Typed(fractions, bad, problem, remedy)


def _as_time(text: pl.Series, known: pl.DataType | None) -> _Typed:
    text = text.str.strip_chars()
    if known is None:
        first = text.filter(text.is_not_null() & (text != "")).head(1)
        dated = first.len() == 1 and _moments(first).is_not_null().all()
        known = pl.Datetime("us") if dated else pl.Int64()
    if isinstance(known, pl.Datetime):
        values = _moments(text)
        bad = values.is_null() & text.is_not_null() & (text != "")
        remedy = "Write times like 2024-01-31T17:05:00Z, or as seconds since 1970."
        return _Typed(values, bad, "the cell is not a date and time", remedy)
    typed = _as_number(text, known)
    remedy = "Times are seconds since 1970, or dates like 2024-01-31T17:05:00Z, alike in all rows."
    return _Typed(typed.values, typed.bad, "the cell is not a time", remedy, typed.wider)


def _as_anything(text: pl.Series, known: pl.DataType | None) -> _Typed:
    if known is None or known == pl.Int64:
        whole = _whole(text)
        return _Typed(whole) if whole is not None else _Typed(text, wider=pl.Float64())
    if known == pl.Float64:
        values = text.cast(pl.Float64, strict=False)
        lost = (values.is_null() & text.is_not_null() & (text != "")) | _overflows(text, values)
        lost |= text.str.contains(r"^[+-]?\d{16,}$|^[+-]?0\d").fill_null(False)
        return _Typed(text, wider=pl.String()) if lost.any() else _Typed(values)
    return _Typed(text)


def _whole(text: pl.Series) -> pl.Series | None:
    """Return the column as int64, or ``None`` unless every cell is a whole number spelt in the one plain way."""
    values = text.cast(pl.Int64, strict=False)
    exact = (values.cast(pl.String) == text) | text.is_null() | (text == "")
    return values if exact.fill_null(False).all() else None


def _overflows(text: pl.Series, values: pl.Series) -> pl.Series:
    """Say where a number is written in digits but too large to hold (``1e400``)."""
    return values.is_infinite().fill_null(False) & ~text.str.to_lowercase().str.contains("inf").fill_null(False)


def _moments(text: pl.Series) -> pl.Series:
    """Read ISO dates and times as UTC; null where the text is neither."""
    cell = pl.col(text.name).str.replace(r"^(\d{4}-\d\d-\d\d) ", "${1}T")
    zoned = cell.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False).dt.replace_time_zone(None)
    plain = [cell.str.to_datetime(shape, time_unit="us", strict=False) for shape in _MOMENTS[:2]]
    day = cell.str.to_date(_MOMENTS[2], strict=False).cast(pl.Datetime("us"))
    return text.to_frame().select(pl.coalesce(*plain, day, zoned).alias(text.name)).to_series()
