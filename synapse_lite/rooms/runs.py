"""Events of other servers that go on where their rooms are: many in one transaction.

Most events that come follow the head of their room, or a branch of it that has the same state. Then the state before them
is the current one: nothing is to be resolved, and nothing to be fetched. Whatever is not so is left to `rooms.receive`.
"""

from collections.abc import Iterable, Mapping, Sequence

from synapse_lite.clock import Clock
from synapse_lite.matrix.auth_rules.state import CREATE
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.policy import POLICY, is_exempt
from synapse_lite.rooms.batch import Batch, BatchStore
from synapse_lite.rooms.completion import is_missed
from synapse_lite.rooms.extend import Extender, KeyNids
from synapse_lite.rooms.heads import Head, HeadReader
from synapse_lite.rooms.judge import Judged, judge_by_auth_events, judge_by_state, needs_of
from synapse_lite.rooms.late_redactions import LateRedactions
from synapse_lite.rooms.resolution import StateResolver
from synapse_lite.rooms.values import Contributor
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, Standing, StoredEvent
from synapse_lite.storage.heads import lock_free_heads
from synapse_lite.storage.nids import NidSequence
from synapse_lite.storage.redactions import targets_awaited
from synapse_lite.storage.room_gaps import missing_among
from synapse_lite.storage.state import StateKey, StateStore

Known = dict[str, StoredEvent]


class RunReceiver:
    """`contributors` write what else belongs to new events, as for those of this server."""

    def __init__(
        self, events: EventStore, state: StateStore, clock: Clock, contributors: Sequence[Contributor]
    ) -> None:
        self._events = events
        self._state = state
        self._heads = HeadReader(events, state)
        self._redactions = LateRedactions(events, StateResolver(events, state))
        self._store = BatchStore(events, clock, contributors)
        self._extender = Extender(state, NidSequence("event_nids"))

    def receive(self, txn: Transaction, runs: Mapping[int, Sequence[Event]]) -> dict[int, int]:
        """By room nid how many of its events, from the first on, are in the room now.

        Their formats, hashes and signatures are checked. A room that somebody else writes to, or that is being purged, gets none.
        """
        rows = lock_free_heads(txn, runs)
        events = [event for row in rows for event in runs[row.room.nid]]
        known = self._events.by_ids(txn, _named(events))
        key_nids = self._state.find_keys(txn, {event.key for event in events if event.is_state})
        batch = Batch({one: known[one] for one in _redacted(events) if one in known})
        done = dict.fromkeys(runs, 0)
        for row in rows:
            run = runs[row.room.nid]
            head = self._heads.read_one(txn, row, {key for event in run for key in _needs(event)})
            for event in run:
                if not self._receive(txn, batch, key_nids, head, known, event):
                    break
                done[row.room.nid] += 1
        self._store.store(txn, batch)
        self._link(txn, [one.stored for one in batch.new])
        return done

    def _receive(
        self, txn: Transaction, batch: Batch, key_nids: KeyNids, head: Head, known: Known, event: Event
    ) -> bool:
        """False: this one needs more than the head of the room."""
        stored = known.get(event.event_id)
        if stored is not None:
            is_here = stored.is_placed and stored.room_nid == head.room.nid
            return is_here and not is_missed(event, stored)
        if any(one.stored.event.redacts == event.event_id for one in batch.new):
            return False  # that redaction has to be stored before its target can be
        if not _goes_on(head, known, event) or _is_policed(head, event):
            return False
        if _leaves_ends(head, event) and missing_among(txn, head.room.nid, [event.event_id]):
            return False  # it is below another end, and none itself
        auth_events = [known[one] for one in event.auth_events if one in known]
        if len(auth_events) < len(event.auth_events) or not _is_allowed(head, event, auth_events):
            return False
        stored = self._extender.extend(txn, batch, key_nids, head, event, auth_events)
        known[event.event_id] = stored
        batch.targets.setdefault(event.event_id, stored)
        return True

    def _link(self, txn: Transaction, new: Sequence[StoredEvent]) -> None:
        awaited = targets_awaited(txn, [stored.event_id for stored in new]) if new else set()
        for stored in new:
            if stored.event_id in awaited:
                self._redactions.link(txn, stored)


def _goes_on(head: Head, known: Known, event: Event) -> bool:
    """Whether the state before the event is the current one, and the event changes it alone."""
    previous = [known[one] for one in event.prev_events if one in known]
    if not previous or len(previous) < len(event.prev_events):
        return False
    if any(one.room_nid != head.room.nid or one.standing is not Standing.ACCEPTED for one in previous):
        return False
    followed = {one.nid for one in previous}
    beside = [tip for tip in head.tips if tip.nid not in followed]
    if event.is_state and beside:
        return False
    if followed == {tip.nid for tip in head.tips}:
        return True
    return all(one.after_nid == head.snapshot_nid for one in (*previous, *beside))


def _leaves_ends(head: Head, event: Event) -> bool:
    """Whether the room has ends beside those that the event follows."""
    return not {tip.event_id for tip in head.tips}.issubset(event.prev_events)


def _is_policed(head: Head, event: Event) -> bool:
    """Whether a policy server may have to be asked."""
    return POLICY in head.state and not is_exempt(event.type, event.state_key)


def _is_allowed(head: Head, event: Event, auth_events: Sequence[StoredEvent]) -> bool:
    if (
        CREATE not in head.state
        or head.is_damaged
        or any(one.standing is Standing.REJECTED for one in auth_events)
    ):
        return False
    judged = [Judged(one.event) for one in auth_events]
    return (
        judge_by_auth_events(event, judged, head.state[CREATE].event) is None
        and judge_by_state(event, head.some(_needs(event))) is None
    )


def _needs(event: Event) -> list[StateKey]:
    """The state by which the event is judged, and what it replaces."""
    return [*needs_of(event), CREATE, POLICY, *([event.key] if event.is_state else [])]


def _named(events: Iterable[Event]) -> set[str]:
    named = set(_redacted(events))
    for event in events:
        named.update((event.event_id, *event.prev_events, *event.auth_events))
    return named


def _redacted(events: Iterable[Event]) -> list[str]:
    return [event.redacts for event in events if event.redacts is not None]
