"""One-time and fallback keys of devices. A one-time key is given out once."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.device_changes import publish_for_devices
from synapse_lite.storage.stream import Kind

KEPT_KEYS = 200
"""Of each device and algorithm: a client keeps the private halves of its newest hundred."""

REMEMBERED_KEYS = 1000
"""Of each device, at least. What a client uploads again, as it did not hear the answer, is what it uploaded last."""


class StoredKey(NamedTuple):
    """`key_id` without the algorithm; `key` is the public key, `json` the value as uploaded."""

    algorithm: str
    key_id: str
    key: str
    json: str

    @property
    def name(self) -> str:
        """No other key has it."""
        return f"{self.algorithm}:{self.key_id}:{self.key}"


class Wanted(NamedTuple):
    user_id: str
    device_id: str
    algorithm: str


class ClaimedKey(NamedTuple):
    user_id: str
    device_id: str
    algorithm: str
    key_id: str
    json: str


class OldKeys(NamedTuple):
    """Numbers of one-time keys that are `old`, of those that were looked at. `last`: the last of these."""

    old: Sequence[int]
    looked_at: int
    last: int | None


class KeyCounts(NamedTuple):
    """Unclaimed one-time keys by algorithm, and the algorithms whose fallback key is unused."""

    one_time: Mapping[str, int]
    unused_fallback: Sequence[str]


def lock_device(txn: Transaction, user_id: str, device_id: str) -> bool:
    """One upload of a device at a time; False when the device is gone. Claims do not wait."""
    return (
        txn.row(
            "SELECT FROM devices WHERE user_id = %s AND device_id = %s FOR NO KEY UPDATE",
            (user_id, device_id),
        )
        is not None
    )


def known_keys(
    txn: Transaction, user_id: str, device_id: str, keys: Collection[StoredKey]
) -> dict[tuple[str, str], str]:
    """JSON of those that are stored under the ids of `keys`, by algorithm and id."""
    rows = txn.rows(
        "SELECT algorithm, key_id, json FROM one_time_keys"
        " JOIN unnest(%s::text[], %s::text[]) AS wanted (algorithm, key_id) USING (algorithm, key_id)"
        " WHERE user_id = %s AND device_id = %s",
        ([key.algorithm for key in keys], [key.key_id for key in keys], user_id, device_id),
    )
    return {(algorithm, key_id): json for algorithm, key_id, json in rows}


def uploaded_before(
    txn: Transaction, user_id: str, device_id: str, keys: Collection[StoredKey]
) -> set[tuple[str, str]]:
    """Algorithm and id of those of `keys` that the device has uploaded already: they are stored, or gone for ever."""
    by_name = {key.name: (key.algorithm, key.key_id) for key in keys}
    rows = txn.rows(
        "SELECT name FROM key_uploads CROSS JOIN LATERAL unnest(names) AS name"
        " WHERE user_id = %s AND device_id = %s AND name = ANY (%s)",
        (user_id, device_id, list(by_name)),
    )
    return {by_name[name] for (name,) in rows}


def add_keys(txn: Transaction, user_id: str, device_id: str, keys: Sequence[StoredKey]) -> None:
    """Store keys in this order; of more than `KEPT_KEYS` the oldest go."""
    if not keys:
        return
    newest = {key.algorithm: number for number, key in enumerate(keys)}
    txn.insert(
        "INSERT INTO one_time_keys (user_id, device_id, algorithm, key_id, key, json, ends_upload) VALUES %s",
        [(user_id, device_id, *key, newest[key.algorithm] == number) for number, key in enumerate(keys)],
    )
    txn.execute(
        "DELETE FROM one_time_keys WHERE key_nid IN ("
        " SELECT key_nid FROM unnest(%s::text[]) AS wanted (algorithm) CROSS JOIN LATERAL ("
        "  SELECT key_nid FROM one_time_keys AS key WHERE key.user_id = %s AND key.device_id = %s"
        "  AND key.algorithm = wanted.algorithm ORDER BY key_nid DESC OFFSET %s) AS oldest)",
        (sorted({key.algorithm for key in keys}), user_id, device_id, KEPT_KEYS),
    )
    _remember(txn, user_id, device_id, keys)
    txn.publish(Kind.KEY_COUNTS, user_id=user_id, device_id=device_id)


def _remember(txn: Transaction, user_id: str, device_id: str, keys: Sequence[StoredKey]) -> None:
    txn.later(
        "INSERT INTO key_uploads (user_id, device_id, names) VALUES (%s, %s, %s)",
        (user_id, device_id, [key.name for key in keys]),
    )
    txn.later(
        "DELETE FROM key_uploads WHERE user_id = %s AND device_id = %s AND upload_nid IN (SELECT upload_nid FROM ("
        " SELECT upload_nid, sum(cardinality(names)) OVER (ORDER BY upload_nid DESC) - cardinality(names) AS newer"
        " FROM key_uploads WHERE user_id = %s AND device_id = %s) AS uploads WHERE newer >= %s)",
        (user_id, device_id, user_id, device_id, REMEMBERED_KEYS),
    )


def put_fallback_keys(
    txn: Transaction, user_id: str, device_id: str, keys: Sequence[tuple[StoredKey, bool]]
) -> None:
    """Replace the fallback keys of these algorithms; True: it is the stored key again, and as used as before."""
    for key, same in keys:
        txn.later(
            "INSERT INTO fallback_keys (user_id, device_id, algorithm, key_id, json)"
            " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (user_id, device_id, algorithm) DO UPDATE SET"
            " key_id = excluded.key_id, json = excluded.json, used = fallback_keys.used AND %s",
            (user_id, device_id, key.algorithm, key.key_id, key.json, same),
        )
    if keys:
        txn.publish(Kind.KEY_COUNTS, user_id=user_id, device_id=device_id)


def fallback_keys(txn: Transaction, user_id: str, device_id: str) -> dict[str, tuple[str, str]]:
    """Id and JSON by algorithm."""
    rows = txn.rows(
        "SELECT algorithm, key_id, json FROM fallback_keys WHERE user_id = %s AND device_id = %s",
        (user_id, device_id),
    )
    return {algorithm: (key_id, json) for algorithm, key_id, json in rows}


def claim_keys(txn: Transaction, wanted: Collection[Wanted]) -> list[ClaimedKey]:
    """A key for each of `wanted`: the oldest one-time key, which is gone then, else the fallback key.

    A row that another claim has locked is that one's; who finds none left gets the fallback key.
    """
    ordered = sorted(set(wanted))
    one_time = txn.rows(_CLAIM, _columns(ordered))
    fallback = []
    if len(one_time) < len(ordered):
        missing = sorted(set(ordered) - {row[:3] for row in one_time})
        fallback = txn.rows(_USE_FALLBACK, _columns(missing))
    # The last key of a device is gone, or its fallback key was unused until now.
    needy = {row[:2] for row in (*one_time, *fallback) if row[5]}
    publish_for_devices(txn, Kind.KEY_COUNTS, sorted({row[:2] for row in one_time} - needy))
    for user_id, device_id in sorted(needy):
        txn.publish(Kind.KEYS_NEEDED, user_id=user_id, device_id=device_id)
    return [ClaimedKey(*row[:5]) for row in (*one_time, *fallback)]


def read_counts(txn: Transaction, user_id: str, device_id: str) -> KeyCounts:
    return read_all_counts(txn, [user_id])[user_id].get(device_id, KeyCounts({}, ()))


def read_all_counts(txn: Transaction, user_ids: Collection[str]) -> dict[str, Mapping[str, KeyCounts]]:
    """The counts of all devices of the users that have any keys, by user and device."""
    users = list(user_ids)
    rows = txn.rows(
        "SELECT user_id, device_id, algorithm, count(*), FALSE FROM one_time_keys WHERE user_id = ANY (%s)"
        " GROUP BY 1, 2, 3 UNION ALL SELECT user_id, device_id, algorithm, 0, TRUE FROM fallback_keys"
        " WHERE user_id = ANY (%s) AND NOT used",
        (users, users),
    )
    found: dict[str, dict[str, KeyCounts]] = {user_id: {} for user_id in users}
    for user_id, device_id, algorithm, count, is_fallback in rows:
        known = found[user_id].get(device_id, KeyCounts({}, ()))
        if is_fallback:
            known = KeyCounts(known.one_time, [*known.unused_fallback, algorithm])
        else:
            known = KeyCounts({**known.one_time, algorithm: count}, known.unused_fallback)
        found[user_id][device_id] = known
    return dict(found)


def count_keys(txn: Transaction) -> tuple[int, int]:
    """How many one-time keys there are, and the number of the newest."""
    total, newest = txn.rows("SELECT count(*), coalesce(max(key_nid), 0) FROM one_time_keys")[0]
    return total, newest


def old_keys(txn: Transaction, before_ms: int, *, after: int, upto: int, limit: int) -> OldKeys:
    """Of the next `limit` one-time keys those of devices that were not used since then; dehydrated ones wait."""
    rows = txn.rows(
        "SELECT k.key_nid, d.dehydrated IS NULL AND coalesce(d.last_seen_ts, d.created_ts) < %s FROM ("
        " SELECT key_nid, user_id, device_id FROM one_time_keys WHERE key_nid > %s AND key_nid <= %s"
        " ORDER BY key_nid LIMIT %s) AS k JOIN devices d USING (user_id, device_id) ORDER BY k.key_nid",
        (before_ms, after, upto, limit),
    )
    return OldKeys([nid for nid, is_old in rows if is_old], len(rows), rows[-1][0] if rows else None)


def delete_keys(txn: Transaction, nids: Sequence[int]) -> None:
    """Those that are there still; their devices are told how many they have left."""
    rows = txn.rows(
        "DELETE FROM one_time_keys WHERE key_nid = ANY(%s) RETURNING user_id, device_id", (list(nids),)
    )
    publish_for_devices(txn, Kind.KEY_COUNTS, sorted(set(rows)))


def _columns(wanted: Sequence[Wanted]) -> tuple[list[str], list[str], list[str]]:
    return (
        [one.user_id for one in wanted],
        [one.device_id for one in wanted],
        [one.algorithm for one in wanted],
    )


_WANTED = "unnest(%s::text[], %s::text[], %s::text[]) AS wanted (user_id, device_id, algorithm)"
_SAME_KEYS = (
    "(key.user_id, key.device_id, key.algorithm) = (wanted.user_id, wanted.device_id, wanted.algorithm)"
)

_CLAIM = f"""
WITH claimed AS (
    DELETE FROM one_time_keys WHERE ctid = ANY (ARRAY (
        SELECT oldest.place FROM {_WANTED} CROSS JOIN LATERAL (
            SELECT ctid AS place FROM one_time_keys AS key WHERE {_SAME_KEYS}
            ORDER BY key_nid LIMIT 1 FOR UPDATE SKIP LOCKED) AS oldest))
    RETURNING key_nid, user_id, device_id, algorithm, key_id, json, ends_upload
)
SELECT user_id, device_id, algorithm, key_id, json, ends_upload AND NOT EXISTS (
    SELECT FROM one_time_keys AS key WHERE {_SAME_KEYS} AND key.key_nid > wanted.key_nid OFFSET 0)
FROM claimed AS wanted
"""
"""Returns the keys, and whether it was the last; one row at most for each of what is wanted. By place, as a locked row
has one: else, without statistics, the planner reads the whole table. OFFSET: looked up for each that ends an upload, for
the same reason.
"""

_USE_FALLBACK = f"""
UPDATE fallback_keys AS key SET used = TRUE FROM (
    SELECT key.* FROM {_WANTED} JOIN fallback_keys AS key ON {_SAME_KEYS}
    ORDER BY key.user_id, key.device_id, key.algorithm FOR UPDATE OF key) AS old
WHERE (key.user_id, key.device_id, key.algorithm) = (old.user_id, old.device_id, old.algorithm)
RETURNING key.user_id, key.device_id, key.algorithm, key.key_id, key.json, NOT old.used
"""
