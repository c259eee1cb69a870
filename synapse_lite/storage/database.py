"""PostgreSQL: a bounded pool of connections, and three ways to run a function with one of them.

A storage function is a plain `def f(txn, ...)`. It runs in a database thread, one thread hop for
all its statements:

- `transact`: reads and writes, READ COMMITTED, retried on serialisation failures and deadlocks;
- `snapshot`: reads that must agree with each other, REPEATABLE READ, read only;
- `read`: one or more independent reads, each statement seeing what is committed when it starts.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Concatenate, ParamSpec, TypeVar

import psycopg2
from attrs import define, field
from psycopg2 import errors, extensions
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from synapse_lite.errors import UnavailableError
from synapse_lite.storage.outage import SHORTAGES, DatabaseUnavailableError, Outage
from synapse_lite.storage.pool import Pool, close_if_broken
from synapse_lite.storage.statements import Statements
from synapse_lite.storage.stream import (
    READ_BEFORE,
    Change,
    Kind,
    Position,
    placed,
    position_in_sql,
    write_changes,
)
from synapse_lite.storage.unstorable import UNSTORABLE, refusal_of
from synapse_lite.threads import Threads

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
OnCommit = Callable[[Sequence[Change]], None]

RETRIES = 5
_RETRIABLE = (errors.SerializationFailure, errors.DeadlockDetected)

UniqueViolation = errors.UniqueViolation
LockNotAvailable = errors.LockNotAvailable
StatementTimeout = errors.QueryCanceled
DatabaseError = psycopg2.Error
OperationalError = psycopg2.OperationalError


class CommitUncertainError(UnavailableError):
    """The connection broke, or an operator cancelled, during a commit: the transaction may have happened, or not."""


@define
class Transaction(Statements):
    """What a storage function works with.

    `publish` says that something visible to clients changed; the positions are given out, and the
    waiting clients woken, by the commit. `read_only`: whatever is read here is committed.
    """

    read_only: bool = False
    _changes: list[tuple[Change, "AtPosition | None"]] = field(factory=list)
    _savepoints: int = 0
    _relaxed: bool = False
    _needs_numbers: bool = False

    def attempt(self, function: "Callable[[Transaction], T]") -> "T | Exception":
        """What the function returns, or what it raised: then nothing of what it wrote and published remains.

        Errors after which the transaction has to start again are raised.
        """
        self._gather()
        waiting, sent, changes = list(self._waiting), self._sent, len(self._changes)
        self._savepoints += 1
        name = f"attempt_{self._savepoints}"
        self.later(f"SAVEPOINT {name}")
        try:
            result = function(self)
            self.finish()
        except (*_RETRIABLE, *SHORTAGES):
            raise
        except Exception as error:
            if isinstance(error, psycopg2.Error) and close_if_broken(self._cursor.connection, error):
                raise
            del self._changes[changes:]
            self._rows = []
            self._waiting = waiting
            if self._sent != sent:
                self._waiting = []
                self._cursor.execute(f"ROLLBACK TO SAVEPOINT {name}")
            is_late = isinstance(error, StatementTimeout)
            return DatabaseUnavailableError(str(error)) if is_late else refusal_of(error) or error
        self.later(f"RELEASE SAVEPOINT {name}")
        return result

    def relax(self) -> None:
        """The commit need not wait for the disk, unless something is published: for work that is done again from where
        its checkpoint stands if PostgreSQL loses the last moments before a crash. To be called first.

        What others commit after it, and what they saw of it, is never on the disk before it.
        """
        self._relaxed = True
        self.later("SET LOCAL synchronous_commit = off")

    def insist(self) -> None:
        """The commit waits for the disk after all."""
        if self._relaxed:
            self._relaxed = False
            self.later("SET LOCAL synchronous_commit TO DEFAULT")

    def publish(
        self,
        kind: Kind,
        *,
        room_nid: int | None = None,
        event_nid: int | None = None,
        user_id: str | None = None,
        redacts_nid: int | None = None,
        device_id: str | None = None,
        key: str | None = None,
        content: str | None = None,
        at_position: "AtPosition | None" = None,
        by_number: bool = False,
    ) -> None:
        """`at_position` writes the rows that carry the position of the change: `by_number`, which COPY needs, for a round trip more."""
        self._needs_numbers |= by_number
        change = Change(0, kind, room_nid, event_nid, user_id, redacts_nid, device_id, key, content)
        self._changes.append((change, at_position))

    def commit(self) -> list[Change]:
        """End the transaction; what was published, at its positions. For whoever has begun it."""
        if not self._changes:
            self.finish("COMMIT")
            return []
        self.flush()
        self.later("COMMIT")
        return placed([change for change, _ in self._changes], int(self.value(READ_BEFORE)))

    def flush(self) -> None:
        """Give what was published its positions, with the next statement unless somebody needs them as numbers."""
        if not self._changes:
            return
        self.insist()
        write_changes(self, [change for change, _ in self._changes])
        before = int(self.value(READ_BEFORE)) if self._needs_numbers else None
        for index, (_, at_position) in enumerate(self._changes):
            if at_position is not None:
                at_position(self, position_in_sql(index) if before is None else before + index + 1)


Function = Callable[..., Any]
AtPosition = Callable[[Transaction, Position], None]
"""Called under the lock of the stream: it may only `insert` and `later`, which go with the COMMIT, and copy."""


class Database:
    """At most `size` connections, each used by one thread at a time.

    `settings` are PostgreSQL settings of every connection, such as `statement_timeout`. `on_published`
    is told, in a database thread, for how many seconds each transaction held the stream.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        arguments: Mapping[str, object],
        *,
        name: str,
        size: int,
        settings: Mapping[str, str],
        on_published: Callable[[float], None] = lambda _: None,
        outage: Outage | None = None,
    ) -> None:
        self._reactor = reactor
        self._on_commit: OnCommit = lambda _: None
        self._on_published = on_published
        options = " ".join(f"-c {key}={value}" for key, value in settings.items())
        self._pool = Pool(arguments, options, outage or Outage())
        self._threads = Threads(reactor, size, f"database-{name}")

    def on_commit(self, listener: OnCommit) -> None:
        """Call `listener`, and nobody else, on the reactor with the changes of each committed transaction."""
        self._on_commit = listener

    def start(self) -> None:
        """Nothing: connections and threads come when they are needed."""

    def stop(self) -> None:
        """Wait for what runs, then close the connections."""
        self._threads.stop()
        self._pool.close_idle()

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
        call = self._reactor.callFromThread
        work = partial(self._run_snapshot, partial(call, answer.callback))

        def run() -> None:
            try:
                self._with_connection(work, function, args, kwargs)
            except BaseException:  # noqa: BLE001 (it is told to whoever waits)
                call(answer.errback, Failure())

        self._threads.begin(run)
        return await answer

    async def read(
        self, function: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        result: R = await self._in_thread(self._run_read, function, args, kwargs)
        return result

    async def is_alive(self) -> bool:
        """Whether the database answers now: this does not wait until it is back."""
        return await self._threads.run(self._pool.is_alive)

    async def _in_thread(self, run: Callable[..., T], *args: Any) -> T:
        return await self._threads.run(self._with_connection, run, *args)

    def _with_connection(self, run: Callable[..., T], function: Function, args: Any, kwargs: Any) -> T:
        for _ in range(RETRIES):
            connection = self._pool.acquire()
            try:
                return run(connection, function, args, kwargs)
            except _RETRIABLE as error:
                logger.info("%s is run again after %r", function, error)
                failure: Exception = error
            except SHORTAGES as error:
                self._pool.outage.note_shortage(error)
                raise DatabaseUnavailableError(str(error)) from error
            except StatementTimeout as error:
                logger.warning("%s waited or ran for too long, nothing was done: %s", function, error)
                raise DatabaseUnavailableError(str(error)) from error
            except (ValueError, *UNSTORABLE) as error:
                refusal = refusal_of(error)
                if refusal is None:
                    raise
                logger.warning("%s was given what PostgreSQL cannot hold: %s", function, error)
                raise refusal from error
            # Of which class, depends on the moment at which the connection breaks.
            except psycopg2.Error as error:
                if not close_if_broken(connection, error):
                    raise
                # The server went away before the commit, so nothing was done; its other connections are void too.
                self._pool.close_idle()
                failure = DatabaseUnavailableError(str(error))
            finally:
                self._pool.release(connection)
        raise failure

    def _run_transaction(
        self, connection: extensions.connection, function: Function, args: Any, kwargs: Any
    ) -> tuple[Any, list[Change]]:
        with connection.cursor() as cursor:
            txn = Transaction(cursor)
            txn.later("BEGIN")
            result = function(txn, *args, **kwargs)
            began = perf_counter()
            try:
                changes = txn.commit()
            except psycopg2.Error as error:
                if close_if_broken(connection, error) or _came_after_commit(connection, error):
                    raise CommitUncertainError(str(error)) from error
                raise
        if changes:
            self._on_published(perf_counter() - began)
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


def _came_after_commit(connection: extensions.connection, error: Exception) -> bool:
    """Whether an operator's cancel may have met what follows the COMMIT: one before it leaves the transaction to be undone."""
    is_over = connection.info.transaction_status == extensions.TRANSACTION_STATUS_IDLE
    return isinstance(error, StatementTimeout) and is_over
