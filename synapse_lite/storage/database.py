"""PostgreSQL: a bounded pool of connections, and three ways to run a function with one of them.

A storage function is a plain `def f(txn, ...)`. It runs in a database thread, one thread hop for
all its statements:

- `transact`: reads and writes, READ COMMITTED, retried on serialisation failures and deadlocks;
- `snapshot`: reads that must agree with each other, REPEATABLE READ, read only;
- `read`: one or more independent reads, each statement seeing what is committed when it starts.
"""

import contextvars
import logging
import queue
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any, Concatenate, ParamSpec, TypeVar

import psycopg2
from attrs import define, field
from psycopg2 import errors, extensions
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from synapse_lite.errors import SynapseLiteError
from synapse_lite.storage.stream import Change, Kind, write_changes

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Row = tuple[Any, ...]
Arguments = Sequence[object] | Mapping[str, object]
OnCommit = Callable[[Sequence[Change]], None]

RETRIES = 5
_RETRIABLE = (errors.SerializationFailure, errors.DeadlockDetected)
_KEEPALIVES = {
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

_IDLE = extensions.TRANSACTION_STATUS_IDLE
VALUES_A_STATEMENT = 1000

UniqueViolation = errors.UniqueViolation
DatabaseError = psycopg2.Error


class CommitUncertainError(SynapseLiteError):
    """The connection broke during a commit: the transaction may have happened, or not."""


@define
class Transaction:
    """What a storage function works with: statements in, rows out.

    `publish` says that something visible to clients changed; the positions are given out, and the
    waiting clients woken, by the commit. `read_only`: whatever is read here is committed.
    """

    _cursor: extensions.cursor
    read_only: bool = False
    _changes: list[Change] = field(factory=list)
    _waiting: list[bytes] = field(factory=list)
    _rows: list[bytes] = field(factory=list)
    _rows_sql: str = ""

    def execute(self, sql: str, arguments: Arguments = ()) -> int:
        """Run a statement; the number of rows that it touched."""
        self._run(sql, arguments)
        return self._cursor.rowcount

    def rows(self, sql: str, arguments: Arguments = ()) -> list[Row]:
        self._run(sql, arguments)
        return self._cursor.fetchall()

    def row(self, sql: str, arguments: Arguments = ()) -> Row | None:
        """The first row, or None."""
        self._run(sql, arguments)
        return self._cursor.fetchone()

    def value(self, sql: str, arguments: Arguments = ()) -> Any:
        """The first column of the first row, or None."""
        row = self.row(sql, arguments)
        return row[0] if row else None

    def later(self, sql: str, arguments: Arguments = ()) -> None:
        """A statement whose result nobody reads: it goes to the server together with the next one.

        A round trip may cost more than the statement. An error shows at that next one.
        """
        self._wait(self._cursor.mogrify(sql, arguments or None))

    def keep_to_indexes(self) -> None:
        """Until the transaction ends: who walks through a large table reads the next rows from an index.

        Without statistics, as of a table that has just grown, the planner likes to sort all rows that are left.
        """
        self.later("SET LOCAL enable_seqscan = off")
        self.later("SET LOCAL enable_bitmapscan = off")
        self.later("SET LOCAL enable_sort = off")

    def insert(self, sql: str, rows: Sequence[Sequence[object]], template: str | None = None) -> None:
        """`INSERT ... VALUES %s`, or another statement over `VALUES %s`; as `later`."""
        for start in range(0, len(rows), VALUES_A_STATEMENT):
            self._wait(self._with_values(sql, rows[start : start + VALUES_A_STATEMENT], template))

    def insert_row(self, sql: str, row: Sequence[object]) -> None:
        """As `insert`; rows for the same statement that follow each other become one."""
        if sql != self._rows_sql or len(self._rows) == VALUES_A_STATEMENT:
            self._gather()
            self._rows_sql = sql
        self._rows.append(self._tuple(row))

    def fetch_values(
        self, sql: str, rows: Collection[Sequence[object]], template: str | None = None
    ) -> list[Row]:
        """The rows of a statement over `VALUES %s`; none for no values."""
        if not rows:
            return []
        self._send(self._with_values(sql, rows, template))
        return self._cursor.fetchall()

    def finish(self, statement: str = "") -> None:
        """Send what waits, and a last statement such as COMMIT."""
        if statement or self._waiting or self._rows:
            self._send(statement.encode())

    def _run(self, sql: str, arguments: Arguments) -> None:
        if self._waiting or self._rows:
            self._send(self._cursor.mogrify(sql, arguments or None))
        else:
            self._cursor.execute(sql, arguments or None)

    def _wait(self, statement: bytes) -> None:
        self._gather()
        self._waiting.append(statement)

    def _gather(self) -> None:
        """The rows that are there so far become a statement."""
        if self._rows:
            self._waiting.append(_values(self._rows_sql, self._rows))
            self._rows = []

    def _send(self, statement: bytes) -> None:
        self._gather()
        statements, self._waiting = [*self._waiting, statement], []
        self._cursor.execute(b";".join(statements))

    def _with_values(self, sql: str, rows: Collection[Sequence[object]], template: str | None) -> bytes:
        return _values(sql, [self._tuple(row, template) for row in rows])

    def _tuple(self, row: Sequence[object], template: str | None = None) -> bytes:
        return self._cursor.mogrify(template or f"({','.join(['%s'] * len(row))})", row)

    def publish(
        self,
        kind: Kind,
        *,
        room_nid: int | None = None,
        event_nid: int | None = None,
        user_id: str | None = None,
        redacts_nid: int | None = None,
    ) -> None:
        self._changes.append(Change(0, kind, room_nid, event_nid, user_id, redacts_nid))

    def flush(self) -> list[Change]:
        """Give what was published its positions. For `Database.transact` only."""
        return write_changes(self, self._changes) if self._changes else []


Function = Callable[..., Any]


def _values(sql: str, rows: Sequence[bytes]) -> bytes:
    before, after = sql.split("%s")
    return before.encode() + b",".join(rows) + after.encode()


def _ignore(_seconds: float) -> None:
    """Nobody measures."""


class Database:
    """At most `size` connections, each used by one thread at a time.

    `on_commit` is called on the reactor with the changes of each committed transaction.
    `settings` are PostgreSQL settings of every connection, such as `statement_timeout`. `on_flushed`
    is told, in a database thread, for how many seconds each transaction held the stream.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        arguments: Mapping[str, object],
        *,
        name: str,
        size: int,
        on_commit: OnCommit,
        settings: Mapping[str, str],
        on_flushed: Callable[[float], None] = _ignore,
    ) -> None:
        self._reactor = reactor
        self._arguments = arguments
        self._on_commit = on_commit
        self._on_flushed = on_flushed
        self._settings = " ".join(f"-c {key}={value}" for key, value in settings.items())
        self._threads = ThreadPool(1, size, f"database-{name}")
        self._idle: queue.LifoQueue[extensions.connection] = queue.LifoQueue()

    def start(self) -> None:
        self._threads.start()

    def stop(self) -> None:
        """Wait for what runs, then close the connections."""
        self._threads.stop()
        self._close_idle()

    async def transact(
        self, function: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        result: R
        result, changes = await self._in_thread(self._run_transaction, function, args, kwargs)
        if changes:
            self._on_commit(changes)
        return result

    async def snapshot(
        self, function: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The result is there before the transaction has ended: nobody waits for that round trip."""
        answer: Deferred[R] = Deferred()

        def fail(ok: bool, result: object) -> None:
            if not ok:
                self._reactor.callFromThread(answer.errback, result)

        succeed = partial(self._reactor.callFromThread, answer.callback)
        self._threads.callInThreadWithCallback(
            fail, self._work(partial(self._run_snapshot, succeed), function, args, kwargs)
        )
        return await answer

    async def read(
        self, function: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        result: R = await self._in_thread(self._run_read, function, args, kwargs)
        return result

    async def _in_thread(self, run: Callable[..., T], *args: Any) -> T:
        result: T = await deferToThreadPool(self._reactor, self._threads, self._work(run, *args))
        return result

    def _work(self, run: Callable[..., T], *args: Any) -> Callable[[], T]:
        return partial(contextvars.copy_context().run, self._with_connection, run, *args)

    def _with_connection(self, run: Callable[..., T], function: Function, args: Any, kwargs: Any) -> T:
        for _ in range(RETRIES):
            connection = self._acquire()
            try:
                return run(connection, function, args, kwargs)
            except _RETRIABLE as error:
                logger.info("%s is run again after %r", function, error)
                failure: Exception = error
            except psycopg2.OperationalError as error:
                if not connection.closed:
                    raise
                # The server went away before the commit, so nothing was done; its other connections are void too.
                self._close_idle()
                failure = error
            finally:
                self._release(connection)
        raise failure

    def _run_transaction(
        self, connection: extensions.connection, function: Function, args: Any, kwargs: Any
    ) -> tuple[Any, list[Change]]:
        with connection.cursor() as cursor:
            txn = Transaction(cursor)
            txn.later("BEGIN")
            result = function(txn, *args, **kwargs)
            flushed = perf_counter()
            changes = txn.flush()
            try:
                txn.finish("COMMIT")
            except psycopg2.OperationalError as error:
                if connection.closed:
                    raise CommitUncertainError(str(error)) from error
                raise
        if changes:
            self._on_flushed(perf_counter() - flushed)
        return result, changes

    def _run_snapshot(
        self,
        succeed: Callable[[object], object],
        connection: extensions.connection,
        function: Function,
        args: Any,
        kwargs: Any,
    ) -> None:
        with connection.cursor() as cursor:
            txn = Transaction(cursor, read_only=True)
            txn.later("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            result = function(txn, *args, **kwargs)
        succeed(result)

    def _run_read(self, connection: extensions.connection, function: Function, args: Any, kwargs: Any) -> Any:
        with connection.cursor() as cursor:
            return function(Transaction(cursor, read_only=True), *args, **kwargs)

    def _acquire(self) -> extensions.connection:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            connection = connect(self._arguments, self._settings)
            connection.autocommit = True  # BEGIN and COMMIT are ours: they ride with other statements
            return connection

    def _close_idle(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def _release(self, connection: extensions.connection) -> None:
        try:
            if not connection.closed and connection.info.transaction_status != _IDLE:
                with connection.cursor() as cursor:
                    cursor.execute("ROLLBACK")
        except psycopg2.Error:
            connection.close()
        if not connection.closed:
            self._idle.put(connection)


def connect(arguments: Mapping[str, object], options: str = "") -> extensions.connection:
    """A connection of its own, for what a pool cannot do: migrations, LISTEN."""
    own_options = f"{arguments.get('options', '')} {options}".strip()
    return psycopg2.connect(**{**_KEEPALIVES, **arguments, "options": own_options})  # type: ignore[call-overload, no-any-return]
