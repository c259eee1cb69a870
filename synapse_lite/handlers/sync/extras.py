"""What /sync carries beside events: receipts, typing, account data. Runs in database threads."""

from collections.abc import Collection, Iterable, Mapping

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.filters import EventFilter
from synapse_lite.handlers.sync.values import SyncRequest
from synapse_lite.matrix.push_rules import default_push_rules
from synapse_lite.storage import account_data, ephemeral
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.ephemeral import Receipt
from synapse_lite.storage.stream import Change, Kind

Extras = dict[int, list[JsonObject]]  # by room nid


def read_ephemeral(
    txn: Transaction,
    request: SyncRequest,
    room_nids: Collection[int],
    changes: Iterable[Change] | None,
    now_ms: int,
) -> Extras:
    """Receipts and typing of the rooms: all of them, or (with `changes`) what changed."""
    wanted = request.filter.ephemeral
    found: Extras = {}
    if changes is None:
        who, receipt_rooms, typing_rooms = None, room_nids, room_nids
    else:
        who, receipt_rooms, typing_rooms = _changed(changes, room_nids)
    if wanted.takes_type("m.receipt") and receipt_rooms:
        by_room: dict[int, list[Receipt]] = {}
        for receipt in ephemeral.receipts(txn, receipt_rooms, request.requester.user_id, who):
            by_room.setdefault(receipt.room_nid, []).append(receipt)
        for room_nid, receipts in by_room.items():
            found.setdefault(room_nid, []).append(
                {"type": "m.receipt", "content": _receipt_content(receipts)}
            )
    if wanted.takes_type("m.typing") and typing_rooms:
        typing = ephemeral.typing(txn, typing_rooms, now_ms)
        for room_nid in typing if changes is None else typing_rooms:
            content = {"user_ids": typing.get(room_nid, [])}
            found.setdefault(room_nid, []).append({"type": "m.typing", "content": content})
    return found


def read_room_account_data(txn: Transaction, request: SyncRequest, room_nids: Collection[int]) -> Extras:
    if not room_nids:
        return {}
    stored = account_data.room_account_data(txn, request.requester.user_id, room_nids)
    return {
        room_nid: _entries(entries, request.filter.room_account_data) for room_nid, entries in stored.items()
    }


def read_global_account_data(txn: Transaction, request: SyncRequest) -> list[JsonObject]:
    user_id = request.requester.user_id
    stored = account_data.global_account_data(txn, user_id)
    return _entries({"m.push_rules": default_push_rules(user_id), **stored}, request.filter.account_data)


def _entries(entries: Mapping[str, JsonObject], wanted: EventFilter) -> list[JsonObject]:
    return [
        {"type": kind, "content": content} for kind, content in entries.items() if wanted.takes_type(kind)
    ]


def _changed(
    changes: Iterable[Change], room_nids: Collection[int]
) -> tuple[set[tuple[int, str]], set[int], set[int]]:
    """(room, user) pairs with new receipts, their rooms, and the rooms where somebody began or stopped to type."""
    who, typing = set(), set()
    for kind, room_nid, user_id in ((change.kind, change.room_nid, change.user_id) for change in changes):
        if room_nid is None or room_nid not in room_nids:
            continue
        if kind is Kind.RECEIPT and user_id is not None:
            who.add((room_nid, user_id))
        elif kind is Kind.TYPING:
            typing.add(room_nid)
    return who, {room_nid for room_nid, _ in who}, typing


def _receipt_content(receipts: Iterable[Receipt]) -> JsonObject:
    content: JsonObject = {}
    for receipt in receipts:
        data: JsonObject = {"ts": receipt.ts}
        if receipt.thread_id:
            data["thread_id"] = receipt.thread_id
        users = content.setdefault(receipt.event_id, {}).setdefault(receipt.receipt_type, {})
        users[receipt.user_id] = data
    return content
