"""What the clock says about a row: hour, weekday and weekend."""

from __future__ import annotations

from typing import Literal

import polars as pl

from palate.errors import DataError

__all__ = ["TIME_PARTS", "TimePart", "avazu_seconds", "time_features", "time_part"]

TimePart = Literal["hour", "weekday", "is_weekend"]
TIME_PARTS: tuple[TimePart, ...] = ("hour", "weekday", "is_weekend")
_HOUR, _DAY = 3_600, 86_400


def time_part(seconds: pl.Expr, part: TimePart, *, utc_offset_hours: float = 0.0) -> pl.Expr:
    """Return the expression of one part of a time in seconds since 1970.

    Args:
        seconds: Expression of int64 seconds (UTC).
        part: ``hour`` 0..23, ``weekday`` 0 (Monday) .. 6 (Sunday), or ``is_weekend`` 0 or 1.
        utc_offset_hours: Hours that the users' clock is ahead of UTC.
    """
    local = seconds + round(utc_offset_hours * _HOUR)
    if part == "hour":
        return local.mod(_DAY).floordiv(_HOUR).cast(pl.Int8)
    # 1970-01-01 was a Thursday, weekday 3.
    weekday = (local.floordiv(_DAY) + 3).mod(7)
    return (weekday if part == "weekday" else weekday >= 5).cast(pl.Int8)


def time_features(seconds: pl.Series, *, utc_offset_hours: float = 0.0) -> pl.DataFrame:
    """Return ``hour``, ``weekday`` and ``is_weekend`` of each time; missing stays missing.

    Example:
        >>> time_features(pl.Series([0, 2 * 86_400 + 3_600])).rows()  # a Thursday and a Saturday of 1970
        [(0, 3, 0), (1, 5, 1)]
    """
    column = pl.lit(seconds.cast(pl.Int64))
    return pl.select(time_part(column, part, utc_offset_hours=utc_offset_hours).alias(part) for part in TIME_PARTS)


def avazu_seconds(hours: pl.Series) -> pl.Series:
    """Return Avazu's ``hour`` column (``YYMMDDHH``, a number or a text, years 2000 to 2099) as seconds since 1970.

    Raises:
        DataError: If a value is not of this form.

    Example:
        >>> avazu_seconds(pl.Series([14102100])).to_list()  # 21 October 2014, midnight
        [1413849600]
    """
    digits = hours.cast(pl.String).str.zfill(8)
    well_formed = digits.str.contains(r"^\d{8}$").fill_null(True)
    # A minute must be there for the parser, so each text gets ":00".
    moments = (("20" + digits) + ":00").str.to_datetime("%Y%m%d%H:%M", strict=False)
    wrong = (moments.is_null() & hours.is_not_null()) | ~well_formed
    if wrong.any():
        raise DataError(
            f'The column "{hours.name}" has {wrong.sum():,} values that are not YYMMDDHH, '
            f"for example {hours.filter(wrong)[0]!r}.",
            remedy="Write 21 October 2014, 5 p.m. as 14102117.",
        )
    return moments.dt.epoch("s").alias(hours.name)
