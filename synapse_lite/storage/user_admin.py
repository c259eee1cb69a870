"""Users as operators see them: lists in any order, one with all that is set for them, changes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.long_lists import LongList, Narrowing, Order, Survey, nullable, read_page
from synapse_lite.storage.patterns import containing, has_short_parts, has_trigrams
from synapse_lite.storage.stream import Kind


@frozen
class UserSearch:
    """`term`: part of the localpart or of the display name; `id_part`: part of the user id. None means any user.

    `without_types`: types that are left out, None among them for users without one.
    """

    term: str | None = None
    id_part: str | None = None
    guests: bool | None = None
    deactivated: bool | None = None
    locked: bool | None = None
    admins: bool | None = None
    without_types: Sequence[str | None] = ()


@frozen
class User:
    """An account without its secrets. Times are milliseconds since 1970."""

    user_id: str
    displayname: str | None
    avatar_url: str | None
    user_type: str | None
    appservice_id: str | None
    is_guest: bool
    is_admin: bool
    deactivated: bool
    erased: bool
    shadow_banned: bool
    locked: bool
    suspended: bool
    created_ts: int
    last_seen_ts: int | None
    consent_version: str | None
    consent_ts: int | None
    consent_notice_version: str | None


class Threepid(NamedTuple):
    """An address by which a user is known to others."""

    medium: str
    address: str
    validated_ts: int
    added_ts: int


class ExternalId(NamedTuple):
    """Who a user is to an identity provider."""

    auth_provider: str
    external_id: str


_LAST_SEEN = "(SELECT last_seen_ts FROM user_last_seen seen WHERE seen.user_id = u.user_id)"
_USER = (
    "u.user_id, u.displayname, u.avatar_url, u.user_type, u.appservice_id, u.is_guest, u.is_admin,"
    f" u.deactivated, u.erased, u.shadow_banned, u.locked, u.suspended, u.created_ts, {_LAST_SEEN},"
    " u.consent_version, u.consent_ts, u.consent_notice_version"
)
_ID = "u.user_id"
_SEARCHED = "u.user_id || E'\\n' || coalesce(u.displayname, '')"
_NAMES = "split_part(substr(u.user_id, 2), ':', 1) || E'\\n' || coalesce(u.displayname, '')"
_USERS = "users u"
_SEEN = "user_last_seen s"

ORDERS: Mapping[str, Order] = {
    "name": Order((_ID,)),
    "is_guest": Order(("u.is_guest", _ID)),
    "admin": Order(("u.is_admin", _ID)),
    "user_type": Order((*nullable("u.user_type", "''"), _ID)),
    "deactivated": Order(("u.deactivated", _ID)),
    "shadow_banned": Order(("u.shadow_banned", _ID)),
    "displayname": Order((*nullable("u.displayname", "''"), _ID)),
    "avatar_url": Order((*nullable("u.avatar_url", "''"), _ID)),
    "creation_ts": Order(("u.created_ts", _ID)),
    "last_seen_ts": Order((*nullable("s.last_seen_ts", "0"), "s.user_id")),
    "locked": Order(("u.locked", _ID)),
}

CHANGEABLE = frozenset(
    {"displayname", "avatar_url", "user_type", "is_admin", "locked", "suspended", "shadow_banned"}
)
_PROFILE = frozenset({"displayname", "avatar_url"})


def long_list(search: UserSearch, order_by: str, *, backwards: bool) -> LongList:
    """In one of `ORDERS`; users that are equal by it in the order of their ids."""
    condition, arguments = _condition(search)
    source = _USERS
    if order_by == "last_seen_ts":
        source = _SEEN if search == UserSearch() else f"{_USERS} JOIN {_SEEN} USING (user_id)"
    # What is equal of all is no order: PostgreSQL would walk to a page's mark through all index entries before it.
    equal = {f"u.{name}" for name in _flags(search)}
    order = Order(tuple(column for column in ORDERS[order_by].columns if column not in equal), backwards)
    return LongList(source, condition, order, arguments, _narrowing(search), counted=_USERS)


def list_users(txn: Transaction, wanted: LongList, survey: Survey, *, offset: int, limit: int) -> list[User]:
    """A page of it."""
    ids = read_page(txn, wanted.order.columns[-1], wanted, survey, offset=offset, limit=limit)
    rows = txn.rows(
        "SELECT found.* FROM unnest(%s::text[]) WITH ORDINALITY AS wanted (user_id, number)"
        f" CROSS JOIN LATERAL (SELECT {_USER} FROM users u WHERE u.user_id = wanted.user_id OFFSET 0) AS found"
        " ORDER BY number",
        ([user_id for (user_id,) in ids],),
    )
    return [User(*row) for row in rows]


def search_users(txn: Transaction, id_part: str, limit: int) -> list[User]:
    """Users by a part of their ids, in the order of these; deactivated ones too."""
    everybody = long_list(UserSearch(id_part=id_part), "name", backwards=False)
    return list_users(txn, everybody, Survey(limit), offset=0, limit=limit)


def find_user(txn: Transaction, user_id: str) -> User | None:
    row = txn.row(f"SELECT {_USER} FROM users u WHERE u.user_id = %s", (user_id,))
    return User(*row) if row else None


def lock_user(txn: Transaction, user_id: str) -> User | None:
    """Nobody else changes the account until the transaction ends."""
    if txn.row("SELECT FROM users WHERE user_id = %s FOR NO KEY UPDATE", (user_id,)) is None:
        return None
    return find_user(txn, user_id)


def change_user(txn: Transaction, user_id: str, values: Mapping[str, str | bool | None]) -> bool:
    """Set columns, each one of `CHANGEABLE`; False for an unknown user. Open sessions learn of it."""
    if not values.keys() <= CHANGEABLE:
        raise ValueError(f"not to be changed here: {sorted(values.keys() - CHANGEABLE)}")
    columns = ", ".join(f"{name} = %({name})s" for name in values)
    changed = txn.execute(
        f"UPDATE users SET {columns} WHERE user_id = %(user_id)s", {**values, "user_id": user_id}
    )
    if changed and values.keys() - _PROFILE:
        txn.publish(Kind.SESSION, user_id=user_id)
    if changed:
        txn.publish(Kind.PROFILE, user_id=user_id)
    return changed == 1


def threepids_of(txn: Transaction, user_id: str) -> list[Threepid]:
    rows = txn.rows(
        "SELECT medium, address, validated_ts, added_ts FROM user_threepids WHERE user_id = %s"
        " ORDER BY medium, address",
        (user_id,),
    )
    return [Threepid(*row) for row in rows]


def replace_threepids(
    txn: Transaction, user_id: str, threepids: Sequence[tuple[str, str]], now_ms: int
) -> None:
    """(medium, address) that the user is known by, and no others. Those of other users become this one's."""
    media, addresses = [medium for medium, _ in threepids], [address for _, address in threepids]
    txn.execute(
        "DELETE FROM user_threepids WHERE user_id = %s"
        " AND (medium, address) NOT IN (SELECT * FROM unnest(%s::text[], %s::text[]))",
        (user_id, media, addresses),
    )
    for medium, address in sorted(threepids):
        txn.execute(
            "INSERT INTO user_threepids AS t VALUES (%s, %s, %s, %s, %s) ON CONFLICT (medium, address) DO UPDATE"
            " SET user_id = excluded.user_id, validated_ts = excluded.validated_ts, added_ts = excluded.added_ts"
            " WHERE t.user_id <> excluded.user_id",
            (medium, address, user_id, now_ms, now_ms),
        )


