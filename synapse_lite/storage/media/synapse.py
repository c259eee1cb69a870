"""Media as Synapse's database knows them, PostgreSQL or SQLite: read only, page by page."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import psycopg2
from attrs import frozen

from synapse_lite.errors import SynapseLiteError

PAGE = 500
DSN = ("postgres://", "postgresql://")
_LOCAL = "local_media_repository"
_REMOTE = "remote_media_cache"


class SynapseDatabaseError(SynapseLiteError):
    """It cannot be read, or is not Synapse's."""


@frozen
class SynapseMedia:
    """`origin` None: the server's own. `file_id` names the file of a copy. Times are milliseconds since 1970."""

    origin: str | None
    media_id: str
    file_id: str | None
    media_type: str | None
    size: int
    upload_name: str | None
    user_id: str | None
    created_ts: int
    last_access_ts: int | None
    quarantined_by: str | None
    protected: bool
    authenticated: bool


@frozen
class SynapseDatabase:
    """`mark` is how the driver writes a parameter."""

    connection: Any
    mark: str

    @classmethod
    @contextmanager
    def open(cls, place: str) -> Iterator[Self]:
        """`place`: a URL of PostgreSQL, or the path of an SQLite file."""
        try:
            with closing(_connect(place)) as connection:
                yield cls(connection, "%s" if place.startswith(DSN) else "?")
        except (psycopg2.Error, sqlite3.Error) as error:
            raise SynapseDatabaseError(str(error).strip()) from None

    def local(self) -> Iterator[SynapseMedia]:
        """The server's own media, without parts of previews and what was never uploaded."""
        for row in self._pages(_LOCAL, ("media_id",)):
            if row["url_cache"] is None and row["media_length"] is not None:
                yield _media(row, None)

    def remote(self) -> Iterator[SynapseMedia]:
        """Copies of other servers' media."""
        for row in self._pages(_REMOTE, ("media_origin", "media_id")):
            if row["media_length"] is not None:
                yield _media(row, row["media_origin"])

    def _pages(self, table: str, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
        # Columns differ between versions of Synapse, so all of them are read.
        order, marks = ", ".join(keys), ", ".join(self.mark for _ in keys)
        after: list[str] = [""] * len(keys)
        while True:
            with closing(self.connection.cursor()) as cursor:
                cursor.execute(
                    f"SELECT * FROM {table} WHERE ({order}) > ({marks}) ORDER BY {order} LIMIT {PAGE}", after
                )
                names = [column[0] for column in cursor.description]
                rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            yield from rows
            if len(rows) < PAGE:
                return
            after = [rows[-1][key] for key in keys]


def _connect(place: str) -> Any:
    if place.startswith(DSN):
        connection = psycopg2.connect(place)
        connection.set_session(readonly=True, autocommit=True)
        return connection
    return sqlite3.connect(f"{Path(place).resolve().as_uri()}?mode=ro", uri=True)


def _media(row: dict[str, Any], origin: str | None) -> SynapseMedia:
    return SynapseMedia(
        origin,
        row["media_id"],
        row.get("filesystem_id"),
        row["media_type"],
        row["media_length"],
        row["upload_name"],
        row.get("user_id"),
        row["created_ts"] or 0,
        row.get("last_access_ts"),
        row.get("quarantined_by"),
        bool(row.get("safe_from_quarantine")),
        bool(row.get("authenticated")),
    )
