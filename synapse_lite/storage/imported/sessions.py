"""Devices, the tokens by which they are known, and the filters of their clients."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.imported.rows import add_new
from synapse_lite.storage.statements import Row


class ImportedDevice(NamedTuple):
    """`dehydrated`: the device data (JSON) of one without a session."""

    user_id: str
    device_id: str
    display_name: str | None
    created_ts: int
    last_seen_ts: int | None
    last_seen_ip: str | None
    last_seen_user_agent: str | None
    dehydrated: str | None


class ImportedRefreshToken(NamedTuple):
    """`previous_hash`: of the token that this one's first use ends."""

    token_hash: bytes
    user_id: str
    device_id: str
    valid_until_ts: int | None
    session_until_ts: int | None
    previous_hash: bytes | None


class ImportedAccessToken(NamedTuple):
    """`refresh_hash`: of the refresh token that was given out with it."""

    token_hash: bytes
    user_id: str
    device_id: str | None
    created_ts: int
    valid_until_ts: int | None
    refresh_hash: bytes | None


class ImportedFilter(NamedTuple):
    """`json` is canonical."""

    user_id: str
    filter_nid: int
    json: str


def add_devices(txn: Transaction, devices: Sequence[ImportedDevice]) -> int:
    return len(add_new(txn, "devices", ", ".join(ImportedDevice._fields), devices))


def add_refresh_tokens(txn: Transaction, tokens: Sequence[ImportedRefreshToken]) -> int:
    columns = ", ".join(ImportedRefreshToken._fields[:5])
    new = set(add_new(txn, "refresh_tokens", columns, [token[:5] for token in tokens], "refresh_nid"))
    chain = [(token.token_hash, token.previous_hash) for token in tokens if token.previous_hash is not None]
    if new and chain:
        txn.insert(
            "UPDATE refresh_tokens AS token SET replaces_nid = previous.refresh_nid"
            " FROM (VALUES %s) AS chain (token_hash, previous_hash)"
            " JOIN refresh_tokens AS previous ON previous.token_hash = chain.previous_hash"
            f" WHERE token.token_hash = chain.token_hash AND token.refresh_nid IN ({_numbers(new)})",
            chain,
        )
        txn.finish()
    return len(new)


def add_access_tokens(txn: Transaction, tokens: Sequence[ImportedAccessToken]) -> int:
    rows = txn.fetch_values(
        "INSERT INTO access_tokens (token_hash, user_id, device_id, created_ts, valid_until_ts, refresh_nid)"
        " SELECT new.token_hash, new.user_id, new.device_id, new.created_ts, new.valid_until_ts::bigint,"
        " refresh.refresh_nid FROM (VALUES %s) AS new (token_hash, user_id, device_id, created_ts, valid_until_ts,"
        " refresh_hash) LEFT JOIN refresh_tokens AS refresh ON refresh.token_hash = new.refresh_hash::bytea"
        " ON CONFLICT DO NOTHING RETURNING 1",
        tokens,
    )
    return len(rows)


def add_filters(txn: Transaction, filters: Sequence[ImportedFilter]) -> int:
    """With their numbers, above which new ones are numbered from now on.

    Of a user's equal ones the first is found by what it says, the others by their numbers alone.
    """
    by_content = [(*one, _digest(one.json)) for one in filters]
    by_number = [(*one, _digest(f"{one.filter_nid} {one.json}")) for one in filters]
    new = [*_insert_filters(txn, by_content), *_insert_filters(txn, by_number)]
    most = max((nid for (nid,) in new), default=0)
    txn.execute(
        "SELECT setval(name, %s) FROM pg_get_serial_sequence('filters', 'filter_nid') AS name"
        " WHERE coalesce(pg_sequence_last_value(name::regclass), 0) < %s",
        (most, most),
    )
    return len(new)


def _insert_filters(txn: Transaction, rows: Sequence[tuple[str, int, str, bytes]]) -> list[Row]:
    return txn.fetch_values(
        "INSERT INTO filters (user_id, filter_nid, json, digest) OVERRIDING SYSTEM VALUE VALUES %s"
        " ON CONFLICT DO NOTHING RETURNING filter_nid",
        rows,
    )


def _digest(json: str) -> bytes:
    return hashlib.sha256(json.encode()).digest()


def _numbers(rows: set[tuple[int, ...]]) -> str:
    return ", ".join(str(int(nid)) for (nid,) in rows)
