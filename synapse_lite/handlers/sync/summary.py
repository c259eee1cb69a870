"""Room summaries in /sync, for clients that load members lazily (client-server API, "RoomSummary")."""

from collections.abc import Collection, Mapping, Sequence

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.shared_reads import SharedReads
from synapse_lite.handlers.sync.sections import UNKNOWN, RoomSection, Unknown
from synapse_lite.handlers.sync.values import Reading, RoomIds, SyncRequest
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.stream import Change, Kind

HEROES = 5
REMEMBERED = 10_000  # rooms

Key = tuple[int, int]  # a room, and the position of the newest change of its members


@frozen
class _Members:
    """Of a room: one more than the heroes, because nobody is their own, and counts by membership."""

    heroes: Sequence[str]
    counts: Mapping[str, int]

    def shown_to(self, user_id: str) -> JsonObject:
        return {
            "m.heroes": [hero for hero in self.heroes if hero != user_id][:HEROES],
            "m.joined_member_count": self.counts.get("join", 0),
            "m.invited_member_count": self.counts.get("invite", 0),
        }


class Summary(RoomSection):
    """Of rooms in which somebody's membership changed."""

    key = "summary"
    kinds = frozenset({Kind.EVENT})
    is_news = False

    def __init__(self, database: Database) -> None:
        self._known: SharedReads[Key, _Members] = SharedReads(database, _read_keys, REMEMBERED)

    def read(
        self, reading: Reading, rooms: RoomIds, changes: Sequence[Change] | None
    ) -> Mapping[int, JsonObject]:
        if not reading.request.is_lazy:
            return {}
        nids = set(rooms) if changes is None else {nid for nid, _ in _newest(rooms, changes)}
        found = _read(reading.txn, nids) if nids else {}
        return {nid: members.shown_to(reading.request.user_id) for nid, members in found.items()}

    async def prepare(self, request: SyncRequest, rooms: RoomIds, changes: Sequence[Change]) -> None:
        if request.is_lazy:
            await self._known.of(_newest(rooms, changes))

    def live(
        self, request: SyncRequest, rooms: RoomIds, changes: Sequence[Change]
    ) -> Mapping[int, JsonObject] | Unknown:
        wanted = _newest(rooms, changes) if request.is_lazy else []
        known = self._known.cached(wanted)
        if len(known) < len(wanted):
            return UNKNOWN
        return {room_nid: members.shown_to(request.user_id) for (room_nid, _), members in known.items()}


def _newest(rooms: RoomIds, changes: Sequence[Change]) -> list[Key]:
    """A change of an event names a user when it is about their membership."""
    newest = {change.room_nid: change.position for change in changes if change.user_id is not None}
    return [(nid, at) for nid, at in newest.items() if nid is not None and nid in rooms]


def _read(txn: Transaction, room_nids: Collection[int]) -> dict[int, _Members]:
    counts = room_store.count_members(txn, room_nids)
    heroes = room_store.heroes(txn, room_nids, HEROES + 1)
    return {nid: _Members(heroes.get(nid, []), counts[nid]) for nid in room_nids}


def _read_keys(txn: Transaction, keys: Collection[Key]) -> dict[Key, _Members]:
    found = _read(txn, {room_nid for room_nid, _ in keys})
    return {key: found[key[0]] for key in keys}
