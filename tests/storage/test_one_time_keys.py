"""One-time keys of many devices: what a claim reads."""

from threading import Event

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.one_time_keys import ClaimedKey, StoredKey, Wanted, add_keys, claim_keys
from synapse_lite.storage.stream import Change, Kind
from tests.storage.reading import rows_read

USERS, KEYS = 2_000, 10  # keys of each user's one device
CLAIMED = 300
READ = 20 * CLAIMED
"""Rows of tables and entries of indexes: far from the 20,000 keys."""


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
    """Also when somebody else takes the one before it at the same moment, and is slower."""
    wanted = [Wanted("@u:hs", "D", "signed_curve25519")]

    def slow(txn: Transaction) -> list[ClaimedKey]:
        claimed = claim_keys(txn, wanted)
        has_claimed.set()
        assert is_last_taken.wait(300)
        return claimed

    def fill(txn: Transaction) -> None:
        txn.execute("INSERT INTO users (user_id, created_ts) VALUES ('@u:hs', 1)")
        txn.execute("INSERT INTO devices (user_id, device_id, created_ts) VALUES ('@u:hs', 'D', 1)")
        add_keys(txn, *wanted[0][:2], [StoredKey(wanted[0].algorithm, name, name, "{}") for name in "12"])

    has_claimed, is_last_taken = Event(), Event()
    await database.transact(fill)
    first = Deferred.fromCoroutine(database.transact(slow))
    await deferToThread(has_claimed.wait, 60)
    try:
        (second,) = await database.transact(claim_keys, wanted)
    finally:
        is_last_taken.set()
    assert [key.key_id for key in (*(await first), second)] == ["1", "2"]
    assert [change.kind for change in changes[-2:]] == [Kind.KEYS_NEEDED, Kind.KEY_COUNTS]
    await database.transact(lambda txn: txn.execute("DELETE FROM devices; DELETE FROM users"))


@ensureDeferred
async def test_only_the_last_key_of_all_uploads_wakes_the_device(
    database: Database, changes: list[Change]
) -> None:
    """The newest of an earlier upload, behind which there are others, is not the last."""
    wanted = [Wanted("@u:hs", "D", "signed_curve25519")]

    def fill(txn: Transaction) -> None:
        txn.execute("INSERT INTO users (user_id, created_ts) VALUES ('@u:hs', 1)")
        txn.execute("INSERT INTO devices (user_id, device_id, created_ts) VALUES ('@u:hs', 'D', 1)")
        for names in ("12", "34"):
            keys = [StoredKey(wanted[0].algorithm, name, name, "{}") for name in names]
            add_keys(txn, *wanted[0][:2], keys)

    await database.transact(fill)
    changes.clear()
    claimed = [await database.transact(claim_keys, wanted) for _ in range(5)]
    assert [key.key_id for keys in claimed for key in keys] == ["1", "2", "3", "4"]
    assert [change.kind for change in changes] == [*[Kind.KEY_COUNTS] * 3, Kind.KEYS_NEEDED]
    await database.transact(lambda txn: txn.execute("DELETE FROM devices; DELETE FROM users"))


def _fill(txn: Transaction) -> None:
    users = f"generate_series(1, {USERS}) n"
    txn.execute(f"INSERT INTO users (user_id, created_ts) SELECT '@' || n || ':hs', 1 FROM {users}")
    txn.execute(
        f"INSERT INTO devices (user_id, device_id, created_ts) SELECT '@' || n || ':hs', 'D', 1 FROM {users}"
    )
    txn.execute(
        "INSERT INTO one_time_keys (user_id, device_id, algorithm, key_id, key, json, ends_upload)"
        f" SELECT '@' || n || ':hs', 'D', 'signed_curve25519', n || '_' || k, 'key', '{{}}', k = {KEYS}"
        f" FROM generate_series(1, {KEYS}) k, {users}"
    )
