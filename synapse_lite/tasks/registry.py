"""What a process can run: the one list of tasks, and the registry that a process makes of it.

Every process that runs tasks registers all of the list, before its scheduler starts. A new task is
one line in `CATALOGUE`; what the line needs must be in `TaskStores`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.errors import SynapseLiteError
from synapse_lite.matrix.retention import RetentionPolicy
from synapse_lite.storage.append import EventAppender
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.tasks import Capability
from synapse_lite.tasks import duties
from synapse_lite.tasks.actions.expired_messages import (
    PURGE_EXPIRED_MESSAGES,
    PurgeExpiredMessages,
    RetentionJob,
)
from synapse_lite.tasks.actions.noop import NOOP, Noop
from synapse_lite.tasks.actions.purge_history import PURGE_HISTORY, PurgeHistory
from synapse_lite.tasks.actions.purge_room import PURGE_ROOM, PurgeRoom
from synapse_lite.tasks.actions.redact_all_events import REDACT_ALL_EVENTS, RedactAllEvents
from synapse_lite.tasks.actions.shutdown_room import SHUTDOWN_AND_PURGE_ROOM, ShutdownAndPurgeRoom
from synapse_lite.tasks.specs import C, Duty, HasDuties, P, TaskSpec, TransactionalTask


class RegistryError(SynapseLiteError):
    """Registered twice, too late, or not at all."""


@frozen
class TaskStores:
    """What the steps of tasks work with. `retention` None: messages are kept for ever."""

    appender: EventAppender
    events: EventStore
    state: StateStore
    clock: Clock
    server_name: str
    task_retention_ms: int
    redaction_retention_ms: int | None
    forgotten_room_retention_ms: int | None = None
    retention: RetentionPolicy | None = None
    retention_jobs: tuple[RetentionJob, ...] = ()


@frozen
class Binding:
    """One line of the catalogue: a task, and how to build what runs it."""

    spec: TaskSpec[Any, Any]
    build: Callable[[TaskStores], TransactionalTask[Any, Any]]


@frozen
class Registered:
    """A task, and what runs it here."""

    spec: TaskSpec[Any, Any]
    handler: TransactionalTask[Any, Any]


class TaskRegistry:
    """Handlers by (action, version)."""

    def __init__(self) -> None:
        self._registered: dict[Capability, Registered] = {}
        self._frozen = False

    def register(self, spec: TaskSpec[P, C], handler: TransactionalTask[P, C]) -> None:
        """For its version, and for those from which its upcasts lead to it.

        `RegistryError` after `freeze`, for a second handler of the same action and version, and for a
        gap between the versions.
        """
        self._add(_registrations(spec, handler))

    def register_all(self, bindings: Iterable[Binding], stores: TaskStores) -> None:
        """All of them, or none when one of them raises."""
        self._add(
            [
                registration
                for binding in bindings
                for registration in _registrations(binding.spec, binding.build(stores))
            ]
        )

    def _add(self, registrations: Sequence[tuple[Capability, Registered]]) -> None:
        known = dict(self._registered)
        for (action, version), registered in registrations:
            if self._frozen:
                raise RegistryError(f"{action}/{version} is registered after the scheduler was built")
            if (action, version) in known:
                raise RegistryError(f"{action}/{version} is registered twice")
            known[action, version] = registered
        self._registered = known

    def freeze(self) -> "TaskRegistry":
        self._frozen = True
        return self

    def capabilities(self) -> frozenset[Capability]:
        return frozenset(self._registered)

    def get(self, action: str, version: int) -> Registered:
        """`RegistryError` when it is not registered here."""
        try:
            return self._registered[action, version]
        except KeyError:
            raise RegistryError(f"{action}/{version} is not registered here") from None

    def duties(self) -> list[tuple[TaskSpec[Any, Any], Duty[Any]]]:
        """What the registered tasks are to do again and again, in order of registration."""
        return [
            (registered.spec, duty)
            for (_, version), registered in self._registered.items()
            if version == registered.spec.version
            for duty in _duties(registered)
        ]


def _duties(registered: Registered) -> list[Duty[Any]]:
    configured = registered.handler.duties() if isinstance(registered.handler, HasDuties) else ()
    return [*registered.spec.duties(), *configured]


def _registrations(
    spec: TaskSpec[P, C], handler: TransactionalTask[P, C]
) -> list[tuple[Capability, Registered]]:
    versions = spec.versions
    if versions != list(range(versions[0], versions[0] + len(versions))):
        raise RegistryError(f"{spec.action}: a gap in the versions {versions}")
    return [((spec.action, version), Registered(spec, handler)) for version in versions]


Catalogue = tuple[Binding, ...]

CATALOGUE: Catalogue = (
    Binding(NOOP, lambda _: Noop()),
    Binding(
        REDACT_ALL_EVENTS,
        lambda s: RedactAllEvents(s.appender, s.events, s.state, s.clock, s.server_name),
    ),
    Binding(duties.PRUNE_TASKS, lambda s: duties.prune_tasks(s.task_retention_ms)),
    Binding(duties.ERASE_REDACTED, lambda s: duties.erase_redacted_events(s.clock, s.redaction_retention_ms)),
    Binding(duties.EXPIRE_SESSIONS, lambda s: duties.expire_sessions(s.clock)),
    Binding(duties.TRIM_STREAM, lambda s: duties.trim_stream(s.clock)),
    Binding(
        duties.PURGE_FORGOTTEN_ROOMS,
        lambda s: duties.purge_forgotten_rooms(s.clock, s.server_name, s.forgotten_room_retention_ms),
    ),
    Binding(SHUTDOWN_AND_PURGE_ROOM, lambda s: ShutdownAndPurgeRoom(s.appender, s.clock, s.server_name)),
    Binding(PURGE_ROOM, lambda s: PurgeRoom(s.clock, s.server_name)),
    Binding(PURGE_HISTORY, lambda s: PurgeHistory(s.server_name)),
    Binding(
        PURGE_EXPIRED_MESSAGES,
        lambda s: PurgeExpiredMessages(s.clock, s.retention, s.retention_jobs),
    ),
)
