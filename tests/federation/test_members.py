"""Users of other servers come in and go through us."""

from typing import Any
from urllib.parse import quote

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.event import Event, content_hash, essence
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.storage.relayed_events import relayed_among
from tests.federation.network import Network, Scripted
from tests.federation.remote_room import RemoteRoom, send
from tests.server import TestServer

FEDERATION = "/_matrix/federation"
ALL = "&".join(f"ver={version}" for version in ROOM_VERSIONS)


async def make(
    server: TestServer,
    other: Scripted,
    room_id: str,
    membership: str,
    user: str | None = None,
    query: str = ALL,
) -> tuple[int, JsonObject]:
    user = user or f"@carol:{other.name}"
    return await other.ask(
        server, "GET", f"{FEDERATION}/v1/make_{membership}/{quote(room_id)}/{quote(user)}?{query}"
    )


def complete(other: Scripted, made: JsonObject, **changes: Any) -> Event:
    """As the asking server does: hashed and signed."""
    version = ROOM_VERSIONS[made["room_version"]]
    pdu = {**made["event"], "origin_server_ts": 1_700_000_000_000, **changes}
    if not version.event_id_is_hash:
        pdu["event_id"] = f"$made:{other.name}"
    pdu["hashes"] = {"sha256": content_hash(pdu, version)}
    pdu["signatures"] = {other.name: {other.key.key_id: other.key.sign_bytes(essence(pdu, version))}}
    return Event.from_pdu(pdu, version)


async def put(
    server: TestServer, other: Scripted, event: Event, membership: str, version: str = "v2",
    event_id: str | None = None, room_id: str | None = None, query: str = "",
) -> tuple[int, Any]:  # fmt: skip
    path = f"{FEDERATION}/{version}/send_{membership}"
    target = f"{path}/{quote(room_id or event.room_id)}/{quote(event_id or event.event_id, safe='')}{query}"
    return await other.ask(server, "PUT", target, event.pdu)


async def open_room(server: TestServer, other: Scripted, **body: Any) -> tuple[RemoteRoom, str]:
    token = await server.user("alice")
    path = await server.room(token, **body)
    return RemoteRoom(server, other, path.removeprefix("rooms/")), token


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
@ensureDeferred
async def test_joining_and_leaving(server: TestServer, other: Scripted, version: str) -> None:
    """By a template that the server signs; it gets the state before, and the auth chains."""
    room, _ = await open_room(server, other, room_version=version)
    status, made = await make(server, other, room.room_id, "join")
    assert (status, made.keys()) == (200, {"room_version", "event"})
    assert not {"hashes", "signatures"} & made["event"].keys()
    event = complete(other, made)
    status, answer = await put(server, other, event, "join")
    assert status == 200, answer
    assert answer.keys() == {"origin", "event", "state", "auth_chain", "members_omitted"}
    types = [pdu["type"] for pdu in answer["state"]]
    assert types.count("m.room.create") == 1
    assert "m.room.power_levels" in types
    assert await room.membership(room.user) == "join"
    relayed = await server.database.read(relayed_among, [event.event_id, "$x"])
    assert relayed == {event.event_id}
    status, made = await make(server, other, room.room_id, "leave")
    assert status == 200
    if not ROOM_VERSIONS[version].event_id_is_hash:
        return
    assert await put(server, other, complete(other, made), "leave") == (200, {})
    assert await room.membership(room.user) == "leave"


@ensureDeferred
async def test_a_join_without_members(server: TestServer, other: Scripted) -> None:
    """A server that says so gets the state without most members, and the servers in the room (faster joins)."""
    room, token = await open_room(server, other)
    for number in range(12):
        await server.ok("POST", f"rooms/{room.room_id}/join", {}, await server.user(f"user{number}"))
    _, made = await make(server, other, room.room_id, "join")
    status, answer = await put(server, other, complete(other, made), "join", query="?omit_members=true")
    assert status == 200
    members = [pdu for pdu in answer["state"] if pdu["type"] == "m.room.member"]
    assert len(members) <= 6
    assert answer["members_omitted"] is True
    assert set(answer["servers_in_room"]) == {server.name, other.name}
    assert token


