"""What sliding sync makes of how rooms and members look, as other servers may say it."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.rooms import room_by_id
from tests.builders import World
from tests.rest.sliding_sync import ALICE, ALL, BOB, LIST, id_of, say, sync
from tests.server import TestServer, path_part


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"displayname": {"a": 1}, "avatar_url": 5}, {}),
        ({"displayname": ["x"], "avatar_url": ["mxc://x/y"]}, {}),
        ({"displayname": "Bob", "avatar_url": "mxc://x/y"},) * 2,
    ],
)
@ensureDeferred
async def test_heroes(server: TestServer, said: dict[str, Any], shown: dict[str, Any]) -> None:
    """They have their names and avatars; what is of the wrong type is left out, of a room, too."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, preset="public_chat")
    await server.ok("POST", f"{room}/join", {}, bob)
    world = World.of(server.core)

    def write(txn: Transaction) -> None:
        stored = room_by_id(txn, id_of(room))
        assert stored is not None
        world.send(txn, stored, "m.room.member", BOB, {"membership": "join", **said}, state_key=BOB)
        world.send(txn, stored, "m.room.name", ALICE, {"name": {"a": 1}}, state_key="")
        world.send(txn, stored, "m.room.avatar", ALICE, {"url": {"a": 1}}, state_key="")

    await server.database.transact(write)
    found = (await sync(server, alice, ALL))["rooms"][id_of(room)]
    assert found["heroes"] == [{"user_id": BOB, **shown}]
    assert not {"name", "avatar"} & found.keys()


@ensureDeferred
async def test_whom_a_timeline_is_about(server: TestServer) -> None:
    """Who loads members lazily gets those of whom it speaks, as they are now, whoever speaks."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, preset="public_chat")
    await server.ok("POST", f"{room}/join", {}, bob)
    await server.ok("POST", f"{room}/kick", {"user_id": BOB}, alice)
    await say(server, alice, room, "out")
    lazy = {**LIST, "required_state": [["m.room.member", "$LAZY"]], "timeline_limit": 2}
    found = (await sync(server, alice, {"lists": {"all": lazy}}))["rooms"][id_of(room)]
    members = {event["state_key"]: event["content"]["membership"] for event in found["required_state"]}
    assert members == {ALICE: "join", BOB: "leave"}


@ensureDeferred
async def test_a_redacted_hero(server: TestServer) -> None:
    """Of what a member said of themselves nothing is left."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, preset="public_chat")
    await server.ok("POST", f"{room}/join", {}, bob)
    member = f"{room}/state/m.room.member/{path_part(BOB)}"
    sent = await server.ok("PUT", member, {"membership": "join", "displayname": "Rude"}, bob)
    await server.ok("PUT", f"{room}/redact/{path_part(sent['event_id'])}/1", {}, alice)
    assert (await sync(server, alice, ALL))["rooms"][id_of(room)]["heroes"] == [{"user_id": BOB}]
