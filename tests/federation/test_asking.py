"""What users of ours are told of other servers, and those of us: aliases, profiles, spaces, times."""

from typing import Any

from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.remote_spaces import REFUSED_SECONDS
from synapse_lite.storage.rooms import room_by_id
from synapse_lite.storage.sent_knocks import put_sent
from tests.federation.conftest import JoinNetwork
from tests.federation.network import Network, Scripted
from tests.federation.pair import HOME, home, join_path, text
from tests.federation.remote_room import remote_room
from tests.server import TestServer, path_part

V1 = "/_matrix/federation/v1"


@ensureDeferred
async def test_remote_aliases(server: TestServer, join_network: JoinNetwork) -> None:
    """The room that they name, and servers in it; 404 for none, 502 for a server that is silent."""
    _, _, room_id = await home(join_network, room_alias_name="door")
    found = await server.ok("GET", f"directory/room/{path_part('#door:' + HOME)}")
    assert found == {"room_id": room_id, "servers": [HOME]}
    gone = await server.refusal("GET", f"directory/room/{path_part('#other:' + HOME)}")
    assert gone == (404, "M_NOT_FOUND")
    silent = await server.refusal("GET", f"directory/room/{path_part('#door:nowhere.test')}")
    assert silent == (502, "M_UNKNOWN")


@ensureDeferred
async def test_aliases_that_lie(server: TestServer, other: Scripted) -> None:
    """An answer that names no room is none."""
    for answer in ({}, {"room_id": 5}, {"room_id": "no room", "servers": []}):
        other.scripts[f"{V1}/query/directory"] = lambda *_, answer=answer: answer
        refused = await server.refusal("GET", f"directory/room/{path_part('#door:other.test')}")
        assert refused == (502, "M_UNKNOWN")


@ensureDeferred
async def test_remote_profiles(server: TestServer, join_network: JoinNetwork, network: Network) -> None:
    """As their server tells; believed for a while, then asked for again."""
    there = await join_network(HOME)
    carol = await there.user("carol")
    path = f"profile/{path_part(f'@carol:{HOME}')}"
    await there.ok("PUT", f"{path}/displayname", {"displayname": "Carol"}, carol)
    bob = await server.user("bob")
    assert await server.ok("GET", path, token=bob) == {"displayname": "Carol"}
    assert await server.ok("GET", f"{path}/displayname", token=bob) == {"displayname": "Carol"}
    await there.ok("PUT", f"{path}/displayname", {"displayname": "Caro"}, carol)
    assert len([1 for _, _, target in network.asked if "/query/profile" in target]) == 1
    server.clock.advance(301)
    assert await server.ok("GET", path, token=bob) == {"displayname": "Caro"}
    nobody = await server.refusal("GET", f"profile/{path_part(f'@nobody:{HOME}')}", token=bob)
    assert nobody == (404, "M_NOT_FOUND")
    silent = await server.refusal("GET", f"profile/{path_part('@x:nowhere.test')}", token=bob)
    assert silent == (502, "M_UNKNOWN")


@ensureDeferred
async def test_remote_profiles_need_an_account(server: TestServer, network: Network) -> None:
    """Without one nobody makes this server ask another."""
    path = f"profile/{path_part(f'@carol:{HOME}')}"
    for asked in (path, f"{path}/displayname"):
        assert await server.refusal("GET", asked) == (401, "M_MISSING_TOKEN")
    assert not network.asked


@ensureDeferred
async def test_profiles_that_are_nonsense(server: TestServer, other: Scripted) -> None:
    """Only texts are shown, and none without end."""
    bob = await server.user("bob")
    answer: JsonObject = {"displayname": 5, "avatar_url": "x" * 5000, "more": {}}
    other.scripts[f"{V1}/query/profile"] = lambda *_: answer
    assert await server.ok("GET", f"profile/{path_part('@carol:other.test')}", token=bob) == {}


