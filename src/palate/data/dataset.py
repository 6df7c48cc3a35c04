"""A data set: the log, the catalogue and the users as columns, with a schema that says what each column is for.

On disk it is a folder::

    dataset.toml           name, schema, facts, rows and fingerprint
    interactions.parquet   the log, in the order in which it came (ties of time keep that order)
    items.parquet          the catalogue, when there is one
    users.parquet          what is known of users, when anything is

Opening reads the small files and looks at the large one's footer; the rows of the log come on first use, and
:meth:`Dataset.scan` never brings them all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import polars as pl

from palate.data.fingerprint import content_digest
from palate.data.labels import FloatArray, labels_of
from palate.data.roles import RoleArguments, Roles
from palate.data.schema import Role, Schema, Table
from palate.data.tables import collect
from palate.data.times import seconds
from palate.errors import SchemaError, suggest

if TYPE_CHECKING:
    from palate.data.summary import DatasetSummary

__all__ = ["Dataset"]

IntArray = np.ndarray[Any, np.dtype[np.int64]]


class Dataset:
    """A log of interactions with its catalogue; immutable.

    List columns hold lists; ``Column.separator`` only remembers how a text cell is split. The order of rows is the
    order of the source, which is what decides between interactions of the same second.

    Args:
        schema: Roles of the columns.
        interactions: The log; a lazy frame is read on first use.
        items: The catalogue.
        users: The table of users.
        name: A short name for messages and reports.
        facts: What a user of the data must know: ``licence``, ``source``, ``citation``.

    Example:
        >>> log = pl.DataFrame({"user": ["ann", "ann", "bo"], "item": [1, 2, 1], "rating": [5, 2, 4]})
        >>> data = Dataset.from_tables(log, label="rating >= 4", name="tea")
        >>> data
        Dataset("tea": 3 interactions, label rating >= 4)
        >>> data.labels().tolist()
        [1.0, 0.0, 1.0]
    """

    __slots__ = ("_facts", "_items", "_log", "_name", "_recorded", "_rows", "_schema", "_users")

    def __init__(
        self,
        schema: Schema,
        interactions: pl.DataFrame | pl.LazyFrame,
        items: pl.DataFrame | None = None,
        users: pl.DataFrame | None = None,
        *,
        name: str = "data",
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self._schema = schema
        self._log = interactions
        self._items = items
        self._users = users
        self._name = name
        self._facts = MappingProxyType(dict(facts or {}))
        self._rows: int | None = interactions.height if isinstance(interactions, pl.DataFrame) else None
        self._recorded = ""

    @classmethod
    def from_tables(
        cls,
        interactions: Any,
        *,
        items: Any = None,
        users: Any = None,
        name: str = "data",
        facts: Mapping[str, Any] | None = None,
        **roles: Unpack[RoleArguments],
    ) -> Dataset:
        """Make a data set of tables and a word about what their columns are.

        Args:
            interactions: The log: a pandas, Polars (eager or lazy) or Arrow table, or the path of a file.
            items: The catalogue, likewise.
            users: The table of users, likewise.
            name: A short name for messages and reports.
            facts: ``licence``, ``source``, ``citation`` and the like.
            **roles: Which column is what, see :class:`~palate.data.roles.Roles`: ``user="user"``, ``item="item"``,
                ``time``, ``label`` (a column or a rule such as ``"rating >= 4"``), ``title``, ``categorical``,
                ``numeric``, ``text``, ``lists`` (names, or name to separator), ``weight``, ``split``, ``image``,
                ``audio``, ``item_key``, ``user_key``, ``time_unit``. Columns without a role are kept and ignored.

        Raises:
            ConfigError: If an argument is misspelt.
            SchemaError: If roles name columns that do not exist; all of them are listed with suggestions.
            DataError: If a table cannot be read as columns, or rows of a file cannot be used.
        """
        from palate.data.assembling import assemble, gather
        from palate.data.readers.contract import ReadOptions

        Roles(**roles)  # a misspelt role is told before any file is read
        parts = gather({"interactions": interactions, "items": items, "users": users}, options=ReadOptions())
        return assemble(parts, roles, name=name, facts=facts)

    @property
    def name(self) -> str:
        """A short name for messages and reports."""
        return self._name

    @property
    def schema(self) -> Schema:
        """What each column is for."""
        return self._schema

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a user of the data must know: licence, source, citation."""
        return self._facts

    @property
    def interactions(self) -> pl.DataFrame:
        """The log, brought into memory on first use."""
        if isinstance(self._log, pl.LazyFrame):
            self._log = collect(self._log, f'the log of "{self._name}"')
        return self._log

    @property
    def items(self) -> pl.DataFrame | None:
        """The catalogue, or ``None``."""
        return self._items

    @property
    def users(self) -> pl.DataFrame | None:
        """The table of users, or ``None``."""
        return self._users

    @property
    def has_labels(self) -> bool:
        """Whether rows say how it went; without, every row is a positive."""
        return self._schema.label is not None

    @property
    def fingerprint(self) -> str:
        """SHA-256 over schema and columns; the same for the same content however it is chunked, compressed or saved."""
        tables: tuple[Table, ...] = ("interactions", "items", "users")
        return content_digest(self._schema, {table: self._pieces(table) for table in tables})

    def scan(self) -> pl.LazyFrame:
        """Return the log as a lazy frame: a large one on disk is streamed, not loaded."""
        return self._log.lazy()

    def table(self, table: Table) -> pl.DataFrame | None:
        """Return the table of that name, or ``None`` when the data set has none."""
        if table == "interactions":
            return self.interactions
        return self._items if table == "items" else self._users

    def labels(self) -> FloatArray:
        """Return the label of every row; a log without a label is a log of positives, so all ones.

        Shapes:
            float32 ``[N]`` of 0 and 1.

        Raises:
            DataError: If a label is missing or is neither 0 nor 1.
        """
        if self._schema.label is None:
            return np.ones(len(self), np.float32)
        return labels_of(self.scan(), self._schema.label)

    def times(self) -> IntArray:
        """Return the time of every row in whole seconds since 1970.

        Shapes:
            int64 ``[N]``.

        Raises:
            SchemaError: If no column has the role ``time``, or times are missing.
        """
        column = self._schema.name_of("interactions", Role.TIME)
        expression = seconds(column, self.scan().collect_schema()[column])
        moments = self.scan().select(expression.alias("time")).collect()["time"]
        if moments.null_count():
            raise SchemaError(
                f'The time column "{column}" is missing in {moments.null_count():,} of {moments.len():,} rows.',
                remedy="Drop these rows, or fill their times.",
            )
        return moments.to_numpy()

    def replace(self, **changes: Any) -> Dataset:
        """Return a data set with other ``schema``, ``interactions``, ``items``, ``users``, ``name`` or ``facts``."""
        parts = {
            "schema": self._schema,
            "interactions": self._log,
            "items": self._items,
            "users": self._users,
            "name": self._name,
            "facts": self._facts,
        }
        unknown = sorted(set(changes) - set(parts))
        if unknown:
            remedy = " ".join(suggest(name, parts) for name in unknown)
            raise SchemaError(f"A data set has no part called {', '.join(unknown)}.", remedy=remedy)
        return Dataset(**{**parts, **changes})

    def take(self, rows: IntArray | np.ndarray[Any, np.dtype[np.bool_]]) -> Dataset:
        """Return the data set with only these rows of the log: indices ``[M]`` in order, or a boolean mask ``[N]``."""
        frame = self.interactions
        chosen = frame.filter(pl.Series(rows)) if rows.dtype == np.bool_ else frame[rows]
        return self.replace(interactions=chosen)

    def summary(self) -> DatasetSummary:
        """Return counts, span, density and shape of the tail."""
        from palate.data.summary import summarise

        return summarise(self)

    def save(self, folder: str | Path) -> Path:
        """Write the folder of Parquet and ``dataset.toml`` at once, replacing what stood there as a whole."""
        from palate.data.folder import save_dataset

        return save_dataset(self, folder)

    @classmethod
    def open(cls, folder: str | Path) -> Dataset:
        """Open a saved folder; the log is read on first use.

        Raises:
            SavedFolderError: If the folder is missing, incomplete, altered or of a newer format.
        """
        from palate.data.folder import open_folder

        return open_folder(folder)

    @property
    def recorded_fingerprint(self) -> str:
        """The fingerprint that stood in the folder from which this was opened, or an empty string."""
        return self._recorded

    def _with_record(self, rows: int, fingerprint: str) -> Dataset:
        self._rows, self._recorded = rows, fingerprint
        return self

    def _pieces(self, table: Table) -> Iterable[pl.DataFrame]:
        """Return the rows of a table piece by piece; a lazy log is streamed."""
        if table == "interactions" and isinstance(self._log, pl.LazyFrame):
            first = self._log.head(0).collect()
            return itertools.chain([first], self._log.collect_batches(chunk_size=1 << 18, maintain_order=True))
        frame = self.table(table)
        return [] if frame is None else [frame]

    def __len__(self) -> int:
        if self._rows is None:
            self._rows = int(self.scan().select(pl.len()).collect().item())
        return self._rows

    def __repr__(self) -> str:
        parts = [f"{len(self):,} interactions"]
        parts += [f"{self._items.height:,} items"] if self._items is not None else []
        parts += [f"{self._users.height:,} users"] if self._users is not None else []
        parts += [f"label {self._schema.label}"] if self._schema.label is not None else []
        return f'Dataset("{self._name}": {", ".join(parts)})'

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()
