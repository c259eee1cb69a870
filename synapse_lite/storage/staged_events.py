"""Events of other servers between their arrival and their room: they outlive the process that took them."""

from collections.abc import Collection, Sequence

from attrs import frozen

from synapse_lite.canonical_json import JsonObject, decode_exact, dump
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.prepared import Prepared

MAX_STAGED = 5000
"""Of one room: beyond it new ones are not kept; the room comes back to them by what refers to them later."""

# Asked twice for each transaction that comes, and planned for longer than it runs.
_CLAIM = Prepared(
    "claim_staged_rooms",
    "UPDATE staged_rooms SET owner = %s, leased_until = clock_timestamp() + %s * interval '1 second'"
    " WHERE room_id IN (SELECT room_id FROM staged_rooms s WHERE leased_until < clock_timestamp()"
    " AND NOT EXISTS (SELECT FROM joins_under_way j JOIN rooms r USING (room_id)"
    "  WHERE j.room_id = s.room_id AND held_until > clock_timestamp() AND NOT EXISTS ("
    "   SELECT FROM memberships m WHERE m.room_nid = r.room_nid AND server_name = %s AND membership = 'join'))"
    " ORDER BY leased_until LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING room_id",
)


@frozen
class StagedEvent:
    nid: int
    event_id: str
    origin: str
    pdu: JsonObject


@frozen
class Arrival:
    room_id: str
    event_id: str
    pdu: JsonObject


def stage(txn: Transaction, origin: str, arrivals: Sequence[Arrival], now_ms: int) -> None:
    """Keep the events; those that wait already, and what goes beyond `MAX_STAGED`, are left out."""
    room_ids = sorted({arrival.room_id for arrival in arrivals})
    waiting = dict[str, int](
        txn.rows(
            "SELECT room_id, count(*) FROM staged_events WHERE room_id = ANY(%s) GROUP BY room_id",
            (room_ids,),
        )
    )
    rows = []
    for arrival in arrivals:
        count = waiting[arrival.room_id] = waiting.get(arrival.room_id, 0) + 1
        if count <= MAX_STAGED:
            pdu = dump(arrival.pdu).decode()
            rows.append((arrival.room_id, arrival.event_id, origin, pdu, now_ms))
    txn.insert(
        "INSERT INTO staged_events (room_id, event_id, origin, json, received_ts) VALUES %s ON CONFLICT DO NOTHING",
        rows,
    )
    # The update waits for whoever is about to delete the row, and for nobody else.
    txn.insert(
        "INSERT INTO staged_rooms AS r (room_id) VALUES %s ON CONFLICT (room_id) DO UPDATE SET owner = r.owner",
        [(room_id,) for room_id in room_ids],
    )


def claim_rooms(
    txn: Transaction, owner: str, server_name: str, lease_seconds: float, limit: int
) -> list[str]:
    """Rooms whose events wait and that nobody has, or whose owner is gone; not those that this server is about to enter.

    Where one of its users is in already, the join of another one holds up nothing.
    """
    txn.relax()  # a claim that a crash of the database takes back is as good as one whose owner died
    rows = txn.rows(_CLAIM, (owner, lease_seconds, server_name, limit))
    return [room_id for (room_id,) in rows]


def renew(txn: Transaction, room_ids: Collection[str], owner: str, lease_seconds: float) -> None:
    """Those that somebody else has by now are left alone, and so are those that are just given back."""
    txn.relax()
    txn.execute(
        "UPDATE staged_rooms SET leased_until = clock_timestamp() + %s * interval '1 second' WHERE room_id IN"
        " (SELECT room_id FROM staged_rooms WHERE room_id = ANY(%s) AND owner = %s FOR UPDATE SKIP LOCKED)",
        (lease_seconds, list(room_ids), owner),
    )


def oldest(txn: Transaction, room_ids: Sequence[str], owner: str, limit: int) -> dict[str, list[StagedEvent]]:
    """The first events of those of the rooms that the owner has: of each at most `limit`."""
    rows = txn.rows(
        "SELECT r.room_id, e.staged_nid, e.event_id, e.origin, e.json FROM staged_rooms r LEFT JOIN LATERAL ("
        " SELECT * FROM staged_events WHERE room_id = r.room_id ORDER BY staged_nid LIMIT %s) AS e ON TRUE"
        " WHERE r.room_id = ANY(%s) AND r.owner = %s ORDER BY e.staged_nid",
        (limit, list(room_ids), owner),
    )
    found: dict[str, list[StagedEvent]] = {}
    for room_id, nid, event_id, origin, json in rows:
        events = found.setdefault(room_id, [])
        if nid is not None:
            events.append(StagedEvent(nid, event_id, origin, decode_exact(json)))
    return found


def unstage(txn: Transaction, staged_nids: Sequence[int]) -> None:
    txn.later("DELETE FROM staged_events WHERE staged_nid = ANY(%s)", (list(staged_nids),))


def origins(txn: Transaction, room_id: str) -> list[str]:
    """The servers that sent what waits for the room."""
    rows = txn.rows("SELECT DISTINCT origin FROM staged_events WHERE room_id = %s", (room_id,))
    return [origin for (origin,) in rows]


def unstage_of(txn: Transaction, room_id: str, servers: Sequence[str]) -> None:
    """What these servers sent for the room."""
    txn.later("DELETE FROM staged_events WHERE room_id = %s AND origin = ANY(%s)", (room_id, list(servers)))


def release(txn: Transaction, room_ids: Collection[str], owner: str, pause_seconds: float = 0) -> None:
    """Give rooms back, to be claimed after a pause. Those of which no event waits are forgotten."""
    if not room_ids:
        return
    # Locked first: an event that is being staged now is seen by the next statement.
    held = txn.rows(
        "SELECT room_id FROM staged_rooms WHERE room_id = ANY(%s) AND owner = %s ORDER BY room_id FOR UPDATE",
        (list(room_ids), owner),
    )
    ours = [room_id for (room_id,) in held]
    txn.later(
        "DELETE FROM staged_rooms r WHERE room_id = ANY(%s)"
        " AND NOT EXISTS (SELECT FROM staged_events e WHERE e.room_id = r.room_id)",
        (ours,),
    )
    txn.later(
        "UPDATE staged_rooms SET owner = NULL, leased_until = CASE WHEN %s > 0"
        " THEN clock_timestamp() + %s * interval '1 second' ELSE '-infinity' END WHERE room_id = ANY(%s)",
        (pause_seconds, pause_seconds, ours),
    )


def release_all(txn: Transaction, owner_prefix: str) -> None:
    """Give back the rooms of all owners whose names begin so."""
    txn.execute(
        "UPDATE staged_rooms SET owner = NULL, leased_until = '-infinity' WHERE left(owner, length(%s)) = %s",
        (owner_prefix, owner_prefix),
    )
