"""History that is fetched later: events before those that are known, each with the state around it.

They are judged as they would have been then, by their auth events and by the state before them. What the room is now does
not concern them: no head moves, nobody is told, only pages of the past show them.
"""

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from synapse_lite.clock import Clock
from synapse_lite.errors import not_found
from synapse_lite.matrix.event import Event, StateKey
from synapse_lite.matrix.types import CREATE, DUMMY
from synapse_lite.rooms.judge import judge_by_auth_events, judge_by_state, judged_earlier, needs_of
from synapse_lite.rooms.late_redactions import LateRedactions, state_after
from synapse_lite.rooms.redact_on_ban import RedactOnBan
from synapse_lite.rooms.resolution import StateAt, StateResolver
from synapse_lite.rooms.tips import fill_gaps, missing_below
from synapse_lite.rooms.values import Contributor, Written
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore, NewEvent, Standing, StoredEvent
from synapse_lite.storage.heads import RoomHead, lock_heads
from synapse_lite.storage.nids import NidSequence
from synapse_lite.storage.room_gaps import PlacedHistory, insert_gap, place_history
from synapse_lite.storage.state import StateStore


@frozen
class Past:
    """Events, causes first, that fill a gap at a position; signatures and hashes are checked.

    `states` are the states before those of which not all previous events are known: event nids by key.
    """

    room_nid: int
    position: int
    events: Sequence[Event]
    states: Mapping[str, Mapping[StateKey, int]] = field(factory=dict)


@frozen
class _Filling:
    """What is written so far; `known` is all that the events name, by id."""

    head: RoomHead
    create: Event
    known: dict[str, StoredEvent]
    placed: list[StoredEvent] = field(factory=list)
    redacted: dict[int, StoredEvent] = field(factory=dict)


