"""What a process can run: the one list of tasks, and the registry that a process makes of it.

Every process that runs tasks registers all of the list, before its scheduler starts. A new task is
one line in `CATALOGUE`; what the line needs must be in `TaskStores`.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from synapse_lite.clock import Clock
from synapse_lite.errors import SynapseLiteError
from synapse_lite.federation.handshakes import Handshakes
from synapse_lite.federation.resync import RoomResync
from synapse_lite.matrix.retention import RetentionPolicy
from synapse_lite.media.store import BlobStore
from synapse_lite.rooms.append import EventAppender
from synapse_lite.rooms.redact_on_ban import RedactOnBan
from synapse_lite.rooms.taken_back import TakenBackRedactions
from synapse_lite.storage.database import Database
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.tasks import Capability, FollowerKey
from synapse_lite.tasks import periodic
from synapse_lite.tasks.actions.accept_invite import ACCEPT_INVITE, AcceptInvite, JoinInvited
from synapse_lite.tasks.actions.carry_bans import CARRY_BANS, BanCarrier, CarryBans
from synapse_lite.tasks.actions.deactivate_user import DEACTIVATE_USER, DeactivateUser
from synapse_lite.tasks.actions.delete_device_messages import DELETE_DEVICE_MESSAGES, DeleteDeviceMessages
from synapse_lite.tasks.actions.delete_media import DELETE_MEDIA, DeleteMedia
from synapse_lite.tasks.actions.delete_old_otks import DELETE_OLD_OTKS, DeleteOldKeys
from synapse_lite.tasks.actions.erase_user import ERASE_USER, EraseUser
from synapse_lite.tasks.actions.erase_users import ERASE_EACH_USER, ERASE_USERS
from synapse_lite.tasks.actions.expired_messages import (
    PURGE_EXPIRED_MESSAGES,
    PurgeExpiredMessages,
    RetentionJob,
)
from synapse_lite.tasks.actions.finish_join import FINISH_JOIN, EndJoin, FinishJoin
from synapse_lite.tasks.actions.media_cache import EVICT_MEDIA, EvictMedia
from synapse_lite.tasks.actions.media_cleanup import AUDIT_MEDIA, CLEAN_MEDIA, AuditMedia, clean_media
from synapse_lite.tasks.actions.media_retention import EXPIRE_MEDIA, MediaLifetimes, expire_media
from synapse_lite.tasks.actions.noop import NOOP, Noop
from synapse_lite.tasks.actions.prune_devices import PRUNE_DEVICES, PruneDevices
from synapse_lite.tasks.actions.purge_history import PURGE_HISTORY, PurgeHistory
from synapse_lite.tasks.actions.purge_room import PURGE_ROOM, PurgeRoom
from synapse_lite.tasks.actions.quarantine_media import QUARANTINE_MEDIA, QuarantineMedia
from synapse_lite.tasks.actions.rebuild import REBUILD, Rebuild
from synapse_lite.tasks.actions.redact_all_events import REDACT_ALL_EVENTS, RedactAllEvents
from synapse_lite.tasks.actions.redact_on_ban import REDACT_ON_BAN, RedactOnBanTask
from synapse_lite.tasks.actions.redact_users import REDACT_EACH_USER, REDACT_USERS
from synapse_lite.tasks.actions.remove_guests import REMOVE_GUESTS, RemoveGuests
from synapse_lite.tasks.actions.resync_room import RESYNC_ROOM, ResyncRoom
from synapse_lite.tasks.actions.retry_leave import RETRY_LEAVE, RetryLeave
from synapse_lite.tasks.actions.search import SEARCH, SearchIndex
from synapse_lite.tasks.actions.shutdown_room import SHUTDOWN_AND_PURGE_ROOM, ShutdownAndPurgeRoom
from synapse_lite.tasks.actions.shutdown_rooms import SHUTDOWN_EACH_ROOM, SHUTDOWN_ROOMS
from synapse_lite.tasks.actions.statistics import STATISTICS, Statistics
from synapse_lite.tasks.actions.update_join_states import UPDATE_JOIN_STATES, UpdateJoinStates
from synapse_lite.tasks.actions.user_directory import USER_DIRECTORY, UserDirectory
from synapse_lite.tasks.actions.withdraw_invites import WITHDRAW_INVITES, WithdrawInvites
from synapse_lite.tasks.followers import DatabaseFollower, Delivery, FollowerSpec, RegisteredFollower
from synapse_lite.tasks.specs import C, HasPeriodicTasks, P, PeriodicTask, TaskSpec, TransactionalTask


class RegistryError(SynapseLiteError):
    """Registered twice, too late, or not at all."""


@frozen
class MediaStores:
    """Where the bytes of media are, how long they are kept, and how much of other servers' (None: no limit)."""

    blobs: BlobStore
    incoming: Path
    lifetimes: MediaLifetimes = field(factory=MediaLifetimes)
    max_cached_bytes: int | None = None


