"""Heads in memory: what is known of a room while a transaction adds events to it.

A room has one head, at which its forward extremities meet. A redaction that must hang on the past of the
room (see `Write.point`) gets a head of its own there.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

from attrs import define, field, frozen

from synapse_lite.matrix.auth_rules import needed_keys
from synapse_lite.matrix.auth_rules.state import POWER_LEVELS
from synapse_lite.matrix.event import Draft, Event, StateKey
from synapse_lite.matrix.policy import POLICY
from synapse_lite.matrix.room_versions import RoomVersion
from synapse_lite.rooms.values import Point, Write
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.heads import RoomHead, deepest_events
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.state import REMOVED, StateStore

logger = logging.getLogger(__name__)

AUTH_CACHE = 100_000  # entries
LOOKED_AT = 100  # events among which lost ends of a room are replaced
TOLD_ROOMS = 1000


@define
class Head:
    """`tips` are the events to follow, `state` is what is known of the state after them.

    `is_damaged`: nothing can be built on it, since the events are lost that it stands on, or that say who may do what.
    """

    room: Room
    tips: list[StoredEvent]
    depth: int
    snapshot_nid: int
    is_blocked: bool = False
    is_damaged: bool = False
    state: dict[StateKey, StoredEvent] = field(factory=dict)
    last_nid: int | None = None

    def some(self, keys: Iterable[StateKey]) -> dict[StateKey, Event]:
        return {key: self.state[key].event for key in keys if key in self.state}

    def advance(self, stored: StoredEvent) -> None:
        """Make the event the end of what it follows."""
        followed = set(stored.event.prev_events)
        self.tips = [tip for tip in self.tips if tip.event.event_id not in followed] + [stored]
        self.depth = max(self.depth, stored.event.depth)
        self.last_nid = stored.nid
        if stored.event.is_state:
            self.state[stored.event.key] = stored


@frozen
class Heads:
    """The heads of rooms by nid, and those at points of their past."""

    rooms: dict[int, Head]
    points: dict[tuple[int, Point], Head]

    def of(self, write: Write) -> Head | None:
        """None: the room is unknown, or the events at the point are gone."""
        if write.point is None:
            return self.rooms.get(write.room_nid)
        return self.points.get((write.room_nid, write.point))


class HeadReader:
    """Reads what belongs to the heads of rooms, with the state by which writes are judged."""

    def __init__(self, events: EventStore, state: StateStore) -> None:
        self._events = events
        self._state = state
        self._current: Cache[tuple[int, StateKey], int] = Cache(AUTH_CACHE)  # by snapshot
        self._told: Cache[int, Sequence[int]] = Cache(TOLD_ROOMS)  # whose ends are lost, and which ends

    def read(self, txn: Transaction, writes: Collection[Write], rows: Sequence[RoomHead]) -> Heads:
        """`rows` are locked; writes to other rooms have no head."""
        rooms = {row.room.nid: row for row in rows}
        current, past = _wanted(writes, rooms)
        states = {nid: self.current(txn, row, current.get(nid, ())) for nid, row in rooms.items()}
        states_past = {
            place: self._state.at(txn, place[1].snapshot_nid, keys) for place, keys in past.items()
        }
        nids = {nid for row in rows for nid in row.extremities}
        nids.update(nid for _, point in past for nid in point.prev_nids)
        nids.update(nid for state in (*states.values(), *states_past.values()) for nid in state.values())
        events = self._events.load(txn, nids)
        heads = {nid: self._head(txn, row, states[nid], events) for nid, row in rooms.items()}
        points = {
            (nid, point): _head_at(rooms[nid], point, state, events)
            for (nid, point), state in states_past.items()
            if all(prev_nid in events for prev_nid in point.prev_nids)  # a purge may have taken them
        }
        return Heads(heads, points)

    def read_one(self, txn: Transaction, row: RoomHead, keys: Collection[StateKey]) -> Head:
        """The head of a locked room, with some of its state."""
        state = self.current(txn, row, keys)
        return self._head(txn, row, state, self._events.load(txn, [*row.extremities, *state.values()]))

    def current(self, txn: Transaction, head: RoomHead, keys: Collection[StateKey]) -> dict[StateKey, int]:
        """Current state events; the snapshot's nid names the state, so that what was read once is known.

        Of a head that is not locked they are read by its snapshot: the room may have moved on.
        """
        snapshot_nid = head.snapshot_nid
        known = self._current.find((snapshot_nid, key) for key in keys)
        missing = [key for key in keys if (snapshot_nid, key) not in known]
        found = {key: nid for (_, key), nid in known.items()}
        if missing:
            read = self._read_current(txn, head, missing)
            for key in missing:
                found[key] = read.get(key, REMOVED)
                self._current.put((snapshot_nid, key), found[key])
        return {key: nid for key, nid in found.items() if nid != REMOVED}

    def read_ahead(
        self, txn: Transaction, head: RoomHead, keys: Collection[StateKey], events: Collection[int]
    ) -> None:
        """Without the room's lock: its ends, the current state and the `events` are in memory for who locks it then.

        When the room has moved on, that state is only read again.
        """
        state = self.current(txn, head, keys)
        self._events.load(txn, {*head.extremities, *events, *state.values()})

    def _read_current(
        self, txn: Transaction, head: RoomHead, keys: Collection[StateKey]
    ) -> Mapping[StateKey, int]:
        if not head.is_locked:
            return self._state.at(txn, head.snapshot_nid, keys)
        read = self._state.current(txn, [(head.room.nid, key) for key in keys])
        return {key: nid for (_, key), nid in read.items()}

    def _head(
        self,
        txn: Transaction,
        row: RoomHead,
        state: Mapping[StateKey, int],
        events: Mapping[int, StoredEvent],
    ) -> Head:
        tips = [events[nid] for nid in row.extremities if nid in events]
        if len(tips) < len(row.extremities):
            self._tell_lost(row)
            tips = self._ends(txn, row)
        known = {key: events[nid] for key, nid in state.items() if nid in events}
        is_damaged = not tips or POWER_LEVELS in state.keys() - known.keys()
        return Head(row.room, tips, row.depth, row.snapshot_nid, row.is_blocked, is_damaged, known)

    def _tell_lost(self, row: RoomHead) -> None:
        """Once: until an event is added, every reading finds the same."""
        if self._told.get(row.room.nid) != row.extremities:
            self._told.put(row.room.nid, row.extremities)
            logger.error("ends of room %s are lost; it goes on from what nothing follows", row.room.room_id)

    def _ends(self, txn: Transaction, row: RoomHead) -> list[StoredEvent]:
        """Those of the deepest events that none of them follows."""
        deepest = self._events.load(txn, deepest_events(txn, row.room.nid, LOOKED_AT)).values()
        followed = {event_id for stored in deepest for event_id in stored.event.prev_events}
        return [stored for stored in deepest if stored.event_id not in followed]


def draft_needs(draft: Draft, version: RoomVersion) -> list[StateKey]:
    """The state by which a draft is judged, and, for a state event, what it replaces."""
    needed = needed_keys(draft.type, draft.sender, draft.state_key, draft.content, version)
    return needed if draft.state_key is None else [*needed, (draft.type, draft.state_key)]


_CurrentKeys = dict[int, set[StateKey]]
_PastKeys = dict[tuple[int, Point], set[StateKey]]


def _wanted(writes: Iterable[Write], rooms: Mapping[int, RoomHead]) -> tuple[_CurrentKeys, _PastKeys]:
    """The keys of the state by which the writes are judged."""
    current: _CurrentKeys = {}
    past: _PastKeys = {}
    for write in writes:
        if write.room_nid not in rooms:
            continue
        needs = draft_needs(write.draft, rooms[write.room_nid].room.version)
        if write.asks_policy:
            needs = [*needs, POLICY]
        if write.point is None:
            current.setdefault(write.room_nid, set()).update(needs)
        else:
            past.setdefault((write.room_nid, write.point), set()).update(needs)
    return current, past


def _head_at(
    row: RoomHead, point: Point, state: Mapping[StateKey, int], events: Mapping[int, StoredEvent]
) -> Head:
    tips = [events[nid] for nid in point.prev_nids]
    depth = max(tip.event.depth for tip in tips)
    known = {key: events[nid] for key, nid in state.items() if nid in events}
    return Head(row.room, tips, depth, point.snapshot_nid, row.is_blocked, False, known)
