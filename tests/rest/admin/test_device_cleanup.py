"""Tasks about devices that nobody uses, as administrators ask for them."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.tasks.actions.delete_old_otks import DELETE_OLD_OTKS
from synapse_lite.tasks.actions.prune_devices import PRUNE_DEVICES
from synapse_lite.tasks.actions.shutdown_room import SHUTDOWN_AND_PURGE_ROOM
from synapse_lite.tasks.actions.shutdown_rooms import SHUTDOWN_ROOMS
from tests.builders import SERVER
from tests.rest.admin_server import V1, AdminServer

DAY_MS = 86_400_000


async def task(server: AdminServer, answer: Any) -> Any:
    assert answer.keys() == {"task_id"}
    return await server.admin("GET", f"{V1}/scheduled_tasks/{answer['task_id']}")


@ensureDeferred
async def test_devices_are_pruned(server: AdminServer) -> None:
    """Counted first, then deleted; the task says who asked, and the user is logged out."""
    alice = await server.user("alice")
    body = {"before_ts": server.clock.now_ms() + DAY_MS // 2, "users": [f"@alice:{SERVER}"]}
    counted = await server.admin("POST", f"{V1}/prune_devices", {**body, "dry_run": True})
    await server.run_task(PRUNE_DEVICES)
    assert (await task(server, counted))["result"] == {"dry_run": True, "devices": 1}
    await server.ok("GET", "account/whoami", None, alice)
    deleted = await server.admin("POST", f"{V1}/prune_devices", body)
    await server.run_task(PRUNE_DEVICES)
    shown = await task(server, deleted)
    assert (shown["status"], shown["requester"]) == ("complete", f"@admin:{SERVER}")
    assert shown["result"] == {"dry_run": False, "devices": 1}
    assert await server.refusal("GET", "account/whoami", None, alice) == (401, "M_UNKNOWN_TOKEN")


@ensureDeferred
async def test_old_keys_are_deleted(server: AdminServer) -> None:
    """Of devices that were not used for a year, unless a time is given."""
    for body, before_ts in ((None, server.clock.now_ms() - 365 * DAY_MS), ({"before_ts": 10**12}, 10**12)):
        answer = await server.admin("POST", f"{V1}/delete_old_otks", body)
        await server.run_task(DELETE_OLD_OTKS)
        shown = await task(server, answer)
        assert abs(shown["params"]["before_ts"] - before_ts) < 1000
        assert shown["result"] == {"dry_run": False, "keys": 0}


@ensureDeferred
async def test_many_rooms_are_shut_down(server: AdminServer) -> None:
    """One task; the members of all are counted before, and out after."""
    alice = await server.user("alice")
    rooms = [(await server.room(alice)).removeprefix("rooms/") for _ in range(2)]
    for body, name in (
        ({"rooms": rooms, "dry_run": True}, "members"),
        ({"rooms": [*rooms, rooms[0]]}, "kicked"),
    ):
        answer = await server.admin("POST", f"{V1}/shutdown_rooms", body)
        await server.run_task(SHUTDOWN_ROOMS)
        for _ in rooms:
            await server.run_task(SHUTDOWN_AND_PURGE_ROOM)
        await server.run_task(SHUTDOWN_ROOMS)
        shown = await task(server, answer)
        assert (shown["status"], shown["result"]["complete"]) == ("complete", 2)
        assert shown["result"]["sums"][name] == 2
    assert (await server.ok("GET", "joined_rooms", None, alice))["joined_rooms"] == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("prune_devices", {}),
        ("prune_devices", {"before_ts": 1_700_000_000}),
        ("prune_devices", {"before_ts": 2**50}),
        ("prune_devices", {"before_ts": 10**12, "users": ["@a:other.test"]}),
        ("prune_devices", {"before_ts": 10**12, "users": "@a:hs.test"}),
        ("delete_old_otks", {"before_ts": 1_700_000_000}),
        ("shutdown_rooms", {"rooms": []}),
        ("shutdown_rooms", {"rooms": ["nothing"]}),
        ("shutdown_rooms", {"rooms": ["!a:hs.test"], "new_room_user_id": "@nobody:hs.test"}),
    ],
)
@ensureDeferred
async def test_what_is_refused(server: AdminServer, path: str, body: Any) -> None:
    """No time, seconds, the future, users of other servers, rooms that are none: and no task is made."""
    status, _ = await server.refusal("POST", f"{V1}/{path}", body, server.token)
    assert status == 400
    assert (await server.admin("GET", f"{V1}/scheduled_tasks"))["scheduled_tasks"] == []
