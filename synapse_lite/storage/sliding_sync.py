"""What sliding sync has told each client: connections, their positions, and the rooms that were sent.

A client confirms the position that it comes back with; then what its answer changed is folded into what is
known of the connection. Until then the confirmed position stays good, so that a lost answer can be asked
for again, and so do the newest answers to it: parallel requests are answered side by side.

A position has a row only where an answer changed what the client knows of rooms, or what it asked for. All others
name the row of the one before, and how far the stream had come.
"""

from collections.abc import Collection

from attrs import evolve, field, frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.prepared import Prepared
from synapse_lite.storage.sent_rooms import Changed, decode, decode_sent, encode, merged

ANSWERS_KEPT = 2
DAY_MS = 86_400_000
_OPEN = Prepared(
    "open_sliding_connection",
    "WITH opened AS (INSERT INTO sliding_connections (user_id, device_id, conn_id, used_ts, rooms_nid, rooms)"
    " VALUES (%s, %s, %s, %s, 0, '') ON CONFLICT (user_id, device_id, conn_id)"
    " DO UPDATE SET used_ts = excluded.used_ts RETURNING connection_nid)"
    " INSERT INTO sliding_positions (connection_nid, position, asked, extensions, rooms)"
    " SELECT connection_nid, %s, %s, %s, %s FROM opened RETURNING position_nid",
)
_DELETE_UNUSED = (
    "DELETE FROM sliding_connections WHERE connection_nid IN (SELECT connection_nid FROM sliding_connections"
    " WHERE used_ts < %s ORDER BY used_ts LIMIT %s FOR UPDATE SKIP LOCKED)"
)


@frozen
class ConnectionKey:
    user_id: str
    device_id: str
    conn_id: str


@frozen
class SlidingPosition:
    """`position` is that of the stream; `asked` a digest of the request that it answered.

    `rooms_nid` names what the client knows of rooms; `rooms` is that, as bytes, where it was at hand.
    """

    connection_nid: int
    position_nid: int
    position: int
    asked: str
    extensions: tuple[str, ...]
    rooms_nid: int
    rooms: bytes | None = field(default=None, repr=False)


@frozen
class NewAnswer:
    """What an answer that wants a row of its own is to be remembered by."""

    position: int
    asked: str
    extensions: Collection[str]
    rooms: Changed


def find_position(
    txn: Transaction, key: ConnectionKey, position_nid: int, position: int, now_ms: int
) -> SlidingPosition | None:
    """Where the client is, when that is confirmed already and nothing has to be written; else see `confirm`."""
    row = txn.row(
        "SELECT c.connection_nid, p.asked, p.extensions, c.rooms_nid"
        " FROM sliding_connections c JOIN sliding_positions p USING (connection_nid)"
        " WHERE c.user_id = %s AND c.device_id = %s AND c.conn_id = %s AND c.used_ts > %s"
        " AND p.position_nid = %s AND p.position <= %s AND p.confirmed",
        (key.user_id, key.device_id, key.conn_id, now_ms - DAY_MS, position_nid, position),
    )
    if row is None:
        return None
    connection_nid, asked, extensions, rooms_nid = row
    return SlidingPosition(connection_nid, position_nid, position, asked, tuple(extensions), rooms_nid)


def confirm(
    txn: Transaction, key: ConnectionKey, position_nid: int, position: int, now_ms: int
) -> SlidingPosition | None:
    """The client has the answer with this position; None when there is no such position (any more)."""
    commit_soon(txn)
    connection = txn.row(
        "SELECT connection_nid, rooms_nid, rooms FROM sliding_connections"
        " WHERE user_id = %s AND device_id = %s AND conn_id = %s FOR NO KEY UPDATE",
        (key.user_id, key.device_id, key.conn_id),
    )
    if connection is None:
        return None
    connection_nid, rooms_nid, rooms = connection
    row = txn.row(
        "SELECT confirmed, asked, extensions, rooms FROM sliding_positions"
        " WHERE connection_nid = %s AND position_nid = %s AND position <= %s",
        (connection_nid, position_nid, position),
    )
    if row is None:
        return None
    confirmed, asked, extensions, changes = row
    found = SlidingPosition(
        connection_nid, position_nid, position, asked, tuple(extensions), rooms_nid, bytes(rooms)
    )
    if not confirmed:
        found = _fold(txn, found, decode(bytes(changes)))
    txn.later(
        "UPDATE sliding_connections SET used_ts = %s WHERE connection_nid = %s", (now_ms, connection_nid)
    )
    return found