@ensureDeferred
async def test_unknown_queries(server: TestServer, other: Scripted) -> None:
    """Are told so, whatever they ask for."""
    status, answer = await other.ask(server, "GET", f"{V1}/query/weather?at=noon")
    assert (status, answer["errcode"]) == (404, "M_UNRECOGNIZED")


@ensureDeferred
async def test_serving_times(server: TestServer, other: Scripted) -> None:
    """The event next to a time, in either direction; for servers in the room only."""
    room, token = await remote_room(server, other)
    path = f"rooms/{path_part(room.room_id)}/send/m.room.message/1"
    said = (await server.ok("PUT", path, text("here"), token))["event_id"]
    target = f"{V1}/timestamp_to_event/{path_part(room.room_id)}"
    status, answer = await other.ask(server, "GET", f"{target}?ts={2**50}&dir=b")
    assert (status, answer["event_id"]) == (200, said)
    assert isinstance(answer["origin_server_ts"], int)
    status, answer = await other.ask(server, "GET", f"{target}?ts=0&dir=f")
    assert (status, answer["event_id"]) == (200, room.state["m.room.create", ""].event_id)
    assert (await other.ask(server, "GET", f"{target}?ts={2**50}&dir=f"))[0] == 404
    assert (await other.ask(server, "GET", f"{target}?ts=0&dir=x"))[0] == 400
    stranger = other.network.scripted("stranger.test")
    assert (await stranger.ask(server, "GET", f"{target}?ts=0&dir=f"))[0] == 403


@ensureDeferred
async def test_serving_spaces(server: TestServer, other: Scripted) -> None:
    """The space with its children, those that the server may know of; private ones are named only."""
    alice = await server.user("alice")
    made: dict[str, Any] = {"creation_content": {"type": "m.space"}, "preset": "public_chat"}
    space = (await server.ok("POST", "createRoom", {**made, "name": "Space"}, alice))["room_id"]
    rooms = {}
    for name, preset in (("open", "public_chat"), ("closed", "private_chat")):
        wish = {"name": name, "preset": preset}
        rooms[name] = (await server.ok("POST", "createRoom", wish, alice))["room_id"]
        child = f"rooms/{path_part(space)}/state/m.space.child/{path_part(rooms[name])}"
        await server.ok("PUT", child, {"via": [server.name], "suggested": name == "open"}, alice)
    path = f"{V1}/hierarchy/{path_part(space)}"
    status, answer = await other.ask(server, "GET", path)
    assert status == 200
    assert answer["room"]["name"] == "Space"
    assert {child["state_key"] for child in answer["room"]["children_state"]} == set(rooms.values())
    assert [child["room_id"] for child in answer["children"]] == [rooms["open"]]
    assert answer["inaccessible_children"] == [rooms["closed"]]
    suggested = (await other.ask(server, "GET", f"{path}?suggested_only=true"))[1]
    assert [child["state_key"] for child in suggested["room"]["children_state"]] == [rooms["open"]]
    private = f"{V1}/hierarchy/{path_part(rooms['closed'])}"
    assert (await other.ask(server, "GET", private))[0] == 404


@ensureDeferred
async def test_a_knock_of_ours_opens_a_room_to_nobody_else(server: TestServer, other: Scripted) -> None:
    """It was sent and had no answer; the room, in which somebody of ours came to be, is private."""
    path = await server.room(await server.user("alice"), preset="private_chat", name="Closed")
    room_id = path.removeprefix("rooms/")
    room = await server.database.read(room_by_id, room_id)
    assert room is not None
    bob = f"@bob:{server.name}"
    await server.database.transact(put_sent, "$knock", room.nid, bob, server.clock.now_ms())
    assert (await other.ask(server, "GET", f"{V1}/hierarchy/{path_part(room_id)}"))[0] == 404


