"""Rooms of which most members are not known yet."""

from collections.abc import Collection, Sequence

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import Standing
from synapse_lite.storage.nids import nid_array
from synapse_lite.storage.stream import Kind


@frozen
class PartialRoom:
    """`join_nid` is the event by which this server came in, `snapshot_nid` the state before it, which grows.

    `servers` were in the room then. `is_told`: what lacks is known.
    """

    room_nid: int
    join_nid: int
    snapshot_nid: int
    servers: Sequence[str]
    is_told: bool
    judged_position: int


_SELECT = (
    "SELECT room_nid, join_nid, snapshot_nid, servers, lacking IS NOT NULL, judged_position"
    " FROM partial_rooms WHERE room_nid = %s"
)


def insert_partial(
    txn: Transaction, room_nid: int, join_nid: int, snapshot_nid: int, servers: Collection[str]
) -> None:
    txn.later(
        "INSERT INTO partial_rooms (room_nid, join_nid, snapshot_nid, servers) VALUES (%s, %s, %s, %s)",
        (room_nid, join_nid, snapshot_nid, sorted(set(servers))),
    )


def find_partial(txn: Transaction, room_nid: int) -> PartialRoom | None:
    """None for a room that is known whole, or not at all."""
    row = txn.row(_SELECT, (room_nid,))
    return PartialRoom(*row) if row else None


def is_partial(txn: Transaction, room_nid: int) -> bool:
    return txn.row("SELECT FROM partial_rooms WHERE room_nid = %s", (room_nid,)) is not None


def was_there(txn: Transaction, room_nid: int, server_name: str) -> bool:
    """Whether the server was in the partial room when this one came in."""
    row = txn.row(
        "SELECT FROM partial_rooms WHERE room_nid = %s AND %s = ANY(servers)", (room_nid, server_name)
    )
    return row is not None


def forget_partial(txn: Transaction, room_nid: int) -> None:
    txn.later("DELETE FROM partial_rooms WHERE room_nid = %s", (room_nid,))


def set_lacking(txn: Transaction, room_nid: int, join_nid: int, event_nids: Collection[int]) -> None:
    """What is to be filled in. Nothing when it is known already, or of another stay in the room."""
    txn.execute(
        "UPDATE partial_rooms SET lacking = %s::bigint[]"
        " WHERE room_nid = %s AND join_nid = %s AND lacking IS NULL",
        (nid_array(event_nids), room_nid, join_nid),
    )


def count_lacking(txn: Transaction, room_nid: int) -> int | None:
    """How many events are to be filled in, as far as that is known; None for a room that is not partial."""
    count: int | None = txn.value(
        "SELECT coalesce(cardinality(lacking), 0) FROM partial_rooms WHERE room_nid = %s", (room_nid,)
    )
    return count


def take_lacking(txn: Transaction, room_nid: int, count: int) -> list[int]:
    """The next of them, which lack no more; the room is locked."""
    nids: list[int] = (
        txn.value("SELECT lacking[:%s] FROM partial_rooms WHERE room_nid = %s", (count, room_nid)) or []
    )
    txn.execute(
        "UPDATE partial_rooms SET lacking = lacking[%s + 1:] WHERE room_nid = %s", (len(nids), room_nid)
    )
    return nids


def events_since(txn: Transaction, partial: PartialRoom, limit: int) -> list[tuple[int, int]]:
    """(position, event nid) of what came into the room after the server, and is not judged by the whole state yet."""
    return txn.rows(
        "SELECT position, event_nid FROM stream WHERE room_nid = %s AND minor = 0"
        f" AND kind = {Kind.EVENT:d} AND event_nid > %s AND position > %s ORDER BY position LIMIT %s",
        (partial.room_nid, partial.join_nid, partial.judged_position, limit),
    )


def note_judged(txn: Transaction, room_nid: int, position: int) -> None:
    txn.execute("UPDATE partial_rooms SET judged_position = %s WHERE room_nid = %s", (position, room_nid))


def reject_event(txn: Transaction, event_nid: int, reason: str) -> None:
    """An event that was accepted while nobody knew better: no page shows it any more."""
    txn.execute(
        "UPDATE events SET standing = %s, rejected_reason = %s WHERE event_nid = %s",
        (int(Standing.REJECTED), reason, event_nid),
    )
    txn.execute(f"DELETE FROM stream WHERE event_nid = %s AND kind = {Kind.EVENT:d}", (event_nid,))


def is_rejected(txn: Transaction, event_nid: int) -> bool:
    """As it is now, whatever memory says."""
    sql = "SELECT FROM events WHERE event_nid = %s AND standing = %s"
    return txn.row(sql, (event_nid, int(Standing.REJECTED))) is not None


def known_event_ids(txn: Transaction, event_ids: Collection[str]) -> set[str]:
    rows = txn.rows("SELECT event_id FROM events WHERE event_id = ANY(%s)", (list(event_ids),))
    return {event_id for (event_id,) in rows}


def state_event_nids(txn: Transaction, room_nid: int, event_ids: Collection[str]) -> list[int]:
    """Those of the events that are state of the room, and not rejected."""
    rows = txn.rows(
        "SELECT event_nid FROM events WHERE event_id = ANY(%s) AND room_nid = %s AND state_key IS NOT NULL"
        f" AND standing <> {Standing.REJECTED:d} ORDER BY event_nid",
        (list(event_ids), room_nid),
    )
    return [nid for (nid,) in rows]
