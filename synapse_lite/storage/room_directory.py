"""The rooms of the directory, in a table of their own: pages of each of its lists are read from one index.

`rooms.is_public` says what is published, `room_networks` what a network of an application service lists. Who changes them, or
opens or closes a room, calls `refresh_listing`; what the directory shows of a room changes with its summary, in the same
statement (`changed_listing`).
"""

from collections.abc import Collection

from synapse_lite.storage.database import Transaction

# Rooms that nobody could enter or look into would be a list of closed doors. Of a row `s` of room_summary.
_SHOWN = (
    "s.joined, s.joined > 0 AND coalesce(s.join_rule IN ('public', 'knock', 'knock_restricted')"
    " OR s.history_visibility = 'world_readable', FALSE),"
    " s.federates, s.room_type, lower(concat_ws(E'\\n', s.name, s.topic, s.canonical_alias))"
)
PUBLISHED = ""
UNPUBLISHED = "*"
"""The list of rooms that some network lists, and that are not published: with these, all that there are."""
_LISTS = (
    f"SELECT '{PUBLISHED}' AS list WHERE r.is_public"
    f" UNION ALL SELECT '{UNPUBLISHED}' WHERE NOT r.is_public AND EXISTS (SELECT FROM room_networks n WHERE n.room_nid = r.room_nid)"
    " UNION ALL SELECT n.network FROM room_networks n WHERE n.room_nid = r.room_nid"
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
    """After `is_public` or `purging` of the room changed, or its networks. The row of the room is locked."""
    txn.later("DELETE FROM room_directory WHERE room_nid = %s", (room_nid,))
    txn.later(
        f"INSERT INTO room_directory (room_nid, list, {_COLUMNS}) SELECT r.room_nid, shows.list, {_SHOWN}"
        f" FROM rooms r JOIN room_summary s USING (room_nid) CROSS JOIN LATERAL ({_LISTS}) AS shows"
        " WHERE r.room_nid = %s AND NOT r.purging",
        (room_nid,),
    )


def networks_of(txn: Transaction, room_nid: int, limit: int) -> set[str]:
    """Those that list the room, at most `limit`."""
    rows = txn.rows("SELECT network FROM room_networks WHERE room_nid = %s LIMIT %s", (room_nid, limit))
    return {network for (network,) in rows}


def set_in_network(txn: Transaction, room_nid: int, network: str, listed: bool) -> None:
    """`network` is "service id|network id". The row of the room is locked."""
    if listed:
        statement = "INSERT INTO room_networks (room_nid, network) VALUES (%s, %s)"
    else:
        statement = "DELETE FROM room_networks WHERE room_nid = %s AND network = %s"
    txn.later(statement, (room_nid, network))
    refresh_listing(txn, room_nid)
