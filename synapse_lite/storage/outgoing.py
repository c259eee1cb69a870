"""What is to be sent to other servers: who writes it. `storage.sending` hands it out."""

from collections.abc import Collection, Mapping, Sequence

from attrs import frozen

from synapse_lite.canonical_json import JsonObject, encode
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import ROOM_ORDER_BACK, Kind

FOLLOWER = "federation"
"""Who puts the events of the stream into the queues."""

MAX_QUEUED = 2000
"""Events for one server: one that takes them more slowly than they come catches up room by room, too."""
MAX_EDUS_QUEUED = 10_000
"""For a server that takes them more slowly than they come; the oldest messages to its devices are lost then."""
MAX_EDUS_KEPT = 1000
"""For a server that is away; of device lists it learns by the gap that it missed some."""


@frozen
class OutgoingEvent:
    position: int
    room_nid: int
    event_nid: int
    servers: Collection[str]


@frozen
class OutgoingEdu:
    """`key`: an earlier one with the same is not sent any more. `is_passing`: of no use to who was away."""

    servers: Collection[str]
    edu_type: str
    content: JsonObject
    key: str | None = None
    room_nid: int | None = None
    is_passing: bool = False


def enqueue(txn: Transaction, events: Sequence[OutgoingEvent], edus: Sequence[OutgoingEdu] = ()) -> bool:
    """Put each into the queues of its servers; False when there are none.

    Of events for a server that is behind only the newest of each room is remembered.
    """
    rooms = {event.room_nid for event in events}
    rooms |= {edu.room_nid for edu in edus if edu.room_nid is not None}
    gone = rooms - _hold(txn, rooms)
    events = [one for one in events if one.room_nid not in gone]
    edus = [one for one in edus if one.room_nid not in gone]
    servers = {name for event in events for name in event.servers}
    servers |= {name for edu in edus for name in edu.servers}
    if not servers:
        return False
    behind = _touch(txn, servers)
    _put_events(txn, events, behind)
    _put_edus(txn, edus, behind)
    return True


def events_beside(
    txn: Transaction, room_nid: int, before: Collection[str], position: int, limit: int
) -> list[tuple[int, int]]:
    """(position, event nid) of the newest events of the room between the last of those `before`, by id, and the position."""
    return txn.rows(
        f"SELECT position, event_nid FROM stream WHERE room_nid = %s AND kind = {Kind.EVENT:d} AND minor = 0"
        " AND position < %s AND position > (SELECT max(s.position) FROM stream s JOIN events USING (event_nid)"
        " WHERE event_id = ANY(%s)) ORDER BY position DESC LIMIT %s",
        (room_nid, position, list(before), limit),
    )


def _hold(txn: Transaction, room_nids: Collection[int]) -> set[int]:
    """Those of the rooms that are there, and stay until the transaction ends: nothing of ours outlives them."""
    if not room_nids:
        return set()
    rows = txn.rows(
        "SELECT room_nid FROM rooms WHERE room_nid = ANY(%s) ORDER BY room_nid FOR KEY SHARE",
        (list(room_nids),),
    )
    return {room_nid for (room_nid,) in rows}


def _touch(txn: Transaction, servers: Collection[str]) -> Collection[str]:
    """Lock the rows of the servers, in one order; which of them are behind."""
    rows = txn.rows(
        "INSERT INTO destinations (server_name, pending) SELECT name, TRUE FROM unnest(%s::text[]) AS t (name)"
        " ON CONFLICT (server_name) DO UPDATE SET pending = TRUE RETURNING server_name, behind",
        (sorted(servers),),
    )
    return {name for name, is_behind in rows if is_behind}


def _put_events(txn: Transaction, events: Sequence[OutgoingEvent], behind: Collection[str]) -> None:
    txn.insert(
        "INSERT INTO outgoing_events (server_name, position, room_nid, event_nid) VALUES %s ON CONFLICT DO NOTHING",
        [
            (name, one.position, one.room_nid, one.event_nid)
            for one in events
            for name in one.servers
            if name not in behind
        ],
    )
    missed: dict[tuple[str, int], OutgoingEvent] = {
        (name, one.room_nid): one for one in events for name in one.servers if name in behind
    }
    txn.insert(
        f"INSERT INTO destination_rooms AS r (server_name, room_nid, missed_position, missed_nid) VALUES %s {_NEWEST}",
        [(name, room_nid, one.position, one.event_nid) for (name, room_nid), one in missed.items()],
    )


_NEWEST = (
    "ON CONFLICT (room_nid, server_name) DO UPDATE SET missed_position = excluded.missed_position,"
    " missed_nid = excluded.missed_nid WHERE coalesce(r.missed_position, 0) < excluded.missed_position"
)