class HistoryFiller:
    """`contributors` write what belongs to events of the past."""

    def __init__(
        self,
        database: Database,
        events: EventStore,
        state: StateStore,
        clock: Clock,
        contributors: Sequence[Contributor],
    ) -> None:
        self._database = database
        self._events = events
        self._state = state
        self._clock = clock
        self._contributors = contributors
        self._resolver = StateResolver(events, state)
        self._redactions = LateRedactions(events, self._resolver)
        self._bans = RedactOnBan(events, state)
        self._nids = NidSequence("event_nids")

    async def fill(self, past: Past) -> list[str]:
        """The ids of the events that have their place now, those of earlier included; what cannot be judged is left out."""
        return await self._database.transact(self._fill, past)

    def _fill(self, txn: Transaction, past: Past) -> list[str]:
        heads = lock_heads(txn, [past.room_nid], even_closed=False)
        if not heads:
            raise not_found("Unknown room")
        filling = self._begin(txn, heads[0], past)
        for event in past.events:
            known = filling.known.get(event.event_id)
            if known is None or not known.is_placed:
                self._place(txn, filling, past, event, known)
        self._write(txn, filling, past)
        return [one.event_id for one in past.events if _is_placed(filling.known.get(one.event_id))]

    def _begin(self, txn: Transaction, head: RoomHead, past: Past) -> _Filling:
        named = {
            event_id
            for event in past.events
            for event_id in (event.event_id, *event.prev_events, *event.auth_events, event.redacts)
            if event_id is not None
        }
        known = {
            event_id: one
            for event_id, one in self._events.by_ids(txn, named).items()
            if one.room_nid == past.room_nid
        }
        nids = self._resolver.some(txn, StateAt(head.snapshot_nid), [(CREATE, "")])
        create = self._events.load(txn, list(nids.values()))[nids[CREATE, ""]].event
        return _Filling(head, create, known)

    def _place(
        self, txn: Transaction, filling: _Filling, past: Past, event: Event, known: StoredEvent | None
    ) -> None:
        """Give the event its place, if all that it leans on is known."""
        auth_events = [filling.known[one] for one in event.auth_events if one in filling.known]
        before = self._state_before(txn, filling, past, event)
        if before is None or len(auth_events) < len(event.auth_events):
            return
        reason = self._judge(txn, filling, event, auth_events, before)
        standing = Standing.ACCEPTED if reason is None else Standing.REJECTED
        nid = known.nid if known else self._nids.next(txn)
        replaced = self._resolver.some(txn, before, [event.key]).get(event.key) if event.is_state else None
        before_nid = self._resolver.store(txn, past.room_nid, before)
        after_nid = before_nid
        if event.is_state and reason is None:
            after_nid = self._resolver.store(
                txn, past.room_nid, StateAt(before_nid).changed({event.key: nid})
            )
        stored = StoredEvent(nid, past.room_nid, event, before_nid, after_nid, replaced, standing=standing)
        if known is not None:
            self._events.promote(txn, stored, reason)
        else:
            new = NewEvent(stored, [one.nid for one in auth_events], reason)
            self._events.insert(txn, [new], self._clock.now_ms())
        filling.known[event.event_id] = stored
        if reason is None:
            filling.placed.append(stored)
            self._redact(txn, filling, stored)

    def _state_before(self, txn: Transaction, filling: _Filling, past: Past, event: Event) -> StateAt | None:
        given = past.states.get(event.event_id)
        if given is not None:
            return self._resolver.near(txn, filling.head.snapshot_nid, given)
        if event.type == CREATE and event.event_id == filling.create.event_id:
            return StateAt(0)
        previous = [filling.known.get(one) for one in event.prev_events]
        states = [state_after(one) for one in previous if one is not None and one.after_nid is not None]
        if len(states) < len(previous) or not states:
            return None
        return self._resolver.resolve(txn, filling.head.room.version, states, {})

    def _judge(
        self, txn: Transaction, filling: _Filling, event: Event, auth_events: Sequence[StoredEvent], before: StateAt
    ) -> str | None:  # fmt: skip
        judged = judged_earlier({one.event_id: one for one in auth_events})
        reason = judge_by_auth_events(event, list(judged.values()), filling.create)
        if reason is not None or event.type == CREATE:
            return reason
        nids = self._resolver.some(txn, before, needs_of(event))
        stored = self._events.load(txn, list(nids.values()))
        return judge_by_state(event, {key: stored[nid].event for key, nid in nids.items() if nid in stored})

    def _redact(self, txn: Transaction, filling: _Filling, stored: StoredEvent) -> None:
        """What it redacts."""
        target = filling.known.get(stored.event.redacts) if stored.event.redacts else None
        if target is not None and self._redactions.applies(txn, stored, state_after(stored), target):
            filling.redacted[stored.nid] = target

    def _write(self, txn: Transaction, filling: _Filling, past: Past) -> None:
        written = Written(filling.placed, filling.known, filling.redacted, {})
        for contribute in self._contributors:
            contribute(txn, written)
        for stored in filling.placed:
            self._redactions.link(txn, stored)
        self._bans.redact_late(txn, filling.placed)
        known = {event_id: one for event_id, one in filling.known.items() if one.is_placed}
        gaps = {one.nid: self._missing(txn, known, one.event) for one in filling.placed}
        newest_first = [
            PlacedHistory(one.nid, _nid(filling.redacted.get(one.nid)))
            for one in reversed(filling.placed)
            if one.event.type != DUMMY or one.event.is_state or gaps[one.nid]  # a gap is found by its place
        ]
        place_history(txn, past.room_nid, past.position, newest_first)
        fill_gaps(txn, self._events, past.room_nid, known.values())
        for nid, missing in gaps.items():
            for event_id in missing:
                insert_gap(txn, past.room_nid, event_id, nid, past.position)

    def _missing(self, txn: Transaction, known: Mapping[str, StoredEvent], event: Event) -> set[str]:
        """What is not known right below the event."""
        previous = [known[one] for one in event.prev_events if one in known]
        below = missing_below(txn, self._events, previous)
        return below.union(event.prev_events).difference(known)


def _is_placed(stored: StoredEvent | None) -> bool:
    return stored is not None and stored.is_placed


def _nid(stored: StoredEvent | None) -> int | None:
    return None if stored is None else stored.nid
