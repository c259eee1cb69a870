"""What /sync carries beside events: receipts, typing, account data. Runs in database threads."""

from collections.abc import Collection, Iterable, Mapping

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.filters import EventFilter
from synapse_lite.handlers.sync.values import Reading
from synapse_lite.matrix.push_rules import default_push_rules
from synapse_lite.storage import account_data, ephemeral
from synapse_lite.storage.ephemeral import Receipt
from synapse_lite.storage.stream import Change, Kind

Extras = dict[int, list[JsonObject]]  # by room nid


def read_ephemeral(reading: Reading, rooms: Mapping[int, str], changes: Iterable[Change] | None) -> Extras:
    """Receipts and typing of the rooms (nid to id): all of them, or (with `changes`) what changed."""
    wanted = reading.request.filter.ephemeral
    room_nids = {nid for nid, room_id in rooms.items() if wanted.takes_room(room_id)}
    if changes is None:
        who, receipt_rooms, typing_rooms = None, room_nids, room_nids
    else:
        who, receipt_rooms, typing_rooms = _changed(changes, room_nids)
    found: Extras = {}
    if wanted.takes_type("m.receipt") and receipt_rooms:
        by_room: dict[int, list[Receipt]] = {}
        for receipt in ephemeral.receipts(reading.txn, receipt_rooms, reading.request.user_id, who):
            by_room.setdefault(receipt.room_nid, []).append(receipt)
        for room_nid, receipts in by_room.items():
            found[room_nid] = [
                {"type": "m.receipt", "content": content} for content in _receipt_contents(receipts)
            ]
    if wanted.takes_type("m.typing") and typing_rooms:
        typing = ephemeral.typing(reading.txn, typing_rooms, reading.now_ms)
        for room_nid in typing if changes is None else typing_rooms:
            content = {"user_ids": typing.get(room_nid, [])}
            found.setdefault(room_nid, []).append({"type": "m.typing", "content": content})
    return found


def read_room_account_data(
    reading: Reading, rooms: Mapping[int, str], changes: Iterable[Change] | None
) -> Extras:
    """Of all the rooms, or (with `changes`) of those where something changed."""
    wanted = reading.request.filter.room_account_data
    room_nids = {nid for nid, room_id in rooms.items() if wanted.takes_room(room_id)}
    if changes is not None:
        room_nids &= {change.room_nid for change in changes if change.kind is Kind.ACCOUNT_DATA}
    if not room_nids:
        return {}
    stored = account_data.room_account_data(reading.txn, reading.request.user_id, room_nids)
    return {room_nid: _entries(entries, wanted) for room_nid, entries in stored.items()}


def read_global_account_data(reading: Reading) -> list[JsonObject]:
    user_id = reading.request.user_id
    stored = account_data.global_account_data(reading.txn, user_id)
    return _entries(
        {"m.push_rules": default_push_rules(user_id), **stored}, reading.request.filter.account_data
    )


def global_account_data_changed(changes: Iterable[Change]) -> bool:
    return any(change.kind is Kind.ACCOUNT_DATA and change.room_nid is None for change in changes)


def _entries(entries: Mapping[str, JsonObject], wanted: EventFilter) -> list[JsonObject]:
    return [
        {"type": kind, "content": content} for kind, content in entries.items() if wanted.takes_type(kind)
    ]


def _changed(
    changes: Iterable[Change], room_nids: Collection[int]
) -> tuple[set[tuple[int, str]], set[int], set[int]]:
    """(room, user) pairs with new receipts, their rooms, and the rooms where somebody began or stopped to type.

    A private receipt is a change of its owner's own data, see `put_receipt`.
    """
    who, typing = set(), set()
    for kind, room_nid, user_id in ((change.kind, change.room_nid, change.user_id) for change in changes):
        if room_nid is None or room_nid not in room_nids:
            continue
        if kind in {Kind.RECEIPT, Kind.ACCOUNT_DATA} and user_id is not None:
            who.add((room_nid, user_id))
        elif kind is Kind.TYPING:
            typing.add(room_nid)
    return who, {room_nid for room_nid, _ in who}, typing


def _receipt_contents(receipts: Iterable[Receipt]) -> list[JsonObject]:
    """One content has room for one receipt of a user's on an event; those of further threads need more."""
    contents: list[JsonObject] = []
    for receipt in receipts:
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
