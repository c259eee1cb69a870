"""Deleting all rows of a room, slice by slice.

`TABLES` says where they are and in which order they go: what leads readers to a room (aliases,
memberships) before what they would read there. A test compares it with the database's catalogue.

What remains is the memory that the room is gone: one row in `purged_rooms`, and in the stream rows of
kind ROOM_GONE, which tell members who were away that they are out (`departures`).
"""

from collections.abc import Collection, Sequence

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.planner import keeping_to_indexes
from synapse_lite.storage.stream import Kind

Key = tuple[int | str, ...]


@frozen
class Table:
    """`keys` order its rows within a room; an index begins with `room_nid` and these, or few rows have it.

    `dependents` are tables whose rows go with the row of the same `event_nid`. `kept` is a condition:
    rows that stay.
    """

    name: str
    keys: tuple[str, ...]
    dependents: tuple[str, ...] = ()
    kept: str = "FALSE"


MEMBERSHIPS = Table("memberships", ("user_id",))
STREAM = Table("stream", ("kind", "position", "minor"), kept=f"kind = {Kind.ROOM_GONE:d}")

TABLES = (
    Table("room_aliases", ("alias",)),
    Table("server_notice_rooms", ("user_id",)),
    Table("typing", ("user_id",)),
    Table("receipts", ("user_id", "receipt_type", "thread_id")),
    Table("own_reads", ("user_id", "thread_id")),
    Table("account_data", ("user_id", "type")),
    Table("current_state", ("type", "state_key")),
    Table("room_summary", ("room_nid",)),
    Table("room_directory", ("list",)),
    Table("room_networks", ("network",)),
    Table("room_sizes", ("room_nid",)),
    Table("stripped_state", ("user_id",)),
    Table("partial_rooms", ("room_nid",)),
    Table("room_stats", ("events",)),
    Table("delayed_events", ("delay_id",)),
    Table("outgoing_events", ("server_name", "position")),
    Table("outgoing_edus", ("server_name", "edu")),
    Table("destination_rooms", ("server_name",)),
    Table("thread_subscriptions", ("user_id", "root_id")),
    Table("passed_over", ("follower", "shard", "position")),
    MEMBERSHIPS,
    # Before the events: who follows the stream finds every event of which it tells.
    STREAM,
    Table("notices", ("position",)),
    Table("push_queue", ("position", "user_id")),
    Table("state_deltas", ("position", "type", "state_key")),
    Table("room_gaps", ("missing_event_id", "event_nid")),
    Table("redacting_rooms", ("task_id",)),
    Table("imported_places", ("ordering",)),
    Table("redactions", ("event_nid", "redacts")),
    Table("relations", ("event_nid",)),
    Table("event_search", ("event_nid",)),
    Table("events", ("depth", "event_nid"), dependents=("event_transactions",)),
    Table("snapshot_candidates", ("task_id", "snapshot_nid")),
    Table("state_snapshots", ("snapshot_nid",)),
)

# Looked at once more before the room's own row goes. The others only the appender writes, whom a closed
# room keeps out; and they are large: an index names deleted rows until it is tidied up.
_RECHECKED = TABLES[: TABLES.index(MEMBERSHIPS) + 1]


@frozen
class Slice:
    """Some rows of a table, in order: how many of the table and of its dependents, and the last key.

    `last` is None when there are no more.
    """

    rows: dict[str, int]
    last: Key | None


@keeping_to_indexes
def count_slice(txn: Transaction, table: Table, room_nid: int, after: Key, limit: int) -> Slice:
    """The next `limit` rows after the key `after` (empty: from the start), only counted."""
    keys = ", ".join(table.keys)
    ahead, arguments = _ahead(table, room_nid, after)
    last = txn.row(
        f"SELECT {keys} FROM {table.name} WHERE {ahead} ORDER BY {keys} OFFSET %s LIMIT 1",
        [*arguments, limit - 1],
    )
    upto = f" AND ({keys}) <= ({', '.join(['%s'] * len(last))})" if last else ""

    def count(each: str) -> int:
        text = f"SELECT count(*) FROM {table.name}{each} WHERE {ahead}{upto}"
        return int(txn.value(text, [*arguments, *(last or ())]))

    rows = {table.name: limit if last else count("")}
    for dependent in table.dependents:
        # OFFSET 0: looked up for each row. Joined otherwise, it is read as a whole, with the rows of all rooms.
        rows[dependent] = count(
            f", LATERAL (SELECT FROM {dependent} f WHERE f.event_nid = {table.name}.event_nid OFFSET 0) AS dependent"
        )
    return Slice(rows, last)