@ensureDeferred
async def test_summaries_of_rooms_of_others(server: TestServer, join_network: JoinNetwork) -> None:
    """As a server that is named tells, for who has an account; of a private room nothing, and no other room's."""
    there, alice, room_id = await home(join_network, name="Hall")
    bob = await server.user("bob")
    path = f"/_matrix/client/v1/room_summary/{path_part(room_id)}?via={HOME}"
    summary = await server.ok("GET", path, token=bob)
    told = {
        name: summary[name] for name in ("room_id", "name", "num_joined_members", "join_rule", "membership")
    }
    assert told == {
        "room_id": room_id, "name": "Hall", "num_joined_members": 1, "join_rule": "public", "membership": "leave"
    }  # fmt: skip
    assert await server.refusal("GET", path) == (404, "M_NOT_FOUND")
    closed = (await there.room(alice, preset="private_chat")).removeprefix("rooms/")
    hidden = f"/_matrix/client/v1/room_summary/{path_part(closed)}?via={HOME}"
    assert await server.refusal("GET", hidden, token=bob) == (404, "M_NOT_FOUND")


async def _space(there: TestServer, token: str, name: str, *children: str) -> str:
    """A public space; its id."""
    room = await there.room(token, name=name, creation_content={"type": "m.space"})
    for child in children:
        link = {"via": [there.name], "suggested": child.endswith("suggested")}
        await there.ok("PUT", f"{room}/state/m.space.child/{path_part(child)}", link, token)
    return room.removeprefix("rooms/")


def _tree_path(room_id: str, query: str = "") -> str:
    return f"/_matrix/client/v1/rooms/{path_part(room_id)}/hierarchy?{query}"


async def _names(server: TestServer, token: str, room_id: str, query: str = "") -> list[str]:
    page = await server.ok("GET", _tree_path(room_id, query), token=token)
    return [room["name"] for room in page["rooms"]]


@ensureDeferred
async def test_spaces_of_others(server: TestServer, join_network: JoinNetwork, network: Network) -> None:
    """Rooms that only another server knows are shown as it tells, and what is below them, here and there; once asked
    it is believed for a while, and a leaf needs no question of its own.
    """
    there = await join_network(HOME)
    alice, bob = await there.user("alice"), await server.user("bob")
    leaf = (await there.room(alice, name="leaf")).removeprefix("rooms/")
    closed = (await there.room(alice, name="closed", preset="private_chat")).removeprefix("rooms/")
    ours = (await server.room(bob, name="ours")).removeprefix("rooms/")
    deep = await _space(there, alice, "deep", leaf)
    inner = await _space(there, alice, "inner", deep, closed, ours, leaf)
    root = (await server.room(bob, name="root", creation_content={"type": "m.space"})).removeprefix("rooms/")
    link = f"rooms/{path_part(root)}/state/m.space.child/{path_part(inner)}"
    await server.ok("PUT", link, {"via": [server.name, "nowhere.test", HOME]}, bob)
    assert sorted(await _names(server, bob, root)) == ["deep", "inner", "leaf", "ours", "root"]
    asked = [
        target for server_name, _, target in network.asked if server_name == HOME and "/hierarchy/" in target
    ]
    assert len(asked) == 2 + 1  # inner and deep, and what is closed
    network.asked.clear()
    assert await _names(server, bob, root, "max_depth=1") == ["root", "inner"]
    first = await server.ok("GET", _tree_path(root, "limit=2"), token=bob)
    second = await _names(server, bob, root, f"from={first['next_batch']}")
    assert sorted(second) == ["deep", "leaf", "ours"]
    (entry,) = [one for one in first["rooms"] if one["name"] == "inner"]
    assert {child["state_key"] for child in entry["children_state"]} == {deep, closed, ours, leaf}
    assert not [target for _, _, target in network.asked if "/hierarchy/" in target], "nor what is closed"
    await there.ok(
        "PUT", f"rooms/{path_part(closed)}/state/m.room.join_rules", {"join_rule": "public"}, alice
    )
    server.clock.advance(REFUSED_SECONDS)
    assert "closed" in await _names(server, bob, root)


