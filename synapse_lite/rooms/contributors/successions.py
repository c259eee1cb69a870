"""Who is in the replacement of a room that they were in finds there what they had set for the old one, and by its names here.

A join may come before the tombstone: other servers tell of both, each in its time.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import TypeGuard

from attrs import frozen

from synapse_lite.ids import is_local, is_room_id
from synapse_lite.matrix.types import CREATE, TOMBSTONE
from synapse_lite.rooms.successions import carry_names, carry_settings
from synapse_lite.rooms.values import Written
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.memberships import take_settings
from synapse_lite.storage.room_servers import joined_users_of
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.state import StateStore

MOST_AT_ONCE = 500
"""Users who came before the tombstone; it takes two statements or more for each, while the room waits."""


@frozen
class SuccessionsContributor:
    """However the room was replaced, by whatever server: the two rooms name each other. `server_name` is ours."""

    events: EventStore
    state: StateStore
    server_name: str

    def __call__(self, txn: Transaction, written: Written) -> None:
        for room_nid, user_ids in self._joined(written):
            self._carry(txn, self._replaced(txn, room_nid, written), user_ids)
        for room_nid, tombstone in _closed(written):
            rooms = self._replacing(txn, room_nid, tombstone)
            if rooms is not None:
                user_ids = joined_users_of(txn, rooms[1].nid, self.server_name, MOST_AT_ONCE)
                self._carry(txn, rooms, user_ids)

    def _carry(self, txn: Transaction, rooms: tuple[Room, Room] | None, user_ids: Collection[str]) -> None:
        """To the users who are in the new room."""
        if rooms is None or not user_ids:
            return
        old, new = rooms
        carry_names(txn, old, new)
        for user_id in take_settings(txn, user_ids, old.nid, new.nid):
            carry_settings(txn, user_id, old, new)

    def _joined(self, written: Written) -> Iterator[tuple[int, list[str]]]:
        """By room the users of ours who were not joined before."""
        for room_nid, deltas in written.deltas.items():
            user_ids = [
                delta.key[1] for delta in deltas if delta.is_join and is_local(delta.key[1], self.server_name)
            ]
            if user_ids:
                yield room_nid, user_ids

    def _replaced(self, txn: Transaction, room_nid: int, written: Written) -> tuple[Room, Room] | None:
        """The room that this one replaces, and this one; nothing unless the old one says so too."""
        new_create = (one.event for one in written.deltas[room_nid] if one.key == (CREATE, ""))
        stored = next(new_create, None)
        create = self._content(txn, room_nid, CREATE) if stored is None else stored.event.content
        old_id = _predecessor(create)
        old = room_store.room_by_id(txn, old_id) if old_id is not None else None
        if old is None:
            return None
        new = room_store.rooms_by_nid(txn, [room_nid])[room_nid]
        replacement = self._content(txn, old.nid, TOMBSTONE).get("replacement_room")
        return (old, new) if replacement == new.room_id else None

    def _replacing(
        self, txn: Transaction, room_nid: int, tombstone: Mapping[str, object]
    ) -> tuple[Room, Room] | None:
        """The room, and the one that replaces it; nothing unless that one is known here already, and says so too."""
        new_id = tombstone.get("replacement_room")
        new = room_store.room_by_id(txn, new_id) if _is_room_id(new_id) else None
        if new is None:
            return None
        old = room_store.rooms_by_nid(txn, [room_nid])[room_nid]
        return (old, new) if _predecessor(self._content(txn, new.nid, CREATE)) == old.room_id else None

    def _content(self, txn: Transaction, room_nid: int, kind: str) -> Mapping[str, object]:
        nid = self.state.current(txn, [(room_nid, (kind, ""))]).get((room_nid, (kind, "")))
        return {} if nid is None else self.events.load(txn, [nid])[nid].event.content


def _closed(written: Written) -> Iterator[tuple[int, Mapping[str, object]]]:
    """By room what its tombstone says, if it is new."""
    for room_nid, changed in written.changed():
        stored = changed.get((TOMBSTONE, ""))
        if stored is not None:
            yield room_nid, stored.event.content


def _predecessor(create: Mapping[str, object]) -> str | None:
    """The id of the room of which a create event says that its own replaces it."""
    predecessor = create.get("predecessor")
    room_id = predecessor.get("room_id") if isinstance(predecessor, dict) else None
    return room_id if _is_room_id(room_id) else None


def _is_room_id(value: object) -> TypeGuard[str]:
    """Other servers may write anything, such as what the database cannot be asked for."""
    return isinstance(value, str) and is_room_id(value)
