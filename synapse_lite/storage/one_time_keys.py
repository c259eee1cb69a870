"""One-time and fallback keys of devices. A one-time key is given out once.

Those of a device and algorithm are its stock: numbered, and given out by counting up.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.device_changes import publish_for_devices
from synapse_lite.storage.prepared import Prepared
from synapse_lite.storage.statements import Row
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

    @property
    def name(self) -> str:
        """Of the stock. Neither the localparts of users nor algorithms have colons."""
        return f"{self.user_id}:{self.algorithm}:{self.device_id}"


class ClaimedKey(NamedTuple):
    user_id: str
    device_id: str
    algorithm: str
    key_id: str
    json: str


class OldStocks(NamedTuple):
    """Stocks of devices that were not used for long, how many keys they hold, and how many stocks were looked at. `last`:
    the newest upload to any of these.
    """

    old: Sequence[int]
    old_keys: int
    looked_at: int
    last: int | None


class KeyCounts(NamedTuple):
    """Unclaimed one-time keys by algorithm, and the algorithms whose fallback key is unused."""

    one_time: Mapping[str, int]
    unused_fallback: Sequence[str]


def known_keys(
    txn: Transaction, user_id: str, device_id: str, keys: Collection[StoredKey]
) -> dict[tuple[str, str], str]:
    """JSON of those that are stored under the ids of `keys`, by algorithm and id."""
    rows = txn.rows(
        "SELECT algorithm, key_id, json FROM key_stocks JOIN one_time_keys USING (stock_nid)"
        " JOIN unnest(%s::text[], %s::text[]) AS wanted (algorithm, key_id) USING (algorithm, key_id)"
        " WHERE user_id = %s AND device_id = %s AND number > given",
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
    stocks = [Wanted(user_id, device_id, one) for one in sorted({key.algorithm for key in keys})]
    if len(stocks) > 1:  # in the order of claims, which is the database's own
        names = [stock.name for stock in stocks]
        txn.later("SELECT FROM key_stocks WHERE name = ANY (%s) ORDER BY name FOR NO KEY UPDATE", (names,))
    for stock in stocks:
        _add_to_stock(txn, stock, [key for key in keys if key.algorithm == stock.algorithm])
    _remember(txn, user_id, device_id, keys)
    txn.publish(Kind.KEY_COUNTS, user_id=user_id, device_id=device_id)


def _add_to_stock(txn: Transaction, stock: Wanted, keys: Sequence[StoredKey]) -> None:
    (row,) = txn.rows(_UPLOAD, (stock.name, *stock, max(0, len(keys) - KEPT_KEYS), len(keys), KEPT_KEYS))
    stock_nid, given, uploaded = row
    txn.later("DELETE FROM one_time_keys WHERE stock_nid = %s AND number <= %s", (stock_nid, given))
    numbered = zip(range(uploaded - len(keys) + 1, uploaded + 1), keys, strict=True)
    txn.insert(
        "INSERT INTO one_time_keys (stock_nid, number, key_id, json) VALUES %s",
        [(stock_nid, number, key.key_id, key.json) for number, key in numbered if number > given],
    )


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

    Claims and uploads of the same device wait for each other, always in the order of names.
    """
    stocks = {one.name for one in wanted if ":" not in one.algorithm}  # of which nobody has keys
    with txn.on_indexes():
        rows = txn.rows(_CLAIM, (list(stocks),))
        one_time = [row if row[4] is not None else _with_key(txn, row) for row in rows]
    fallback = []
    if len(one_time) < len(stocks):
        missing = sorted(set(wanted) - {row[:3] for row in one_time})
        fallback = txn.rows(_USE_FALLBACK, _columns(missing))
    # The last key of a device is gone, or its fallback key was unused until now.
    needy = {row[:2] for row in (*one_time, *fallback) if row[5]}
    publish_for_devices(txn, Kind.KEY_COUNTS, sorted({row[:2] for row in one_time} - needy))
    for user_id, device_id in sorted(needy):
        txn.publish(Kind.KEYS_NEEDED, user_id=user_id, device_id=device_id)
    return [ClaimedKey(*row[:5]) for row in (*one_time, *fallback)]


def _with_key(txn: Transaction, row: Row) -> Row:
    """A row of `_CLAIM`, which waited for an upload and did not see the keys that it counts."""
    *stock, _, _, is_last, stock_nid, number = row
    key = txn.rows(
        "SELECT key_id, json FROM one_time_keys WHERE stock_nid = %s AND number = %s", (stock_nid, number)
    )[0]
    return (*stock, *key, is_last)


def algorithm_count(txn: Transaction, user_id: str, device_id: str) -> int:
    """Of how many the device has ever had one-time keys, and has a fallback key."""
    return int(
        txn.value(
            "SELECT (SELECT count(*) FROM key_stocks WHERE user_id = %s AND device_id = %s)"
            " + (SELECT count(*) FROM fallback_keys WHERE user_id = %s AND device_id = %s)",
            (user_id, device_id) * 2,
        )
    )


