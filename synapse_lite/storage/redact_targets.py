"""What of a user's events is still to be redacted, and which task does so where."""

from collections.abc import Collection, Sequence

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.planner import keeping_to_indexes
from synapse_lite.storage.stream import END

COUNT_LIMIT = 100_000
_NEVER = "'m.room.redaction', 'm.room.create', 'm.room.server_acl'"  # a room needs the last two
_NOR = "'m.room.encryption'"  # without it a room of secrets looks like one of none

# The events of a sender in a room, read from the index of these columns: see `storage.stream.room_span`.
_OWN = (
    "(e.sender, e.room_nid, e.event_nid) > (%s, %s, 0) AND (e.sender, e.room_nid, e.event_nid) < (%s, %s, %s)"
)
_OWN_ORDER_BACK = "e.sender DESC, e.room_nid DESC, e.event_nid DESC"


def _own(sender: str, room_nid: int, before_nid: int | None = None) -> tuple[object, ...]:
    return sender, room_nid, sender, room_nid, END if before_nid is None else before_nid


@frozen
class Redactable:
    """Which events of a user are to be redacted; times are `origin_server_ts`, bounds included.

    `types` None: all message-like events except redactions, and joins. Else exactly those types,
    state events too, but never create events and server ACLs. `since`: from this stream position on.
    `everything`: also state, that of encryption excepted, and what was soft-failed. `until`: what came before this stream position.
    """

    sender: str
    types: Sequence[str] | None = None
    before_ts: int | None = None
    after_ts: int | None = None
    since: int | None = None
    everything: bool = False
    until: int | None = None

    def condition(self) -> tuple[str, list[object]]:
        """SQL about `events e`, and its arguments."""
        text = f"e.sender = %s AND e.type NOT IN ({_NEVER}) AND "
        text += f"e.standing IN (0, 2) AND e.type <> {_NOR}" if self.everything else "e.standing = 0"
        arguments: list[object] = [self.sender]
        more: list[tuple[str, object]] = []
        if self.types is None and not self.everything:
            text += " AND (e.state_key IS NULL OR (e.type = 'm.room.member' AND e.membership = 'join'))"
        elif self.types is not None:
            more.append(("e.type = ANY(%s)", list(self.types)))
        if self.before_ts is not None:
            more.append(("e.origin_server_ts <= %s", self.before_ts))
        if self.after_ts is not None:
            more.append(("e.origin_server_ts >= %s", self.after_ts))
        position = "(SELECT s.position FROM stream s WHERE s.event_nid = e.event_nid)"
        if self.since is not None:
            more.append((f"{position} >= %s", self.since))
        if self.until is not None:
            more.append((f"coalesce({position}, 0) < %s", self.until))
        text += "".join(f" AND {part}" for part, _ in more)
        # OFFSET: looked up for each event, not joined with all redactions of the server.
        text += " AND NOT EXISTS (SELECT FROM redactions d WHERE d.target_nid = e.event_nid AND d.applied OFFSET 0)"
        return text, [*arguments, *(argument for _, argument in more)]


def senders_among(txn: Transaction, room_nid: int, user_ids: Collection[str]) -> set[str]:
    """Those who sent anything into the room that this server has."""
    rows = txn.rows(
        "SELECT u.user_id FROM unnest(%s::text[]) AS u (user_id) WHERE EXISTS (SELECT FROM events e"
        " WHERE (e.sender, e.room_nid, e.event_nid) > (u.user_id, %s, 0)"
        " AND (e.sender, e.room_nid, e.event_nid) < (u.user_id, %s, %s) OFFSET 0)",
        (list(user_ids), room_nid, room_nid, END),
    )
    return {user_id for (user_id,) in rows}


def next_room(
    txn: Transaction, sender: str, after_nid: int, room_ids: Collection[str]
) -> tuple[int, str] | None:
    """The next room by nid that holds events of the sender: (nid, id). With `room_ids`: one of these rooms."""
    if room_ids:
        return txn.row(
            "SELECT room_nid, room_id FROM rooms WHERE room_id = ANY(%s) AND room_nid > %s ORDER BY room_nid LIMIT 1",
            (list(room_ids), after_nid),
        )
    return txn.row(
        "SELECT room_nid, room_id FROM rooms WHERE room_nid ="
        " (SELECT min(room_nid) FROM events WHERE sender = %s AND room_nid > %s)",
        (sender, after_nid),
    )


def unknown_rooms(txn: Transaction, room_ids: Collection[str]) -> list[str]:
    rows = txn.rows("SELECT room_id FROM rooms WHERE room_id = ANY(%s)", (list(room_ids),))
    return sorted(set(room_ids) - {room_id for (room_id,) in rows})


def is_taken(txn: Transaction, room_nid: int, task_id: str) -> bool | None:
    """Whether another redaction that is active is in the middle of the room.

    None: the room is being purged, or is gone.
    """
    taken: bool | None = txn.value(
        "SELECT EXISTS (SELECT FROM redacting_rooms c JOIN scheduled_tasks t ON t.id = c.task_id"
        "  WHERE c.room_nid = r.room_nid AND c.task_id <> %s AND t.status = 'active')"
        " FROM rooms r WHERE room_nid = %s AND NOT purging",
        (task_id, room_nid),
    )
    return taken


