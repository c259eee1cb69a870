"""What one transaction adds to rooms, and how it is stored: the same for events of all servers."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from attrs import define, field, frozen

from synapse_lite.clock import Clock
from synapse_lite.matrix.types import DUMMY, MEMBER
from synapse_lite.rooms.heads import Head
from synapse_lite.rooms.values import NOTHING_BESIDE, Beside, Contributor, StateDelta, Written
from synapse_lite.storage.database import AtPosition, Transaction
from synapse_lite.storage.event_transactions import SentRequest, insert_sent
from synapse_lite.storage.events import EventStore, NewEvent, StoredEvent
from synapse_lite.storage.heads import MovedHead, write_heads
from synapse_lite.storage.relations import Annotation
from synapse_lite.storage.room_gaps import insert_gap
from synapse_lite.storage.state_deltas import insert_delta
from synapse_lite.storage.stream import AFTER_GAP, NOT_IN_FORCE, Kind, Position


@define
class Batch:
    """The events so far, in order; `moved` are the heads of the rooms that they moved, by nid.

    `deltas` are the changes of the current state by the event that caused them, `redacted` what a
    redaction empties, both by nid. `found` are those that came with an event by which this server enters the room: of
    them nobody has to be told one by one. `gaps` are the previous events of an event that are not known. `annotations` are those that nobody may say again.
    """

    targets: dict[str, StoredEvent]
    new: list[NewEvent] = field(factory=list)
    moved: dict[int, Head] = field(factory=dict)
    redacted: dict[int, StoredEvent] = field(factory=dict)
    deltas: dict[int, list[StateDelta]] = field(factory=dict)
    found: dict[int, list[StateDelta]] = field(factory=dict)
    annotations: set[Annotation] = field(factory=set)
    gaps: dict[int, Sequence[str]] = field(factory=dict)
    requests: list[tuple[SentRequest, int]] = field(factory=list)

    def written(self) -> Written:
        deltas: dict[int, list[StateDelta]] = {}
        for changes in (*self.deltas.values(), *self.found.values()):
            for delta in changes:
                deltas.setdefault(delta.cause.room_nid, []).append(delta)
        return Written(self.shown(), self.targets, self.redacted, deltas)

    def shown(self) -> list[StoredEvent]:
        """Those that get positions in the stream."""
        return [one.stored for one in self.new if one.is_shown and not self._says_nothing(one.stored)]

    def _says_nothing(self, stored: StoredEvent) -> bool:
        """Whether another server only joined branches: a gap before it, or state that comes with it, is told of nevertheless."""
        beside = (self.deltas, self.found, self.gaps)
        return (
            stored.event.type == DUMMY
            and not stored.event.is_state
            and stored.session is None
            and not any(by_nid.get(stored.nid) for by_nid in beside)
        )


@frozen
class BatchStore:
    """Stores batches; `contributors` write what else belongs to them, in this order."""

    events: EventStore
    clock: Clock
    contributors: Sequence[Contributor]

    def store(self, txn: Transaction, batch: Batch) -> None:
        if batch.new:
            self.insert(txn, batch)
            self.complete(txn, batch)

    def insert(self, txn: Transaction, batch: Batch) -> None:
        """The events by themselves. For who has to read them to say what else the batch is."""
        now = self.clock.now_ms()
        self.events.insert(txn, [one for one in batch.new if not one.was_outlier], now)
        insert_sent(txn, batch.requests, now)

    def complete(self, txn: Transaction, batch: Batch) -> None:
        """What belongs to the events, which are inserted."""
        written = batch.written()
        for contribute in self.contributors:
            contribute(txn, written)
        shown = batch.shown()
        write_heads(txn, [_moved(head, shown) for head in batch.moved.values()])
        for stored in shown:
            _publish(txn, stored, batch, written.beside.get(stored.nid, NOTHING_BESIDE))


def _moved(head: Head, shown: Sequence[StoredEvent]) -> MovedHead:
    tips = [tip.nid for tip in head.tips]
    nids = [stored.nid for stored in shown if stored.room_nid == head.room.nid]
    last = head.last_nid if head.last_nid in nids else next(reversed(nids), None)
    return MovedHead(head.room.nid, tips, head.depth, head.snapshot_nid, last)


def _publish(txn: Transaction, stored: StoredEvent, batch: Batch, beside: Beside) -> None:
    """Tell of the event, of whose membership it changed, and of what else came into force with it."""
    deltas = batch.deltas.get(stored.nid, [])
    own = [delta for delta in deltas if delta.event is stored]
    placed = [*own, *batch.found.get(stored.nid, ())]
    gaps: list[AtPosition] = [
        partial(_record_gap, stored, missing_id) for missing_id in batch.gaps.get(stored.nid, ())
    ]
    writes: list[AtPosition] = [*beside.at_position, *gaps]
    target = batch.redacted.get(stored.nid)
    txn.publish(
        Kind.EVENT,
        room_nid=stored.room_nid,
        event_nid=stored.nid,
        user_id=stored.event.state_key if own and stored.event.membership else None,
        redacts_nid=target.nid if target else None,
        key=_key(stored, is_in_force=bool(own), is_after_gap=bool(gaps)),
        content=beside.content,
        at_position=partial(_place, placed, writes) if placed or writes else None,
    )
    others = [delta for delta in deltas if delta.event is not stored]
    for user_id, some in by_member(others).items():
        txn.publish(
            Kind.STATE, room_nid=stored.room_nid, user_id=user_id, at_position=partial(record_deltas, some)
        )


def _key(stored: StoredEvent, *, is_in_force: bool, is_after_gap: bool) -> str | None:
    if is_after_gap:
        return AFTER_GAP
    return NOT_IN_FORCE if stored.event.is_state and not is_in_force else None


def by_member(deltas: Iterable[StateDelta]) -> Mapping[str | None, list[StateDelta]]:
    """Memberships by their users, who are to be told; the rest under None."""
    found: dict[str | None, list[StateDelta]] = {}
    for delta in deltas:
        kind, state_key = delta.key
        found.setdefault(state_key if kind == MEMBER else None, []).append(delta)
    return found


def _place(
    deltas: Sequence[StateDelta], writes: Sequence[AtPosition], txn: Transaction, position: Position
) -> None:
    """Store what carries the position of an event."""
    record_deltas(deltas, txn, position)
    for write in writes:
        write(txn, position)


def _record_gap(stored: StoredEvent, missing_id: str, txn: Transaction, position: Position) -> None:
    insert_gap(txn, stored.room_nid, missing_id, stored.nid, position)


def record_deltas(deltas: Sequence[StateDelta], txn: Transaction, position: Position) -> None:
    """Store changes of the state with the position at which they are told."""
    for delta in deltas:
        event_nid, previous_nid = (one.nid if one else None for one in (delta.event, delta.previous))
        insert_delta(txn, position, delta.cause.room_nid, delta.key, event_nid, previous_nid)
