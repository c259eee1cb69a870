"""How long the rooms' messages are to be kept, and which rooms have some that are older."""

from collections.abc import Collection

from attrs import frozen

from synapse_lite.canonical_json import JsonObject, decode_object
from synapse_lite.matrix.retention import RETENTION
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import END, ROOM_ORDER, Kind, room_span

# The room's current m.room.retention, unless it is redacted.
_SAID = (
    f"(SELECT e.json FROM current_state c JOIN events e USING (event_nid) WHERE c.room_nid = r.room_nid"
    f" AND c.type = '{RETENTION}' AND c.state_key = ''"
    " AND NOT EXISTS (SELECT FROM redactions d WHERE d.target_nid = e.event_nid AND d.applied))"
)
_OLDEST = (
    "(SELECT e.received_ts FROM stream s JOIN events e USING (event_nid)"
    f" WHERE {room_span('r.room_nid', f'{Kind.EVENT:d}', '0', str(END))} ORDER BY {ROOM_ORDER} LIMIT 1)"
)


@frozen
class Aging:
    """A room: what it says about retention, and when the oldest event that pages show was received (ms)."""

    room_nid: int
    room_id: str
    said: JsonObject | None
    oldest_ts: int | None


def said_by_rooms(txn: Transaction, room_nids: Collection[int]) -> dict[int, JsonObject | None]:
    """The content of each room's `m.room.retention`; None where there is none."""
    rows = txn.rows(
        f"SELECT r.room_nid, {_SAID} FROM unnest(%s::bigint[]) AS r (room_nid)", (list(room_nids),)
    )
    return {room_nid: _content(json) for room_nid, json in rows}


def aging_rooms(txn: Transaction, after_nid: int, limit: int) -> list[Aging]:
    """The next rooms by number; those that are being purged are left out."""
    rows = txn.rows(
        f"SELECT r.room_nid, r.room_id, {_SAID}, {_OLDEST} FROM rooms r"
        " WHERE r.room_nid > %s AND NOT r.purging ORDER BY r.room_nid LIMIT %s",
        (after_nid, limit),
    )
    return [
        Aging(room_nid, room_id, _content(json), oldest_ts) for room_nid, room_id, json, oldest_ts in rows
    ]


def _content(json: str | None) -> JsonObject | None:
    content = None if json is None else decode_object(json).get("content")
    return content if isinstance(content, dict) else None