def claim_room(txn: Transaction, room_nid: int, task_id: str) -> None:
    """From now on the task is in the middle of the room. Its lock is held."""
    txn.later(
        "INSERT INTO redacting_rooms (room_nid, task_id) VALUES (%s, %s)"
        " ON CONFLICT (room_nid) DO UPDATE SET task_id = excluded.task_id",
        (room_nid, task_id),
    )


def release_room(txn: Transaction, room_nid: int, task_id: str) -> None:
    txn.later("DELETE FROM redacting_rooms WHERE room_nid = %s AND task_id = %s", (room_nid, task_id))


def release_rooms(txn: Transaction, task_id: str) -> None:
    txn.execute("DELETE FROM redacting_rooms WHERE task_id = %s", (task_id,))


def is_awaited(txn: Transaction) -> bool:
    """Whether somebody waits for a lock that this transaction has, as who sends into a room that it redacts in."""
    return bool(
        txn.value(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
            " AND transactionid = pg_current_xact_id_if_assigned()::xid)"
        )
    )


def lock_room(txn: Transaction, room_nid: int) -> str | None:
    """The room's id. Until the transaction ends nobody else writes there: neither redactions nor memberships.

    None when the room is being purged, or is gone.
    """
    room_id: str | None = txn.value(
        "SELECT room_id FROM rooms WHERE room_nid = %s AND NOT purging FOR NO KEY UPDATE", (room_nid,)
    )
    return room_id


def newest_since(txn: Transaction, wanted: Redactable, room_nid: int, limit: int) -> int | None:
    """The stream position from which on there are `limit` events to redact, at the most.

    Event nids do not tell what is newest: each process takes them from a block of its own.
    """
    condition, arguments = wanted.condition()
    position: int | None = txn.value(
        "SELECT min(position) FROM (SELECT (SELECT s.position FROM stream s WHERE s.event_nid = e.event_nid)"
        f" FROM events e WHERE {condition} AND e.room_nid = %s ORDER BY 1 DESC NULLS LAST LIMIT %s) AS newest (position)",
        (*arguments, room_nid, limit),
    )
    return position


@keeping_to_indexes
def to_redact(
    txn: Transaction, wanted: Redactable, room_nid: int, before_nid: int | None, limit: int
) -> list[tuple[int, str]]:
    """(event nid, event id) in the room, by falling nid."""
    condition, arguments = wanted.condition()
    return txn.rows(
        f"SELECT e.event_nid, e.event_id FROM events e WHERE {_OWN} AND {condition}"
        f" ORDER BY {_OWN_ORDER_BACK} LIMIT %s",
        (*_own(wanted.sender, room_nid, before_nid), *arguments, limit),
    )


def count_left(txn: Transaction, wanted: Redactable, room_nid: int) -> int:
    """How many events of the room are not redacted yet, `COUNT_LIMIT` at the most."""
    condition, arguments = wanted.condition()
    return int(
        txn.value(
            f"SELECT count(*) FROM (SELECT FROM events e WHERE {condition} AND e.room_nid = %s"
            f" LIMIT {COUNT_LIMIT}) AS found",
            (*arguments, room_nid),
        )
    )


def count_to_redact(
    txn: Transaction, wanted: Redactable, room_ids: Collection[str], limit: int | None
) -> int | None:
    """How many events there are, at most `limit` of each room; None when more than `COUNT_LIMIT` match."""
    condition, arguments = wanted.condition()
    if room_ids:
        condition += " AND e.room_nid IN (SELECT room_nid FROM rooms WHERE room_id = ANY(%s))"
        arguments.append(list(room_ids))
    row = txn.row(
        "SELECT coalesce(sum(count), 0), coalesce(sum(least(count, %s)), 0) FROM (SELECT count(*) FROM"
        f" (SELECT e.room_nid FROM events e WHERE {condition} LIMIT {COUNT_LIMIT + 1}) AS found"
        " GROUP BY room_nid) AS by_room",
        (limit, *arguments),
    )
    matching, limited = row or (0, 0)
    return None if matching > COUNT_LIMIT else int(limited)


def places(txn: Transaction, sender: str, room_nid: int, reach: int) -> list[tuple[int, int]]:
    """(event nid, snapshot after it) among the newest `reach` events of the sender: of each state the newest one.

    Those that tell of a departure, and those that are no part of the room's graph, are left out.
    """
    rows = txn.rows(
        f"SELECT e.event_nid, e.after_nid FROM events e WHERE {_OWN} AND e.standing = 0 AND e.after_nid IS NOT NULL"
        f" AND (e.membership IS NULL OR e.membership = 'join') ORDER BY {_OWN_ORDER_BACK} LIMIT %s",
        (*_own(sender, room_nid), reach),
    )
    newest: dict[int, int] = {}
    for event_nid, snapshot_nid in rows:
        newest.setdefault(snapshot_nid, event_nid)
    return [(event_nid, snapshot_nid) for snapshot_nid, event_nid in newest.items()]


def exists(txn: Transaction, event_nid: int) -> bool:
    """A purge of the history may have taken it."""
    return txn.row("SELECT FROM events WHERE event_nid = %s", (event_nid,)) is not None


def has_remote_members(txn: Transaction, room_nid: int, server_name: str) -> bool:
    return bool(
        txn.value(
            "SELECT EXISTS (SELECT FROM memberships WHERE room_nid = %s AND membership = 'join'"
            " AND server_name <> %s)",
            (room_nid, server_name),
        )
    )