@frozen
class OtherServers:
    """What tasks say to other servers with; `database` is for what they read before they ask."""

    database: Database
    handshakes: Handshakes
    resync: RoomResync
    join_invited: JoinInvited
    end_join: EndJoin


@frozen
class TaskStores:
    """What the steps of tasks work with. `retention` None: messages are kept for ever."""

    appender: EventAppender
    events: EventStore
    state: StateStore
    clock: Clock
    server_name: str
    media: MediaStores
    others: OtherServers
    task_retention_ms: int
    redaction_retention_ms: int | None
    forgotten_room_retention_ms: int | None = None
    audit_log_retention_ms: int | None = None
    stale_device_ms: int | None = None
    address_ms: int | None = None
    retention: RetentionPolicy | None = None
    retention_jobs: tuple[RetentionJob, ...] = ()


@frozen
class Binding:
    """One line of the catalogue: a task, and how to build what runs it."""

    spec: TaskSpec[Any, Any]
    build: Callable[[TaskStores], TransactionalTask[Any, Any]]


@frozen
class FollowerBinding:
    """The other kind of line: a follower, and how to build what runs it."""

    spec: FollowerSpec
    build: Callable[[TaskStores], DatabaseFollower | Delivery]


@frozen
class Registered:
    """A task, and what runs it here."""

    spec: TaskSpec[Any, Any]
    handler: TransactionalTask[Any, Any]


class TaskRegistry:
    """Handlers by (action, version), and followers by name."""

    def __init__(self) -> None:
        self._registered: dict[Capability, Registered] = {}
        self._followers: dict[str, RegisteredFollower] = {}
        self._frozen = False

    def register(self, spec: TaskSpec[P, C], handler: TransactionalTask[P, C]) -> None:
        """For its version, and for those from which its upcasts lead to it.

        `RegistryError` after `freeze`, for a second handler of the same action and version, and for a
        gap between the versions.
        """
        self._add(_registrations(spec, handler))

    def register_all(self, bindings: "Iterable[Entry]", stores: TaskStores) -> None:
        """All of them, or none when one of them raises."""
        tasks: list[tuple[Capability, Registered]] = []
        followers: list[RegisteredFollower] = []
        for binding in bindings:
            if isinstance(binding, FollowerBinding):
                followers.append(RegisteredFollower(binding.spec, binding.build(stores)))
            else:
                tasks += _registrations(binding.spec, binding.build(stores))
        self._add(tasks, followers)

    def register_follower(self, follower: RegisteredFollower) -> None:
        """`RegistryError` after `freeze`, and for a second one of that name."""
        self._add((), [follower])

    def _add(
        self,
        registrations: Sequence[tuple[Capability, Registered]],
        followers: Sequence[RegisteredFollower] = (),
    ) -> None:
        known, known_followers = dict(self._registered), dict(self._followers)
        for (action, version), registered in registrations:
            if self._frozen:
                raise RegistryError(f"{action}/{version} is registered after the scheduler was built")
            if (action, version) in known:
                raise RegistryError(f"{action}/{version} is registered twice")
            known[action, version] = registered
        for follower in followers:
            name = follower.spec.name
            if self._frozen:
                raise RegistryError(f"follower {name} is registered after the scheduler was built")
            if name in known_followers:
                raise RegistryError(f"follower {name} is registered twice")
            known_followers[name] = follower
        self._registered, self._followers = known, known_followers

    def freeze(self) -> "TaskRegistry":
        self._frozen = True
        return self

    def followers(self) -> list[RegisteredFollower]:
        return list(self._followers.values())

    def follower_keys(self) -> dict[FollowerKey, bool]:
        """Each shard of each follower, and whether it begins at the end of the stream."""
        specs = [follower.spec for follower in self._followers.values()]
        return {(spec.name, shard): spec.from_now for spec in specs for shard in range(spec.shards)}

    def capabilities(self) -> frozenset[Capability]:
        return frozenset(self._registered)

    def get(self, action: str, version: int) -> Registered:
        """`RegistryError` when it is not registered here."""
        try:
            return self._registered[action, version]
        except KeyError:
            raise RegistryError(f"{action}/{version} is not registered here") from None

    def periodic_tasks(self) -> list[tuple[TaskSpec[Any, Any], PeriodicTask[Any]]]:
        """What the registered tasks are to do again and again, in order of registration."""
        return [
            (registered.spec, periodic)
            for (_, version), registered in self._registered.items()
            if version == registered.spec.version
            for periodic in _periodic_tasks(registered)
        ]


def _periodic_tasks(registered: Registered) -> list[PeriodicTask[Any]]:
    configured = (
        registered.handler.periodic_tasks() if isinstance(registered.handler, HasPeriodicTasks) else ()
    )
    return [*registered.spec.periodic_tasks(), *configured]


def _registrations(
    spec: TaskSpec[P, C], handler: TransactionalTask[P, C]
) -> list[tuple[Capability, Registered]]:
    versions = spec.versions
    if versions != list(range(versions[0], versions[0] + len(versions))):
        raise RegistryError(f"{spec.action}: a gap in the versions {versions}")
    return [((spec.action, version), Registered(spec, handler)) for version in versions]


