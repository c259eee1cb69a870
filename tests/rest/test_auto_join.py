"""Rooms that new users are in from the beginning, over HTTP."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer, path_part

LOBBY, NEWS = "#lobby:hs.test", "#news:hs.test"


async def joined(server: TestServer, token: str) -> set[str]:
    return set((await server.ok("GET", "joined_rooms", token=token))["joined_rooms"])


async def room_of(server: TestServer, alias: str) -> str:
    room_id: str = (await server.ok("GET", f"directory/room/{path_part(alias)}"))["room_id"]
    return room_id


async def content(server: TestServer, room_id: str, kind: str, token: str) -> Any:
    return await server.ok("GET", f"rooms/{room_id}/state/{kind}", token=token)


@ensureDeferred
async def test_rooms_are_made_and_joined(build_server: BuildServer) -> None:
    """By the first user; the others join them. What cannot be joined keeps nobody from registering."""
    server = await build_server(
        **OPEN, auto_join_rooms=[LOBBY, "#far:other.test", "!none:hs.test", NEWS],
        autocreate_auto_join_rooms_federated=False,
    )  # fmt: skip
    alice, bob = await server.register("alice"), await server.register("bob")
    rooms = {await room_of(server, alias) for alias in (LOBBY, NEWS)}
    assert await joined(server, alice) == await joined(server, bob) == rooms
    lobby = await room_of(server, LOBBY)
    assert (await content(server, lobby, "m.room.create", bob))["m.federate"] is False
    assert (await content(server, lobby, "m.room.join_rules", bob))["join_rule"] == "public"
    member = await content(server, lobby, "m.room.member/@bob:hs.test", alice)
    assert member == {"membership": "join", "displayname": "bob"}


@ensureDeferred
async def test_private_rooms(build_server: BuildServer) -> None:
    """The user whom the operator names makes them, and invites."""
    server = await build_server(
        **OPEN, auto_join_rooms=[LOBBY], auto_join_mxid_localpart="host",
        autocreate_auto_join_room_preset="private_chat",
    )  # fmt: skip
    await server.user("host")
    alice = await server.register("alice")
    lobby = await room_of(server, LOBBY)
    assert await joined(server, alice) == {lobby}
    events = await server.ok("GET", f"rooms/{lobby}/messages?dir=b&limit=2", token=alice)
    assert [(e["sender"], e["content"]["membership"]) for e in events["chunk"]] == [
        ("@alice:hs.test", "join"),
        ("@host:hs.test", "invite"),
    ]


@ensureDeferred
async def test_who_was_put_out_does_not_come_back(build_server: BuildServer) -> None:
    """A registration that is asked for again in its session invites nobody once more."""
    server = await build_server(
        **OPEN, auto_join_rooms=[LOBBY], auto_join_mxid_localpart="host",
        autocreate_auto_join_room_preset="private_chat",
    )  # fmt: skip
    host = await server.user("host")
    wanted = {"username": "alice", "password": "secret"}
    session = (await server.call("POST", "register", wanted)).json()["session"]
    proved = {**wanted, "auth": {"type": "m.login.dummy", "session": session}}
    alice = (await server.ok("POST", "register", proved))["access_token"]
    lobby = await room_of(server, LOBBY)
    assert await joined(server, alice) == {lobby}
    await server.ok("POST", f"rooms/{lobby}/kick", {"user_id": "@alice:hs.test"}, host)
    assert (await server.ok("POST", "register", proved))["user_id"] == "@alice:hs.test"
    assert await joined(server, alice) == set()


@ensureDeferred
async def test_rooms_are_not_made(build_server: BuildServer) -> None:
    """Where the operator does not want it."""
    server = await build_server(**OPEN, auto_join_rooms=[LOBBY], autocreate_auto_join_rooms=False)
    alice = await server.register("alice")
    assert await joined(server, alice) == set()
    assert await server.refusal("GET", f"directory/room/{path_part(LOBBY)}") == (404, "M_NOT_FOUND")


@pytest.mark.parametrize(
    ("admitted", "wanted", "expected"), [(True, True, 1), (True, False, 0), (False, True, 0)]
)
@ensureDeferred
async def test_guests(build_server: BuildServer, admitted: bool, wanted: bool, expected: int) -> None:
    """Guests join where the room admits guests and the operator wants it; they make no rooms."""
    server = await build_server(
        **OPEN, allow_guest_access=True, auto_join_rooms=[LOBBY, NEWS], auto_join_rooms_for_guests=wanted
    )
    alice = await server.user("alice")
    access = {"guest_access": "can_join" if admitted else "forbidden"}
    await server.room(
        alice, room_alias_name="lobby", initial_state=[{"type": "m.room.guest_access", "content": access}]
    )
    guest = (await server.ok("POST", "register?kind=guest", {}))["access_token"]
    assert len(await joined(server, guest)) == expected
    assert await server.refusal("GET", f"directory/room/{path_part(NEWS)}") == (404, "M_NOT_FOUND")
