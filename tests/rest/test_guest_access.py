"""Guests in rooms (client-server API, "Guest Access")."""

from typing import Any

from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Database
from synapse_lite.tasks.actions.remove_guests import REMOVE_GUESTS
from tests.builders import SERVER
from tests.server import TestServer, path_part
from tests.tasks.steps import Steps

GUEST = f"@guest:{SERVER}"


async def visited_room(server: TestServer) -> tuple[str, str]:
    """A room of alice's in which bob and a guest are; and alice's token."""
    alice, bob = await server.user("alice"), await server.user("bob")
    guest = await server.user("guest", is_guest=True)
    room = await server.room(alice, preset="public_chat")
    await guests(server, alice, room, "can_join")
    for token in (bob, guest):
        await server.ok("POST", f"join/{path_part(room.removeprefix('rooms/'))}", {}, token)
    return room, alice


async def guests(server: TestServer, token: str, room: str, access: str) -> None:
    path = f"{room}/state/m.room.guest_access/"
    await server.ok("PUT", path, {"guest_access": access}, token)


async def put_out(database: Database) -> None:
    """The task that waits runs to its end."""
    steps = Steps(database)
    await steps.open()
    await steps.go_on(REMOVE_GUESTS)


async def members(server: TestServer, token: str, room: str) -> set[str]:
    joined: dict[str, Any] = (await server.ok("GET", f"{room}/joined_members", None, token))["joined"]
    return set(joined)


@ensureDeferred
async def test_a_room_that_closes_puts_its_guests_out(server: TestServer, database: Database) -> None:
    """Whoever has an account stays."""
    room, alice = await visited_room(server)
    assert GUEST in await members(server, alice, room)
    await guests(server, alice, room, "forbidden")
    await put_out(database)
    assert await members(server, alice, room) == {f"@alice:{SERVER}", f"@bob:{SERVER}"}


@ensureDeferred
async def test_a_room_that_opens_again_keeps_them(server: TestServer, database: Database) -> None:
    """What counts is what the room wants when the task runs."""
    room, alice = await visited_room(server)
    await guests(server, alice, room, "forbidden")
    await guests(server, alice, room, "can_join")
    await put_out(database)
    assert GUEST in await members(server, alice, room)


@ensureDeferred
async def test_other_changes_put_nobody_out(server: TestServer, database: Database) -> None:
    """A room that never let guests in, and one that says again what it said, begin no task."""
    room, alice = await visited_room(server)
    await guests(server, alice, room, "can_join")
    await guests(server, alice, await server.room(alice), "forbidden")
    waiting = "SELECT count(*) FROM scheduled_tasks WHERE action = %s"
    assert await database.read(lambda txn: txn.value(waiting, (REMOVE_GUESTS.action,))) == 0
