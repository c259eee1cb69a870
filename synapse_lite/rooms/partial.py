"""Filling in the members of a room that this server entered without them.

The state before the join is a snapshot of its own, on which all later ones of the room are based. It grows: what is put into it
is a part of every state since, unless something came after it. So nothing that was stored meanwhile has to be touched. Each slice
is one commit; the room's head gets another snapshot with it, as whoever remembers what a snapshot says remembers it by its number.

What an event of another server leans on is filled in before it is judged, so far as its auth events tell it. When all is there, what came
meanwhile is judged once more.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial as bound

from attrs import evolve

from synapse_lite.errors import SynapseLiteError
from synapse_lite.matrix.event import Event, StateKey
from synapse_lite.matrix.types import MEMBER
from synapse_lite.rooms.batch import by_member, record_deltas
from synapse_lite.rooms.judge import Judged, judge_by_state, needs_of
from synapse_lite.rooms.redact_on_ban import AT_ONCE
from synapse_lite.rooms.taken_back import TakenBackRedactions
from synapse_lite.rooms.values import Contributor, StateDelta, Written
from synapse_lite.storage import partial_rooms
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, Standing, StoredEvent
from synapse_lite.storage.heads import MovedHead, RoomHead, lock_heads, write_heads
from synapse_lite.storage.notices import delete_notices
from synapse_lite.storage.partial_rooms import PartialRoom
from synapse_lite.storage.relations import delete_relations
from synapse_lite.storage.state import NidMap, StateStore
from synapse_lite.storage.stream import Kind


class UnknownMembersError(SynapseLiteError):
    """Auth events of an event name members that the room, which is partial, does not know; they come first."""

    def __init__(self, event_ids: Collection[str]) -> None:
        self.event_ids = frozenset(event_ids)
        super().__init__(f"{len(self.event_ids)} members are not known yet")


def check_members_known(auth_events: Sequence[Judged], known: Mapping[StateKey, int]) -> None:
    """Raises `UnknownMembersError`; `known` is what the state says of the keys of the auth events."""
    unknown = [
        one.event.event_id for one in auth_events if one.event.type == MEMBER and one.event.key not in known
    ]
    if unknown:
        raise UnknownMembersError(unknown)


class RoomFiller:
    """`contributors` write what else belongs to changes of the state. The methods run in database threads.

    `go_on` sees to it that all comes back that a ban had redacted, in the transaction that rejects it.
    """

    def __init__(
        self, events: EventStore, state: StateStore, contributors: Sequence[Contributor],
        go_on: Callable[[Transaction, StoredEvent], None],
    ) -> None:  # fmt: skip
        self._events = events
        self._state = state
        self._contributors = contributors
        self._taken_back = TakenBackRedactions(events, state)
        self._go_on = go_on

    def learn(self, txn: Transaction, room_nid: int, event_ids: Collection[str]) -> None:
        """Fill in members whom events name; what is known stays."""
        found = self._lock(txn, room_nid)
        if found is None:
            return
        head, partial = found
        stored = self._events.by_ids(txn, event_ids).values()
        known = self._state.at(
            txn, partial.snapshot_nid, [one.event.key for one in stored if one.event.is_state]
        )
        members = [one for one in stored if one.event.type == MEMBER and one.event.key not in known]
        self._fill(txn, head, partial, members)

    def fill_next(self, txn: Transaction, room_nid: int, count: int) -> bool:
        """So many of what lacks; False: nothing lacks any more, or the room is gone."""
        found = self._lock(txn, room_nid)
        if found is None or not found[1].is_told:
            return False
        nids = partial_rooms.take_lacking(txn, room_nid, count)
        self._fill(txn, *found, self._events.load(txn, nids).values())
        return len(nids) == count

    def judge_next(self, txn: Transaction, room_nid: int, count: int) -> bool:
        """So many of what came meanwhile. False: all is judged, and the room is like others from now on."""
        found = self._lock(txn, room_nid)
        if found is None or not found[1].is_told or partial_rooms.count_lacking(txn, room_nid):
            return False
        head, partial = found
        since = partial_rooms.events_since(txn, partial, count)
        events = self._events.load(txn, [nid for _, nid in since])
        for stored in events.values():
            reason = self._objection(txn, stored)
            if reason is not None:
                head = self._reject(txn, head, stored, reason)
        if len(since) == count:
            partial_rooms.note_judged(txn, room_nid, since[-1][0])
            return True
        partial_rooms.forget_partial(txn, room_nid)
        return False

    def _lock(self, txn: Transaction, room_nid: int) -> tuple[RoomHead, PartialRoom] | None:
        heads = lock_heads(txn, [room_nid], even_closed=False)
        partial = partial_rooms.find_partial(txn, room_nid) if heads else None
        return None if partial is None else (heads[0], partial)

    def _fill(
        self, txn: Transaction, head: RoomHead, partial: PartialRoom, found: Iterable[StoredEvent]
    ) -> None:
        events = {
            one.event.key: one
            for one in found
            if one.room_nid == partial.room_nid
            and one.event.is_state
            and one.standing is not Standing.REJECTED
        }
        if not events:
            return
        before = self._state.grow(txn, partial.snapshot_nid, {key: one.nid for key, one in events.items()})
        now = self._current(txn, partial.room_nid, events)
        # What is not as it was filled in was changed since, by what came later.
        changed = [key for key, one in events.items() if now.get(key) == before.get(key) != one.nid]
        replaced = self._events.load(txn, [now[key] for key in changed if key in now])
        cause = self._events.load(txn, [partial.join_nid])[partial.join_nid]
        deltas = [StateDelta(key, events[key], replaced.get(now.get(key, 0)), cause) for key in changed]
        self._change(txn, head, deltas, {})

    def _current(self, txn: Transaction, room_nid: int, keys: Collection[StateKey]) -> NidMap:
        found = self._state.current(txn, [(room_nid, key) for key in keys])
        return {key: nid for (_, key), nid in found.items()}

    def _change(
        self, txn: Transaction, head: RoomHead, deltas: Sequence[StateDelta], changes: Mapping[int, int]
    ) -> RoomHead:
        """Write changes of the current state; `changes` are those that the growing snapshot does not hold, by number of the key."""
        room_nid = head.room.nid
        written = Written([], {}, {}, {room_nid: deltas} if deltas else {})
        for contribute in self._contributors:
            contribute(txn, written)
        snapshot_nid = self._state.derive(txn, room_nid, head.snapshot_nid, changes)
        write_heads(txn, [MovedHead(room_nid, head.extremities, head.depth, snapshot_nid, None)])
        for user_id, some in by_member(deltas).items():
            txn.publish(
                Kind.STATE, room_nid=room_nid, user_id=user_id, at_position=bound(record_deltas, some)
            )
        return evolve(head, snapshot_nid=snapshot_nid)

    # What came meanwhile

    def _objection(self, txn: Transaction, stored: StoredEvent) -> str | None:
        before = self._state.at(txn, stored.before_nid, needs_of(stored.event))
        known: Mapping[int, StoredEvent] = self._events.load(txn, list(before.values()))
        state: dict[StateKey, Event] = {key: known[nid].event for key, nid in before.items() if nid in known}
        return judge_by_state(stored.event, state)

    def _reject(self, txn: Transaction, head: RoomHead, stored: StoredEvent, reason: str) -> RoomHead:
        """Nobody is shown it any more, and nothing of ours follows it. Where it changed the state, the state before comes back; so
        does what it redacted.
        """
        partial_rooms.reject_event(txn, stored.nid, reason)
        delete_relations(txn, [stored.nid])
        delete_notices(txn, [stored.nid])
        txn.publish(Kind.PURGED, room_nid=stored.room_nid)
        self._events.forget(stored.nid)
        txn.publish(Kind.AMENDED, room_nid=stored.room_nid, key=str(stored.nid))
        if self._taken_back.take_back(txn, stored, AT_ONCE) == AT_ONCE:
            self._go_on(txn, stored)
        tips = [nid for nid in head.extremities if nid != stored.nid] or list(head.extremities)
        head = evolve(head, extremities=tips)
        key = stored.event.key if stored.event.is_state else None
        if key is None or self._current(txn, stored.room_nid, [key]).get(key) != stored.nid:
            return self._change(txn, head, [], {})
        previous_nid = self._state.at(txn, stored.before_nid, [key]).get(key)
        previous = None if previous_nid is None else self._events.load(txn, [previous_nid]).get(previous_nid)
        number = self._state.find_keys(txn, [key])[key]
        change = {number: previous.nid if previous else 0}
        return self._change(txn, head, [StateDelta(key, previous, stored, stored)], change)
