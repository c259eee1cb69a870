"""A request with a key is answered as the first time, whatever its task has done since, or is doing."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.handlers import room_deletion
from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.actions.purge_history import PURGE_HISTORY
from synapse_lite.tasks.actions.shutdown_room import SHUTDOWN_AND_PURGE_ROOM
from synapse_lite.tasks.actions.update_join_states import UPDATE_JOIN_STATES
from tests.builders import SERVER
from tests.rest.admin_server import V1, V2, AdminServer

Ask = Callable[[], Awaitable[tuple[int, Any]]]
WARDEN = f"@warden:{SERVER}"


def request(server: AdminServer, method: str, path: str, body: Any) -> Ask:
    """One request with a key, as often as it is sent."""

    async def ask() -> tuple[int, Any]:
        answer = await server.call(method, path, body, server.token, {"Idempotency-Key": path})
        return answer.status, answer.json()

    return ask


def _write_owner(txn: Transaction, owner: str | None) -> None:
    """Of the deletion: somebody works on it, or nobody."""
    txn.execute(
        "UPDATE scheduled_tasks SET owner = %s, status = %s WHERE action = %s",
        (owner, "active" if owner else "scheduled", SHUTDOWN_AND_PURGE_ROOM.action),
    )


async def doomed(server: AdminServer) -> str:
    """The id of a room of Alice; the warden is to make a new one for her."""
    await server.user("warden")
    return (await server.room(await server.user("alice"))).removeprefix("rooms/")


async def deactivate(server: AdminServer, user_id: str) -> None:
    await server.admin("POST", f"{V1}/deactivate/{user_id}", {})


@ensureDeferred
async def test_while_a_room_is_deleted_and_when_it_is_gone(server: AdminServer) -> None:
    """A process works on it; it is gone, and so is who made the new one."""
    room_id = await doomed(server)
    ask = request(server, "DELETE", f"{V2}/rooms/{room_id}", {"new_room_user_id": WARDEN})
    first = await ask()
    assert first[0] == 200
    await server.database.transact(partial(_write_owner, owner="w#1"))
    assert await ask() == first
    await server.database.transact(partial(_write_owner, owner=None))
    await server.run_task(SHUTDOWN_AND_PURGE_ROOM)
    await deactivate(server, WARDEN)
    assert await ask() == first


@ensureDeferred
async def test_who_waited_in_vain_is_told_the_end(
    server: AdminServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same deletion."""
    monkeypatch.setattr(room_deletion, "PATIENCE_SECONDS", 0.0)
    room_id = await doomed(server)
    ask = request(server, "DELETE", f"{V1}/rooms/{room_id}", {"new_room_user_id": WARDEN})
    assert (await ask())[0] == 504
    await server.run_task(SHUTDOWN_AND_PURGE_ROOM)
    await deactivate(server, WARDEN)
    status, answer = await ask()
    assert (status, answer["kicked_users"]) == (200, [f"@alice:{SERVER}"])


@ensureDeferred
@pytest.mark.parametrize(
    ("path", "select"),
    [
        ("redact", {"localpart": "bot*", "deactivated": False}),
        ("erase_users", {"localpart": "bot*", "deactivated": False}),
        ("shutdown_rooms", {"abandoned": False}),
    ],
)
async def test_a_selection_is_made_once(server: AdminServer, path: str, select: Any) -> None:
    """Who fits by now, and whether anybody does, is not asked again."""
    bot = await server.user("bot")
    room = await server.room(bot)
    ask = request(server, "POST", f"{V1}/{path}", {"select": select})
    first = await ask()
    assert first[0] == 200
    await server.user("bot2")
    assert await ask() == first
    await server.ok("POST", f"{room}/leave", {}, bot)
    for name in ("bot", "bot2"):
        await deactivate(server, f"@{name}:{SERVER}")
    assert await ask() == first


@ensureDeferred
async def test_what_was_purged_is_not_looked_for(server: AdminServer) -> None:
    """The room with the event up to which its history went is gone."""
    room_id = await doomed(server)
    event_id = await server.database.read(
        lambda txn: txn.value("SELECT event_id FROM events ORDER BY depth DESC LIMIT 1")
    )
    ask = request(server, "POST", f"{V1}/purge_history/{room_id}/{event_id}", {})
    first = await ask()
    assert first[0] == 200
    await server.run_task(PURGE_HISTORY)
    await server.admin("DELETE", f"{V2}/rooms/{room_id}", {})
    await server.run_task(SHUTDOWN_AND_PURGE_ROOM)
    assert await ask() == first


@ensureDeferred
async def test_what_follows_from_a_request_follows_again(server: AdminServer) -> None:
    """A name that is given again, after another one, is carried into the rooms again: no request asks for that task."""
    await server.room(await server.user("alice"))
    path = f"{V2}/users/@alice:{SERVER}"
    ask = request(server, "PUT", path, {"displayname": "Alice"})
    await ask()
    await server.run_task(UPDATE_JOIN_STATES)
    await server.admin("PUT", path, {"displayname": "Malice"})
    await server.run_task(UPDATE_JOIN_STATES)
    await ask()
    answer = await server.admin("GET", f"{V1}/scheduled_tasks?action_name={UPDATE_JOIN_STATES.action}")
    assert [task["status"] for task in answer["scheduled_tasks"]] == ["complete", "complete", "scheduled"]