Entry = Binding | FollowerBinding
Catalogue = tuple[Entry, ...]

CATALOGUE: Catalogue = (
    Binding(NOOP, lambda _: Noop()),
    Binding(
        REDACT_ALL_EVENTS,
        lambda s: RedactAllEvents(s.appender, s.events, s.state, s.clock, s.server_name),
    ),
    Binding(
        WITHDRAW_INVITES, lambda stores: WithdrawInvites(stores.appender, stores.clock, stores.server_name)
    ),
    Binding(REDACT_USERS, lambda _: REDACT_EACH_USER),
    Binding(REMOVE_GUESTS, lambda s: RemoveGuests(s.appender, s.events, s.state, s.clock, s.server_name)),
    Binding(
        REDACT_ON_BAN,
        lambda s: RedactOnBanTask(
            s.events, RedactOnBan(s.events, s.state), TakenBackRedactions(s.events, s.state)
        ),
    ),
    Binding(periodic.PRUNE_TASKS, lambda s: periodic.prune_tasks(s.task_retention_ms)),
    Binding(
        periodic.ERASE_REDACTED, lambda s: periodic.erase_redacted_events(s.clock, s.redaction_retention_ms)
    ),
    Binding(periodic.EXPIRE_SESSIONS, lambda s: periodic.expire_sessions(s.clock)),
    Binding(
        periodic.DELETE_STALE_DEVICES, lambda s: periodic.delete_stale_devices(s.clock, s.stale_device_ms)
    ),
    Binding(periodic.FORGET_ADDRESSES, lambda s: periodic.forget_addresses(s.clock, s.address_ms)),
    Binding(PRUNE_DEVICES, lambda _: PruneDevices()),
    Binding(DELETE_OLD_OTKS, lambda _: DeleteOldKeys()),
    Binding(DELETE_DEVICE_MESSAGES, lambda _: DeleteDeviceMessages()),
    Binding(CARRY_BANS, lambda s: CarryBans(BanCarrier(s.appender, s.events, s.clock))),
    Binding(RESYNC_ROOM, lambda s: ResyncRoom(s.others.resync)),
    Binding(ACCEPT_INVITE, lambda s: AcceptInvite(s.others.join_invited)),
    Binding(FINISH_JOIN, lambda s: FinishJoin(s.others.end_join)),
    Binding(RETRY_LEAVE, lambda s: RetryLeave(s.others.database, s.others.handshakes)),
    Binding(UPDATE_JOIN_STATES, lambda s: UpdateJoinStates(s.appender, s.events, s.clock)),
    Binding(DEACTIVATE_USER, lambda s: DeactivateUser(s.appender, s.clock)),
    Binding(ERASE_USER, lambda _: EraseUser()),
    Binding(ERASE_USERS, lambda _: ERASE_EACH_USER),
    Binding(
        periodic.EXPIRE_AUDIT_LOG, lambda s: periodic.expire_audit_log(s.clock, s.audit_log_retention_ms)
    ),
    Binding(periodic.TRIM_STREAM, lambda s: periodic.trim_stream(s.clock)),
    Binding(
        periodic.PURGE_FORGOTTEN_ROOMS,
        lambda s: periodic.purge_forgotten_rooms(s.clock, s.server_name, s.forgotten_room_retention_ms),
    ),
    Binding(SHUTDOWN_AND_PURGE_ROOM, lambda s: ShutdownAndPurgeRoom(s.appender, s.clock, s.server_name)),
    Binding(SHUTDOWN_ROOMS, lambda _: SHUTDOWN_EACH_ROOM),
    Binding(PURGE_ROOM, lambda s: PurgeRoom(s.clock, s.server_name)),
    Binding(PURGE_HISTORY, lambda s: PurgeHistory(s.server_name)),
    Binding(
        PURGE_EXPIRED_MESSAGES,
        lambda s: PurgeExpiredMessages(s.clock, s.retention, s.retention_jobs),
    ),
    Binding(CLEAN_MEDIA, lambda s: clean_media(s.clock, s.media.blobs, s.media.incoming)),
    Binding(AUDIT_MEDIA, lambda s: AuditMedia(s.clock, s.media.blobs)),
    Binding(EXPIRE_MEDIA, lambda s: expire_media(s.clock, s.server_name, s.media.lifetimes)),
    Binding(EVICT_MEDIA, lambda s: EvictMedia(s.clock, s.server_name, s.media.max_cached_bytes)),
    Binding(DELETE_MEDIA, lambda s: DeleteMedia(s.clock, s.server_name)),
    Binding(REBUILD, lambda _: Rebuild()),
    Binding(QUARANTINE_MEDIA, lambda s: QuarantineMedia(s.clock, s.server_name)),
    FollowerBinding(STATISTICS, lambda _: Statistics()),
    FollowerBinding(SEARCH, lambda s: SearchIndex(s.events)),
    FollowerBinding(USER_DIRECTORY, lambda s: UserDirectory(s.events, s.server_name)),
)