@ensureDeferred
async def test_versions_that_the_other_server_does_not_know(server: TestServer, other: Scripted) -> None:
    """Are named; a server that names none knows version 1."""
    room, _ = await open_room(server, other, room_version="10")
    for query in ("", "ver=1&ver=12"):
        status, answer = await make(server, other, room.room_id, "join", query=query)
        assert (status, answer["errcode"]) == (400, "M_INCOMPATIBLE_ROOM_VERSION")
        assert answer["room_version"] == "10"


@ensureDeferred
async def test_who_may_not_join(server: TestServer, other: Scripted, network: Network) -> None:
    """Strangers of closed rooms, the banned, servers that are shut out, users of other servers; unknown rooms are 404."""
    room, token = await open_room(server, other)
    closed = (await server.ok("POST", "createRoom", {"preset": "private_chat"}, token))["room_id"]
    assert (await make(server, other, closed, "join"))[0] == 403
    assert (await make(server, other, room.room_id, "join", "@eve:third.test"))[0] == 403
    assert (await make(server, other, "!unknown:hs.test", "join"))[0] == 404
    await server.ok("POST", f"rooms/{room.room_id}/ban", {"user_id": room.user}, token)
    assert (await make(server, other, room.room_id, "join"))[0] == 403
    third = network.scripted("third.test")
    acl = {"allow": ["*"], "deny": [third.name]}
    await server.ok("PUT", f"rooms/{room.room_id}/state/m.room.server_acl/", acl, token)
    assert (await make(server, third, room.room_id, "join"))[0] == 403


@ensureDeferred
async def test_what_is_not_the_join_that_was_asked_for(
    server: TestServer, other: Scripted, network: Network
) -> None:
    """Another event, somebody else's, another id or room, a wrong signature: nothing is signed, nothing enters."""
    room, token = await open_room(server, other)
    second = (await server.ok("POST", "createRoom", {"preset": "public_chat"}, token))["room_id"]
    _, made = await make(server, other, room.room_id, "join")
    alice = f"@alice:{server.name}"
    for event in (
        complete(other, made, type="m.room.power_levels"),
        complete(other, made, content={"membership": "ban"}),
        complete(other, made, sender=alice, state_key=alice),
        complete(other, made, state_key=alice),
        complete(other, made, room_id=second),
    ):
        status, _ = await put(server, other, event, "join", room_id=room.room_id)
        assert status in (400, 403)
    good = complete(other, made)
    assert (await put(server, other, good, "join", event_id="$other"))[0] == 400
    forged = complete(other, made)
    forged.pdu["signatures"][other.name][other.key.key_id] = "forged"
    assert (await put(server, other, forged, "join"))[0] == 403
    third = network.scripted("third.test")
    assert (await put(server, third, good, "join"))[0] == 403
    assert await room.membership(room.user) is None
    assert (await put(server, other, good, "join"))[0] == 200


@ensureDeferred
async def test_restricted_rooms(server: TestServer, other: Scripted) -> None:
    """Members of the other room are let in by one of ours, with our signature; others are not."""
    door, token = await open_room(server, other)
    allow = [{"type": "m.room_membership", "room_id": door.room_id}]
    rule = {"type": "m.room.join_rules", "content": {"join_rule": "restricted", "allow": allow}}
    made_room = await server.ok("POST", "createRoom", {"initial_state": [rule]}, token)
    room = RemoteRoom(server, other, made_room["room_id"])
    assert (await make(server, other, room.room_id, "join"))[0] == 403
    await door.join()
    status, made = await make(server, other, room.room_id, "join")
    assert status == 200
    stranger = (
        f"@mallory:{other.name}"  # who is not asked for by make_join, but sent with another one's template
    )
    status, refused = await put(
        server, other, complete(other, made, sender=stranger, state_key=stranger), "join"
    )
    assert (status, refused["errcode"]) == (403, "M_FORBIDDEN")
    assert await room.membership(stranger) is None
    alice = f"@alice:{server.name}"
    assert made["event"]["content"]["join_authorised_via_users_server"] == alice
    status, answer = await put(server, other, complete(other, made), "join")
    assert status == 200, answer
    assert answer["event"]["signatures"].keys() == {other.name, server.name}
    assert await room.membership(room.user) == "join"


