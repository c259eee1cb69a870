"""Users of ours join rooms of others: through several servers, and whatever those answer."""

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from tests.federation.conftest import JoinNetwork
from tests.federation.network import Network
from tests.federation.pair import HOME, home, join_path, members, tell_newest, text
from tests.server import TestServer, path_part

LAZY = "filter=" + path_part('{"room":{"state":{"lazy_load_members":true}}}')


@ensureDeferred
@pytest.mark.parametrize("version", ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"])
async def test_join(server: TestServer, join_network: JoinNetwork, version: str) -> None:
    """Both servers have the member; the joiner has the room's state, and sends into it. In every room version."""
    there, alice, room_id = await home(join_network, room_version=version, name="Home", topic="of all")
    await there.ok("PUT", f"rooms/{path_part(room_id)}/send/m.room.message/1", text("before"), alice)
    bob = await server.user("bob")
    await server.ok("POST", join_path(room_id, HOME), {}, bob)
    both = {f"@alice:{HOME}": "join", f"@bob:{server.name}": "join"}
    assert await members(server, room_id, bob) == both
    assert await members(there, room_id, alice) == both
    name = await server.ok("GET", f"rooms/{path_part(room_id)}/state/m.room.name", token=bob)
    assert name == {"name": "Home"}
    await server.ok("PUT", f"rooms/{path_part(room_id)}/send/m.room.message/1", text("here"), bob)
    synced = (await server.ok("GET", f"sync?{LAZY}", token=bob))["rooms"]["join"][room_id]
    assert [event["type"] for event in synced["timeline"]["events"]] == ["m.room.member", "m.room.message"]
    assert "m.room.create" in {event["type"] for event in synced["state"]["events"]}
    assert synced["summary"]["m.joined_member_count"] == 2


@ensureDeferred
async def test_join_wakes_a_long_poll(server: TestServer, join_network: JoinNetwork) -> None:
    """A client that waits is told of the room with its whole state, and that history is missing."""
    _, _, room_id = await home(join_network)
    bob = await server.user("bob")
    since = (await server.ok("GET", "sync", token=bob))["next_batch"]
    polling = Deferred.fromCoroutine(server.ok("GET", f"sync?timeout=30000&since={since}", token=bob))
    await server.ok("POST", join_path(room_id, HOME), {}, bob)
    joined = (await polling)["rooms"]["join"][room_id]
    assert joined["timeline"]["limited"] is True
    assert {"m.room.create", "m.room.power_levels"} <= {event["type"] for event in joined["state"]["events"]}


@ensureDeferred
async def test_join_by_alias(server: TestServer, join_network: JoinNetwork) -> None:
    """The alias' server names the room, and itself."""
    _, _, room_id = await home(join_network, room_alias_name="door")
    bob = await server.user("bob")
    joined = await server.ok("POST", f"join/{path_part('#door:' + HOME)}", {}, bob)
    assert joined == {"room_id": room_id}
    gone = await server.refusal("POST", f"join/{path_part('#other:' + HOME)}", {}, bob)
    assert gone == (404, "M_NOT_FOUND")
    silent = await server.refusal("POST", f"join/{path_part('#door:nowhere.test')}", {}, bob)
    assert silent == (502, "M_UNKNOWN")


@ensureDeferred
async def test_servers_are_tried_in_turn(
    server: TestServer, join_network: JoinNetwork, network: Network
) -> None:
    """One that cannot be reached, or does not know the room, does not keep anybody out."""
    _, _, room_id = await home(join_network)
    network.scripted("empty.test")
    bob = await server.user("bob")
    await server.ok("POST", join_path(room_id, "dead.test", "empty.test", HOME), {}, bob)
    asked = [name for name, _, target in network.asked if "/make_join/" in target]
    assert asked == ["dead.test", "empty.test", HOME]


@ensureDeferred
async def test_second_user_joins_at_home(
    server: TestServer, join_network: JoinNetwork, network: Network
) -> None:
    """Once the server is in the room, it lets in its users itself; however many ask at once, one of them goes out."""
    _, _, room_id = await home(join_network)
    tokens = [await server.user(name) for name in ("bob", "carl", "dora")]
    await gatherResults(
        [Deferred.fromCoroutine(server.ok("POST", join_path(room_id, HOME), {}, token)) for token in tokens]
    )
    assert len([1 for _, _, target in network.asked if "/send_join/" in target]) == 1
    assert (await members(server, room_id, tokens[0])).keys() == {
        f"@alice:{HOME}", *(f"@{name}:{server.name}" for name in ("bob", "carl", "dora"))
    }  # fmt: skip


@ensureDeferred
async def test_join_that_nobody_allows(server: TestServer, join_network: JoinNetwork) -> None:
    """What the other server forbids is forbidden; nothing of the room is kept."""
    _, _, room_id = await home(join_network, preset="private_chat")
    bob = await server.user("bob")
    assert await server.refusal("POST", join_path(room_id, HOME), {}, bob) == (403, "M_FORBIDDEN")
    assert (await server.ok("GET", "joined_rooms", token=bob)) == {"joined_rooms": []}
    assert (await server.refusal("GET", f"rooms/{path_part(room_id)}/state", token=bob))[0] == 403


@ensureDeferred
async def test_join_without_servers(server: TestServer) -> None:
    """Where nobody is known to know the room it is not found; a blocked room, and guests, are refused at once."""
    bob = await server.user("bob")
    await server.make_admin(f"@bob:{server.name}")
    nowhere = "!" + "x" * 43
    assert await server.refusal("POST", join_path(nowhere), {}, bob) == (404, "M_NOT_FOUND")
    guest = await server.user("guest", is_guest=True)
    refused = await server.refusal("POST", join_path("!a:other.test"), {}, guest)
    assert refused == (403, "M_GUEST_ACCESS_FORBIDDEN")
    block = f"/_synapse/admin/v1/rooms/{path_part('!a:other.test')}/block"
    await server.ok("PUT", block, {"block": True}, bob)
    assert await server.refusal("POST", join_path("!a:other.test"), {}, bob) == (403, "M_FORBIDDEN")


@ensureDeferred
async def test_rejoin(server: TestServer, join_network: JoinNetwork) -> None:
    """After everybody of ours left, a join brings the state of today; members who left meanwhile are out."""
    there, alice, room_id = await home(join_network)
    carl = await there.user("carl")
    await there.ok("POST", f"rooms/{path_part(room_id)}/join", {}, carl)
    bob = await server.user("bob")
    await server.ok("POST", join_path(room_id, HOME), {}, bob)
    await server.ok("POST", f"rooms/{path_part(room_id)}/leave", {}, bob)
    await tell_newest(server, there, room_id)
    await there.ok("POST", f"rooms/{path_part(room_id)}/leave", {}, carl)
    await there.ok("PUT", f"rooms/{path_part(room_id)}/state/m.room.topic", {"topic": "new"}, alice)
    since = (await server.ok("GET", "sync", token=bob))["next_batch"]
    await server.ok("POST", join_path(room_id), {}, bob)  # whoever was in the room is asked
    assert (await members(server, room_id, bob)) == {
        f"@alice:{HOME}": "join", f"@bob:{server.name}": "join", f"@carl:{HOME}": "leave"
    }  # fmt: skip
    topic = await server.ok("GET", f"rooms/{path_part(room_id)}/state/m.room.topic", token=bob)
    assert topic == {"topic": "new"}
    joined = (await server.ok("GET", f"sync?{LAZY}&since={since}", token=bob))["rooms"]["join"][room_id]
    assert joined["timeline"]["limited"] is True
    assert joined["summary"]["m.joined_member_count"] == 2
