"""Users that have something in common, such as those of a wave of spam."""

from attrs import asdict, field, frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.patterns import like_glob


@frozen
class Selection:
    """What holds for every one of the users; None for whatever does not matter.

    `localpart`, `except_localpart`, `displayname` and `ip` are globs; `ip` is where a device of the user was seen last.
    Times are milliseconds since 1970, `created_before` exclusively. `in_room`: a room in which the user is, or was.
    `sent_nothing`: never an event but of their own memberships. `appservice`: users of that one, else of none.
    """

    localpart: str | None = None
    except_localpart: str | None = None
    displayname: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    ip: str | None = None
    registration_token: str | None = None
    in_room: str | None = None
    shadow_banned: bool | None = None
    suspended: bool | None = None
    locked: bool | None = None
    deactivated: bool | None = None
    sent_nothing: bool | None = None
    appservice: str | None = None

    @property
    def is_empty(self) -> bool:
        """It only says whom to leave out, or nothing at all."""
        return all(value is None for name, value in asdict(self).items() if name != "except_localpart")


@frozen
class Selected:
    """One of them. Times are milliseconds since 1970."""

    user_id: str
    displayname: str | None
    created_ts: int
    last_seen_ts: int | None
    shadow_banned: bool
    suspended: bool
    locked: bool
    deactivated: bool
    sent_events: int = field(default=0)


_CONDITIONS = {
    "localpart": "lower(u.user_id) LIKE %(localpart)s",
    "except_localpart": "lower(u.user_id) NOT LIKE %(except_localpart)s",
    "displayname": "lower(u.displayname) LIKE lower(%(displayname)s)",
    "created_after": "u.created_ts >= %(created_after)s",
    "created_before": "u.created_ts < %(created_before)s",
    "ip": "EXISTS (SELECT FROM devices d WHERE d.user_id = u.user_id AND d.last_seen_ip LIKE %(ip)s)",
    "registration_token": "u.registration_token = %(registration_token)s",
    "in_room": (
        "EXISTS (SELECT FROM memberships m JOIN rooms r USING (room_nid)"
        " WHERE r.room_id = %(in_room)s AND m.user_id = u.user_id)"
    ),
    "shadow_banned": "u.shadow_banned = %(shadow_banned)s",
    "suspended": "u.suspended = %(suspended)s",
    "locked": "u.locked = %(locked)s",
    "deactivated": "u.deactivated = %(deactivated)s",
    "sent_nothing": (
        "EXISTS (SELECT FROM events e WHERE e.sender = u.user_id AND e.membership IS NULL) <> %(sent_nothing)s"
    ),
    "appservice": "u.appservice_id = %(appservice)s",
}
_NEVER = "NOT u.is_admin"
"""Server admins are named one by one or not at all."""


def count_selected(txn: Transaction, selection: Selection) -> int:
    condition, arguments = _condition(selection)
    return int(txn.value(f"SELECT count(*) FROM users u WHERE {condition}", arguments))


def select_user_ids(txn: Transaction, selection: Selection, limit: int) -> list[str]:
    """At most `limit` of them, in the order of their ids."""
    condition, arguments = _condition(selection)
    rows = txn.rows(
        f"SELECT u.user_id FROM users u WHERE {condition} ORDER BY u.user_id LIMIT %(limit)s",
        {**arguments, "limit": limit},
    )
    return [user_id for (user_id,) in rows]


def read_selected(txn: Transaction, selection: Selection, *, after: str, limit: int) -> list[Selected]:
    """The next `limit` users, in the order of their ids."""
    condition, arguments = _condition(selection)
    rows = txn.rows(
        "SELECT u.user_id, u.displayname, u.created_ts, seen.last_seen_ts, u.shadow_banned, u.suspended, u.locked,"
        " u.deactivated, coalesce(stats.events, 0) FROM users u"
        " LEFT JOIN user_last_seen seen USING (user_id) LEFT JOIN user_stats stats USING (user_id)"
        f" WHERE {condition} AND u.user_id > %(after)s ORDER BY u.user_id LIMIT %(limit)s",
        {**arguments, "after": after, "limit": limit},
    )
    return [Selected(*row) for row in rows]


def _condition(selection: Selection) -> tuple[str, dict[str, object]]:
    wanted = {name: value for name, value in asdict(selection).items() if value is not None}
    if selection.localpart is not None:
        wanted["localpart"] = f"@{like_glob(selection.localpart.lower())}:%"
    if selection.except_localpart is not None:
        wanted["except_localpart"] = f"@{like_glob(selection.except_localpart.lower())}:%"
    if selection.displayname is not None:
        wanted["displayname"] = like_glob(selection.displayname)
    if selection.ip is not None:
        wanted["ip"] = like_glob(selection.ip.lower())
    conditions = [_NEVER, *(_CONDITIONS[name] for name in wanted)]
    if selection.appservice is None:
        conditions.append("u.appservice_id IS NULL")
    return " AND ".join(conditions), wanted
