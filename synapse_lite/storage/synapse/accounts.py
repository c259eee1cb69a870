"""Accounts as Synapse's database knows them."""

from collections.abc import Iterator

from synapse_lite.ids import localpart_of
from synapse_lite.storage.synapse.database import SynapseDatabase, SynapseRow, in_batches

_LAST_SEEN = (
    "SELECT user_id, last_seen FROM (SELECT user_id, max(last_seen) AS last_seen FROM {table} GROUP BY user_id) AS seen"
    " WHERE user_id IN"
)


def users(database: SynapseDatabase) -> Iterator[SynapseRow]:
    """Their rows with `profile` (a row, or empty), `erased`, `expiration_ts_ms`, and `last_seen` in milliseconds."""
    for page in in_batches(database.pages("users", ("name",), "name IS NOT NULL")):
        names = [row["name"] for row in page]
        profiles = _by(database, "SELECT * FROM profiles WHERE user_id IN", map(localpart_of, names))
        erased = _by(database, "SELECT user_id FROM erased_users WHERE user_id IN", names)
        validity = _by(database, "SELECT * FROM account_validity WHERE user_id IN", names)
        seen = [_by(database, _LAST_SEEN.format(table=table), names) for table in ("devices", "user_ips")]
        for row in page:
            name = row["name"]
            times = [one[name]["last_seen"] for one in seen if name in one]
            yield {
                **row,
                "profile": profiles.get(localpart_of(name), {}),
                "erased": name in erased,
                "expiration_ts_ms": validity.get(name, {}).get("expiration_ts_ms"),
                "last_seen": max((time for time in times if time is not None), default=None),
            }


def threepids(database: SynapseDatabase) -> Iterator[SynapseRow]:
    return database.pages("user_threepids", ("medium", "address"))


def external_ids(database: SynapseDatabase) -> Iterator[SynapseRow]:
    return database.pages("user_external_ids", ("auth_provider", "external_id"))


def rate_limits(database: SynapseDatabase) -> Iterator[SynapseRow]:
    return database.pages("ratelimit_override", ("user_id",))


def features(database: SynapseDatabase) -> Iterator[SynapseRow]:
    table = "per_user_experimental_features"
    return database.pages(table, ("user_id", "feature")) if database.has(table) else iter(())


def registration_tokens(database: SynapseDatabase) -> Iterator[SynapseRow]:
    return database.pages("registration_tokens", ("token",))


def active_users(database: SynapseDatabase) -> Iterator[SynapseRow]:
    return database.pages("monthly_active_users", ("user_id",))


def _by(database: SynapseDatabase, sql: str, users: Iterator[str] | list[str]) -> dict[str, SynapseRow]:
    """The rows of the users."""
    return {row["user_id"]: row for row in database.among(sql, list(users))}
