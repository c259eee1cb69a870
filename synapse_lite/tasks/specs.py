"""What a task is: importable everywhere, knows no code that runs it."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import orjson
from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Outcome

P = TypeVar("P", bound=TaskModel)
C = TypeVar("C", bound=TaskModel)


def nothing(_params: TaskModel) -> None:
    """No key."""


def unchanged(value: JsonObject) -> JsonObject:
    """The same in the next version."""
    return value


@frozen
class Upcast:
    """How a row of `version` becomes one of the next version: JSON objects in and out."""

    version: int
    params: Callable[[JsonObject], JsonObject] = unchanged
    cursor: Callable[[JsonObject], JsonObject] = unchanged


@frozen
class TaskSpec(Generic[P, C]):
    """An action, and the shape of its params and cursor as of `version`.

    From the params follow `resource` (the user, room or device that it is about, for listings), `unique`
    (at most one pending task per action and key) and `lock` (at most one active task per key, whatever
    the action). `max_attempts` counts failures in a row without progress.

    `upcasts` lead, without a gap, from the oldest version of which rows may exist to this one. A row of
    an older version becomes one of this version with its next step: older processes no longer see it.

    Where it `needs_admin`, the engine asks before each step whether the requester still is a server admin, neither
    locked nor deactivated, and fails the task when not. What the server itself asks for is not asked about.

    With `every_seconds` the engine enqueues the task itself, with the defaults of its params: once for
    each multiple of that time, whatever the number of processes.
    """

    action: str
    version: int
    params: type[P]
    cursor: type[C]
    resource: Callable[[P], str | None] = nothing
    unique: Callable[[P], str | None] = nothing
    lock: Callable[[P], str | None] = nothing
    priority: int = 0
    max_attempts: int = 10
    needs_admin: bool = True
    upcasts: tuple[Upcast, ...] = ()
    every_seconds: int | None = None

    @property
    def versions(self) -> list[int]:
        """All that it can run; the last is its own."""
        return [*(upcast.version for upcast in self.upcasts), self.version]

    def read_params(self, text: str, version: int) -> P:
        """`ValidationError` when it does not fit."""
        value = orjson.loads(text)
        for upcast in self._from(version):
            value = upcast.params(value)
        return self.params.model_validate(value)

    def read_cursor(self, text: str, version: int) -> C:
        """`ValidationError` when it does not fit."""
        value = orjson.loads(text)
        for upcast in self._from(version):
            value = upcast.cursor(value)
        return self.cursor.model_validate(value)

    def _from(self, version: int) -> list[Upcast]:
        return [upcast for upcast in self.upcasts if upcast.version >= version]

    def periodic_tasks(self) -> list["PeriodicTask[P]"]:
        """What the engine enqueues because of `every_seconds`."""
        return (
            [] if self.every_seconds is None else [PeriodicTask("", self.params(), self.every_seconds * 1000)]
        )


PERIODIC = "periodic"
"""Who asks for what repeats itself, and through which endpoint."""


@frozen
class PeriodicTask(Generic[P]):
    """Something that is done again and again, once for each multiple of `every_ms`.

    `name` tells it from others of its action; empty where it is the only one.
    """

    name: str
    params: P
    every_ms: int


@frozen
class TaskView(Generic[P, C]):
    """A task as its step sees it. `cursor` is None before the first checkpoint.

    `batch` is how many items the step should work on: the engine adapts it, so that steps stay short. `answer` is what
    `AsksOutside.ask` brought for this step.
    """

    id: str
    params: P
    cursor: C | None
    done: int
    total: int | None
    attempt: int
    batch: int
    requester: str
    answer: Any = None


class TransactionalTask(Protocol[P, C]):
    """How one bounded step of a task is done.

    `step` runs in a database thread, in one transaction with the fence before it and the checkpoint
    after it. It may be run again after a rollback, so it has no effect outside the transaction.
    """

    def step(self, txn: Transaction, task: TaskView[P, C]) -> Outcome: ...


@runtime_checkable
class HasPeriodicTasks(Protocol[P]):
    """For a periodic task whose params and periods are given by the configuration.

    The lock keys of the tasks differ as the names of the periodic tasks do.
    """

    def periodic_tasks(self) -> Sequence[PeriodicTask[P]]: ...


@runtime_checkable
class TidiesOnCancel(Protocol[P, C]):
    """For a task that leaves something behind half done.

    Called in the transaction that cancels it, or that ends it because its requester may no longer ask for it.
    """

    def on_cancel(self, txn: Transaction, task: TaskView[P, C]) -> None: ...


@runtime_checkable
class AsksOutside(Protocol[P, C]):
    """For a task whose steps need what only others can tell, or do.

    `ask` is awaited before each step, in no transaction; what it returns is the `answer` of the task that the step sees. It may be
    asked again, as the process may die between the two: what it does has to be the same when it is done twice. An exception is a
    transient failure, as one of the step is.
    """

    async def ask(self, task: TaskView[P, C]) -> Any: ...