@ensureDeferred
async def test_a_space_that_nobody_here_is_in(server: TestServer, join_network: JoinNetwork) -> None:
    """The server of its id is asked, or the one that told of an invite; what is not shown to the user is 403."""
    there = await join_network(HOME)
    alice, bob = await there.user("alice"), await server.user("bob")
    leaf = (await there.room(alice, name="leaf")).removeprefix("rooms/")
    wish = {"room_version": "10", "creation_content": {"type": "m.space"}}
    for preset in ("public_chat", "private_chat"):
        body = {**wish, "preset": preset, "name": preset}
        space = (await there.ok("POST", "createRoom", body, alice))["room_id"]
        link = f"rooms/{path_part(space)}/state/m.space.child/{path_part(leaf)}"
        await there.ok("PUT", link, {"via": [there.name]}, alice)
        if preset == "public_chat":
            assert await _names(server, bob, space) == ["public_chat", "leaf"]
        else:
            assert await server.refusal("GET", _tree_path(space), token=bob) == (403, "M_FORBIDDEN")
            opened = {"join_rule": "public"}
            await there.ok("PUT", f"rooms/{path_part(space)}/state/m.room.join_rules", opened, alice)
            assert await _names(server, bob, space) == ["private_chat", "leaf"]
    unknown = _tree_path("!unknown:nowhere.test")
    assert (await server.refusal("GET", unknown, token=bob))[0] == 403
    public = {**wish, "room_version": "12", "preset": "public_chat", "name": "hash"}
    space = (await there.ok("POST", "createRoom", public, alice))["room_id"]
    assert (await server.refusal("GET", _tree_path(space), token=bob))[0] == 403
    invite = f"rooms/{path_part(space)}/invite"
    await there.ok("POST", invite, {"user_id": f"@bob:{server.name}"}, alice)
    assert await _names(server, bob, space) == ["hash"]


@ensureDeferred
async def test_rooms_known_from_outside(server: TestServer, join_network: JoinNetwork) -> None:
    """Somebody is invited to one, another one was left: both are shown as their server tells of them now."""
    there = await join_network(HOME)
    alice, bob, carol = await there.user("alice"), await server.user("bob"), await server.user("carol")
    invited = (await there.room(alice, name="invited")).removeprefix("rooms/")
    left = (await there.room(alice, name="left")).removeprefix("rooms/")
    root = await server.room(carol, name="root", creation_content={"type": "m.space"}, preset="public_chat")
    for child in (invited, left):
        await server.ok("PUT", f"{root}/state/m.space.child/{path_part(child)}", {"via": [HOME]}, carol)
    await there.ok("POST", f"rooms/{path_part(invited)}/invite", {"user_id": f"@bob:{server.name}"}, alice)
    assert sorted(await _names(server, carol, root.removeprefix("rooms/"))) == ["invited", "left", "root"]
    await server.ok("POST", f"join/{path_part(left)}?via={HOME}", {}, bob)
    await server.ok("POST", f"rooms/{path_part(left)}/leave", {}, bob)
    await there.ok("PUT", f"rooms/{path_part(left)}/state/m.room.name", {"name": "renamed"}, alice)
    server.clock.advance(400)
    assert sorted(await _names(server, carol, root.removeprefix("rooms/"))) == ["invited", "renamed", "root"]


@ensureDeferred
async def test_what_is_told_of_rooms_that_were_left(
    server: TestServer, join_network: JoinNetwork, other: Scripted
) -> None:
    """Nothing: this server does not know what others may know of them now."""
    there = await join_network(HOME)
    bob = await server.user("bob")
    left = (await there.room(await there.user("alice"), name="left")).removeprefix("rooms/")
    space = (await server.room(bob, creation_content={"type": "m.space"})).removeprefix("rooms/")
    link = f"rooms/{path_part(space)}/state/m.space.child/{path_part(left)}"
    await server.ok("PUT", link, {"via": [HOME]}, bob)
    await server.ok("POST", f"join/{path_part(left)}?via={HOME}", {}, bob)
    asked = f"{V1}/hierarchy/{path_part(left)}"
    assert (await other.ask(server, "GET", asked))[0] == 200
    await server.ok("POST", f"rooms/{path_part(left)}/leave", {}, bob)
    assert (await other.ask(server, "GET", asked))[0] == 404
    _, told = await other.ask(server, "GET", f"{V1}/hierarchy/{path_part(space)}")
    assert (told["children"], told["inaccessible_children"]) == ([], [])


