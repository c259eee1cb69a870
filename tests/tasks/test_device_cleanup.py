"""Devices that nobody uses, and their one-time keys: counted, deleted, and nothing else."""

from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred

from synapse_lite.storage import accounts, devices, one_time_keys
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.devices import DeviceUse
from synapse_lite.storage.one_time_keys import StoredKey
from synapse_lite.storage.stream import Change, Kind
from synapse_lite.tasks.actions import delete_old_otks
from synapse_lite.tasks.actions.delete_old_otks import DELETE_OLD_OTKS, DeleteOldKeysParams
from synapse_lite.tasks.actions.prune_devices import PRUNE_DEVICES, PruneDevicesParams
from tests.builders import ALICE, BOB
from tests.tasks.steps import Steps

OLD, NEW = 1_000, 9_000
BEFORE = 5_000
KEYS = 3


@pytest_twisted.async_yield_fixture
async def steps(database: Database) -> AsyncIterator[Steps]:
    """Alice and bob have each three devices that were used long ago and one that was not, all with keys."""
    steps = Steps(database)
    await steps.open()

    def make(txn: Transaction) -> None:
        for user_id in (ALICE, BOB):
            accounts.create_account(txn, NewAccount(user_id, 1))
            for name in ("A", "B", "C", "NEW"):
                devices.create_device(txn, user_id, name, None, 1)
                devices.write_uses(txn, [DeviceUse(user_id, name, NEW if name == "NEW" else OLD, "", "")])
                keys = [StoredKey("signed", f"{number}", f"{number}", "{}") for number in range(KEYS)]
                one_time_keys.add_keys(txn, user_id, name, keys)

    await steps.do(make)
    yield steps


async def left(steps: Steps) -> list[str]:
    rows = await steps.do(lambda txn: txn.rows("SELECT user_id, device_id FROM devices ORDER BY 1, 2"))
    return [f"{user_id[1]}{device_id}" for user_id, device_id in rows]


async def keys(steps: Steps) -> dict[str, int]:
    rows = await steps.do(
        lambda txn: txn.rows(
            "SELECT user_id, device_id, count(*) FROM key_stocks JOIN one_time_keys USING (stock_nid)"
            " WHERE number > given GROUP BY 1, 2"
        )
    )
    return {f"{user_id[1]}{device_id}": count for user_id, device_id, count in rows}


ALL = ["aA", "aB", "aC", "aNEW", "bA", "bB", "bC", "bNEW"]


@ensureDeferred
async def test_devices_of_everybody(steps: Steps) -> None:
    """Those that were used stay; the total is known from the first step on."""
    task = await steps.run(PRUNE_DEVICES, PruneDevicesParams(before_ts=BEFORE), batch=4)
    assert task.result == {"dry_run": False, "devices": 6}
    assert (task.done, task.total) == (6, 6)
    assert await left(steps) == ["aNEW", "bNEW"]


@ensureDeferred
async def test_devices_of_some(steps: Steps, changes: list[Change]) -> None:
    """Others keep theirs; whoever shares a room with them hears of one change."""
    changes.clear()
    await steps.run(PRUNE_DEVICES, PruneDevicesParams(before_ts=BEFORE, user_ids=(BOB,)))
    assert await left(steps) == ["aA", "aB", "aC", "aNEW", "bNEW"]
    assert [(change.kind, change.user_id) for change in changes if change.kind is Kind.DEVICE_LIST] == [
        (Kind.DEVICE_LIST, BOB)
    ]


@ensureDeferred
async def test_dry_runs_only_count(steps: Steps) -> None:
    """Of both tasks; nothing is deleted, and nobody is told."""
    task = await steps.run(PRUNE_DEVICES, PruneDevicesParams(before_ts=BEFORE, dry_run=True))
    assert task.result == {"dry_run": True, "devices": 6}
    task = await steps.run(DELETE_OLD_OTKS, DeleteOldKeysParams(before_ts=BEFORE, dry_run=True), batch=5)
    assert task.result == {"dry_run": True, "keys": 6 * KEYS}
    assert (await left(steps), sum((await keys(steps)).values())) == (ALL, 8 * KEYS)