def sent_rooms(txn: Transaction, at: SlidingPosition) -> bytes | None:
    """What the client knows of rooms; None when another request has led the connection on."""
    data = txn.value(
        "SELECT rooms FROM sliding_connections WHERE connection_nid = %s AND rooms_nid = %s",
        (at.connection_nid, at.rooms_nid),
    )
    return None if data is None else bytes(data)


def open_connection(txn: Transaction, key: ConnectionKey, answer: NewAnswer, now_ms: int) -> int:
    """A new one in the place of that which the client had, with its first answer; the nid of that.

    All in one message: outside of a transaction it is one.
    """
    commit_soon(txn)
    txn.later(
        "DELETE FROM sliding_connections WHERE user_id = %s AND device_id = %s AND conn_id = %s",
        (key.user_id, key.device_id, key.conn_id),
    )
    position_nid = txn.value(_OPEN, (key.user_id, key.device_id, key.conn_id, now_ms, *_columns(answer)))
    return int(position_nid)


def hold(txn: Transaction, at: SlidingPosition) -> bool:
    """Keep the position confirmed until the transaction ends; False when another request has led the client on."""
    txn.row(
        "SELECT FROM sliding_connections WHERE connection_nid = %s FOR NO KEY UPDATE", (at.connection_nid,)
    )
    row = txn.row(
        "SELECT FROM sliding_positions WHERE connection_nid = %s AND position_nid = %s AND confirmed",
        (at.connection_nid, at.position_nid),
    )
    return row is not None


def add_answer(txn: Transaction, connection_nid: int, answer: NewAnswer) -> int:
    """Store an answer to the confirmed position; the nid of its own position."""
    position_nid = int(
        txn.value(
            "INSERT INTO sliding_positions (connection_nid, position, asked, extensions, rooms)"
            " VALUES (%s, %s, %s, %s, %s) RETURNING position_nid",
            (connection_nid, *_columns(answer)),
        )
    )
    txn.later(
        "DELETE FROM sliding_positions WHERE connection_nid = %s AND position_nid IN ("
        " SELECT position_nid FROM sliding_positions WHERE connection_nid = %s AND NOT confirmed"
        " ORDER BY position_nid DESC OFFSET %s)",
        (connection_nid, connection_nid, ANSWERS_KEPT),
    )
    return position_nid


def delete_unused_connections(txn: Transaction, before_ms: int, limit: int) -> int:
    """Deletes at most `limit`; how many there were."""
    return txn.execute(_DELETE_UNUSED, (before_ms, limit))


def _columns(answer: NewAnswer) -> tuple[object, ...]:
    return answer.position, answer.asked, sorted(answer.extensions), encode(answer.rooms)


def commit_soon(txn: Transaction) -> None:
    """What a client was sent need not outlive a crash of the database: it would start anew. So nobody waits for the disk."""
    txn.later("SET LOCAL synchronous_commit = off")


def _fold(txn: Transaction, at: SlidingPosition, changes: Changed) -> SlidingPosition:
    """All other positions are void from now on."""
    if changes:
        rooms = encode(merged(decode_sent(at.rooms or b""), changes))
        txn.later(
            "UPDATE sliding_connections SET rooms_nid = %s, rooms = %s WHERE connection_nid = %s",
            (at.position_nid, rooms, at.connection_nid),
        )
        at = evolve(at, rooms_nid=at.position_nid, rooms=rooms)
    txn.later(
        "DELETE FROM sliding_positions WHERE connection_nid = %s AND position_nid <> %s",
        (at.connection_nid, at.position_nid),
    )
    txn.later(
        "UPDATE sliding_positions SET confirmed = TRUE, rooms = '' WHERE connection_nid = %s AND position_nid = %s",
        (at.connection_nid, at.position_nid),
    )
    return at
