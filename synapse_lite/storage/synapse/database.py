"""Synapse's database, PostgreSQL or SQLite: read only, page by page."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

import psycopg2
from attrs import frozen

from synapse_lite.errors import SynapseLiteError

PAGE = 500
DSN = ("postgres://", "postgresql://")
_PAGE_BY_PAGE = "; ".join(
    f"SET {way} = off" for way in ("enable_sort", "enable_incremental_sort", "enable_bitmapscan")
)
"""A page is read in the order of an index: else PostgreSQL likes to read and sort all that is left of a room for each."""

T = TypeVar("T")
SynapseRow = dict[str, Any]
"""By column. Columns differ between versions of Synapse, so all of them are read."""


class SynapseDatabaseError(SynapseLiteError):
    """It cannot be read, or is not Synapse's."""


@frozen
class SynapseDatabase:
    """`mark` is how the driver writes a parameter."""

    connection: Any
    mark: str

    @classmethod
    @contextmanager
    def open(cls, place: str) -> Iterator[Self]:
        """`place`: a URL of PostgreSQL, or the path of an SQLite file."""
        with _told():
            connection = _connect(place)
        with closing(connection):
            yield cls(connection, "%s" if place.startswith(DSN) else "?")

    def rows(self, sql: str, arguments: Sequence[object] = ()) -> list[SynapseRow]:
        """All rows of a statement, in which `?` is a parameter."""
        with _told():
            return self._rows(sql, arguments)

    def values(self, sql: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The same without names, of which many rows have as many copies."""
        with _told(), closing(self.connection.cursor()) as cursor:
            cursor.execute(sql.replace("?", self.mark), arguments)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found

    def among(self, sql: str, values: Sequence[object]) -> Iterator[SynapseRow]:
        """The rows of a statement that ends with a condition on a column, for many values of it: `… WHERE a IN`."""
        for start in range(0, len(values), PAGE):
            some = values[start : start + PAGE]
            yield from self.rows(f"{sql} ({', '.join('?' for _ in some)})", some)

    def has(self, table: str) -> bool:
        """Older versions lack some."""
        try:
            self._rows(f"SELECT * FROM {table} LIMIT 0")
        except (psycopg2.errors.UndefinedTable, sqlite3.OperationalError):
            return False
        return True

    def pages(
        self, table: str, keys: Sequence[str], where: str = "TRUE", arguments: Sequence[object] = ()
    ) -> Iterator[SynapseRow]:
        """The rows of a table in the order of `keys`, which tell one from another, and are never null."""
        order, marks = ", ".join(keys), ", ".join("?" for _ in keys)
        condition, after = where, list(arguments)
        while True:
            rows = self.rows(f"SELECT * FROM {table} WHERE {condition} ORDER BY {order} LIMIT {PAGE}", after)
            yield from rows
            if len(rows) < PAGE:
                return
            condition = f"({where}) AND ({order}) > ({marks})"
            after = [*arguments, *(rows[-1][key] for key in keys)]

    def _rows(self, sql: str, arguments: Sequence[object] = ()) -> list[SynapseRow]:
        with closing(self.connection.cursor()) as cursor:
            cursor.execute(sql.replace("?", self.mark), arguments)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def in_batches(rows: Iterable[T], size: int = PAGE) -> Iterator[list[T]]:
    """Of at most `size` each, in the same order."""
    left = iter(rows)
    while batch := list(islice(left, size)):
        yield batch


@contextmanager
def _told() -> Iterator[None]:
    """Errors of this database, which are of the same classes as those of ours, become `SynapseDatabaseError`."""
    try:
        yield
    except (psycopg2.Error, sqlite3.Error) as error:
        raise SynapseDatabaseError(str(error).strip()) from None


def _connect(place: str) -> Any:
    if place.startswith(DSN):
        connection = psycopg2.connect(place)
        connection.set_session(readonly=True, autocommit=True)
        with closing(connection.cursor()) as cursor:
            cursor.execute(_PAGE_BY_PAGE)
        return connection
    file = sqlite3.connect(f"{Path(place).resolve().as_uri()}?mode=ro", uri=True)
    file.text_factory = _text
    return file


def _text(stored: bytes) -> str:
    """SQLite holds what is no UTF-8, too: only its row is refused, where it is stored."""
    return stored.decode(errors="surrogateescape")
