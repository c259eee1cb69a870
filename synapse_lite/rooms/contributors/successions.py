"""Who joins the replacement of a room that they were in finds there what they had set for the old one, and by its names here."""

from collections.abc import Iterator, Mapping

from attrs import frozen

from synapse_lite.ids import is_local
from synapse_lite.matrix.types import CREATE, TOMBSTONE
from synapse_lite.rooms.successions import carry_names, carry_settings
from synapse_lite.rooms.values import Written
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.state import StateStore


@frozen
class SuccessionsContributor:
    """However the room was replaced, by whatever server: the two rooms name each other. `server_name` is ours."""

    events: EventStore
    state: StateStore
    server_name: str

    def __call__(self, txn: Transaction, written: Written) -> None:
        for room_nid, user_ids in self._joined(written):
            rooms = self._replaced(txn, room_nid, written)
            if rooms is None:
                continue
            old, new = rooms
            carry_names(txn, old, new)
            for user_id in user_ids:
                if room_store.membership_in(txn, old.nid, user_id) is not None:
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
        predecessor = create.get("predecessor")
        old_id = predecessor.get("room_id") if isinstance(predecessor, dict) else None
        old = room_store.room_by_id(txn, old_id) if isinstance(old_id, str) else None
        if old is None:
            return None
        new = room_store.rooms_by_nid(txn, [room_nid])[room_nid]
        replacement = self._content(txn, old.nid, TOMBSTONE).get("replacement_room")
        return (old, new) if replacement == new.room_id else None

    def _content(self, txn: Transaction, room_nid: int, kind: str) -> Mapping[str, object]:
        nid = self.state.current(txn, [(room_nid, (kind, ""))]).get((room_nid, (kind, "")))
        return {} if nid is None else self.events.load(txn, [nid])[nid].event.content
