"""Users who were active in the last 30 days, as far as they count."""

from collections.abc import Collection

from attrs import frozen

from synapse_lite.storage.database import Transaction

HOUR_MS = 60 * 60 * 1000
MONTH_MS = 30 * 24 * HOUR_MS
SUPPORT = "support"
_LOCK = "active users"


@frozen
class ActiveRules:
    """`most` None: everybody is let in. Who is younger than `trial_ms` does not count. `reserved`: (medium, address) of
    those who are let in whatever the number.
    """

    most: int | None
    trial_ms: int
    reserved: Collection[tuple[str, str]] = ()


def admit(txn: Transaction, user_id: str, rules: ActiveRules, now_ms: int) -> bool:
    """Count the user as active; False where they would be one too many."""
    row = txn.row(
        "SELECT u.created_ts, u.is_guest, u.user_type, u.appservice_id, a.seen_ts"
        " FROM users u LEFT JOIN active_users a USING (user_id) WHERE u.user_id = %s",
        (user_id,),
    )
    if row is None:
        return True
    created_ts, is_guest, user_type, service, seen_ts = row
    if seen_ts is not None and seen_ts > now_ms - HOUR_MS:
        return True
    is_counted = seen_ts is not None and seen_ts > now_ms - MONTH_MS
    if not is_counted:
        if user_type == SUPPORT or service is not None or created_ts > now_ms - rules.trial_ms:
            return True
        if is_guest:
            return has_room(txn, rules, now_ms)
        txn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (_LOCK,))
        if not (has_room(txn, rules, now_ms) or _is_reserved(txn, user_id, rules)):
            return False
    txn.execute(
        "INSERT INTO active_users VALUES (%s, %s) ON CONFLICT (user_id) DO UPDATE SET seen_ts = excluded.seen_ts",
        (user_id, now_ms),
    )
    return True


def has_room(txn: Transaction, rules: ActiveRules, now_ms: int) -> bool:
    """Whether one more would not be one too many."""
    return rules.most is None or count_active(txn, now_ms) < rules.most


def count_active(txn: Transaction, now_ms: int) -> int:
    return int(
        txn.value(
            "SELECT count(*) FROM active_users JOIN users USING (user_id) WHERE seen_ts > %s AND NOT deactivated",
            (now_ms - MONTH_MS,),
        )
    )


def _is_reserved(txn: Transaction, user_id: str, rules: ActiveRules) -> bool:
    if not rules.reserved:
        return False
    rows = txn.rows("SELECT medium, address FROM user_threepids WHERE user_id = %s", (user_id,))
    return any((medium, address) in rules.reserved for medium, address in rows)
