"""Accounts: who has one, what they are called, by what else they are known, and what administrators set for them."""

from synapse_lite import canonical_json
from synapse_lite.cli.import_synapse.target import Import
from synapse_lite.errors import invalid_param
from synapse_lite.handlers.profiles import MAX_PROFILE_BYTES
from synapse_lite.handlers.threepids import canonical_address
from synapse_lite.storage.imported import accounts as ours
from synapse_lite.storage.imported.accounts import ImportedThreepid, ImportedToken, ImportedUser
from synapse_lite.storage.synapse import accounts as theirs
from synapse_lite.storage.synapse.database import SynapseRow


def import_accounts(work: Import) -> None:
    """Users first: all else belongs to them."""
    _users(work)
    _identities(work)
    _settings(work)


def _users(work: Import) -> None:
    def read(row: SynapseRow) -> tuple[ImportedUser, int | None]:
        if _waits_for_approval(row):
            work.counts["users: locked, as nobody has approved of them"] += 1
        return _user(work, row), row["last_seen"]

    work.take("users", theirs.users(work.synapse), ("name",), read, ours.add_users)
    with work.transaction() as txn:
        ours.pass_numbered_users(txn)


def _user(work: Import, row: SynapseRow) -> ImportedUser:
    profile = row["profile"]
    return ImportedUser(
        user_id=work.own(row["name"]),
        password_hash=row["password_hash"] or None,
        is_admin=bool(row["admin"]),
        is_guest=bool(row["is_guest"]),
        deactivated=bool(row["deactivated"]),
        locked=bool(row.get("locked")) or _waits_for_approval(row),
        suspended=bool(row.get("suspended")),
        shadow_banned=bool(row.get("shadow_banned")),
        erased=row["erased"],
        user_type=row["user_type"],
        appservice_id=row["appservice_id"] or None,
        created_ts=(row["creation_ts"] or 0) * 1000,
        consent_version=row["consent_version"],
        consent_ts=row.get("consent_ts"),
        consent_notice_version=row["consent_server_notice_sent"],
        expires_ts=row["expiration_ts_ms"] if work.accounts_expire else None,
        displayname=profile.get("displayname") or None,
        avatar_url=profile.get("avatar_url") or None,
        profile_fields=_fields(profile),
    )


def _waits_for_approval(row: SynapseRow) -> bool:
    """Nobody may log in as them there; here nobody could if they were not locked."""
    return row.get("approved") is not None and not row["approved"]


def _fields(profile: SynapseRow) -> str:
    """JSONB comes as an object, SQLite's as text."""
    fields = profile.get("fields") or {}
    value = canonical_json.decode_object(fields) if isinstance(fields, str) else fields
    canonical_json.check_canonical(value)
    text = canonical_json.encode(value)
    if len(text) > MAX_PROFILE_BYTES:
        raise invalid_param("The profile is too large")
    return text.decode()


def _identities(work: Import) -> None:
    def read_threepid(row: SynapseRow) -> ImportedThreepid:
        medium = row["medium"]
        address = canonical_address(medium, row["address"])
        return ImportedThreepid(
            medium, address, work.own(row["user_id"]), row["validated_at"], row["added_at"]
        )

    def read_external_id(row: SynapseRow) -> tuple[str, str, str]:
        return row["auth_provider"], row["external_id"], work.own(row["user_id"])

    rows = theirs.threepids(work.synapse)
    work.take("third-party ids", rows, ("medium", "address"), read_threepid, ours.add_threepids)
    ids = theirs.external_ids(work.synapse)
    name = ("auth_provider", "external_id")
    work.take("external ids", ids, name, read_external_id, ours.add_external_ids)


def _settings(work: Import) -> None:
    def read_limit(row: SynapseRow) -> tuple[str, int, int]:
        return work.own(row["user_id"]), row["messages_per_second"] or 0, row["burst_count"] or 0

    def read_feature(row: SynapseRow) -> tuple[str, str, bool]:
        return work.own(row["user_id"]), row["feature"], bool(row["enabled"])

    def read_token(row: SynapseRow) -> ImportedToken:
        return ImportedToken(row["token"], row["uses_allowed"], row["completed"], row["expiry_time"])

    def read_active(row: SynapseRow) -> tuple[str, int]:
        return work.own(row["user_id"]), row["timestamp"]

    source, user = work.synapse, ("user_id",)
    work.take("rate limits", theirs.rate_limits(source), user, read_limit, ours.add_rate_limits)
    features = theirs.features(source)
    work.take("experimental features", features, ("user_id", "feature"), read_feature, ours.add_features)
    tokens = theirs.registration_tokens(source)
    work.take("registration tokens", tokens, ("token",), read_token, ours.add_registration_tokens)
    work.take("active users", theirs.active_users(source), user, read_active, ours.add_active_users)
