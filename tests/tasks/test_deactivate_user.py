"""What an account leaves behind is cleared away, however often the process dies."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.handlers.deactivation import Deactivation
from synapse_lite.storage import account_data, accounts, cross_signing, devices, key_backup
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.cross_signing import MASTER, CrossSigningKey
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.tasks import Status
from synapse_lite.tasks.actions.deactivate_user import (
    DEACTIVATE_USER,
    FAILED_TO_LEAVE,
    LEFT,
    DeactivateParams,
)
from synapse_lite.tasks.outcome import Done
from tests.builders import ALICE, BOB
from tests.tasks.steps import Crash, Steps

ROOMS = 13


def _own(txn: Transaction) -> None:
    accounts.create_account(txn, NewAccount(BOB, 1, displayname="Bob"))
    for number in range(5):
        account_data.put_account_data(txn, BOB, 0, f"type{number}", {})
    account_data.add_filter(txn, BOB, {})
    devices.create_device(txn, BOB, "SLEEPS", None, 1)
    txn.execute("UPDATE devices SET dehydrated = '{}'")
    cross_signing.put_cross_signing_keys(txn, [CrossSigningKey(BOB, MASTER, "key", "{}")])
    key_backup.create_version(txn, BOB, "x", "{}")


async def _rooms(steps: Steps) -> list[Room]:
    """Bob is joined to all but the last, to which he is invited."""
    rooms = [await steps.do(steps.world.room, ALICE, BOB) for _ in range(ROOMS)]
    invited = await steps.do(steps.world.room, ALICE)
    await steps.do(steps.world.member, invited, ALICE, BOB, "invite")
    return [*rooms, invited]


async def _memberships(steps: Steps) -> list[str]:
    sql = "SELECT membership FROM memberships WHERE user_id = %s"
    return [one for (one,) in await steps.do(lambda txn: txn.rows(sql, (BOB,)))]


async def _rows(steps: Steps) -> dict[str, Any]:
    """What is left of Bob's, by table."""
    tables = ("account_data", "filters", "devices", "cross_signing_keys")
    counts = ", ".join(f"(SELECT count(*) FROM {table} WHERE user_id = %(user)s)" for table in tables)
    row = await steps.do(lambda txn: txn.row(f"SELECT {counts}", {"user": BOB}))
    assert row is not None
    return dict(zip(tables, row, strict=True))


@ensureDeferred
@pytest.mark.parametrize("erase", [False, True])
async def test_nothing_of_the_account_is_left(steps: Steps, erase: bool) -> None:
    """Rooms are left, invitations refused, data deleted; every step may die once before its commit."""
    await steps.do(_own)
    rooms = await _rooms(steps)
    deactivation = Deactivation(steps.database, steps.queue)
    task_id = await deactivation.deactivate(BOB, erase=erase, requester=BOB, endpoint="test")
    lease = await steps.claim(DEACTIVATE_USER)
    outcome: object = None
    while not isinstance(outcome, Done):
        with pytest.raises(Crash):
            await steps.step(DEACTIVATE_USER, lease, 3, crash=True)
        outcome = await steps.step(DEACTIVATE_USER, lease, 3)
    assert await _memberships(steps) == ["leave"] * len(rooms)
    assert sorted(await steps.items(task_id, LEFT)) == sorted(room.room_id for room in rooms)
    sql = "SELECT count(*) FROM events WHERE sender = %s AND membership = 'leave'"
    assert await steps.do(lambda txn: txn.value(sql, (BOB,))) == len(rooms)
    assert set((await _rows(steps)).values()) == {0}
    assert await steps.do(key_backup.find_version, BOB, None) is None
    assert await steps.do(accounts.read_profile, BOB) == ({} if erase else {"displayname": "Bob"})
    task = await steps.task(task_id)
    assert task.status is Status.COMPLETE
    assert task.result == {"devices": 1, "left_rooms": len(rooms), "failed_to_leave": 0, "deleted_rows": 7}


@ensureDeferred
async def test_one_room_holds_up_no_other(steps: Steps) -> None:
    """A room that is being purged takes no leave: it is named with the reason, and the others are left."""
    await steps.do(_own)
    rooms = await _rooms(steps)
    sql = "UPDATE rooms SET purging = TRUE WHERE room_nid = %s"
    await steps.do(lambda txn: txn.execute(sql, (rooms[3].nid,)))
    deactivation = Deactivation(steps.database, steps.queue)
    task_id = await deactivation.deactivate(BOB, erase=False, requester=BOB, endpoint="test")
    await steps.go_on(DEACTIVATE_USER)
    assert await steps.items(task_id, FAILED_TO_LEAVE) == [rooms[3].room_id]
    assert (await _memberships(steps)).count("leave") == len(rooms) - 1
    task = await steps.task(task_id)
    assert (task.status, (task.result or {})["failed_to_leave"]) == (Status.COMPLETE, 1)


@ensureDeferred
@pytest.mark.parametrize("what", ["join", "login"])
async def test_who_was_let_in_before_is_put_out_again(steps: Steps, what: str) -> None:
    """A join or a login that was on its way when the account was closed, and comes when its turn is over."""
    await steps.do(_own)
    late, stuck = await steps.do(steps.world.room, ALICE), await steps.do(steps.world.room, ALICE, BOB)
    sql = "UPDATE rooms SET purging = TRUE WHERE room_nid = %s"
    await steps.do(lambda txn: txn.execute(sql, (stuck.nid,)))
    deactivation = Deactivation(steps.database, steps.queue)
    task_id = await deactivation.deactivate(BOB, erase=False, requester=BOB, endpoint="test")
    lease = await steps.claim(DEACTIVATE_USER)
    while (await steps.task(task_id)).phase != "data":
        await steps.step(DEACTIVATE_USER, lease)
    if what == "join":
        await steps.do(steps.world.member, late, BOB, BOB, "join")
    else:
        await steps.do(devices.create_device, BOB, "LATE", None, 1)
    while not isinstance(await steps.step(DEACTIVATE_USER, lease), Done):
        pass
    joins = ["leave"] if what == "join" else []
    assert sorted(await _memberships(steps)) == ["join", *joins]
    assert (await _rows(steps))["devices"] == 0
    task = await steps.task(task_id)
    counts = {"left_rooms": len(joins), "failed_to_leave": 1, "deleted_rows": 7}
    assert task.result == {"devices": 2 - len(joins), **counts}
    assert await steps.items(task_id, LEFT) == [late.room_id] * len(joins)


@ensureDeferred
async def test_an_account_that_is_open_loses_nothing(steps: Steps) -> None:
    """When it was opened again before the task came to it, the task ends with that reason."""
    await steps.do(_own)
    task = await steps.run(DEACTIVATE_USER, DeactivateParams(user_id=BOB))
    assert (task.status, task.error) == (Status.FAILED, "The account was opened again")
    assert (await _rows(steps))["account_data"] == 5