@ensureDeferred
async def test_old_keys_go_and_devices_stay(steps: Steps) -> None:
    """In more than one step; a device that is used keeps its keys."""
    task = await steps.run(DELETE_OLD_OTKS, DeleteOldKeysParams(before_ts=BEFORE), batch=5)
    assert task.result == {"dry_run": False, "keys": 6 * KEYS}
    assert (task.done, task.total) == (len(ALL), len(ALL))
    assert await keys(steps) == {"aNEW": KEYS, "bNEW": KEYS}
    assert await left(steps) == ALL


@ensureDeferred
async def test_a_step_deletes_the_keys_of_few_devices(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where those before it had nothing to delete, and were fast: each device has up to 200 keys."""
    monkeypatch.setattr(delete_old_otks, "MAX_BATCH", 2)
    await steps.ask(DELETE_OLD_OTKS, DeleteOldKeysParams(before_ts=BEFORE))
    lease = await steps.claim(DELETE_OLD_OTKS)
    await steps.step(DELETE_OLD_OTKS, lease)
    await steps.step(DELETE_OLD_OTKS, lease)
    assert sorted(await keys(steps)) == ["aC", "aNEW", "bA", "bB", "bC", "bNEW"]


@ensureDeferred
async def test_a_deletion_that_an_older_program_began(steps: Steps) -> None:
    """It had gone by the numbers of keys, which are others than those of uploads: no device is passed over."""
    cursor = DELETE_OLD_OTKS.read_cursor('{"upto": 900, "after": 800, "keys": 7}', 1)
    assert cursor.keys == 7
    seen = await steps.do(
        one_time_keys.old_stocks, BEFORE, after=cursor.after, upto=cursor.upto, limit=len(ALL)
    )
    assert (seen.old_keys, seen.looked_at) == (6 * KEYS, len(ALL))


@ensureDeferred
async def test_what_is_used_or_uploaded_meanwhile_stays(steps: Steps) -> None:
    """Between two steps a device comes back, and another uploads a key: both are in use."""
    await steps.ask(DELETE_OLD_OTKS, DeleteOldKeysParams(before_ts=BEFORE))
    lease = await steps.claim(DELETE_OLD_OTKS)
    await steps.step(DELETE_OLD_OTKS, lease)

    def live(txn: Transaction) -> None:
        devices.write_uses(txn, [DeviceUse(ALICE, "A", NEW, "", "")])
        one_time_keys.add_keys(txn, BOB, "A", [StoredKey("signed", "later", "later", "{}")])

    await steps.do(live)
    await steps.step(DELETE_OLD_OTKS, lease)
    assert await keys(steps) == {"aA": KEYS, "aNEW": KEYS, "bA": KEYS + 1, "bNEW": KEYS}
    await steps.step(DELETE_OLD_OTKS, lease)
    ended = await steps.task(lease.task_id)
    assert ended.result == {"dry_run": False, "keys": 4 * KEYS}
    assert (ended.done, ended.total) == (len(ALL), len(ALL))


@ensureDeferred
async def test_looking_at_what_is_empty_is_progress(steps: Steps) -> None:
    """Half of the devices, whose keys others have claimed, are half of the way."""
    await steps.do(lambda txn: txn.execute("UPDATE key_stocks SET given = uploaded"))
    await steps.ask(DELETE_OLD_OTKS, DeleteOldKeysParams(before_ts=BEFORE))
    lease = await steps.claim(DELETE_OLD_OTKS)
    await steps.step(DELETE_OLD_OTKS, lease)
    await steps.step(DELETE_OLD_OTKS, lease, batch=4)
    task = await steps.task(lease.task_id)
    assert (task.done, task.total) == (4, 8)
