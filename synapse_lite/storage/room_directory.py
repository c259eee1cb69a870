"""The published rooms, in a table of their own: pages of the directory are read from one index.

`rooms.is_public` says what is published. Who changes it, or opens or closes a room, calls `refresh_listing`; what the
directory shows of a published room changes with its summary, in the same statement (`changed_listing`).
"""

from collections.abc import Collection

from synapse_lite.storage.database import Transaction

# Rooms that nobody could enter or look into would be a list of closed doors. Of a row `s` of room_summary.
_SHOWN = (
    "s.joined, s.joined > 0 AND coalesce(s.join_rule IN ('public', 'knock', 'knock_restricted')"
    " OR s.history_visibility = 'world_readable', FALSE),"
    " s.federates, s.room_type, lower(concat_ws(E'\\n', s.name, s.topic, s.canonical_alias))"
)
_COLUMNS = "joined, listed, federates, room_type, body"
_SOURCES = frozenset(
    {
        "joined",
        "join_rule",
        "history_visibility",
        "federates",
        "room_type",
        "name",
        "topic",
        "canonical_alias",
    }
)


def changed_listing(changed: Collection[str]) -> str | None:
    """A statement that brings the directory up to date with `s`, a row of room_summary whose `changed` columns were written."""
    if _SOURCES.isdisjoint(changed):
        return None
    return f"UPDATE room_directory d SET ({_COLUMNS}) = ROW({_SHOWN}) FROM s WHERE d.room_nid = s.room_nid"


def refresh_listing(txn: Transaction, room_nid: int) -> None:
    """After `is_public` or `purging` of the room changed. The row of the room is locked."""
    txn.later("DELETE FROM room_directory WHERE room_nid = %s", (room_nid,))
    txn.later(
        f"INSERT INTO room_directory (room_nid, {_COLUMNS}) SELECT r.room_nid, {_SHOWN}"
        " FROM rooms r JOIN room_summary s USING (room_nid) WHERE r.room_nid = %s AND r.is_public AND NOT r.purging",
        (room_nid,),
    )
