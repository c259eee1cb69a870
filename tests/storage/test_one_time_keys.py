"""One-time keys of many devices: what a claim reads."""

from threading import Event

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.one_time_keys import ClaimedKey, StoredKey, Wanted, add_keys, claim_keys
from synapse_lite.storage.stream import Change, Kind
from tests.processes.harness import wait_until
from tests.storage.reading import rows_read

USERS, KEYS = 2_000, 10  # keys of each user's one device
CLAIMED = 300
READ = 20 * CLAIMED
"""Rows of tables and entries of indexes: far from the 20,000 keys."""

WANTED = [Wanted("@u:hs", "D", "signed_curve25519")]


@pytest.mark.new_database
@pytest.mark.parametrize("analyzed", [False, True])
@ensureDeferred
async def test_a_claim_reads_about_what_it_gives_out(database: Database, analyzed: bool) -> None:
    """Not the keys of all devices of the server, whatever the planner knows of the table; the oldest are given out."""
    await database.transact(_fill)
    if analyzed:
        await database.transact(lambda txn: txn.execute("ANALYZE"))
    wanted = [Wanted(f"@{number}:hs", "D", "signed_curve25519") for number in range(1, CLAIMED + 1)]

    def claim(txn: Transaction) -> tuple[set[str], int]:
        before = rows_read(txn)
        claimed = claim_keys(txn, wanted)
        return {key.key_id for key in claimed}, rows_read(txn) - before

    key_ids, read = await database.transact(claim)
    assert key_ids == {f"{number}_1" for number in range(1, CLAIMED + 1)}
    assert read <= READ


@ensureDeferred
async def test_whoever_takes_the_last_key_wakes_the_device(database: Database, changes: list[Change]) -> None:
    """Also when somebody else is taking the one before it at the same moment."""

    def slow(txn: Transaction) -> list[ClaimedKey]:
        claimed = claim_keys(txn, WANTED)
        has_claimed.set()
        _until_somebody_waits(txn)
        return claimed

    has_claimed = Event()
    await database.transact(_give, "12")
    first = Deferred.fromCoroutine(database.transact(slow))
    await deferToThread(has_claimed.wait, 300)
    second = Deferred.fromCoroutine(database.transact(claim_keys, WANTED))
    claimed = [*(await first), *(await second)]
    assert sorted(key.key_id for key in claimed) == ["1", "2"]
    told = sorted(changes[-2:])  # of two commits the later one may be told first
    assert [change.kind for change in told] == [Kind.KEY_COUNTS, Kind.KEYS_NEEDED]
    await database.transact(_clear)


@ensureDeferred
async def test_a_claim_that_waits_for_an_upload_gets_one_of_its_keys(database: Database) -> None:
    """What it waits for is the last key that it sees, which is given out meanwhile."""

    def slow(txn: Transaction) -> list[ClaimedKey]:
        claimed = claim_keys(txn, WANTED)
        add_keys(txn, *WANTED[0][:2], _keys("2"))
        has_claimed.set()
        _until_somebody_waits(txn)
        return claimed

    has_claimed = Event()
    await database.transact(_give, "1")
    first = Deferred.fromCoroutine(database.transact(slow))
    await deferToThread(has_claimed.wait, 300)
    second = await database.transact(claim_keys, WANTED)
    assert [key.key_id for key in (*(await first), *second)] == ["1", "2"]
    await database.transact(_clear)


@ensureDeferred
async def test_only_the_last_key_of_all_uploads_wakes_the_device(
    database: Database, changes: list[Change]
) -> None:
    """The newest of an earlier upload, behind which there are others, is not the last."""
    await database.transact(_give, "12")
    await database.transact(lambda txn: add_keys(txn, *WANTED[0][:2], _keys("34")))
    changes.clear()
    claimed = [await database.transact(claim_keys, WANTED) for _ in range(5)]
    assert [key.key_id for keys in claimed for key in keys] == ["1", "2", "3", "4"]
    assert [change.kind for change in changes] == [*[Kind.KEY_COUNTS] * 3, Kind.KEYS_NEEDED]
    await database.transact(_clear)


@ensureDeferred
async def test_colons_name_no_other_device(database: Database) -> None:
    """Ids of devices may hold colons, of algorithms not: whoever asks for such a one gets nobody's keys."""
    await database.transact(_give, "1", "b:c")
    algorithm = WANTED[0].algorithm
    assert await database.transact(claim_keys, [Wanted("@u:hs", "c", f"{algorithm}:b")]) == []
    claimed = await database.transact(claim_keys, [Wanted("@u:hs", "b:c", algorithm)])
    assert [key.key_id for key in claimed] == ["1"]
    await database.transact(_clear)


@ensureDeferred
async def test_uploads_and_claims_take_stocks_in_the_same_order(database: Database) -> None:
    """That of their names, whatever the algorithms: else two that want the same two stocks stop each other."""

    def claim(txn: Transaction) -> None:
        runs.append("claim")
        claim_keys(txn, [Wanted("@u:hs", "D", "a!")])  # as one that wants both does first
        has_claimed.set()
        _until_somebody_waits(txn)
        claim_keys(txn, [Wanted("@u:hs", "D", "a")])

    def upload(txn: Transaction) -> None:
        runs.append("upload")
        add_keys(txn, "@u:hs", "D", [StoredKey(one, "2", "2", "{}") for one in ("a", "a!")])

    runs: list[str] = []
    has_claimed = Event()
    await database.transact(_give, "")
    await database.transact(
        lambda txn: add_keys(txn, "@u:hs", "D", [StoredKey(one, "1", "1", "{}") for one in ("a", "a!")])
    )
    first = Deferred.fromCoroutine(database.transact(claim))
    await deferToThread(has_claimed.wait, 300)
    await database.transact(upload)
    await first
    assert runs == ["claim", "upload"]
    await database.transact(_clear)


def _keys(names: str) -> list[StoredKey]:
    return [StoredKey(WANTED[0].algorithm, name, name, "{}") for name in names]


def _give(txn: Transaction, names: str, device_id: str = "D") -> None:
    txn.execute("INSERT INTO users (user_id, created_ts) VALUES ('@u:hs', 1)")
    txn.execute("INSERT INTO devices (user_id, device_id, created_ts) VALUES ('@u:hs', %s, 1)", (device_id,))
    add_keys(txn, "@u:hs", device_id, _keys(names))


def _clear(txn: Transaction) -> None:
    txn.execute("DELETE FROM devices; DELETE FROM users")


def _until_somebody_waits(txn: Transaction) -> None:
    wait_until(lambda: txn.value("SELECT count(*) FROM pg_locks WHERE NOT granted"), "somebody waits")


def _fill(txn: Transaction) -> None:
    users = f"generate_series(1, {USERS}) n"
    txn.execute(f"INSERT INTO users (user_id, created_ts) SELECT '@' || n || ':hs', 1 FROM {users}")
    txn.execute(
        f"INSERT INTO devices (user_id, device_id, created_ts) SELECT '@' || n || ':hs', 'D', 1 FROM {users}"
    )
    txn.execute(
        "INSERT INTO key_stocks (name, user_id, device_id, algorithm, given, uploaded)"
        f" SELECT format('@%s:hs:signed_curve25519:D', n), format('@%s:hs', n), 'D', 'signed_curve25519', 0, {KEYS}"
        f" FROM {users}"
    )
    txn.execute(
        "INSERT INTO one_time_keys (stock_nid, number, key_id, json)"
        f" SELECT stock_nid, k, stock_nid || '_' || k, '{{}}' FROM generate_series(1, {KEYS}) k, key_stocks"
    )