def _put_edus(txn: Transaction, edus: Sequence[OutgoingEdu], behind: Collection[str]) -> None:
    """In their order. What a later one takes the place of is gone also where that one is not told: who was typing then is not now."""
    for one in edus:
        servers = [name for name in one.servers if not (one.is_passing and name in behind)]
        if one.key is not None:
            txn.later(
                "DELETE FROM outgoing_edus WHERE server_name = ANY(%s) AND key = %s",
                (list(one.servers), one.key),
            )
        text = encode({"edu_type": one.edu_type, "content": one.content}).decode()
        txn.insert(
            "INSERT INTO outgoing_edus (server_name, key, room_nid, json) VALUES %s",
            [(name, one.key, one.room_nid, text) for name in servers],
        )
    without_end = {name for one in edus if one.key is None for name in one.servers}
    _trim_edus(txn, without_end.intersection(behind), MAX_EDUS_KEPT)
    _trim_edus(txn, without_end.difference(behind), MAX_EDUS_QUEUED)


def _trim_edus(txn: Transaction, servers: Collection[str], kept: int) -> None:
    """The newest stay, and what is on its way."""
    if not servers:
        return
    txn.later(
        "DELETE FROM outgoing_edus o USING (SELECT server_name, txn_id, txn_edu, (SELECT edu FROM outgoing_edus k"
        "   WHERE k.server_name = t.server_name ORDER BY edu DESC OFFSET %s LIMIT 1) AS last"
        "  FROM destinations t WHERE server_name = ANY(%s)) AS d"
        " WHERE o.server_name = d.server_name AND o.edu <= d.last AND (d.txn_id IS NULL OR o.edu > d.txn_edu)",
        (kept, list(servers)),
    )


def miss(txn: Transaction, servers: Collection[str]) -> None:
    """These have been away for long, or are too slow: their queues give way to the newest event of each room.

    Of what is told beside events the newest `MAX_EDUS_KEPT` stay. What is on its way stays, too: nobody knows whether it
    has arrived. To be called with their rows locked.
    """
    names = list(servers)
    txn.later(
        "WITH gone AS (DELETE FROM outgoing_events o USING destinations d WHERE d.server_name = ANY(%s)"
        "  AND o.server_name = d.server_name AND (d.txn_id IS NULL OR o.position > d.txn_position)"
        "  RETURNING o.server_name, o.room_nid, o.position, o.event_nid)"
        " INSERT INTO destination_rooms AS r (server_name, room_nid, missed_position, missed_nid)"
        " SELECT DISTINCT ON (server_name, room_nid) server_name, room_nid, position, event_nid FROM gone"
        f" ORDER BY server_name, room_nid, position DESC {_NEWEST}",
        (names,),
    )
    txn.later("UPDATE destinations SET behind = TRUE WHERE server_name = ANY(%s)", (names,))
    _trim_edus(txn, names, MAX_EDUS_KEPT)


def overfull(txn: Transaction, servers: Collection[str]) -> list[str]:
    """Those for which more than `MAX_QUEUED` events wait."""
    rows = txn.rows(
        "SELECT name FROM unnest(%s::text[]) AS t (name) WHERE EXISTS ("
        " SELECT FROM outgoing_events WHERE server_name = name OFFSET %s)",
        (list(servers), MAX_QUEUED),
    )
    return [name for (name,) in rows]


def is_waiting(txn: Transaction, room_nid: int) -> bool:
    """Whether something of the room is on its way to a server that can be reached, or the follower has not seen it yet."""
    behind = txn.value(
        "SELECT f.position < (SELECT s.position FROM stream s WHERE s.room_nid = %s AND s.kind = %s"
        f" ORDER BY {ROOM_ORDER_BACK} LIMIT 1) FROM followers f WHERE f.name = %s",
        (room_nid, int(Kind.EVENT), FOLLOWER),
    )
    if behind:
        return True
    row = txn.row(
        "SELECT FROM outgoing_events o JOIN destinations d USING (server_name)"
        " WHERE o.room_nid = %s AND d.failing_since IS NULL LIMIT 1",
        (room_nid,),
    )
    return row is not None


def untold(txn: Transaction, room_nid: int, limit: int) -> list[str]:
    """Servers that have yet to hear something of the room, by name."""
    rows = txn.rows(
        "SELECT server_name FROM outgoing_events WHERE room_nid = %s UNION SELECT server_name FROM destination_rooms"
        " WHERE room_nid = %s AND missed_position IS NOT NULL ORDER BY 1 LIMIT %s",
        (room_nid, room_nid, limit),
    )
    return [server_name for (server_name,) in rows]


def queued(txn: Transaction, server_name: str) -> Mapping[str, int]:
    """How much waits: `events`, `edus`, `rooms` to catch up with."""
    counts = txn.row(
        "SELECT (SELECT count(*) FROM outgoing_events WHERE server_name = %s),"
        " (SELECT count(*) FROM outgoing_edus WHERE server_name = %s),"
        " (SELECT count(*) FROM destination_rooms WHERE server_name = %s AND missed_position IS NOT NULL)",
        (server_name,) * 3,
    )
    return dict(zip(("events", "edus", "rooms"), counts or (0, 0, 0), strict=True))
