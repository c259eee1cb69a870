"""Read receipts in /sync (client-server API, "Receipts")."""

from collections.abc import Iterable, Mapping, Sequence

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.sync.sections import NO_EVENTS, RoomSection
from synapse_lite.handlers.sync.values import Reading, RoomIds, SyncRequest
from synapse_lite.storage.ephemeral import Receipt, changed_receipt, receipts
from synapse_lite.storage.stream import Change, Kind

TYPE = "m.receipt"


class Receipts(RoomSection):
    """Those that changed, as the changes tell; to begin with, all of the room. Private ones for their owner only.

    None of whom the user ignores.
    """

    key = "ephemeral"
    extension = "receipts"
    kinds = frozenset({Kind.RECEIPT, Kind.PRIVATE_RECEIPT})
    none = NO_EVENTS

    def read(
        self, reading: Reading, rooms: RoomIds, changes: Sequence[Change] | None
    ) -> Mapping[int, JsonObject]:
        if changes is not None:
            return self.live(reading.request, rooms, changes)
        nids = _wanted(reading.request, rooms)
        found = receipts(reading.txn, nids, reading.request.user_id) if nids else ()
        return _by_room(one for one in found if one.user_id not in reading.request.ignored)

    def live(
        self, request: SyncRequest, rooms: RoomIds, changes: Sequence[Change]
    ) -> Mapping[int, JsonObject]:
        touched = {change.room_nid for change in changes}
        nids = _wanted(request, {nid: rooms[nid] for nid in rooms.keys() & touched})
        newest = {
            (change.room_nid, change.user_id, change.key): change
            for change in changes
            if change.room_nid in nids
            and (change.kind is Kind.RECEIPT or change.user_id == request.user_id)
            and change.user_id not in request.ignored
        }
        return _by_room(map(changed_receipt, newest.values()))


def _wanted(request: SyncRequest, rooms: RoomIds) -> list[int]:
    wanted = request.filter.ephemeral
    if not wanted.takes_type(TYPE):
        return []
    return [nid for nid, room_id in rooms.items() if wanted.takes_room(room_id)]


def _by_room(found: Iterable[Receipt]) -> dict[int, JsonObject]:
    rooms: dict[int, list[Receipt]] = {}
    for receipt in found:
        rooms.setdefault(receipt.room_nid, []).append(receipt)
    return {nid: {"events": receipt_events(of_room)} for nid, of_room in rooms.items()}


def receipt_events(of_room: Iterable[Receipt]) -> list[JsonObject]:
    """As clients are told of the receipts of one room."""
    return [{"type": TYPE, "content": content} for content in _contents(of_room)]


def _contents(of_room: Iterable[Receipt]) -> list[JsonObject]:
    """One content has room for one receipt of a user's on an event; those of further threads need more."""
    contents: list[JsonObject] = []
    for receipt in of_room:
        data: JsonObject = {"ts": receipt.ts}
        if receipt.thread_id:
            data["thread_id"] = receipt.thread_id
        for content in contents:
            users = content.setdefault(receipt.event_id, {}).setdefault(receipt.receipt_type, {})
            if receipt.user_id not in users:
                users[receipt.user_id] = data
                break
        else:
            contents.append({receipt.event_id: {receipt.receipt_type: {receipt.user_id: data}}})
    return contents
