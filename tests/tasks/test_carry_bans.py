"""The bans of a room go with it, however often the process dies."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage.bans import banned_after
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.tasks import Status
from synapse_lite.tasks.actions.carry_bans import CARRY_BANS, CarryBansParams
from synapse_lite.tasks.outcome import Done
from tests.builders import ALICE, BOB
from tests.tasks.steps import Crash, Steps

BANNED = [f"@banned{number}:hs.test" for number in range(7)]


async def _rooms(steps: Steps) -> tuple[Room, Room]:
    old, new = await steps.do(steps.world.room, ALICE), await steps.do(steps.world.room, ALICE, BOB)
    for user_id in BANNED:
        await steps.do(steps.world.member, old, ALICE, user_id, "ban")
    return old, new


async def _banned(steps: Steps, room: Room) -> list[str]:
    return [member.user_id for member in await steps.do(banned_after, room.nid, "", 100)]


def _params(old: Room, new: Room, sender: str) -> CarryBansParams:
    return CarryBansParams(old_room_id=old.room_id, new_room_id=new.room_id, sender=sender, after=BANNED[0])


@ensureDeferred
async def test_each_is_carried_once(steps: Steps) -> None:
    """From where the upgrade stopped; every step may die once before its commit."""
    old, new = await _rooms(steps)
    task_id = await steps.ask(CARRY_BANS, _params(old, new, ALICE))
    lease = await steps.claim(CARRY_BANS)
    outcome: object = None
    while not isinstance(outcome, Done):
        with pytest.raises(Crash):
            await steps.step(CARRY_BANS, lease, 4, crash=True)
        outcome = await steps.step(CARRY_BANS, lease, 4)
    assert await _banned(steps, new) == BANNED[1:]
    sql = "SELECT count(*) FROM events WHERE room_nid = %s AND membership = 'ban'"
    assert await steps.do(lambda txn: txn.value(sql, (new.nid,))) == len(BANNED) - 1
    task = await steps.task(task_id)
    assert (task.status, task.result) == (Status.COMPLETE, {"carried": 6, "refused": 0})


@ensureDeferred
async def test_who_may_not_ban(steps: Steps) -> None:
    """What the rules of the new room refuse is counted."""
    old, new = await _rooms(steps)
    task = await steps.run(CARRY_BANS, _params(old, new, BOB))
    assert task.result == {"carried": 0, "refused": 6}
    assert await _banned(steps, new) == []


@ensureDeferred
async def test_a_room_that_is_gone(steps: Steps) -> None:
    """Nothing is left to do when one of the rooms was purged."""
    old, new = await _rooms(steps)
    await steps.do(lambda txn: txn.execute("UPDATE rooms SET room_id = '!x' WHERE room_nid = %s", (old.nid,)))
    task = await steps.run(CARRY_BANS, _params(old, new, ALICE))
    assert (task.status, task.result) == (Status.COMPLETE, {"carried": 0, "refused": 0})
