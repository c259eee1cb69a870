"""Sessions in which two devices meet. Times are milliseconds since 1970."""

from attrs import frozen

from synapse_lite.storage.database import Transaction


@frozen
class RendezvousSession:
    """`etag` changes with the content."""

    session_id: str
    content: bytes
    etag: str
    modified_ts: int
    valid_until_ts: int


def add_session(txn: Transaction, session: RendezvousSession, kept: int) -> None:
    """Also deletes those that have expired, and all but the newest `kept`."""
    delete_expired_sessions(txn, session.modified_ts, kept)
    txn.execute(
        "DELETE FROM rendezvous_sessions WHERE session_id IN (SELECT session_id FROM rendezvous_sessions"
        " ORDER BY valid_until_ts DESC, session_id OFFSET %s LIMIT %s)",
        (kept - 1, kept),
    )
    txn.execute(
        "INSERT INTO rendezvous_sessions (session_id, content, etag, modified_ts, valid_until_ts)"
        " VALUES (%s, %s, %s, %s, %s)",
        (
            session.session_id, session.content, session.etag, session.modified_ts, session.valid_until_ts,
        ),
    )  # fmt: skip


def find_session(txn: Transaction, session_id: str, now_ms: int) -> RendezvousSession | None:
    row = txn.row(
        "SELECT session_id, content, etag, modified_ts, valid_until_ts FROM rendezvous_sessions"
        " WHERE session_id = %s AND valid_until_ts > %s",
        (session_id, now_ms),
    )
    return None if row is None else RendezvousSession(row[0], bytes(row[1]), *row[2:])


def replace_content(txn: Transaction, session: RendezvousSession, expected: str) -> bool:
    """Whether its content was the expected one, and is that of `session` now."""
    changed = txn.execute(
        "UPDATE rendezvous_sessions SET content = %s, etag = %s, modified_ts = %s"
        " WHERE session_id = %s AND etag = %s",
        (session.content, session.etag, session.modified_ts, session.session_id, expected),
    )
    return changed == 1


def delete_session(txn: Transaction, session_id: str, now_ms: int) -> bool:
    """Whether there was one."""
    sql = "DELETE FROM rendezvous_sessions WHERE session_id = %s AND valid_until_ts > %s"
    return txn.execute(sql, (session_id, now_ms)) == 1


def delete_expired_sessions(txn: Transaction, now_ms: int, limit: int) -> int:
    return txn.execute(
        "DELETE FROM rendezvous_sessions WHERE session_id IN (SELECT session_id FROM rendezvous_sessions"
        " WHERE valid_until_ts <= %s ORDER BY valid_until_ts LIMIT %s)",
        (now_ms, limit),
    )
