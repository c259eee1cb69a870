"""The keys of other servers, as far as they were ever seen."""

from collections.abc import Collection

from synapse_lite.canonical_json import JsonObject, decode_exact, encode
from synapse_lite.matrix.server_keys import ServerKey
from synapse_lite.storage.database import Transaction


def find_keys(txn: Transaction, wanted: Collection[tuple[str, str]]) -> list[ServerKey]:
    """Every key that is stored under one of the (server name, key id)."""
    rows = txn.fetch_values(
        "SELECT server_name, key_id, public_key, valid_until_ts, expired_ts"
        " FROM (VALUES %s) AS w (server_name, key_id) JOIN server_keys USING (server_name, key_id)",
        list(wanted),
    )
    return [ServerKey(*row) for row in rows]


def put_keys(txn: Transaction, keys: Collection[ServerKey]) -> None:
    """A validity never becomes shorter: an older answer may come later. The newest says whether a key is retired: one that is
    may be in use again.
    """
    rows = {(key.server_name, key.key_id, key.public_key): key for key in keys}
    txn.insert(
        "INSERT INTO server_keys AS k (server_name, key_id, public_key, valid_until_ts, expired_ts) VALUES %s"
        " ON CONFLICT (server_name, key_id, public_key) DO UPDATE SET"
        " valid_until_ts = greatest(k.valid_until_ts, excluded.valid_until_ts),"
        " expired_ts = CASE WHEN excluded.valid_until_ts > k.valid_until_ts THEN excluded.expired_ts"
        "  ELSE coalesce(excluded.expired_ts, k.expired_ts) END",
        [(*name, rows[name].valid_until_ts, rows[name].expired_ts) for name in sorted(rows)],
    )


def put_answer(
    txn: Transaction, server_name: str, answer: JsonObject, valid_until_ts: int, now_ms: int
) -> None:
    """What the server says of its own keys, unless a longer validity is known."""
    txn.later(
        "INSERT INTO server_key_answers AS a (server_name, valid_until_ts, fetched_ts, json)"
        " VALUES (%s, %s, %s, %s) ON CONFLICT (server_name) DO UPDATE SET"
        " valid_until_ts = excluded.valid_until_ts, fetched_ts = excluded.fetched_ts, json = excluded.json"
        " WHERE a.valid_until_ts <= excluded.valid_until_ts",
        (server_name, valid_until_ts, now_ms, encode(answer).decode()),
    )


def find_answers(txn: Transaction, server_names: Collection[str]) -> dict[str, tuple[int, JsonObject]]:
    """By server: until when it is valid, and the answer."""
    rows = txn.rows(
        "SELECT server_name, valid_until_ts, json FROM server_key_answers WHERE server_name = ANY (%s)",
        (list(server_names),),
    )
    return {name: (until, decode_exact(json)) for name, until, json in rows}