@ensureDeferred
@pytest.mark.parametrize("signature", [None, "A" * 86])
async def test_joins_that_nobody_of_ours_has_authorised(
    server: TestServer, other: Scripted, signature: str | None
) -> None:
    """A server that names one of our users as who lets its own user in is believed by our signature alone."""
    door, token = await open_room(server, other)
    await door.join()
    allow = [{"type": "m.room_membership", "room_id": door.room_id}]
    rule = {"type": "m.room.join_rules", "content": {"join_rule": "restricted", "allow": allow}}
    room_id = (await server.ok("POST", "createRoom", {"initial_state": [rule]}, token))["room_id"]
    room = RemoteRoom(server, other, room_id)
    _, made = await make(server, other, room_id, "join")
    mallory = f"@mallory:{other.name}"
    forged = complete(other, made, sender=mallory, state_key=mallory)
    assert forged.content["join_authorised_via_users_server"] == f"@alice:{server.name}"
    if signature is not None:
        forged.pdu["signatures"][server.name] = {server.signing_key.key_id: signature}
    (result,) = (await send(server, other, forged.pdu)).values()
    assert "error" in result
    assert await room.membership(mallory) is None


@ensureDeferred
async def test_restricted_by_a_room_that_we_have_left(server: TestServer, other: Scripted) -> None:
    """Who was in it then may have been banned there since: we let nobody in by it."""
    door, token = await open_room(server, other)
    await door.join()
    allow = [{"type": "m.room_membership", "room_id": door.room_id}]
    rule = {"type": "m.room.join_rules", "content": {"join_rule": "restricted", "allow": allow}}
    room_id = (await server.ok("POST", "createRoom", {"initial_state": [rule]}, token))["room_id"]
    assert (await make(server, other, room_id, "join"))[0] == 200
    await server.ok("POST", f"rooms/{door.room_id}/leave", {}, token)
    status, answer = await make(server, other, room_id, "join")
    assert (status, answer["errcode"]) == (400, "M_UNABLE_TO_AUTHORISE_JOIN")


@ensureDeferred
async def test_restricted_by_rooms_that_we_do_not_know(server: TestServer, other: Scripted) -> None:
    """We cannot say whether the user may: another server may."""
    allow = [{"type": "m.room_membership", "room_id": "!elsewhere:third.test"}]
    rule = {"type": "m.room.join_rules", "content": {"join_rule": "restricted", "allow": allow}}
    token = await server.user("alice")
    made_room = await server.ok("POST", "createRoom", {"initial_state": [rule]}, token)
    status, answer = await make(server, other, made_room["room_id"], "join")
    assert (status, answer["errcode"]) == (400, "M_UNABLE_TO_AUTHORISE_JOIN")


@ensureDeferred
async def test_knocking(server: TestServer, other: Scripted) -> None:
    """Who knocks sees the room from outside; where nobody may knock it is 403."""
    rule = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    token = await server.user("alice")
    made_room = await server.ok("POST", "createRoom", {"name": "Door", "initial_state": [rule]}, token)
    room = RemoteRoom(server, other, made_room["room_id"])
    status, made = await make(server, other, room.room_id, "knock")
    assert status == 200
    status, answer = await put(server, other, complete(other, made), "knock", "v1")
    assert status == 200, answer
    shown = {event["type"]: event for event in answer["knock_room_state"]}
    assert shown["m.room.name"]["content"] == {"name": "Door"}
    create = Event.from_pdu(shown["m.room.create"], ROOM_VERSIONS[made["room_version"]])
    assert create.room_id == room.room_id  # of which it is the hash in version 12
    assert await room.membership(room.user) == "knock"
    public = await server.room(token)
    assert (await make(server, other, public.removeprefix("rooms/"), "knock"))[0] == 403
