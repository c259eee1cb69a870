"""Rooms as another program has kept them for this server: their whole history, with the state around each event.

What was decided then stands: events are not judged again. They are stored, and what belongs to events with them, as if
they came one after the other.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from attrs import define, field, frozen

from synapse_lite.clock import Clock
from synapse_lite.matrix.event import Event, StateKey
from synapse_lite.matrix.room_versions import RoomVersion
from synapse_lite.matrix.types import CREATE
from synapse_lite.rooms.batch import Batch, BatchStore, record_deltas
from synapse_lite.rooms.heads import Head
from synapse_lite.rooms.late_redactions import LateRedactions, state_after
from synapse_lite.rooms.resolution import StateAt, StateResolver
from synapse_lite.rooms.values import Contributor, StateDelta, Written
from synapse_lite.storage.auth_chain import lean_on
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, NewEvent, Standing, StoredEvent
from synapse_lite.storage.heads import MovedHead, describe_room, know_and_lock, lock_heads, write_heads
from synapse_lite.storage.nids import NidSequence
from synapse_lite.storage.redactions import targets_awaited
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.state import REMOVED, StateStore
from synapse_lite.storage.stream import Kind


@frozen
class GivenEvent:
    """An event as it was kept. `group` names the state after it; None: that is not known. `rejected`: why."""

    event: Event
    standing: Standing
    rejected: str | None
    received_ts: int
    group: int | None


@frozen
class GivenState:
    """A state by the ids of its events, over the state of the group `base` if there is one."""

    base: int | None
    event_ids: Mapping[StateKey, str]


StateOf = Callable[[int], GivenState]
"""The state of a group."""


@define
class Arriving:
    """A room that is being taken over: which snapshots stand for groups, by number. `left_out` are ids of events."""

    room: Room
    state_of: StateOf
    snapshots: dict[int, int] = field(factory=dict)
    left_out: list[str] = field(factory=list)

    def mark(self) -> tuple[int, int]:
        """For `back_to`."""
        return len(self.snapshots), len(self.left_out)

    def back_to(self, mark: tuple[int, int]) -> None:
        """As it was then: the transaction has not happened."""
        snapshots, left_out = mark
        while len(self.snapshots) > snapshots:
            self.snapshots.popitem()
        del self.left_out[left_out:]


@define
class _Step:
    """What one transaction adds, from the snapshot `start_nid` on; `known` is all that the events name, by id.

    `is_in_line`: each event came after the one before it, so that the head's state is that of its snapshot.
    """

    head: Head
    start_nid: int
    known: dict[str, StoredEvent]
    batch: Batch
    is_in_line: bool = True


class RoomImporter:
    """The methods run in transactions of the caller. `contributors` write what belongs to events."""

    def __init__(
        self, events: EventStore, state: StateStore, clock: Clock, contributors: Sequence[Contributor]
    ) -> None:
        self._events = events
        self._state = state
        self._clock = clock
        self._contributors = contributors
        self._resolver = StateResolver(events, state)
        self._redactions = LateRedactions(events, self._resolver)
        self._store = BatchStore(events, clock, contributors)
        self._nids = NidSequence("event_nids")

    def know(self, txn: Transaction, room_id: str, version: RoomVersion, state_of: StateOf) -> Arriving:
        """The room, with a row of its own."""
        return Arriving(know_and_lock(txn, room_id, version, self._clock.now_ms()).room, state_of)

    def take_outliers(self, txn: Transaction, arriving: Arriving, given: Sequence[GivenEvent]) -> None:
        """Events that are known by themselves. Of those that are here already the auth events that have come since."""
        known = self._known(txn, arriving, given)
        nids = {event_id: one.nid for event_id, one in known.items()}
        new: list[NewEvent] = []
        more: dict[int, list[int]] = {}
        for one in given:
            event = one.event
            auth_nids = [nids[event_id] for event_id in event.auth_events if event_id in nids]
            if event.event_id in nids:
                more[nids[event.event_id]] = auth_nids
                continue
            nid = self._nids.next(txn)
            stored = StoredEvent(nid, arriving.room.nid, event, None, None, standing=one.standing)
            new.append(NewEvent(stored, auth_nids, one.rejected, received_ts=one.received_ts))
            nids[event.event_id] = nid
        self._events.insert(txn, new, self._clock.now_ms())
        lean_on(txn, more)

    def number_keys(self, txn: Transaction, given: Sequence[GivenEvent]) -> None:
        """The keys of state events have numbers. Called before `take`, and again to read only, they are known to it."""
        keys = {one.event.key for one in given if one.event.is_state}
        if txn.read_only:
            self._state.find_keys(txn, keys)
        else:
            self._state.have_keys(txn, keys)

    def take(self, txn: Transaction, arriving: Arriving, given: Sequence[GivenEvent]) -> None:
        """The next events of its history, in order."""
        step = self._begin(txn, arriving, given)
        for one in given:
            earlier = step.known.get(one.event.event_id)
            if earlier is None or not earlier.is_placed:
                self._place(txn, arriving, step, one, earlier)
            elif one.group is not None and earlier.after_nid is not None:
                arriving.snapshots[one.group] = earlier.after_nid
        if step.batch.new:
            self._write(txn, step)

    def finish(
        self, txn: Transaction, arriving: Arriving, ends: Collection[str], state: Mapping[StateKey, str]
    ) -> None:
        """The ids of its extremities, and of its state, where they are otherwise than what its history has led to.

        An empty `state` is that of a room in which this server has nobody any more: it stays as it was then.
        """
        (row,) = lock_heads(txn, [arriving.room.nid], even_closed=False)
        tips = [
            one.nid for one in self._events.by_ids(txn, ends).values() if one.standing is Standing.ACCEPTED
        ]
        nids = self._nids_of(txn, state, {})
        at = self._resolver.near(txn, row.snapshot_nid, nids) if nids else StateAt(row.snapshot_nid)
        snapshot_nid = self._resolver.store(txn, row.room.nid, at)
        cause = self._events.load(txn, row.extremities[-1:])
        for ending in cause.values():
            self._reconcile(txn, row.snapshot_nid, dict(at.changes), ending)
        extremities = sorted(tips) or row.extremities
        write_heads(txn, [MovedHead(row.room.nid, extremities, row.depth, snapshot_nid, None)])

    def _reconcile(
        self, txn: Transaction, start_nid: int, changes: Mapping[StateKey, int], cause: StoredEvent
    ) -> None:
        """What no event by itself has changed of the state."""
        before = self._resolver.some(txn, StateAt(start_nid), list(changes))
        deltas = self._deltas(txn, before, changes, cause)
        if not deltas:
            return
        written = Written([], {}, {}, {cause.room_nid: deltas})
        for contribute in self._contributors:
            contribute(txn, written)
        txn.publish(Kind.STATE, room_nid=cause.room_nid, at_position=partial(record_deltas, deltas))

    def _begin(self, txn: Transaction, arriving: Arriving, given: Sequence[GivenEvent]) -> _Step:
        (row,) = lock_heads(txn, [arriving.room.nid], even_closed=False)
        keys = {one.event.key for one in given if one.event.is_state}
        now = self._resolver.some(txn, StateAt(row.snapshot_nid), keys)
        loaded = self._events.load(txn, {*row.extremities, *now.values()})
        tips = [loaded[nid] for nid in row.extremities if nid in loaded]
        state = {key: loaded[nid] for key, nid in now.items() if nid in loaded}
        head = Head(row.room, tips, row.depth, row.snapshot_nid, state=state)
        known = self._known(txn, arriving, given)
        return _Step(head, row.snapshot_nid, known, Batch(known))

    def _place(
        self, txn: Transaction, arriving: Arriving, step: _Step, one: GivenEvent, outlier: StoredEvent | None
    ) -> None:
        event = one.event
        nid = outlier.nid if outlier else self._nids.next(txn)
        after_nid = self._after(txn, arriving, step, one, nid)
        if after_nid is None:
            arriving.left_out.append(event.event_id)
            return
        stored = self._stored(txn, arriving, step, one, nid, after_nid)
        if outlier is not None:
            self._events.promote(txn, stored, one.rejected)
        if event.type == CREATE:
            describe_room(txn, stored.room_nid, event.version, event.sender, event.origin_server_ts)
        new = NewEvent(
            stored,
            [step.known[event_id].nid for event_id in event.auth_events if event_id in step.known],
            one.rejected,
            is_shown=one.standing is Standing.ACCEPTED or stored.point_nid is not None,
            was_outlier=outlier is not None,
            received_ts=one.received_ts,
        )
        step.batch.new.append(new)
        step.batch.gaps[nid] = [id_ for id_ in event.prev_events if not _is_placed(step.known.get(id_))]
        step.known[event.event_id] = stored
        if one.standing is Standing.ACCEPTED:
            _extend(step, stored, after_nid)

    def _stored(
        self, txn: Transaction, arriving: Arriving, step: _Step, one: GivenEvent, nid: int, after_nid: int
    ) -> StoredEvent:
        """The event in its place. A soft-failed redaction is met by readers in the state of the time when it came (decision 11)."""
        event, room_nid, standing = one.event, arriving.room.nid, one.standing
        if standing is Standing.SOFT_FAILED and event.redacts is not None:
            now = step.head.snapshot_nid
            return StoredEvent(nid, room_nid, event, now, now, None, after_nid, standing=standing)
        before_nid, replaced = after_nid, None
        if event.is_state and standing is not Standing.REJECTED:
            before_nid, replaced = self._before(txn, arriving, step, one, after_nid)
        return StoredEvent(nid, room_nid, event, before_nid, after_nid, replaced, standing=standing)

    def _after(
        self, txn: Transaction, arriving: Arriving, step: _Step, one: GivenEvent, nid: int
    ) -> int | None:
        """The snapshot of the state after the event, whose number will be `nid`."""
        if one.group in arriving.snapshots:
            return arriving.snapshots[one.group]
        if one.group is not None:
            own = {event_id: known.nid for event_id, known in step.known.items()}
            return self._snapshot(
                txn, arriving, one.group, step.head.snapshot_nid, {**own, one.event.event_id: nid}
            )
        previous = [step.known.get(event_id) for event_id in one.event.prev_events]
        states = {known.after_nid for known in previous if known is not None}
        if len(states) != 1 or None in states:
            return None
        at = StateAt(states.pop() or 0)
        if one.event.is_state and one.standing is not Standing.REJECTED:
            at = at.changed({one.event.key: nid})
        return self._resolver.store(txn, arriving.room.nid, at)

    def _snapshot(
        self, txn: Transaction, arriving: Arriving, group: int, near_nid: int, own: Mapping[str, int]
    ) -> int:
        """That of a group. A whole state is stored as what it changes of the snapshot `near_nid`."""
        chain: list[tuple[int, GivenState]] = []
        base: int | None = group
        while base is not None and base not in arriving.snapshots:
            given = arriving.state_of(base)
            chain.append((base, given))
            base = given.base
        nid = None if base is None else arriving.snapshots[base]
        for number, given in reversed(chain):
            nids = self._nids_of(txn, given.event_ids, own)
            at = self._resolver.near(txn, near_nid, nids) if nid is None else StateAt(nid).changed(nids)
            nid = arriving.snapshots[number] = self._resolver.store(txn, arriving.room.nid, at)
        return arriving.snapshots[group]

    def _before(
        self, txn: Transaction, arriving: Arriving, step: _Step, one: GivenEvent, after_nid: int
    ) -> tuple[int, int | None]:
        """The snapshot of the state before a state event, and what the event takes the place of there."""
        key = one.event.key
        before_nid = self._told_before(arriving, one)
        if before_nid is None:
            previous = [step.known.get(event_id) for event_id in one.event.prev_events]
            states = [state_after(known) for known in previous if known is not None and _is_placed(known)]
            before_nid = self._resolver.store(
                txn,
                arriving.room.nid,
                self._met(txn, step, states)
                if states and len(states) == len(previous)
                else StateAt(after_nid).changed({key: REMOVED}),
            )
        if step.is_in_line and before_nid == step.head.snapshot_nid:
            replaced = step.head.state.get(key)
            return before_nid, replaced.nid if replaced else None
        return before_nid, self._resolver.some(txn, StateAt(before_nid), [key]).get(key)

    def _told_before(self, arriving: Arriving, one: GivenEvent) -> int | None:
        """The snapshot of the group of which the event's own changes nothing but the event, if there is one."""
        given = arriving.state_of(one.group) if one.group is not None else None
        if given is None or given.base is None or given.event_ids != {one.event.key: one.event.event_id}:
            return None
        return arriving.snapshots.get(given.base)

    def _met(self, txn: Transaction, step: _Step, states: Sequence[StateAt]) -> StateAt:
        """The state where those of several events meet."""
        new = {one.stored.nid: one.stored.event for one in step.batch.new}
        return self._resolver.resolve(txn, step.head.room.version, states, new)

    def _write(self, txn: Transaction, step: _Step) -> None:
        batch = step.batch
        self._store.insert(txn, batch)
        shown = [one.stored for one in batch.new if one.is_shown]
        for stored in shown:
            target = step.known.get(stored.event.redacts) if stored.event.redacts else None
            if target is not None and self._redactions.applies(txn, stored, state_after(stored), target):
                batch.redacted[stored.nid] = target
        if shown:
            changes = self._resolver.difference(txn, step.start_nid, StateAt(step.head.snapshot_nid))
            self._settle(txn, step, changes, shown[-1])
        self._store.complete(txn, batch)
        awaited = targets_awaited(txn, [stored.event_id for stored in shown])
        for stored in shown:
            if stored.event_id in awaited:
                self._redactions.link(txn, stored)

    def _settle(
        self, txn: Transaction, step: _Step, changes: Mapping[StateKey, int], last: StoredEvent
    ) -> None:
        """What of the state at the last event is not what the events have made of it one by one."""
        made = {key: stored.nid for key, stored in step.head.state.items()}
        before = self._resolver.some(txn, StateAt(step.start_nid), [*made, *changes])
        wanted = {**dict.fromkeys(made, REMOVED), **before, **changes}
        deltas = self._deltas(txn, {**before, **made}, wanted, last)
        if deltas:
            step.batch.found[last.nid] = deltas

    def _deltas(
        self,
        txn: Transaction,
        made: Mapping[StateKey, int],
        wanted: Mapping[StateKey, int],
        cause: StoredEvent,
    ) -> list[StateDelta]:
        """Of the keys that are not as `wanted`: `REMOVED` is there for what is not to be set."""
        other = sorted(key for key, nid in wanted.items() if made.get(key, REMOVED) != nid)
        nids = {nid for key in other for nid in (wanted[key], made.get(key, REMOVED))}
        loaded = self._events.load(txn, nids - {REMOVED})
        return [
            StateDelta(key, loaded.get(wanted[key]), loaded.get(made.get(key, REMOVED)), cause)
            for key in other
        ]

    def _known(
        self, txn: Transaction, arriving: Arriving, given: Sequence[GivenEvent]
    ) -> dict[str, StoredEvent]:
        """All that the events name, themselves included, as far as it is stored."""
        named = {
            event_id
            for one in given
            for event_id in (
                one.event.event_id, *one.event.prev_events, *one.event.auth_events, one.event.redacts,
            )
            if event_id is not None
        }  # fmt: skip
        found = self._events.by_ids(txn, named)
        return {event_id: one for event_id, one in found.items() if one.room_nid == arriving.room.nid}

    def _nids_of(
        self, txn: Transaction, event_ids: Mapping[StateKey, str], own: Mapping[str, int]
    ) -> dict[StateKey, int]:
        """Of a state; `own` are the numbers of events that are not stored yet. What is unknown is left out."""
        others = set(event_ids.values()) - own.keys()
        nids = {**(self._events.nids_of(txn, others) if others else {}), **own}
        return {key: nids[event_id] for key, event_id in event_ids.items() if event_id in nids}


def _extend(step: _Step, stored: StoredEvent, after_nid: int) -> None:
    """Make the event the end of its room."""
    head = step.head
    step.is_in_line &= stored.before_nid == head.snapshot_nid
    if stored.event.is_state:
        replaced = head.state.get(stored.event.key)
        step.batch.deltas[stored.nid] = [StateDelta(stored.event.key, stored, replaced, stored)]
    head.advance(stored)
    head.snapshot_nid = after_nid
    step.batch.moved[head.room.nid] = head


def _is_placed(stored: StoredEvent | None) -> bool:
    return stored is not None and stored.is_placed
