"""Sessions: devices, the tokens of their clients, and the filters that these know by number."""

from synapse_lite import canonical_json
from synapse_lite.cli.import_synapse.target import Import
from synapse_lite.handlers.access_tokens import hash_token
from synapse_lite.handlers.filters import DEFAULT_LIMIT, read_sync_filter
from synapse_lite.storage.imported import sessions as ours
from synapse_lite.storage.imported.sessions import (
    ImportedAccessToken,
    ImportedDevice,
    ImportedFilter,
    ImportedRefreshToken,
)
from synapse_lite.storage.synapse import sessions as theirs
from synapse_lite.storage.synapse.database import SynapseRow

TOKEN = ("id", "user_id")
"""What names a token: not the token."""


def import_sessions(work: Import) -> None:
    """Nobody has to log in again."""
    _devices(work)
    _tokens(work)
    _filters(work)


def _devices(work: Import) -> None:
    now_ms = work.now_ms()  # when they were made is not known there

    def read(row: SynapseRow) -> ImportedDevice:
        data = row["device_data"]
        seen = row if data is None else {}  # a dehydrated device is nobody's session
        return ImportedDevice(
            user_id=work.own(row["user_id"]),
            device_id=row["device_id"],
            display_name=row["display_name"],
            created_ts=now_ms,
            last_seen_ts=seen.get("last_seen"),
            last_seen_ip=seen.get("ip"),
            last_seen_user_agent=seen.get("user_agent"),
            dehydrated=None if data is None else _object(data),
        )

    work.take("devices", theirs.devices(work.synapse), ("user_id", "device_id"), read, ours.add_devices)


def _tokens(work: Import) -> None:
    """The access tokens lean on the refresh tokens that were given out with them."""
    now_ms = work.now_ms()

    def read_refresh(row: SynapseRow) -> ImportedRefreshToken:
        return ImportedRefreshToken(
            token_hash=hash_token(row["token"]),
            user_id=work.own(row["user_id"]),
            device_id=row["device_id"],
            valid_until_ts=row.get("expiry_ts"),
            session_until_ts=row.get("ultimate_session_expiry_ts"),
            previous_hash=_hash(row["previous"]),
        )

    def read_access(row: SynapseRow) -> ImportedAccessToken:
        """An administrator who acts as somebody has no device of theirs."""
        puppet = row["puppets_user_id"]
        return ImportedAccessToken(
            token_hash=hash_token(row["token"]),
            user_id=work.own(puppet or row["user_id"]),
            device_id=None if puppet else row["device_id"],
            created_ts=row["last_validated"] or now_ms,
            valid_until_ts=row["valid_until_ms"],
            refresh_hash=_hash(row["refresh_token"]),
        )

    refresh_tokens = theirs.refresh_tokens(work.synapse)
    work.take("refresh tokens", refresh_tokens, TOKEN, read_refresh, ours.add_refresh_tokens)
    access_tokens = theirs.access_tokens(work.synapse)
    work.take("access tokens", access_tokens, TOKEN, read_access, ours.add_access_tokens)


def _filters(work: Import) -> None:
    def read(row: SynapseRow) -> ImportedFilter:
        stored = row["filter_json"]
        text = stored if isinstance(stored, str) else bytes(stored).decode()
        definition = canonical_json.decode_object(text)
        read_sync_filter(definition, DEFAULT_LIMIT)
        user_id = work.own(f"@{row['user_id']}:{work.server_name}")
        return ImportedFilter(user_id, row["filter_id"], canonical_json.encode(definition).decode())

    rows = theirs.filters(work.synapse)
    work.take("filters", rows, ("user_id", "filter_id"), read, ours.add_filters)


def _object(text: str) -> str:
    return canonical_json.encode(canonical_json.decode_object(text)).decode()


def _hash(token: str | None) -> bytes | None:
    return None if token is None else hash_token(token)
