"""OpenID tokens. Times are milliseconds since 1970."""

from synapse_lite.storage.database import Transaction


def add_openid_token(
    txn: Transaction, user_id: str, token_hash: bytes, valid_until_ts: int, kept: int
) -> None:
    """Also deletes all of the user's tokens but the newest `kept`."""
    txn.execute(
        "INSERT INTO openid_tokens (token_hash, user_id, valid_until_ts) VALUES (%s, %s, %s)",
        (token_hash, user_id, valid_until_ts),
    )
    txn.execute(
        "DELETE FROM openid_tokens WHERE token_hash IN (SELECT token_hash FROM openid_tokens"
        " WHERE user_id = %s ORDER BY valid_until_ts DESC, token_hash OFFSET %s)",
        (user_id, kept),
    )


def bearer_of(txn: Transaction, token_hash: bytes, now_ms: int) -> str | None:
    """The user, unless the token is unknown or expired, or its account was deactivated."""
    row = txn.row(
        "SELECT user_id FROM openid_tokens JOIN users USING (user_id)"
        " WHERE token_hash = %s AND valid_until_ts > %s AND NOT deactivated",
        (token_hash, now_ms),
    )
    return None if row is None else row[0]


def delete_expired_openid_tokens(txn: Transaction, now_ms: int, limit: int) -> int:
    return txn.execute(
        "DELETE FROM openid_tokens WHERE token_hash IN (SELECT token_hash FROM openid_tokens"
        " WHERE valid_until_ts <= %s ORDER BY valid_until_ts LIMIT %s)",
        (now_ms, limit),
    )
