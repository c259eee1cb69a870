"""What every part of an import works with."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import click
import psycopg2
from attrs import field, frozen
from psycopg2 import extensions

from synapse_lite import ids
from synapse_lite.errors import MatrixError, invalid_param
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.synapse.database import SynapseDatabase, SynapseRow, in_batches
from synapse_lite.storage.unstorable import BAD_VALUES

BATCH = 500  # rows of one transaction
TELL_SECONDS = 10.0  # between two lines that say how far it is

S = TypeVar("S")
T = TypeVar("T")
Named = tuple[str, T]
Add = Callable[[Transaction, Sequence[T]], int]

UNREADABLE = (MatrixError, KeyError, TypeError, ValueError)
"""What `read` raises of a row that is not as it must be."""
UNSTORABLE = (psycopg2.IntegrityError, ValueError, *BAD_VALUES)
"""Rows without what they belong to, with NUL, with numbers or keys that are too large."""


class Progress:
    """Tells on the error output how far it is, every few seconds: a large room alone may take an hour."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def tell(self, text: str) -> None:
        now = time.monotonic()
        if now - self._told >= TELL_SECONDS:
            self._told = now
            click.echo(text, err=True)


@frozen
class Import:
    """From a Synapse's database into ours. What is here already is left alone, so that any part may be repeated.

    `counts` are what came, by what it is. `accounts_expire`: those that Synapse says do so.
    """

    synapse: SynapseDatabase
    connection: extensions.connection
    server_name: str
    counts: Counter[str] = field(factory=Counter)
    progress: Progress = field(factory=Progress)
    accounts_expire: bool = False

    @contextmanager
    def transaction(self, *, read_only: bool = False) -> Iterator[Transaction]:
        """Committed at its end."""
        with self.connection, self.connection.cursor() as cursor:
            txn = Transaction(cursor, read_only=read_only)
            yield txn
            txn.commit()

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def own(self, user_id: str) -> str:
        """The id itself; 400 unless it is that of a user of this server."""
        if not ids.is_user_id(user_id) or not ids.is_local(user_id, self.server_name):
            raise invalid_param("Not a user of this server")
        return user_id

    def take(
        self,
        what: str,
        rows: Iterable[SynapseRow],
        name: Sequence[str],
        read: Callable[[SynapseRow], T | None],
        add: Add[T],
    ) -> None:
        """As `take_each`, of rows of a table. `name`: the columns that name one."""
        self.take_each(what, rows, lambda row: " ".join(str(row[column]) for column in name), read, add)

    def take_each(
        self,
        what: str,
        found: Iterable[S],
        name: Callable[[S], str],
        read: Callable[[S], T | None],
        add: Add[T],
        at_once: int = BATCH,
    ) -> None:
        """Add what `read` makes of each; None: it is not ours. What cannot be read or stored is named, and left out."""
        for batch in in_batches(self._readable(what, found, name, read), at_once):
            self._store(what, batch, add)

    def _readable(
        self, what: str, found: Iterable[S], name: Callable[[S], str], read: Callable[[S], T | None]
    ) -> Iterator[Named[T]]:
        for one in found:
            try:
                value = read(one)
            except UNREADABLE:
                self.refuse(what, name(one))
                continue
            if value is not None:
                yield name(one), value

    def _store(self, what: str, batch: Sequence[Named[T]], add: Add[T]) -> None:
        """Together; where one of them cannot be, each half by itself."""
        try:
            with self.transaction() as txn:
                added = add(txn, [value for _, value in batch])
        except UNSTORABLE:
            if len(batch) == 1:
                self.refuse(what, batch[0][0])
                return
            middle = len(batch) // 2
            for half in (batch[:middle], batch[middle:]):
                self._store(what, half, add)
            return
        self.counts[what] += added
        self.progress.tell(f"{what}: {self.counts[what]}")

    def refuse(self, what: str, name: str) -> None:
        """Count what is not valid, and say which it is."""
        shown = name.encode("unicode_escape").decode()
        click.echo(f"{what}: not valid: {shown}", err=True)
        self.counts[f"{what}: not valid"] += 1