@keeping_to_indexes
def delete_slice(
    txn: Transaction, table: Table, room_nid: int, after: Key, limit: int, server_name: str
) -> Slice:
    """As `count_slice`, and the rows are gone. `server_name` is ours: its users are told."""
    rows = {}
    if table is MEMBERSHIPS:
        members = _read_keys(txn, table, room_nid, after, limit)
        rows["stream"] = _say_goodbye(txn, room_nid, [str(user_id) for (user_id,) in members], server_name)
    told = _keep_removals(txn, room_nid, after, limit, server_name) if table is STREAM else []
    keys = sorted([*told, *_delete_keys(txn, table, room_nid, after, limit - len(told))])
    rows[table.name] = len(keys)
    for dependent in table.dependents:
        rows[dependent] = txn.execute(
            f"DELETE FROM {dependent} WHERE event_nid = ANY(%s)", (_event_nids(table, keys),)
        )
    return Slice(rows, keys[-1] if len(keys) == limit else None)


def delete_room(txn: Transaction, room_nid: int) -> bool:
    """Delete the room's own row, at last, and tell all processes; False when other tables have to go first."""
    if txn.row("SELECT FROM rooms WHERE room_nid = %s FOR UPDATE", (room_nid,)) is None:
        return True
    if any(_read_keys(txn, table, room_nid, (), 1) for table in _RECHECKED):
        return False
    txn.execute("DELETE FROM rooms WHERE room_nid = %s", (room_nid,))
    txn.publish(Kind.ROOM_GONE, room_nid=room_nid)
    return True


def is_whole(txn: Transaction, room_nid: int) -> bool:
    """Whether events can be added to the room: its head and its current state are there."""
    return bool(
        txn.value(
            "SELECT cardinality(extremities) > 0"
            " AND EXISTS (SELECT FROM current_state c WHERE c.room_nid = r.room_nid AND c.type = 'm.room.create')"
            " AND (r.snapshot_nid = 0 OR EXISTS (SELECT FROM state_snapshots s WHERE s.snapshot_nid = r.snapshot_nid))"
            " AND NOT EXISTS (SELECT FROM ("
            "   SELECT unnest(extremities) AS event_nid UNION ALL"
            "   SELECT c.event_nid FROM current_state c WHERE c.room_nid = r.room_nid) AS needed"
            "  WHERE NOT EXISTS (SELECT FROM events e WHERE e.event_nid = needed.event_nid))"
            " FROM rooms r WHERE r.room_nid = %s",
            (room_nid,),
        )
    )


def present_members(
    txn: Transaction, room_nid: int, server_name: str, after: str, limit: int
) -> list[tuple[str, str]]:
    """(user id, membership) of the server's users who are joined, invited or knock, by user id."""
    return txn.rows(
        "SELECT user_id, membership FROM memberships WHERE room_nid = %s AND user_id > %s"
        f" AND membership IN ('join', 'invite', 'knock') AND {_IS_LOCAL} ORDER BY user_id LIMIT %s",
        (room_nid, after, *_local(server_name), limit),
    )


def count_present(txn: Transaction, room_nid: int, server_name: str) -> int:
    return int(
        txn.value(
            "SELECT count(*) FROM memberships WHERE room_nid = %s"
            f" AND membership IN ('join', 'invite', 'knock') AND {_IS_LOCAL}",
            (room_nid, *_local(server_name)),
        )
    )


def is_joined_by_any(txn: Transaction, room_nid: int, server_name: str) -> bool:
    """Whether users of the server are joined."""
    row = txn.row(
        f"SELECT FROM memberships WHERE room_nid = %s AND membership = 'join' AND {_IS_LOCAL} LIMIT 1",
        (room_nid, *_local(server_name)),
    )
    return row is not None


def forget_all(txn: Transaction, room_nid: int, user_ids: Collection[str]) -> int:
    """Hide the room from users who left it; of how many that is told."""
    rows = txn.rows(
        "UPDATE memberships SET forgotten = TRUE WHERE room_nid = %s AND user_id = ANY(%s)"
        " AND membership IN ('leave', 'ban') AND NOT forgotten RETURNING user_id",
        (room_nid, list(user_ids)),
    )
    for (user_id,) in rows:
        txn.publish(Kind.FORGOTTEN, user_id=user_id, room_nid=room_nid)
    return len(rows)


@frozen
class PurgedRoom:
    """Somebody is out of a room that was purged; `position` is that of their leave."""

    position: int
    room_id: str
    purged_ts: int


def purged_rooms(txn: Transaction, user_id: str, after: int, upto: int) -> list[PurgedRoom]:
    """The purged rooms that the user left at `after` < position <= `upto`, and is not in again."""
    rows = txn.rows(
        "SELECT max(s.position), p.room_id, max(p.purged_ts) FROM stream s JOIN purged_rooms p USING (room_nid)"
        f" WHERE s.user_id = %s AND s.kind = {Kind.ROOM_GONE:d} AND s.position > %s AND s.position <= %s"
        " AND NOT EXISTS (SELECT FROM rooms r JOIN memberships m USING (room_nid)"
        "  WHERE r.room_id = p.room_id AND m.user_id = s.user_id)"
        " GROUP BY p.room_id ORDER BY 1",
        (user_id, after, upto),
    )
    return [PurgedRoom(*row) for row in rows]


