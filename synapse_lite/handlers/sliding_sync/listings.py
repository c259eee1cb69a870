"""The rooms of users in the order of lists, with what filters look at: remembered, and kept true."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from attrs import evolve, field, frozen

from synapse_lite.handlers.invite_permission import TYPE as INVITE_PERMISSION
from synapse_lite.handlers.invite_permission import hides_invites
from synapse_lite.handlers.sliding_sync.recent import Recent, rooms_of
from synapse_lite.replication.changes import ChangeLog
from synapse_lite.storage.account_data import GLOBAL, account_data_of_types
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.room_lists import ListedRoom, listed_rooms
from synapse_lite.storage.stream import AFTER_GAP, NOT_IN_FORCE, Change, Kind
from synapse_lite.storage.stripped_state import stripped_of

GONE = ("leave", "ban")
ASKED = ("invite", "knock")
DIRECT, TAG = "m.direct", "m.tag"
REMEMBERED_ROOMS = 100_000  # of all users together
_SHAPING = frozenset({"m.room.name", "m.room.encryption", "m.room.create"})
"""State that filters look at."""
_KINDS = frozenset({Kind.EVENT, Kind.REDACTED, Kind.STATE, Kind.ROOM_GONE, Kind.FORGOTTEN})


@frozen
class Standing:
    """Which of the rooms the user is in, and which they are out of: while rooms but move up, it is the same."""

    joined: frozenset[int]
    gone: Mapping[int, ListedRoom]

    @classmethod
    def of(cls, rooms: Mapping[int, ListedRoom]) -> "Standing":
        joined = frozenset(nid for nid, one in rooms.items() if one.membership == "join")
        return cls(
            joined, {nid: rooms[nid] for nid in rooms.keys() - joined if rooms[nid].membership in GONE}
        )


@frozen
class Listing:
    """As of a position of the stream; since `read_at` rooms have but moved up.

    `rooms` by nid, the newest last: so that a copy in which one moved up costs next to nothing, however many they
    are. `direct`: the ids of direct chats; `tags` by room nid.
    """

    position: int
    read_at: int
    rooms: dict[int, ListedRoom]
    direct: Collection[str]
    tags: Mapping[int, Collection[str]]
    standing: Standing = field()

    @standing.default
    def _standing(self) -> Standing:
        return Standing.of(self.rooms)


class Listings:
    """The rooms `hidden` are in no list."""

    def __init__(self, events: EventStore, hidden: Collection[str] = ()) -> None:
        self._events = events
        self._hidden = frozenset(hidden)
        self._cache: Cache[str, Listing] = Cache(REMEMBERED_ROOMS)

    def position(self, user_id: str) -> int | None:
        """As of which what is remembered is."""
        known = self._cache.get(user_id)
        return known.position if known else None

    def read(self, txn: Transaction, user_id: str, recent: Recent, position: int) -> Listing:
        """As of `position`, which the transaction sees: only what changed is read."""
        known = self._cache.get(user_id)
        if known is not None and known.position > position:
            known = None  # another thread, or the reactor, sees more; or a backup was restored
        changes = recent.between(known.position, position) if known is not None else None
        if known is None or changes is None or any(_may_show_invites(one, user_id) for one in changes):
            rooms = _ordered(self._read_rooms(txn, user_id))
            found = Listing(position, position, rooms, *_read_facts(txn, user_id))
        else:
            touched = rooms_of(changes, user_id, known.rooms, _KINDS)
            found = evolve(known, position=position)
            if touched:
                others = {nid: one for nid, one in known.rooms.items() if nid not in touched}
                rooms = _ordered({**self._read_rooms(txn, user_id, touched), **others})
                found = evolve(found, read_at=position, rooms=rooms, standing=Standing.of(rooms))
            if any(_is_fact(change, user_id) for change in changes):
                direct, tags = _read_facts(txn, user_id)
                found = evolve(found, read_at=position, direct=direct, tags=tags)
        return self._keep(user_id, found)

    def live(self, user_id: str, log: ChangeLog) -> Listing | None:
        """As of what the log has seen; None when memory cannot tell. No I/O."""
        known = self._cache.get(user_id)
        missed = log.since(known.position) if known is not None else None
        if known is None or missed is None or known.position > log.position:
            return None
        moved: dict[int, ListedRoom] = {}
        for change in missed:
            room = known.rooms.get(change.room_nid or 0)
            if _may_show_invites(change, user_id):
                return None
            if change.user_id == user_id and (change.kind in _KINDS or _is_fact(change, user_id)):
                return None
            if room is None or change.kind not in _KINDS:
                continue
            if not self._only_moves(change):
                return None
            if room.membership == "join":
                moved.pop(room.room_nid, None)
                moved[room.room_nid] = evolve(room, position=change.position)
        if not missed:
            return known
        rooms = known.rooms.copy() if moved else known.rooms
        for nid, room in moved.items():
            del rooms[nid]
            rooms[nid] = room
        return self._keep(user_id, evolve(known, position=log.position, rooms=rooms))

    def _only_moves(self, change: Change) -> bool:
        """Whether a room that it happened in looks as before."""
        if change.kind is not Kind.EVENT or change.event_nid is None or change.redacts_nid is not None:
            return False
        stored = self._events.cached([change.event_nid]).get(change.event_nid)
        return (
            stored is not None
            and change.key not in {NOT_IN_FORCE, AFTER_GAP}
            and not (stored.event.is_state and stored.event.type in _SHAPING)
        )

    def _read_rooms(
        self, txn: Transaction, user_id: str, room_nids: Collection[int] | None = None
    ) -> dict[int, ListedRoom]:
        rooms = _read_rooms(txn, user_id, room_nids)
        if not self._hidden:
            return rooms
        return {nid: one for nid, one in rooms.items() if one.room_id not in self._hidden}

    def _keep(self, user_id: str, listing: Listing) -> Listing:
        self._cache.put(user_id, listing, len(listing.rooms) + 1)
        return listing


def _read_rooms(
    txn: Transaction, user_id: str, room_nids: Collection[int] | None = None
) -> dict[int, ListedRoom]:
    """Those that this server is not in look as their invites, or the answers to knocks, describe them."""
    rooms = listed_rooms(txn, user_id, room_nids)
    invited = {nid for nid, one in rooms.items() if one.membership == "invite"}
    if invited and hides_invites(txn, user_id):
        rooms = {nid: one for nid, one in rooms.items() if nid not in invited}
    asked = [nid for nid, one in rooms.items() if one.membership in ASKED]
    described = stripped_of(txn, asked, user_id) if asked else {}
    return {**rooms, **{nid: _described(rooms[nid], events) for nid, events in described.items()}}


def _described(room: ListedRoom, events: Sequence[Mapping[str, Any]]) -> ListedRoom:
    """Without a create event it is not known what is left out. Another server may have written anything."""
    contents = {one.get("type"): one.get("content") for one in events if one.get("state_key") == ""}
    return evolve(
        room,
        is_known="m.room.create" in contents,
        encryption=_text_in(contents.get("m.room.encryption"), "algorithm"),
        room_type=_text_in(contents.get("m.room.create"), "type"),
        name=_text_in(contents.get("m.room.name"), "name"),
    )


def _text_in(content: object, key: str) -> str | None:
    value = content.get(key) if isinstance(content, dict) else None
    return value if isinstance(value, str) else None


def _ordered(rooms: Mapping[int, ListedRoom]) -> dict[int, ListedRoom]:
    shown = sorted(rooms.items(), key=lambda item: (-item[1].position, item[1].room_id))
    return dict(reversed(shown))


def _is_fact(change: Change, user_id: str) -> bool:
    return change.kind is Kind.ACCOUNT_DATA and change.user_id == user_id and change.key in {DIRECT, TAG}


def _may_show_invites(change: Change, user_id: str) -> bool:
    """Whether the user may have said that they want some again, or none any more."""
    return change.kind is Kind.ACCOUNT_DATA and change.user_id == user_id and change.key == INVITE_PERMISSION


def _read_facts(txn: Transaction, user_id: str) -> tuple[set[str], dict[int, Collection[str]]]:
    stored = account_data_of_types(txn, user_id, [DIRECT, TAG])
    direct = stored.pop(GLOBAL, {}).get(DIRECT, {})
    contents = {nid: entries[TAG].get("tags") for nid, entries in stored.items() if TAG in entries}
    return _rooms_in(direct.values()), {
        nid: list(one) for nid, one in contents.items() if isinstance(one, dict)
    }


def _rooms_in(contents: Iterable[object]) -> set[str]:
    """A client may have written anything."""
    found: set[str] = set()
    for room_ids in contents:
        if isinstance(room_ids, list):
            found.update(one for one in room_ids if isinstance(one, str))
    return found
