"""Small visible writes share one commit.

Whoever publishes holds the row of the stream position until the commit is on disk, so the disk sets the
number of commits a second. What waits meanwhile (receipts, typing, account data, to-device messages …) goes
together into the next one. When one is refused, each is run again with a savepoint of its own: it undoes nothing else.
"""

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from attrs import field, frozen
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from synapse_lite.storage.database import Database, LockNotAvailable, Transaction

P = ParamSpec("P")
R = TypeVar("R")

MAX_BATCH = 50  # savepoints: beyond 64 a transaction makes every snapshot on the server slower
LOCK_TIMEOUT_MS = 50
CONNECTIONS = 1


@frozen
class _Submitted:
    function: Callable[[Transaction], Any]
    done: "Deferred[Any]" = field(factory=Deferred)

    def deliver(self, outcome: Any) -> None:
        """A result, or what was raised."""
        if not self.done.called:  # the client went away, which cancelled it
            self.done.callback(Failure(outcome) if isinstance(outcome, Exception) else outcome)


class Writer:
    """The one queue of a process. It runs one transaction at a time on `shared`.

    A write that waits for a row lock for longer than `LOCK_TIMEOUT_MS` leaves the batch and has a transaction
    of its own on `alone`.
    """

    def __init__(self, shared: Database, alone: Database) -> None:
        self._shared = shared
        self._alone = alone
        self._waiting: list[_Submitted] = []
        self._running = False

    async def submit(
        self, function: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """What the function returns, once it is committed; its exception, when it has none of its effects.

        As for `Database.transact` it may run more than once. It should take a few statements: others wait.
        """
        submitted = _Submitted(lambda txn: function(txn, *args, **kwargs))
        self._waiting.append(submitted)
        if not self._running:
            self._running = True
            ensureDeferred(self._run())
        result: R = await submitted.done
        return result

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._write(batch)
        finally:
            self._running = False

    async def _write(self, batch: list[_Submitted]) -> None:
        functions = [submitted.function for submitted in batch]
        try:
            outcomes = await self._shared.transact(_run_batch, functions)
        except Exception as error:  # noqa: BLE001 (every one of them is told)
            outcomes = [error] * len(batch)
        for submitted, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, LockNotAvailable):
                alone = Deferred.fromCoroutine(self._alone.transact(submitted.function))
                alone.addBoth(submitted.deliver)
            else:
                submitted.deliver(outcome)


def _run_batch(txn: Transaction, functions: list[Callable[[Transaction], Any]]) -> list[Any]:
    """What each function returned or raised. They have one savepoint, unless something is refused."""
    txn.later(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
    results = txn.attempt(lambda txn: [function(txn) for function in functions])
    if not isinstance(results, Exception):
        return results
    return [results] if len(functions) == 1 else [txn.attempt(function) for function in functions]