# Pieces

_IS_LOCAL = "right(user_id, %s) = %s"


def _local(server_name: str) -> tuple[int, str]:
    return len(server_name) + 1, f":{server_name}"


def _say_goodbye(txn: Transaction, room_nid: int, user_ids: Sequence[str], server_name: str) -> int:
    """Leave in the stream, where each user left, that they did; nothing else of what they were before.

    Their leave keeps its position, or that where a resolution brought it back, so that no client sees it
    twice. Who has not left is told now. The number of positions that told of the users.
    """
    local = [user_id for user_id in user_ids if user_id.endswith(f":{server_name}")]
    left = txn.rows(
        "WITH gone AS (SELECT * FROM memberships"
        "  WHERE room_nid = %s AND user_id = ANY(%s) AND membership IN ('leave', 'ban')),"
        " last AS (SELECT DISTINCT ON (user_id) user_id, position, minor FROM ("
        "   SELECT s.user_id, s.position, s.minor FROM stream s JOIN gone USING (event_nid, user_id) UNION ALL"
        "   SELECT s.user_id, s.position, s.minor FROM stream s JOIN gone USING (room_nid, user_id)"
        f"  WHERE s.kind = {Kind.STATE:d}) AS told ORDER BY user_id, position DESC, minor DESC)"
        f" UPDATE stream s SET kind = {Kind.ROOM_GONE:d}, event_nid = NULL FROM last"
        " WHERE (s.position, s.minor) = (last.position, last.minor) RETURNING s.user_id",
        (room_nid, local),
    )
    deleted = txn.execute(
        f"DELETE FROM stream WHERE user_id = ANY(%s) AND kind IN ({Kind.EVENT:d}, {Kind.KEPT:d}, {Kind.STATE:d})"
        " AND room_nid = %s",
        (list(user_ids), room_nid),
    )
    for user_id in sorted(set(local) - {user_id for (user_id,) in left}):
        txn.publish(Kind.ROOM_GONE, room_nid=room_nid, user_id=user_id)
    return len(left) + deleted


def _keep_removals(txn: Transaction, room_nid: int, after: Key, limit: int, server_name: str) -> list[Key]:
    """Within the next `limit` rows of the stream: what told users that the state knows them no longer tells it still.

    Who has a membership has been told otherwise (`_say_goodbye`). The keys that the rows had.
    """
    text, arguments = _select(STREAM, "ctid, kind, user_id", room_nid, after, limit)
    rows = txn.rows(
        f"UPDATE stream SET kind = {Kind.ROOM_GONE:d}, event_nid = NULL WHERE ctid = ANY(ARRAY("
        f" SELECT ctid FROM ({text} FOR UPDATE) AS slice WHERE kind = {Kind.STATE:d} AND {_IS_LOCAL}))"
        " RETURNING position, minor",
        [*arguments, *_local(server_name)],
    )
    return [(int(Kind.STATE), *row) for row in rows]


def _read_keys(txn: Transaction, table: Table, room_nid: int, after: Key, limit: int) -> list[Key]:
    text, arguments = _select(table, ", ".join(table.keys), room_nid, after, limit)
    return txn.rows(text, arguments)


def _delete_keys(txn: Transaction, table: Table, room_nid: int, after: Key, limit: int) -> list[Key]:
    """By the rows' places on the disk: for a range of keys the planner may prefer to read the whole table.

    Locked first, so that none escapes which another transaction (of a periodic task) is just changing.
    """
    text, arguments = _select(table, "ctid", room_nid, after, limit)
    columns = ", ".join(table.keys)
    return txn.rows(
        f"WITH gone AS (DELETE FROM {table.name} WHERE ctid = ANY(ARRAY({text} FOR UPDATE)) RETURNING {columns})"
        f" SELECT {columns} FROM gone ORDER BY {columns}",
        arguments,
    )


def _select(table: Table, columns: str, room_nid: int, after: Key, limit: int) -> tuple[str, list[object]]:
    """The next rows of the room in the table's order."""
    ahead, arguments = _ahead(table, room_nid, after)
    text = f"SELECT {columns} FROM {table.name} WHERE {ahead} ORDER BY {', '.join(table.keys)} LIMIT %s"
    return text, [*arguments, limit]


def _ahead(table: Table, room_nid: int, after: Key) -> tuple[str, list[object]]:
    """A condition: rows of the room that are to go, after a key."""
    passed = f" AND ({', '.join(table.keys)}) > ({', '.join(['%s'] * len(after))})" if after else ""
    return f"room_nid = %s AND NOT ({table.kept}){passed}", [room_nid, *after]


def _event_nids(table: Table, keys: Collection[Key]) -> list[int | str]:
    position = table.keys.index("event_nid")
    return [key[position] for key in keys]
