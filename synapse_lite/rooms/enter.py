"""Entering a room in which this server has nobody yet, or nobody any more (server-server API, "Joining Rooms").

The state before the join comes from another server, whole. It takes the place of whatever was known of the room's
state; history between what was known and the join is a gap, to be filled when somebody reads it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import evolve, frozen

from synapse_lite.clock import Clock
from synapse_lite.errors import SynapseLiteError, forbidden
from synapse_lite.ids import is_local
from synapse_lite.matrix.auth_rules.state import CREATE
from synapse_lite.matrix.event import Event, StateKey
from synapse_lite.matrix.room_versions import RoomVersion
from synapse_lite.matrix.server_acl import is_server_allowed
from synapse_lite.matrix.types import MEMBER, SERVER_ACL
from synapse_lite.rooms.batch import Batch, BatchStore
from synapse_lite.rooms.heads import Head
from synapse_lite.rooms.judge import (
    Judged,
    all_of,
    judge_by_auth_events,
    judge_by_state,
    judge_chain,
    judged_earlier,
)
from synapse_lite.rooms.outliers import new_outliers
from synapse_lite.rooms.resolution import StateAt, StateResolver
from synapse_lite.rooms.tips import missing_below
from synapse_lite.rooms.values import Contributor, StateDelta
from synapse_lite.storage import staged_events
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore, NewEvent, StoredEvent
from synapse_lite.storage.heads import RoomHead, describe_room, know_and_lock, read_head
from synapse_lite.storage.nids import NidSequence
from synapse_lite.storage.partial_rooms import forget_partial, insert_partial
from synapse_lite.storage.room_servers import before_join, is_in_room
from synapse_lite.storage.rooms import Room, room_by_id
from synapse_lite.storage.state import EMPTY, REMOVED, NidMap, StateStore
from synapse_lite.storage.stream import Kind
from synapse_lite.storage.stripped_state import forget_stripped


@frozen
class Entry:
    """The join of a user of this server, with the state before it and all that the two lean on, in any order.

    Formats, hashes and signatures are checked; `state` has a create event, and no key twice.

    `servers`: most members are left out of the state, and these servers were in the room; None: it is whole.
    """

    version: RoomVersion
    join: Event
    state: Sequence[Event]
    auth_chain: Sequence[Event]
    servers: Sequence[str] | None = None


@frozen
class Acquaintance:
    """`is_ours`: somebody of this server is in the room. `has_state`: whatever its age; who enters such a room anew needs all of it."""

    is_ours: bool
    has_state: bool


class LeftMeanwhileError(SynapseLiteError):
    """The user has joined, and has left again through another process, which had its answer first."""


@frozen
class _Known:
    """What the entry names: as it is judged, and the nids of what is stored."""

    judged: Mapping[str, Judged]
    nids: Mapping[str, int]
    placed: Mapping[str, StoredEvent]


class RoomEntrance:
    """`contributors` write what else belongs to new events. `server_name` is ours.

    `on_partial` sees to it, in the transaction of the join, that what was left out of the state is filled in.
    """

    def __init__(
        self,
        database: Database,
        events: EventStore,
        state: StateStore,
        clock: Clock,
        contributors: Sequence[Contributor],
        server_name: str,
        on_partial: Callable[[Transaction, Room], object],
    ) -> None:
        self._database = database
        self._events = events
        self._state = state
        self._clock = clock
        self._resolver = StateResolver(events, state)
        self._store = BatchStore(events, clock, contributors)
        self._nids = NidSequence("event_nids")
        self._server_name = server_name
        self._on_partial = on_partial

    async def acquaintance(self, room_id: str) -> Acquaintance:
        return await self._database.read(self._acquaintance, room_id)

    async def enter(self, entry: Entry) -> StoredEvent | None:
        """The join as stored; None when somebody of this server is in the room: then it is an event like others.

        403 `M_FORBIDDEN` when the state does not allow the join, `MissingEventsError` for auth events that are
        not in the entry, `LeftMeanwhileError`, 404 for a room that is being purged.
        """
        return await self._database.transact(self._enter, entry)

    def _acquaintance(self, txn: Transaction, room_id: str) -> Acquaintance:
        room = room_by_id(txn, room_id)
        if room is None:
            return Acquaintance(is_ours=False, has_state=False)
        head = read_head(txn, room.nid)
        has_state = head is not None and head.snapshot_nid != EMPTY
        return Acquaintance(is_in_room(txn, room.nid, self._server_name), has_state)

    def _enter(self, txn: Transaction, entry: Entry) -> StoredEvent | None:
        head = know_and_lock(txn, entry.join.room_id, entry.version, self._clock.now_ms())
        room = head.room
        is_ours, left_nid = before_join(txn, room.nid, self._server_name, entry.join.sender)
        if is_ours:
            return None
        if left_nid is not None:
            self._check_not_left(txn, left_nid, entry.join)
        head = self._described(txn, head, entry)
        batch = Batch({})
        known = self._know(txn, batch, head, entry)
        state = _state_before(entry, known)
        stored = self._place(txn, head, entry, known, state)
        auth_nids = [known.nids[event_id] for event_id in stored.event.auth_events]
        batch.new.append(NewEvent(stored, auth_nids))
        batch.gaps[stored.nid] = self._gaps(txn, known, entry.join)
        now = {**_nids(known, state), stored.event.key: stored.nid}
        self._move_head(txn, batch, head, stored, now)
        self._store.store(txn, batch)
        _sift(txn, room, state.get((SERVER_ACL, "")))
        forget_stripped(txn, room.nid)
        forget_partial(txn, room.nid)
        if entry.servers is not None and stored.before_nid is not None:
            insert_partial(txn, room.nid, stored.nid, stored.before_nid, entry.servers)
            self._on_partial(txn, room)
        return stored

    def _check_not_left(self, txn: Transaction, left_nid: int, join: Event) -> None:
        """What the user does through another process is ordered by the room alone: a leave names the join that it ends."""
        leave = self._events.load(txn, [left_nid])[left_nid].event
        if join.event_id in (*leave.auth_events, *leave.prev_events):
            raise LeftMeanwhileError(f"{join.sender} has left {join.room_id} meanwhile")

    def _described(self, txn: Transaction, head: RoomHead, entry: Entry) -> RoomHead:
        """Whoever invited somebody here may have told the wrong version of the room; its create event decides."""
        create = _create_of(entry)
        describe_room(txn, head.room.nid, entry.version, create.sender, create.origin_server_ts)
        if head.room.version is entry.version:
            return head
        txn.publish(Kind.ROOM_GONE, room_nid=head.room.nid)
        return evolve(head, room=evolve(head.room, version=entry.version))

    def _know(self, txn: Transaction, batch: Batch, head: RoomHead, entry: Entry) -> _Known:
        """Judge what was given, and put it into the batch."""
        given = {one.event_id: one for one in (*entry.auth_chain, *entry.state)}
        given.pop(entry.join.event_id, None)
        named = {event_id for one in (*given.values(), entry.join) for event_id in one.auth_events}
        stored = {
            event_id: one
            for event_id, one in self._events.by_ids(
                txn, named | given.keys() | set(entry.join.prev_events)
            ).items()
            if one.room_nid == head.room.nid
        }
        judged = judge_chain(judged_earlier(stored), list(given.values()), _create_of(entry))
        nids = {event_id: one.nid for event_id, one in stored.items()}
        batch.new += new_outliers(txn, self._nids, head.room.nid, list(judged.values()), nids)
        nids |= {new.stored.event_id: new.stored.nid for new in batch.new}
        placed = {event_id: one for event_id, one in stored.items() if one.is_placed}
        return _Known(judged_earlier(stored) | judged, nids, placed)

    def _gaps(self, txn: Transaction, known: _Known, join: Event) -> list[str]:
        """What is not known right below the join, and below soft-failed events that it follows."""
        previous = [known.placed[one] for one in join.prev_events if one in known.placed]
        below = missing_below(txn, self._events, previous)
        return sorted(below.union(join.prev_events).difference(known.placed))

    def _place(
        self, txn: Transaction, head: RoomHead, entry: Entry, known: _Known, state: Mapping[StateKey, Event]
    ) -> StoredEvent:
        """The join, with the state around it."""
        join, room_nid = entry.join, head.room.nid
        auth_events = all_of(known.judged, join.auth_events)
        reason = judge_by_auth_events(join, auth_events, _create_of(entry)) or judge_by_state(join, state)
        if reason is not None:
            raise forbidden(f"The room does not let you in: {reason}")
        nids, nid = _nids(known, state), self._nids.next(txn)
        if entry.servers is None:
            before = self._resolver.near(txn, head.snapshot_nid, nids)
            before_nid = self._resolver.store(txn, room_nid, before)
            after_nid = self._resolver.store(txn, room_nid, StateAt(before_nid).changed({join.key: nid}))
        else:
            key_nids = self._state.have_keys(txn, [*nids.keys() | {join.key}])
            entries = {key_nids[key]: one for key, one in nids.items()}
            before_nid = self._state.insert_growing(txn, room_nid, entries)
            after_nid = self._state.derive(txn, room_nid, before_nid, {key_nids[join.key]: nid})
        return StoredEvent(nid, room_nid, join, before_nid, after_nid, nids.get(join.key))

    def _move_head(
        self, txn: Transaction, batch: Batch, head: RoomHead, stored: StoredEvent, now: NidMap
    ) -> None:
        """The join is the only extremity; what differs from the state that was known is what changed."""
        before = self._state.whole(txn, head.snapshot_nid)
        deltas = self._deltas(txn, [*_stored(batch), stored], before, now, stored)
        batch.deltas[stored.nid] = [one for one in deltas if self._is_told(one, stored)]
        batch.found[stored.nid] = [one for one in deltas if not self._is_told(one, stored)]
        depth = max(head.depth, stored.event.depth)
        batch.moved[head.room.nid] = Head(
            head.room, [stored], depth, stored.after_nid or 0, last_nid=stored.nid
        )

    def _deltas(
        self, txn: Transaction, new: Iterable[StoredEvent], before: Mapping[StateKey, int],
        now: Mapping[StateKey, int], cause: StoredEvent,
    ) -> list[StateDelta]:  # fmt: skip
        changed = [key for key in now.keys() | before.keys() if now.get(key) != before.get(key)]
        events = {one.nid: one for one in new}
        nids = {nid for key in changed for nid in (now.get(key), before.get(key)) if nid is not None}
        events |= self._events.load(txn, nids - events.keys())
        return [
            StateDelta(key, events.get(now.get(key, REMOVED)), events.get(before.get(key, REMOVED)), cause)
            for key in sorted(changed)
        ]

    def _is_told(self, delta: StateDelta, join: StoredEvent) -> bool:
        """Of the join itself, and of what else became of users of ours."""
        kind, user_id = delta.key
        return delta.event is join or (kind == MEMBER and is_local(user_id, self._server_name))


def _state_before(entry: Entry, known: _Known) -> dict[StateKey, Event]:
    """What is good of what was given."""
    state = {one.key: one for one in entry.state if _is_good(known, one)}
    return state if entry.servers is None else {**_members_named(known, entry.join), **state}


def _nids(known: _Known, state: Mapping[StateKey, Event]) -> NidMap:
    return {key: known.nids[one.event_id] for key, one in state.items()}


def _members_named(known: _Known, join: Event) -> dict[StateKey, Event]:
    """Of whom the join's auth events speak: of who lets the user in, and of the user."""
    events = (known.judged[one].event for one in join.auth_events if one in known.judged)
    return {one.key: one for one in events if one.type == MEMBER and _is_good(known, one)}


def _sift(txn: Transaction, room: Room, acl: Event | None) -> None:
    """Let go what servers sent meanwhile that the room shuts out: its ACL was not known when they spoke."""
    if acl is None:
        return
    origins = staged_events.origins(txn, room.room_id)
    shut_out = [one for one in origins if not is_server_allowed(acl.content, one)]
    if shut_out:
        staged_events.unstage_of(txn, room.room_id, shut_out)


def _create_of(entry: Entry) -> Event:
    return next(one for one in entry.state if one.key == CREATE)


def _is_good(known: _Known, event: Event) -> bool:
    """Whether all that the event leans on was there, and allows it."""
    judged = known.judged.get(event.event_id)
    return judged is not None and judged.rejected is None


def _stored(batch: Batch) -> list[StoredEvent]:
    return [one.stored for one in batch.new]
