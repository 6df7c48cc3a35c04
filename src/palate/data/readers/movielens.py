"""MovieLens as GroupLens publishes it: latest (CSV), 100K (``u.data``) and 1M or 10M (``::``).

The three layouts come out as one: a log with ``userId``, ``movieId``, ``rating`` and ``timestamp``; a catalogue with
``movieId``, ``title``, ``genres`` (a list), ``year`` (from the title) and, where the set has tags, ``tags``. Tags
carry no role of their own: users wrote them over the years, so as inputs they would tell of later times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from palate.data.readers.contract import Batch, Kind, Layout, ReadOptions, Source, reader
from palate.data.readers.delimited import Delimited, header_of
from palate.data.rejects import Rejects
from palate.data.roles import RoleArguments
from palate.data.schema import Table
from palate.errors import DataError, Problem

__all__ = ["MovieLensReader"]

_LOG = ("userId", "movieId", "rating", "timestamp")
_FLAGS = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_NO_GENRES = "(no genres listed)"
_CITATION = (
    "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. "
    "ACM Transactions on Interactive Intelligent Systems 5, 4: 19:1-19:19. https://doi.org/10.1145/2827872"
)
_FACTS = {
    "source": "GroupLens, https://grouplens.org/datasets/movielens/",
    "licence": "GroupLens research terms: no commercial use without permission, see its README",
    "citation": _CITATION,
}


@dataclass(frozen=True)
class _Form:
    """Where one published form keeps its tables, and how they are written."""

    log: str
    items: str
    users: str
    separator: str
    header: bool
    encoding: str
    item_columns: tuple[str, ...]
    user_columns: tuple[str, ...] = ()
    tags: str = ""


_LATEST = _Form("ratings.csv", "movies.csv", "", ",", True, "utf-8", ("movieId", "title", "genres"), tags="tags.csv")
_HUNDRED = _Form(
    "u.data",
    "u.item",
    "u.user",
    "\t",
    False,
    "latin-1",
    ("movieId", "title", "released", "video_released", "url", *_FLAGS),
    ("userId", "age", "gender", "occupation", "zip"),
)
_MILLION = _Form(
    "ratings.dat",
    "movies.dat",
    "users.dat",
    "::",
    False,
    "latin-1",
    ("movieId", "title", "genres"),
    ("userId", "gender", "age", "occupation", "zip"),
)
_FORMS = (_LATEST, _HUNDRED, _MILLION)


@dataclass(frozen=True)
class _Movies:
    """The catalogue: titles, genres as lists, years out of titles, tags beside."""

    inner: Delimited
    tags: Delimited | None

    @property
    def file(self) -> Path:
        return self.inner.file

    @property
    def names(self) -> tuple[str, ...]:
        kept = tuple(name for name in self.inner.names if name not in _FLAGS and name != "genres")
        return (*kept, "genres", "year", *(("tags",) if self.tags is not None else ()))

    @property
    def row_kind(self) -> str:
        return "line"

    def batches(self, kinds: Mapping[str, Kind], types: dict[str, pl.DataType]) -> Iterator[Batch]:
        tags = None if self.tags is None else _tags_by_movie(self.tags)
        texts = dict.fromkeys(self.inner.names, Kind.TEXT) | {"movieId": Kind.ID}
        for batch in self.inner.batches(texts, types):
            frame = batch.frame.with_columns(
                pl.col("title").str.extract(r"\((\d{4})(?:[-–]\d{0,4})?\)\s*$").cast(pl.Int64).alias("year"),
                _genres(batch.frame.columns),
            )
            if tags is not None:
                key = pl.col("movieId").cast(pl.String)
                frame = frame.with_columns(key.alias("key")).join(tags, on="key", how="left", maintain_order="left")
            yield Batch(frame.select(self.names), batch.places, batch.raw, batch.findings, batch.bad_rows)


@reader
class MovieLensReader:
    """Reads the folder of a MovieLens set, files gzipped or not; the label is ``rating >= 4`` unless you say else."""

    name: ClassVar[str] = "movielens"
    summary: ClassVar[str] = "MovieLens folders: latest (CSV), 100K (u.data), 1M and 10M (::)"
    order: ClassVar[int] = 15
    takes: ClassVar[tuple[str, ...]] = ("encoding",)

    def sniff(self, path: Path) -> bool:
        """Recognise a folder by the names of its files."""
        return path.is_dir() and _form_of(path) is not None

    def read(self, path: Path, table: Table, options: ReadOptions) -> Layout:
        """Lay out log, catalogue and, where there are any, users."""
        form = _form_of(path)
        if form is None:
            wanted = " or ".join(f"{each.log} with {each.items}" for each in _FORMS)
            raise DataError(f"{path} is not a MovieLens folder.", remedy=f"It must hold {wanted}.")
        sources: dict[Table, tuple[Source, ...]] = {"interactions": (_delimited(path, form, form.log, _LOG, options),)}
        movies = _delimited(path, form, form.items, form.item_columns, options)
        tags = None
        if form.tags and _file(path, form.tags) is not None:
            tags = _delimited(path, form, form.tags, ("userId", "movieId", "tag", "timestamp"), options)
        sources["items"] = (_Movies(movies, tags),)
        roles = RoleArguments(
            user="userId",
            item="movieId",
            time="timestamp",
            label="rating >= 4",
            title="title",
            lists={"genres": "|"},
            categorical=["items.year"],
        )
        if form.users and _file(path, form.users) is not None:
            sources["users"] = (_delimited(path, form, form.users, form.user_columns, options),)
            roles["categorical"] = ["items.year", "gender", "age", "occupation"]
        return Layout(sources, roles, _FACTS)


def _form_of(path: Path) -> _Form | None:
    return next((each for each in _FORMS if _file(path, each.log) and _file(path, each.items)), None)


def _file(folder: Path, name: str) -> Path | None:
    return next((file for file in (folder / name, folder / f"{name}.gz") if file.is_file()), None)


def _delimited(folder: Path, form: _Form, name: str, columns: tuple[str, ...], options: ReadOptions) -> Delimited:
    file = _file(folder, name) or folder / name
    encoding = options.encoding or form.encoding
    separator = "|" if name in ("u.item", "u.user") else form.separator
    if form.header:
        _check_header(file, columns, options, separator=separator, encoding=encoding)
    return Delimited(
        file,
        columns,
        separator,
        options,
        header=form.header,
        quoting=form.header,
        encoding=encoding,
        kinds={"zip": Kind.TEXT, "rating": Kind.NUMBER} | ({"tag": Kind.TEXT} if name == form.tags else {}),
    )


def _check_header(file: Path, columns: tuple[str, ...], options: ReadOptions, *, separator: str, encoding: str) -> None:
    found = header_of(file, options, separator=separator, encoding=encoding, quoting=True)
    if found != columns:
        problem = f"the header is {','.join(found)} instead of {','.join(columns)}"
        remedy = 'Put the published header back, or read the files with format="csv" and name the roles.'
        problems = [Problem(problem, remedy, str(file), 1)]
        raise DataError(f"{file.name} is not as MovieLens publishes it.", problems=problems)


def _genres(columns: Sequence[str]) -> pl.Expr:
    """Return genres: flags as a list; text as it stands, but for the words that mean that there are none."""
    if "genres" in columns:
        return pl.col("genres").replace({_NO_GENRES: None, "": None}).alias("genres")
    named = [pl.when(pl.col(flag) == "1").then(pl.lit(flag)) for flag in _FLAGS[1:]]
    found = pl.concat_list(named).list.drop_nulls()
    return pl.when(found.list.len() > 0).then(found).alias("genres")


def _tags_by_movie(source: Delimited) -> pl.DataFrame:
    """Return the tags of each movie in the order of the file, keyed by the text of its id.

    Raises:
        DataError: If rows of the file cannot be used.
    """
    parts: list[Any] = []
    types: dict[str, pl.DataType] = {}
    texts = dict.fromkeys(source.names, Kind.TEXT)
    with Rejects() as rejects:
        for batch in source.batches(texts, types):
            rejects.add(source.file, batch.findings, row_kind=source.row_kind)
            parts.append(batch.frame.select("movieId", "tag"))
        rejects.raise_if_any()
    if not parts:
        return pl.DataFrame(schema={"key": pl.String, "tags": pl.List(pl.String)})
    tags: pl.DataFrame = pl.concat(parts)
    return tags.group_by(pl.col("movieId").alias("key"), maintain_order=True).agg(pl.col("tag").alias("tags"))
