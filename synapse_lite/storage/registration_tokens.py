"""Tokens with which one may register. A token that is null in a number or a time has no bound there."""

from collections.abc import Mapping

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.uia import SESSION_LIFETIME_MS, add_completed_stage


@frozen
class RegistrationToken:
    """`pending` registrations have begun and count as used, until their sessions end; `expiry_ts` is in milliseconds since 1970."""

    token: str
    uses_allowed: int | None
    pending: int
    completed: int
    expiry_ts: int | None

    def is_valid(self, now_ms: int) -> bool:
        """Whether somebody may begin to register with it."""
        return (self.expiry_ts is None or self.expiry_ts > now_ms) and (
            self.uses_allowed is None or self.pending + self.completed < self.uses_allowed
        )


CHANGEABLE = frozenset({"uses_allowed", "expiry_ts"})
_PENDING = (
    "(SELECT count(*) FROM uia_sessions AS s"
    " WHERE s.registration_token = t.token AND s.created_ts > %(session_start)s)"
)
_TOKEN = f"token, uses_allowed, {_PENDING}, completed, expiry_ts"
_VALID = (
    "(expiry_ts IS NULL OR expiry_ts > %(now)s)"
    f" AND (uses_allowed IS NULL OR {_PENDING} + completed < uses_allowed)"
)


def _times(now_ms: int) -> dict[str, int]:
    return {"now": now_ms, "session_start": now_ms - SESSION_LIFETIME_MS}


def list_tokens(txn: Transaction, now_ms: int, valid: bool | None, limit: int) -> list[RegistrationToken]:
    """By token; None: all of them."""
    condition = {None: "TRUE", True: _VALID, False: f"NOT ({_VALID})"}[valid]
    rows = txn.rows(
        f"SELECT {_TOKEN} FROM registration_tokens AS t WHERE {condition} ORDER BY token LIMIT %(limit)s",
        {**_times(now_ms), "limit": limit},
    )
    return [RegistrationToken(*row) for row in rows]


def find_token(txn: Transaction, token: str, now_ms: int) -> RegistrationToken | None:
    row = txn.row(
        f"SELECT {_TOKEN} FROM registration_tokens AS t WHERE token = %(token)s",
        {**_times(now_ms), "token": token},
    )
    return RegistrationToken(*row) if row else None


def add_token(txn: Transaction, token: str, uses_allowed: int | None, expiry_ts: int | None) -> bool:
    """False when it exists."""
    added = txn.execute(
        "INSERT INTO registration_tokens (token, uses_allowed, expiry_ts) VALUES (%s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (token, uses_allowed, expiry_ts),
    )
    return added == 1


def change_token(
    txn: Transaction, token: str, values: Mapping[str, int | None], now_ms: int
) -> RegistrationToken | None:
    """Set columns, each one of `CHANGEABLE`; None when there is no such token."""
    if not values.keys() <= CHANGEABLE:
        raise ValueError(f"not to be changed: {sorted(values.keys() - CHANGEABLE)}")
    if values:
        columns = ", ".join(f"{name} = %({name})s" for name in values)
        txn.execute(
            f"UPDATE registration_tokens SET {columns} WHERE token = %(token)s", {**values, "token": token}
        )
    return find_token(txn, token, now_ms)


def hold_token(txn: Transaction, token: str, session_id: str, stage: str, now_ms: int) -> bool:
    """Do the stage of a session with it: a registration is pending. False when the token is no good.

    Done already, the stage stays as it is. Sessions that want the same token take turns.
    """
    lock_token(txn, token)
    if txn.value("SELECT %s = ANY (completed) FROM uia_sessions WHERE session_id = %s", (stage, session_id)):
        return True
    found = find_token(txn, token, now_ms)
    if found is None or not found.is_valid(now_ms):
        return False
    add_completed_stage(txn, session_id, stage, token)
    return True


def lock_token(txn: Transaction, token: str) -> None:
    """Until the transaction ends: its uses, and the sessions that hold one, are what others have committed."""
    txn.row("SELECT FROM registration_tokens WHERE token = %s FOR UPDATE", (token,))


def use_token(txn: Transaction, token: str, now_ms: int) -> bool:
    """Count a registration, of a token that is locked; False when it is no good (any more)."""
    used = txn.execute(
        f"UPDATE registration_tokens AS t SET completed = completed + 1 WHERE token = %(token)s AND {_VALID}",
        {**_times(now_ms), "token": token},
    )
    return used == 1


def delete_token(txn: Transaction, token: str) -> bool:
    """False when there is no such token."""
    return txn.execute("DELETE FROM registration_tokens WHERE token = %s", (token,)) == 1
