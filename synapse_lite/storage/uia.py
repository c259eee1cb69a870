"""Sessions of user-interactive authentication: which stages are done, for which operation."""

import attrs

from synapse_lite.storage.database import Transaction

PRUNED_AT_ONCE = 100
SESSION_LIFETIME_MS = 3600 * 1000


@attrs.frozen
class UiaSession:
    """`registered` is the id of the user that was made by it: then it is good for nothing else."""

    session_id: str
    operation: str
    completed: frozenset[str]
    registration_token: str | None = None
    registered: str | None = None


def create_uia_session(
    txn: Transaction, session_id: str, operation: str, now_ms: int, *, lifetime_ms: int
) -> None:
    """Store a new session; some of those whose time is over make room for it."""
    txn.execute(
        "DELETE FROM uia_sessions WHERE session_id IN (SELECT session_id FROM uia_sessions"
        " WHERE created_ts <= %s ORDER BY created_ts LIMIT %s FOR UPDATE SKIP LOCKED)",
        (now_ms - lifetime_ms, PRUNED_AT_ONCE),
    )
    txn.execute(
        "INSERT INTO uia_sessions (session_id, operation, created_ts) VALUES (%s, %s, %s)",
        (session_id, operation, now_ms),
    )


def find_uia_session(
    txn: Transaction, session_id: str, now_ms: int, *, lifetime_ms: int
) -> UiaSession | None:
    row = txn.row(
        "SELECT session_id, operation, completed, registration_token, registered FROM uia_sessions"
        " WHERE session_id = %s AND created_ts > %s",
        (session_id, now_ms - lifetime_ms),
    )
    return UiaSession(row[0], row[1], frozenset(row[2]), *row[3:]) if row else None


def add_completed_stage(
    txn: Transaction, session_id: str, stage: str, registration_token: str | None = None
) -> None:
    """A stage that is done already stays as it was done first."""
    txn.execute(
        "UPDATE uia_sessions SET completed = array_append(completed, %(stage)s),"
        " registration_token = COALESCE(%(token)s, registration_token)"
        " WHERE session_id = %(session)s AND NOT %(stage)s = ANY (completed)",
        {"stage": stage, "session": session_id, "token": registration_token},
    )


def delete_uia_session(txn: Transaction, session_id: str) -> bool:
    """False when it was gone already: what it proved was used by another request."""
    return txn.execute("DELETE FROM uia_sessions WHERE session_id = %s", (session_id,)) == 1


def note_registered(txn: Transaction, session_id: str, user_id: str) -> bool:
    """The session makes this user, and its registration token is pending no more; False when it has made one, or is gone."""
    noted = txn.execute(
        "UPDATE uia_sessions SET registered = %s, registration_token = NULL"
        " WHERE session_id = %s AND registered IS NULL",
        (user_id, session_id),
    )
    return noted == 1