def read_counts(txn: Transaction, user_id: str, device_id: str) -> KeyCounts:
    return read_all_counts(txn, [user_id])[user_id].get(device_id, KeyCounts({}, ()))


def read_all_counts(txn: Transaction, user_ids: Collection[str]) -> dict[str, Mapping[str, KeyCounts]]:
    """The counts of all devices of the users that have any keys, by user and device."""
    users = list(user_ids)
    rows = txn.rows(
        "SELECT user_id, device_id, algorithm, uploaded - given, FALSE FROM key_stocks"
        " WHERE user_id = ANY (%s) AND given < uploaded"
        " UNION ALL SELECT user_id, device_id, algorithm, 0, TRUE FROM fallback_keys"
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


def count_stocks(txn: Transaction) -> tuple[int, int]:
    """How many there are, and the number of the newest upload to any."""
    total, newest = txn.rows("SELECT count(*), coalesce(max(upload_nid), 0) FROM key_stocks")[0]
    return total, newest


def old_stocks(txn: Transaction, before_ms: int, *, after: int, upto: int, limit: int) -> OldStocks:
    """Of the next `limit` stocks, by their newest uploads, those of devices not used since then; dehydrated ones wait."""
    rows = txn.rows(
        "SELECT upload_nid, stock_nid, keys, d.dehydrated IS NULL AND coalesce(d.last_seen_ts, d.created_ts) < %s FROM ("
        " SELECT upload_nid, stock_nid, uploaded - given AS keys, user_id, device_id FROM key_stocks"
        " WHERE upload_nid > %s AND upload_nid <= %s ORDER BY upload_nid LIMIT %s) AS s"
        " JOIN devices d USING (user_id, device_id) ORDER BY upload_nid",
        (before_ms, after, upto, limit),
    )
    old = [(stock_nid, keys) for _, stock_nid, keys, is_old in rows if is_old]
    return OldStocks(
        [stock_nid for stock_nid, _ in old],
        sum(keys for _, keys in old),
        len(rows),
        rows[-1][0] if rows else None,
    )


def empty_stocks(txn: Transaction, nids: Sequence[int], upto: int) -> int:
    """Delete the keys, and tell their devices; those of devices that uploaded after `upto` stay. How many there were."""
    rows = txn.rows(
        "WITH old AS (SELECT stock_nid, uploaded - given AS keys FROM key_stocks"
        " WHERE stock_nid = ANY (%s) AND upload_nid <= %s AND given < uploaded ORDER BY name FOR UPDATE)"
        " UPDATE key_stocks AS stock SET given = uploaded FROM old WHERE stock.stock_nid = old.stock_nid"
        " RETURNING user_id, device_id, stock.stock_nid, keys",
        (list(nids), upto),
    )
    txn.later("DELETE FROM one_time_keys WHERE stock_nid = ANY (%s)", ([row[2] for row in rows],))
    publish_for_devices(txn, Kind.KEY_COUNTS, sorted({row[:2] for row in rows}))
    return sum(row[3] for row in rows)


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

_UPLOAD = """
INSERT INTO key_stocks AS stock (name, user_id, device_id, algorithm, given, uploaded) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (name) DO UPDATE SET uploaded = stock.uploaded + excluded.uploaded, upload_nid = DEFAULT,
    given = greatest(stock.given, stock.uploaded + excluded.uploaded - %s)
RETURNING stock_nid, given, uploaded
"""

_CLAIM = Prepared(
    "claim_keys",
    """
WITH taken AS (
    UPDATE key_stocks SET given = given + 1 WHERE name = ANY (%s) AND given < uploaded
    RETURNING user_id, device_id, algorithm, given = uploaded AS is_last, stock_nid, given
)
SELECT user_id, device_id, algorithm, key_id, json, is_last, stock_nid, given FROM taken LEFT JOIN LATERAL (
    SELECT key_id, json FROM one_time_keys AS key WHERE (key.stock_nid, number) = (taken.stock_nid, given) OFFSET 0
) AS key ON TRUE
""",
)
"""Returns the keys, and whether it was the last; one row at most for each of what is wanted. OFFSET: looked up one by one,
whatever the planner knows of the table.
"""

_USE_FALLBACK = f"""
UPDATE fallback_keys AS key SET used = TRUE FROM (
    SELECT key.* FROM {_WANTED} JOIN fallback_keys AS key ON {_SAME_KEYS}
    ORDER BY key.user_id, key.device_id, key.algorithm FOR UPDATE OF key) AS old
WHERE (key.user_id, key.device_id, key.algorithm) = (old.user_id, old.device_id, old.algorithm)
RETURNING key.user_id, key.device_id, key.algorithm, key.key_id, key.json, NOT old.used
"""
