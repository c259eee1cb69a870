"""Rooms that are too large for a server (`limit_remote_rooms`)."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.federation.peers import PeerError
from tests.federation.conftest import JoinNetwork
from tests.federation.network import Network
from tests.federation.pair import HOME, home, join_path, members
from tests.server import TestServer, path_part

REFUSED = (400, "M_RESOURCE_LIMIT_EXCEEDED")
SMALL = {"enabled": True, "complexity": 0.005}  # two or three state events


def path_of(room_id: str) -> str:
    return f"/_matrix/federation/unstable/rooms/{path_part(room_id)}/complexity"


async def limited(join_network: JoinNetwork, **more: Any) -> tuple[TestServer, str]:
    server = await join_network("small.test", limit_remote_rooms={**SMALL, **more})
    return server, await server.user("bob")


@ensureDeferred
async def test_how_complex_a_room_is(join_network: JoinNetwork) -> None:
    """Its state events in units of 500; it is told of rooms that anybody may join."""
    there, alice, room_id = await home(join_network)
    server = await join_network("asking.test")
    ask = server.core.federation.peers.ask
    state = await there.ok("GET", f"rooms/{path_part(room_id)}/state", token=alice)
    assert await ask(HOME, "GET", path_of(room_id)) == {"v1": round(len(state) / 500, 2)}
    private = (await there.room(alice, preset="private_chat")).removeprefix("rooms/")
    for hidden in (private, "!nowhere:home.test"):
        with pytest.raises(PeerError) as refused:
            await ask(HOME, "GET", path_of(hidden))
        assert (refused.value.status, refused.value.errcode) == (404, "M_INVALID_PARAM")


@ensureDeferred
async def test_a_large_room_is_not_joined(join_network: JoinNetwork, network: Network) -> None:
    """It is asked for before; users read what the operator wrote."""
    there, alice, room_id = await home(join_network)
    server, bob = await limited(join_network, complexity_error="No such rooms here")
    answer = await server.call("POST", join_path(room_id, HOME), {}, bob)
    assert (answer.status, answer.json()) == (400, {"errcode": REFUSED[1], "error": "No such rooms here"})
    assert not [target for _, _, target in network.asked if "make_join" in target]
    assert await members(there, room_id, alice) == {f"@alice:{HOME}": "join"}


@ensureDeferred
async def test_a_large_room_of_which_nobody_says_so_is_left(join_network: JoinNetwork) -> None:
    """As when one is invited to a private room: nobody tells how large it is before one is in."""
    there, alice, room_id = await home(join_network, preset="private_chat")
    server, bob = await limited(join_network)
    await there.ok("POST", f"rooms/{path_part(room_id)}/invite", {"user_id": f"@bob:{server.name}"}, alice)
    assert await server.refusal("POST", join_path(room_id, HOME), {}, bob) == REFUSED
    assert (await server.ok("GET", "joined_rooms", token=bob))["joined_rooms"] == []
    large = await join_network("large.test", limit_remote_rooms={**SMALL, "complexity": 1})
    carol = await large.user("carol")
    await there.ok("POST", f"rooms/{path_part(room_id)}/invite", {"user_id": f"@carol:{large.name}"}, alice)
    await large.ok("POST", join_path(room_id, HOME), {}, carol)
    assert (await large.ok("GET", "joined_rooms", token=carol))["joined_rooms"] == [room_id]


@ensureDeferred
async def test_administrators_may_be_let_in(join_network: JoinNetwork) -> None:
    _, _, room_id = await home(join_network)
    for number, lets_in in enumerate((False, True)):
        server = await join_network(
            f"small{number}.test", limit_remote_rooms={**SMALL, "admins_can_join": lets_in}
        )
        admin, user = await server.user("root"), await server.user("bob")
        await server.make_admin(f"@root:{server.name}")
        assert await server.refusal("POST", join_path(room_id, HOME), {}, user) == REFUSED
        answer = await server.call("POST", join_path(room_id, HOME), {}, admin)
        assert answer.status == (200 if lets_in else 400)