def delete_threepid(txn: Transaction, user_id: str, medium: str, address: str) -> None:
    txn.execute(
        "DELETE FROM user_threepids WHERE user_id = %s AND medium = %s AND address = %s",
        (user_id, medium, address),
    )


def user_of_threepid(txn: Transaction, medium: str, address: str) -> str | None:
    user_id: str | None = txn.value(
        "SELECT user_id FROM user_threepids WHERE medium = %s AND address = %s", (medium, address)
    )
    return user_id


def external_ids_of(txn: Transaction, user_id: str) -> list[ExternalId]:
    rows = txn.rows(
        "SELECT auth_provider, external_id FROM user_external_ids WHERE user_id = %s"
        " ORDER BY auth_provider, external_id",
        (user_id,),
    )
    return [ExternalId(*row) for row in rows]


def replace_external_ids(txn: Transaction, user_id: str, external_ids: Sequence[tuple[str, str]]) -> bool:
    """The identities of the user, and no others; False when one of them is somebody else's."""
    providers, ids = [provider for provider, _ in external_ids], [other for _, other in external_ids]
    txn.execute("DELETE FROM user_external_ids WHERE user_id = %s", (user_id,))
    added = txn.execute(
        "INSERT INTO user_external_ids SELECT DISTINCT provider, external_id, %s"
        " FROM unnest(%s::text[], %s::text[]) AS new (provider, external_id) ORDER BY 1, 2 ON CONFLICT DO NOTHING",
        (user_id, providers, ids),
    )
    return added == len(set(external_ids))


def user_of_external_id(txn: Transaction, auth_provider: str, external_id: str) -> str | None:
    user_id: str | None = txn.value(
        "SELECT user_id FROM user_external_ids WHERE auth_provider = %s AND external_id = %s",
        (auth_provider, external_id),
    )
    return user_id


def _condition(search: UserSearch) -> tuple[str, dict[str, object]]:
    conditions, arguments = ["TRUE"], dict[str, object]()
    if search.term is not None:
        conditions.append(
            "(lower(split_part(substr(u.user_id, 2), ':', 1)) LIKE lower(%(term)s)"
            " OR lower(u.displayname) LIKE lower(%(term)s))"
        )
        arguments |= {"term": containing(search.term), "term_text": search.term}
    if search.id_part is not None:
        conditions.append("lower(u.user_id) LIKE lower(%(id_part)s)")
        arguments |= {"id_part": containing(search.id_part), "id_text": search.id_part}
    conditions += [f"u.{name}" if wanted else f"NOT u.{name}" for name, wanted in _flags(search).items()]
    types = [user_type for user_type in search.without_types if user_type is not None]
    if types:
        conditions.append("(u.user_type IS NULL OR u.user_type <> ALL (%(types)s))")
        arguments["types"] = types
    if None in search.without_types:
        conditions.append("u.user_type IS NOT NULL")
    return " AND ".join(conditions), arguments


def _flags(search: UserSearch) -> dict[str, bool]:
    """Columns that are the same of all users that are found."""
    flags = {
        "is_guest": search.guests,
        "deactivated": search.deactivated,
        "locked": search.locked,
        "is_admin": search.admins,
    }
    return {name: wanted for name, wanted in flags.items() if wanted is not None}


def _narrowing(search: UserSearch) -> Narrowing | None:
    parts = [("term_text", search.term), ("id_text", search.id_part)]
    found = [has_trigrams(_SEARCHED, name, text) for name, text in parts if text is not None]
    found += [has_short_parts(_NAMES, "term_text", search.term)] if search.term else []
    by_index = " AND ".join(condition for condition in found if condition)
    return Narrowing(_USERS, by_index, by_index) if by_index else None
