"""A changed profile shows in every room, however often the process dies."""

from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage import accounts
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.rooms import Room
from synapse_lite.tasks.actions.update_join_states import UPDATE_JOIN_STATES, UpdateJoinStatesParams
from synapse_lite.tasks.outcome import Done
from tests.builders import ALICE, BOB
from tests.tasks.steps import Crash, Steps

PARAMS = UpdateJoinStatesParams(user_id=BOB)
ROOMS = 7


@pytest_twisted.async_yield_fixture
async def steps(database: Database) -> AsyncIterator[Steps]:
    steps = Steps(database)
    await steps.open()
    await steps.do(accounts.create_account, NewAccount(BOB, 1))
    yield steps


async def rename(steps: Steps, name: str) -> None:
    def change(profile: JsonObject) -> JsonObject:
        return {**profile, "displayname": name}

    await steps.do(accounts.change_profile, BOB, change)


async def shown(steps: Steps, room: Room) -> list[str | None]:
    """The names that bob had in the room, in order."""

    def read(txn: Transaction) -> list[str | None]:
        rows = txn.rows(
            "SELECT event_nid FROM events WHERE room_nid = %s AND sender = %s AND membership = 'join' ORDER BY event_nid",
            (room.nid, BOB),
        )
        views = steps.world.events.views(txn, [nid for (nid,) in rows])
        return [view.stored.event.content.get("displayname") for view in views]

    return await steps.do(read)


@ensureDeferred
async def test_each_room_shows_it_once(steps: Steps) -> None:
    """Every step may die once before its commit; rooms that one has left, and that show it already, stay as they are."""
    rooms = [await steps.do(steps.world.room, ALICE, BOB) for _ in range(ROOMS)]
    left = await steps.do(steps.world.room, ALICE, BOB)
    await steps.do(steps.world.member, left, BOB, BOB, "leave")
    await rename(steps, "Robert")
    await steps.run(UPDATE_JOIN_STATES, PARAMS, 3)
    before = [await shown(steps, room) for room in rooms]
    assert all(names[-1] == "Robert" for names in before)
    assert "Robert" not in await shown(steps, left)
    await rename(steps, "Bob")
    task_id = await steps.ask(UPDATE_JOIN_STATES, PARAMS)
    lease = await steps.claim(UPDATE_JOIN_STATES)
    outcome: object = None
    while not isinstance(outcome, Done):
        with pytest.raises(Crash):
            await steps.step(UPDATE_JOIN_STATES, lease, 3, crash=True)
        outcome = await steps.step(UPDATE_JOIN_STATES, lease, 3)
    assert [await shown(steps, room) for room in rooms] == [[*names, "Bob"] for names in before]
    assert (await steps.task(task_id)).result == {"shown": ROOMS, "refused": 0}
    again = await steps.run(UPDATE_JOIN_STATES, PARAMS)
    assert again.result == {"shown": 0, "refused": 0}
    assert [await shown(steps, room) for room in rooms] == [[*names, "Bob"] for names in before]


@ensureDeferred
async def test_the_profile_of_the_moment(steps: Steps) -> None:
    """What changes while the task is at work shows in the rooms that are left; a task of its own does the others."""
    rooms = [await steps.do(steps.world.room, ALICE, BOB) for _ in range(4)]
    await rename(steps, "first")
    await steps.ask(UPDATE_JOIN_STATES, PARAMS)
    lease = await steps.claim(UPDATE_JOIN_STATES)
    await steps.step(UPDATE_JOIN_STATES, lease, 2)
    await rename(steps, "second")
    await steps.ask(UPDATE_JOIN_STATES, PARAMS)
    while not isinstance(await steps.step(UPDATE_JOIN_STATES, lease, 2), Done):
        pass
    assert [(await shown(steps, room))[-1] for room in rooms] == ["first", "first", "second", "second"]
    await steps.go_on(UPDATE_JOIN_STATES)
    assert [(await shown(steps, room))[-1] for room in rooms] == ["second"] * 4
