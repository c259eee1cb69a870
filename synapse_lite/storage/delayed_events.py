"""Events that are sent later (MSC4140). Times are milliseconds since 1970."""

from collections.abc import Sequence
from typing import Any

import orjson
from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.event import Draft
from synapse_lite.storage.database import Transaction

SENT, CANCELLED, FAILED = "sent", "cancelled", "failed"
KEPT = 100  # of a user's that are over
MAX_ERROR = 1000


@frozen
class DelayedEvent:
    """`outcome` None: it is still to come, at `due_ts`."""

    delay_id: str
    user_id: str
    room_nid: int
    room_id: str
    type: str
    state_key: str | None
    redacts: str | None
    content: JsonObject
    delay_ms: int
    running_since: int
    due_ts: int | None
    outcome: str | None

    def draft(self, now_ms: int) -> Draft:
        return Draft(self.type, self.user_id, self.content, now_ms, self.state_key, self.redacts)


_CONTENT = 7
_COLUMNS = (
    "d.delay_id, d.user_id, d.room_nid, r.room_id, d.type, d.state_key, d.redacts, d.content, d.delay_ms,"
    " d.running_since, d.due_ts, d.outcome FROM delayed_events d JOIN rooms r USING (room_nid)"
)


def add(
    txn: Transaction,
    delay_id: str,
    room_nid: int,
    draft: Draft,
    delay_ms: int,
    session: str,
    txn_id: str | None,
) -> None:
    """`draft.origin_server_ts` is when the time begins to run."""
    since = draft.origin_server_ts
    txn.execute(
        "INSERT INTO delayed_events (delay_id, user_id, room_nid, type, state_key, redacts, content, session, txn_id,"
        " delay_ms, running_since, due_ts) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            delay_id, draft.sender, room_nid, draft.type, draft.state_key, draft.redacts,
            orjson.dumps(draft.content).decode(), session, txn_id, delay_ms, since, since + delay_ms,
        ),
    )  # fmt: skip


def find_request(txn: Transaction, session: str, room_nid: int, event_type: str, txn_id: str) -> str | None:
    """The id that a request of this transaction id was given."""
    delay_id: str | None = txn.value(
        "SELECT delay_id FROM delayed_events WHERE (session, room_nid, type, txn_id) = (%s, %s, %s, %s)",
        (session, room_nid, event_type, txn_id),
    )
    return delay_id


def count_of(txn: Transaction, user_id: str) -> int:
    """Of the user's that are still to come. Until the transaction ends nobody adds one."""
    txn.execute("SELECT 1 FROM users WHERE user_id = %s FOR NO KEY UPDATE", (user_id,))
    sql = "SELECT count(*) FROM delayed_events WHERE user_id = %s AND due_ts IS NOT NULL"
    return int(txn.value(sql, (user_id,)))


def to_come(txn: Transaction, user_id: str, limit: int) -> list[DelayedEvent]:
    """The next ones of a user."""
    return _read(
        txn.rows(
            f"SELECT {_COLUMNS} WHERE d.user_id = %s AND d.due_ts IS NOT NULL ORDER BY d.due_ts, d.delay_id LIMIT %s",
            (user_id, limit),
        )
    )


def hold(txn: Transaction, delay_id: str) -> DelayedEvent | None:
    """Locked until the transaction ends."""
    found = _read(txn.rows(f"SELECT {_COLUMNS} WHERE d.delay_id = %s FOR UPDATE OF d", (delay_id,)))
    return found[0] if found else None


def hold_due(txn: Transaction, delay_id: str, now_ms: int) -> DelayedEvent | None:
    """As `hold`, if it is due, and nobody else is at it."""
    sql = f"SELECT {_COLUMNS} WHERE d.delay_id = %s AND d.due_ts <= %s FOR UPDATE OF d SKIP LOCKED"
    found = _read(txn.rows(sql, (delay_id, now_ms)))
    return found[0] if found else None


def due(txn: Transaction, now_ms: int, limit: int) -> list[str]:
    rows = txn.rows(
        "SELECT delay_id FROM delayed_events WHERE due_ts <= %s ORDER BY due_ts LIMIT %s", (now_ms, limit)
    )
    return [delay_id for (delay_id,) in rows]


def next_due(txn: Transaction) -> int | None:
    due_ts: int | None = txn.value("SELECT min(due_ts) FROM delayed_events WHERE due_ts IS NOT NULL")
    return due_ts


def restart(txn: Transaction, delay_id: str, now_ms: int) -> None:
    """Its time begins to run again."""
    txn.execute(
        "UPDATE delayed_events SET running_since = %s, due_ts = %s + delay_ms, attempts = 0 WHERE delay_id = %s",
        (now_ms, now_ms, delay_id),
    )


def postpone(txn: Transaction, delay_id: str, now_ms: int, waits_ms: Sequence[int]) -> None:
    """It could not be sent: it is due again after the next of these waits, if it is due at all."""
    txn.execute(
        "UPDATE delayed_events SET attempts = attempts + 1,"
        " due_ts = %s + (%s::bigint[])[least(attempts + 1, %s)] WHERE delay_id = %s AND due_ts <= %s",
        (now_ms, list(waits_ms), len(waits_ms), delay_id, now_ms),
    )


def finish(
    txn: Transaction, event: DelayedEvent, outcome: str, now_ms: int, error: str | None = None
) -> None:
    """It is over; of the user's that are, the oldest are forgotten."""
    txn.execute(
        "UPDATE delayed_events SET due_ts = NULL, outcome = %s, error = %s, finished_ts = %s WHERE delay_id = %s",
        (outcome, error and error[:MAX_ERROR], now_ms, event.delay_id),
    )
    txn.execute(
        "DELETE FROM delayed_events WHERE delay_id IN (SELECT delay_id FROM delayed_events WHERE user_id = %s"
        " AND due_ts IS NULL ORDER BY finished_ts DESC, delay_id OFFSET %s)",
        (event.user_id, KEPT),
    )


def _read(rows: Sequence[tuple[Any, ...]]) -> list[DelayedEvent]:
    return [
        DelayedEvent(*(orjson.loads(one) if at == _CONTENT else one for at, one in enumerate(row)))
        for row in rows
    ]
