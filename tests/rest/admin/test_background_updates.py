"""Synapse's background updates: data that is made anew by tasks."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.statistics import count_events, largest_rooms
from synapse_lite.storage.tasks import LeaseLostError
from synapse_lite.tasks.actions.rebuild import REBUILD
from synapse_lite.tasks.actions.statistics import STATISTICS
from synapse_lite.tasks.outcome import Done, Later, Next
from tests.rest.admin_server import V1, AdminServer
from tests.tasks.steps import RUNNER

PATH = f"{V1}/background_updates"
JOB = {"job_name": "populate_stats_process_rooms"}
UNKNOWN = (400, "M_UNKNOWN")


@ensureDeferred
async def test_on_and_off(server: AdminServer) -> None:
    """On at first; what is no boolean changes nothing; absent is on."""
    assert await server.admin("GET", f"{PATH}/enabled") == {"enabled": True}
    assert await server.admin("POST", f"{PATH}/enabled", {"enabled": False}) == {"enabled": False}
    assert await server.admin("GET", f"{PATH}/enabled") == {"enabled": False}
    assert await server.refusal("POST", f"{PATH}/enabled", {"enabled": 1}, server.token) == UNKNOWN
    status = await server.admin("GET", f"{PATH}/status")
    assert status == {"enabled": False, "current_updates": {}}
    assert await server.admin("POST", f"{PATH}/enabled", {}) == {"enabled": True}


@ensureDeferred
async def test_starting_a_job(server: AdminServer) -> None:
    """Once at a time, by a known name; the status tells of it."""
    path = f"{PATH}/start_job"
    assert await server.refusal("POST", path, {}, server.token) == (400, "M_MISSING_PARAM")
    assert await server.refusal("POST", path, {"job_name": "other"}, server.token) == UNKNOWN
    assert await server.admin("POST", path, JOB) == {}
    assert await server.refusal("POST", path, JOB, server.token) == UNKNOWN
    update = (await server.admin("GET", f"{PATH}/status"))["current_updates"]["master"]
    assert (update["name"], update["total_item_count"]) == (JOB["job_name"], 0)
    assert type(update["total_duration_ms"]) is float
    assert update.keys() == {"name", "total_item_count", "total_duration_ms", "average_items_per_ms"}
    tasks = (await server.admin("GET", f"{V1}/scheduled_tasks?action_name=rebuild"))["scheduled_tasks"]
    assert [task["resource_id"] for task in tasks] == [JOB["job_name"]]


@ensureDeferred
async def test_statistics_are_made_anew(server: AdminServer) -> None:
    """The follower forgets, even in the middle of its work, counts all again, and then the task is complete."""
    room = await server.room(await server.user("alice"))
    database = server.database

    def set_up(txn: Transaction) -> list[int]:
        store.register_followers(txn, {(STATISTICS.name, 0): False})
        nids = [nid for (nid,) in txn.rows("SELECT event_nid FROM events")]
        count_events(txn, nids)
        count_events(txn, nids)  # what is to be put right
        return nids

    nids = await database.transact(set_up)
    wrong = await database.read(largest_rooms, 10)
    lease = await database.transact(store.claim_follower, RUNNER, [(STATISTICS.name, 0)])
    assert lease is not None
    await server.admin("POST", f"{PATH}/start_job", JOB)
    task = await server.steps.claim(REBUILD)
    assert isinstance(await server.steps.step(REBUILD, task), Next)
    assert await database.read(largest_rooms, 10) == []
    with pytest.raises(LeaseLostError):
        await database.transact(store.fence_follower, lease)
    lease = await database.transact(store.claim_follower, RUNNER, [(STATISTICS.name, 0)])
    assert lease is not None
    assert isinstance(await server.steps.step(REBUILD, task), Later)

    def follow(txn: Transaction) -> None:
        count_events(txn, nids)
        store.advance_follower(txn, lease, txn.value("SELECT position FROM stream_position"))

    await database.transact(follow)
    again = await _claimed_again(server)
    assert isinstance(await server.steps.step(REBUILD, again), Done)
    (right,) = await database.read(largest_rooms, 10)
    assert right.room_id == room.removeprefix("rooms/")
    assert right.bytes * 2 == wrong[0].bytes


async def _claimed_again(server: AdminServer) -> store.Lease:
    """The task gave its slot back for a second; it is due now."""
    await server.database.transact(lambda txn: txn.execute("UPDATE scheduled_tasks SET run_at = 0"))
    return await server.steps.claim(REBUILD)