@ensureDeferred
async def test_spaces_that_lie(server: TestServer, other: Scripted) -> None:
    """What another server tells of a space is shown as far as it is well-formed, and to who may know of it."""
    bob = await server.user("bob")
    room = await server.room(bob, name="root", creation_content={"type": "m.space"})
    root = room.removeprefix("rooms/")
    for name in ("odd", "closed", "other"):
        link = f"{room}/state/m.space.child/{path_part(f'!{name}:other.test')}"
        await server.ok("PUT", link, {"via": ["other.test"]}, bob)
    good = {
        "type": "m.space.child", "state_key": "!leaf:other.test", "sender": "@a:other.test",
        "origin_server_ts": 1, "content": {"via": ["other.test"]},
    }  # fmt: skip
    children = [
        5, {}, good, {**good, "type": "m.room.name"}, {**good, "state_key": "x"}, {**good, "content": {"via": 1}},
        {**good, "origin_server_ts": "soon"}, {**good, "content": {"via": ["other.test"], "order": 1.5}},
    ]  # fmt: skip
    odd = {
        "room_id": "!odd:other.test", "room_type": "m.space", "join_rule": "public", "name": ["x"],
        "num_joined_members": 10**100, "children_state": children,
    }  # fmt: skip
    answers: dict[str, JsonObject] = {
        "odd": {"room": odd, "children": [{"room_id": 5}, {"room_id": "!leaf:other.test", "join_rule": "public"}]},
        "closed": {"room": {**odd, "room_id": "!closed:other.test", "join_rule": "invite"}, "children": []},
        "other": {"room": odd, "children": []},
    }  # fmt: skip
    for name, answer in answers.items():
        target = f"{V1}/hierarchy/{path_part(f'!{name}:other.test')}"
        other.scripts[target] = lambda *_, answer=answer: answer
    page = await server.ok("GET", _tree_path(root), token=bob)
    assert [one["room_id"] for one in page["rooms"]] == [root, "!odd:other.test", "!leaf:other.test"]
    told = page["rooms"][1]
    assert told["children_state"] == [good]
    assert told["num_joined_members"] == 0
    assert "name" not in told


@ensureDeferred
async def test_spaces_of_silent_servers(server: TestServer, other: Scripted) -> None:
    """Nobody waits for them longer than ten seconds; what is here is shown."""
    bob = await server.user("bob")
    room = await server.room(bob, name="root", creation_content={"type": "m.space"})
    await server.ok("PUT", f"{room}/state/m.space.child/!x:other.test", {"via": ["other.test"]}, bob)
    is_asked: Deferred[None] = Deferred()

    async def never(*_: Any) -> JsonObject:
        reactor.callLater(0, lambda: is_asked.callback(None))
        answer: JsonObject = await Deferred()
        return answer

    other.scripts[f"{V1}/hierarchy/"] = never
    reading = Deferred.fromCoroutine(_names(server, bob, room.removeprefix("rooms/")))
    await is_asked
    server.clock.advance(10)
    assert await reading == ["root"]


@ensureDeferred
async def test_public_rooms_of_others(server: TestServer, join_network: JoinNetwork) -> None:
    """The other server's directory, by its name; its rooms can be joined from there."""
    there = await join_network(HOME, allow_public_rooms_over_federation=True)
    alice = await there.user("alice")
    wish = {"name": "Hall", "preset": "public_chat", "visibility": "public"}
    room_id = (await there.ok("POST", "createRoom", wish, alice))["room_id"]
    bob = await server.user("bob")
    listed = await server.ok("GET", f"publicRooms?server={HOME}", token=bob)
    assert [one["room_id"] for one in listed["chunk"]] == [room_id]
    await server.ok("POST", join_path(room_id, HOME), {}, bob)
