"""Who types, in /sync (client-server API, "Typing Notifications")."""

from collections.abc import Collection, Mapping, Sequence

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.handlers.ignored_users import TYPE as IGNORED
from synapse_lite.handlers.ignored_users import read_ignored
from synapse_lite.handlers.shared_reads import SharedReads
from synapse_lite.handlers.sync.sections import NO_EVENTS, UNKNOWN, RoomSection, Unknown
from synapse_lite.handlers.sync.values import Reading, RoomIds, SyncRequest
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.ephemeral import changed_typing, typing
from synapse_lite.storage.stream import Change, Kind

TYPE = "m.typing"
REMEMBERED = 10_000  # rooms

Key = tuple[int, int]  # a room, and the position of its newest change


class Typing(RoomSection):
    """Of a room where somebody began or stopped, all who type; to begin with, of rooms where somebody does.

    Whom the user ignores does not type. When they ignore others than before, all rooms where anybody types are told
    anew: of the end of what the client knows it would never hear.
    """

    key = "ephemeral"
    extension = "typing"
    kinds = frozenset({Kind.TYPING, Kind.ACCOUNT_DATA})
    none = NO_EVENTS

    def __init__(self, database: Database, clock: Clock) -> None:
        self._clock = clock
        self._known: SharedReads[Key, list[str]] = SharedReads(database, self._read, REMEMBERED)

    def read(
        self, reading: Reading, rooms: RoomIds, changes: Sequence[Change] | None
    ) -> Mapping[int, JsonObject]:
        nids = {nid for nid, room_id in rooms.items() if _takes(reading.request, room_id)}
        if changes is not None and _ignores_others(changes):
            return self._anew(reading, nids, changes)
        if changes is not None:
            nids &= {change.room_nid for change in _of_others(reading.request, changes)}
        found = typing(reading.txn, nids, reading.now_ms) if nids else {}
        shown = {nid: _shown(reading.request.ignored, found.get(nid, ())) for nid in nids}
        return {nid: _event(users) for nid, users in shown.items() if users or changes is not None}

    def _anew(
        self, reading: Reading, nids: Collection[int], changes: Sequence[Change]
    ) -> Mapping[int, JsonObject]:
        ignored = read_ignored(reading.txn, reading.request.user_id)  # the request may be older
        found = typing(reading.txn, nids, reading.now_ms)
        told = {one.room_nid for one in changes if one.kind is Kind.TYPING and one.room_nid in nids}
        return {
            nid: _event(_shown(ignored, found.get(nid, ()))) for nid in nids if nid in found or nid in told
        }

    async def prepare(self, request: SyncRequest, rooms: RoomIds, changes: Sequence[Change]) -> None:
        await self._known.of(_newest(request, rooms, changes))

    def live(
        self, request: SyncRequest, rooms: RoomIds, changes: Sequence[Change]
    ) -> Mapping[int, JsonObject] | Unknown:
        if _ignores_others(changes):
            return UNKNOWN
        wanted = _newest(request, rooms, changes)
        known = self._known.cached(wanted)
        if len(known) < len(wanted):
            return UNKNOWN
        return {room_nid: _event(_shown(request.ignored, users)) for (room_nid, _), users in known.items()}

    def _read(self, txn: Transaction, keys: Collection[Key]) -> dict[Key, list[str]]:
        found = typing(txn, [room_nid for room_nid, _ in keys], self._clock.now_ms())
        return {key: found.get(key[0], []) for key in keys}


def _newest(request: SyncRequest, rooms: RoomIds, changes: Sequence[Change]) -> list[Key]:
    others = _of_others(request, changes)
    newest = {change.room_nid: change.position for change in others if change.room_nid is not None}
    return [(nid, at) for nid, at in newest.items() if nid in rooms and _takes(request, rooms[nid])]


def _of_others(request: SyncRequest, changes: Sequence[Change]) -> Sequence[Change]:
    """Those that tell of anybody's typing whom the user does not ignore."""
    told = [change for change in changes if change.kind is Kind.TYPING]
    if not request.ignored:
        return told
    return [change for change in told if not changed_typing(change).keys() <= request.ignored]


def _ignores_others(changes: Sequence[Change]) -> bool:
    """Whether the list of whom the user ignores is another one."""
    return any(change.kind is Kind.ACCOUNT_DATA and change.key == IGNORED for change in changes)


def _shown(ignored: frozenset[str], users: Sequence[str]) -> Sequence[str]:
    return [user_id for user_id in users if user_id not in ignored] if ignored else users


def _takes(request: SyncRequest, room_id: str) -> bool:
    wanted = request.filter.ephemeral
    return wanted.takes_type(TYPE) and wanted.takes_room(room_id)


def _event(user_ids: Sequence[str]) -> JsonObject:
    return {"events": [{"type": TYPE, "content": {"user_ids": user_ids}}]}


NOBODY_TYPES = _event(())
