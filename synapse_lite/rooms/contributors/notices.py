"""Whom new events notify, and how far those have read who wrote them or came in."""

from functools import partial

from attrs import frozen

from synapse_lite.ids import is_local
from synapse_lite.matrix.auth_rules.state import CREATE, POWER_LEVELS
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.power_levels import PowerLevels, read_level
from synapse_lite.matrix.push_rules.notices import notice_of
from synapse_lite.matrix.relations import THREAD, relation_of
from synapse_lite.rooms.values import Beside, Written
from synapse_lite.storage.database import AtPosition, Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.notices import (
    ALL_THREADS,
    PlacedNotice,
    delete_notices,
    dump_notice,
    insert_notice,
    put_own_read,
)
from synapse_lite.storage.relations import MAIN_THREAD, thread_of
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.stream import Position

NOTIFICATION_LEVEL = 50  # for whatever `notifications` of the power levels does not name


@frozen
class NoticesContributor:
    """`server_name` is ours: how far its users have read is kept."""

    events: EventStore
    state: StateStore
    server_name: str

    def __call__(self, txn: Transaction, written: Written) -> None:
        redacted = {stored.nid for stored in written.redacted.values()}
        delete_notices(txn, redacted)
        joined = self._joined(written)
        for stored in written.new:
            beside = Beside() if stored.nid in redacted else self._beside(txn, stored)
            if stored.nid in joined:
                read = partial(_read, stored.room_nid, joined[stored.nid], ALL_THREADS)
                beside = Beside(beside.content, (*beside.at_position, read))
            if beside.at_position:
                written.beside[stored.nid] = beside

    def _joined(self, written: Written) -> dict[int, str]:
        """Our users who came in, by the event that led them in."""
        return {
            delta.cause.nid: delta.key[1]
            for deltas in written.deltas.values()
            for delta in deltas
            if delta.is_join and is_local(delta.key[1], self.server_name)
        }

    def _beside(self, txn: Transaction, stored: StoredEvent) -> Beside:
        notice = notice_of(stored.event, partial(may_notify, txn, self.events, self.state, stored))
        if notice is None:
            return Beside()
        placed = PlacedNotice(notice, stored.event.sender, thread_of_event(txn, stored))
        at_position: list[AtPosition] = [partial(_insert, stored, placed)]
        if is_local(placed.sender, self.server_name):
            at_position.append(partial(_read, stored.room_nid, placed.sender, placed.thread_id))
        return Beside(dump_notice(placed), at_position)


def may_notify(
    txn: Transaction, events: EventStore, state: StateStore, stored: StoredEvent, key: str
) -> bool:
    """Whether the sender's level suffices for that key of `notifications` where the event is in the graph."""
    found = state.at(txn, stored.before_nid, [CREATE, POWER_LEVELS]) if stored.before_nid else {}
    known = events.load(txn, list(found.values()))
    by_key = {one.event.key: one.event for one in known.values()}
    if CREATE not in by_key:
        return False
    levels = PowerLevels.read(by_key[CREATE], by_key.get(POWER_LEVELS))
    return levels.user(stored.event.sender) >= _required(by_key.get(POWER_LEVELS), key)


def thread_of_event(txn: Transaction, stored: StoredEvent) -> str:
    """The root of the thread that the event is in, or `MAIN_THREAD`."""
    relation = relation_of(stored.event.content)
    if relation is None:
        return MAIN_THREAD
    if relation.rel_type == THREAD:
        return relation.parent_id
    return thread_of(txn, stored.room_nid, relation.parent_id) or MAIN_THREAD


def _required(power_levels: Event | None, key: str) -> int:
    named = power_levels.content.get("notifications") if power_levels else None
    if power_levels is None or not isinstance(named, dict):
        return NOTIFICATION_LEVEL
    level = read_level(named.get(key), power_levels.version)
    return NOTIFICATION_LEVEL if level is None else level


def _insert(stored: StoredEvent, placed: PlacedNotice, txn: Transaction, position: Position) -> None:
    insert_notice(txn, position, stored.room_nid, stored.nid, placed)


def _read(room_nid: int, user_id: str, thread_id: str, txn: Transaction, position: Position) -> None:
    put_own_read(txn, position, room_nid, user_id, thread_id)
