"""Invites as servers send them to each other: what is checked of them, and of the answers."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.federation.peers import PeerError
from synapse_lite.matrix.event import Draft, Event, add_signature, build_event, stripped_state
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.signing import SigningKey
from tests.builders import SERVER
from tests.federation.conftest import JoinNetwork
from tests.federation.network import Network, Scripted
from tests.federation.remote_room import RemoteRoom
from tests.server import TestServer, path_part

FEDERATION = "/_matrix/federation"


def invite(other: Scripted, **changes: Any) -> Event:
    draft = Draft(
        changes.pop("type", "m.room.member"),
        changes.pop("sender", f"@carol:{other.name}"),
        changes.pop("content", {"membership": "invite"}),
        1,
        changes.pop("state_key", "@bob:hs.test"),
    )
    version = ROOM_VERSIONS[changes.pop("version", "10")]
    reference = ["$a:other.test", {"sha256": "a" * 43}] if not version.event_id_is_hash else "$" + "a" * 43
    return build_event(
        draft, version, f"!den:{other.name}", [reference], [reference], 5, changes.pop("key", other.key)
    )


async def put(
    server: TestServer, other: Scripted, event: Event, version: str = "10", event_id: str | None = None
) -> tuple[int, JsonObject]:
    path = f"{FEDERATION}/v2/invite/{path_part(event.room_id)}/{path_part(event_id or event.event_id)}"
    name = {"type": "m.room.name", "state_key": "", "sender": "@carol:other.test", "content": {"name": "Den"}}
    body = {"room_version": version, "event": event.pdu, "invite_room_state": [name, 5, {"type": 1}]}
    return await other.ask(server, "PUT", path, body)


@ensureDeferred
async def test_signed_and_shown(server: TestServer, other: Scripted) -> None:
    """The answer has both signatures; what is no stripped state is left out."""
    bob = await server.user("bob")
    status, answer = await put(server, other, event := invite(other))
    assert status == 200, answer
    assert answer["event"]["signatures"].keys() == {other.name, server.name}
    assert {**answer["event"], "signatures": None} == {**event.pdu, "signatures": None}
    invites = (await server.ok("GET", "sync", token=bob))["rooms"]["invite"]
    shown = invites[event.room_id]["invite_state"]["events"]
    assert [one["type"] for one in shown] == ["m.room.name", "m.room.member"]
    again = await put(server, other, event)
    assert again[0] == 200


@ensureDeferred
async def test_invites_that_are_not_signed(server: TestServer, other: Scripted, network: Network) -> None:
    """Nothing but an invite of one of ours by one of theirs is."""
    bob = await server.user("bob")
    third = network.scripted("third.test")
    good = invite(other)
    refusals = [
        await put(server, other, invite(other, content={"membership": "join"})),
        await put(server, other, invite(other, type="m.room.power_levels")),
        await put(server, other, invite(other, state_key="@bob:elsewhere.test")),
        await put(server, other, invite(other, sender="@bob:hs.test")),
        await put(server, other, invite(other, sender="@x:third.test", key=third.key)),
        await put(server, other, invite(other, key=third.key)),
        await put(server, other, good, event_id="$" + "b" * 43),
        await put(server, other, invite(other, state_key="@nobody:hs.test")),
    ]
    assert {status for status, _ in refusals} <= {400, 403, 404}
    status, answer = await put(server, other, good, "org.example.none")
    assert (status, answer["errcode"]) == (400, "M_INCOMPATIBLE_ROOM_VERSION")
    assert "rooms" not in await server.ok("GET", "sync", token=bob)


@ensureDeferred
async def test_first_version_of_the_endpoint(server: TestServer, other: Scripted) -> None:
    """Of a room of version 1; the room is shown as `unsigned` tells of it."""
    await server.user("bob")
    event = invite(other, version="1", sender="@carol:other.test")
    path = f"{FEDERATION}/v1/invite/{path_part(event.room_id)}/{path_part(event.event_id)}"
    status, answer = await other.ask(server, "PUT", path, event.pdu)
    assert status == 200
    assert answer[0] == 200
    assert answer[1]["event"]["signatures"].keys() == {other.name, server.name}


@ensureDeferred
async def test_answers_without_a_good_signature(server: TestServer, other: Scripted) -> None:
    """An invite that the invited user's server did not sign is not sent."""
    alice = await server.user("alice")
    room = await server.room(alice)
    answers: list[Any] = []
    other.scripts[f"{FEDERATION}/v2/invite/"] = lambda *_: answers.pop()
    body = {"user_id": f"@carol:{other.name}"}
    for answer in (
        {},
        {"event": {}},
        {"event": {"signatures": {other.name: {other.key.key_id: "A" * 86}}}},
        {"event": {"signatures": {other.name: 5}}},
    ):
        answers.append(answer)
        assert await server.refusal("POST", f"{room}/invite", body, alice) == (502, "M_UNKNOWN")

    def refuse(*_question: Any) -> JsonObject:
        raise PeerError("no", 400, "M_INCOMPATIBLE_ROOM_VERSION")

    other.scripts[f"{FEDERATION}/v2/invite/"] = refuse
    refused = await server.refusal("POST", f"{room}/invite", body, alice)
    assert refused == (400, "M_UNSUPPORTED_ROOM_VERSION")
    assert (await server.ok("GET", f"{room}/members", token=alice))["chunk"][1:] == []


@ensureDeferred
async def test_an_answer_that_makes_the_invite_too_large(server: TestServer, other: Scripted) -> None:
    """Well signed, but with so much beside it that other servers would not take the event: it is not sent."""
    alice = await server.user("alice")
    room = await server.room(alice)
    added: JsonObject = {"third.test": {"ed25519:a": "A" * 65_000}}

    def sign(_method: str, _target: str, body: JsonObject | None) -> JsonObject:
        assert body is not None
        event = Event.from_pdu(body["event"], ROOM_VERSIONS[body["room_version"]])
        signed = add_signature(event, other.key).pdu
        return {"event": {**signed, "signatures": {**signed["signatures"], **added}}}

    other.scripts[f"{FEDERATION}/v2/invite/"] = sign
    body = {"user_id": f"@carol:{other.name}"}
    assert await server.refusal("POST", f"{room}/invite", body, alice) == (502, "M_UNKNOWN")
    added.clear()
    await server.ok("POST", f"{room}/invite", body, alice)


def creation(other: Scripted, key: SigningKey | None = None) -> Event:
    """The create event of a room of version 12."""
    draft = Draft("m.room.create", f"@carol:{other.name}", {"room_version": "12"}, 1, "")
    return build_event(draft, ROOM_VERSIONS["12"], None, [], [], 1, key or other.key)


@ensureDeferred
async def test_the_room_of_an_invite_is_proved(server: TestServer, other: Scripted, network: Network) -> None:
    """Version 12: a whole create event must make the room's id, and be signed; other whole events must be of the room.

    What servers of old send, stripped, is taken as it is.
    """
    bob = await server.user("bob")
    create, third = creation(other), network.scripted("third.test")
    room_id = create.room_id
    topic = Draft("m.room.topic", f"@carol:{other.name}", {"topic": "fun"}, 1, "")
    place = ["$" + "a" * 43]
    good, unsigned, elsewhere = (
        build_event(topic, ROOM_VERSIONS["12"], of, place, [], 2, key).pdu
        for of, key in ((room_id, other.key), (room_id, third.key), ("!" + "b" * 43, other.key))
    )
    invite_draft = Draft(
        "m.room.member", f"@carol:{other.name}", {"membership": "invite"}, 1, f"@bob:{SERVER}"
    )
    event = build_event(invite_draft, ROOM_VERSIONS["12"], room_id, place, [], 5, other.key)
    path = f"{FEDERATION}/v2/invite/{path_part(room_id)}/{event.event_id}"

    async def show(*events: JsonObject) -> tuple[int, str | None]:
        body = {"room_version": "12", "event": event.pdu, "invite_room_state": list(events)}
        status, answer = await other.ask(server, "PUT", path, body)
        return status, answer.get("errcode")

    refused = (400, "M_INVALID_PARAM")
    changed = {**create.pdu, "content": {"room_version": "12", "m.federate": False}}
    assert await show(good) == refused
    assert await show(changed, good) == refused
    assert await show({**create.pdu, "depth": 7}) == refused
    assert await show(creation(other, third.key).pdu) == refused
    assert "rooms" not in await server.ok("GET", "sync", token=bob)
    assert await show(unsigned, create.pdu, elsewhere, good) == (200, None)
    shown = (await server.ok("GET", "sync", token=bob))["rooms"]["invite"][room_id]["invite_state"]["events"]
    assert [one["type"] for one in shown] == ["m.room.create", "m.room.topic", "m.room.member"]
    assert shown[1] == stripped_state(Event.from_pdu(good, ROOM_VERSIONS["12"]))
    assert await show(stripped_state(create)) == (200, None)


@ensureDeferred
@pytest.mark.parametrize("version", ["10", "12"])
async def test_other_servers_get_whole_events(
    join_network: JoinNetwork, other: Scripted, version: str
) -> None:
    """Of the room of an invite, and of a knock, with the create event whatever the configuration shows to users."""
    server = await join_network(room_prejoin_state={"disable_default_event_types": True})
    alice = await server.user("alice")
    rule = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    room = await server.room(alice, room_version=version, initial_state=[rule])
    room_id = room.removeprefix("rooms/")
    asked: list[JsonObject] = []

    def take(_method: str, _target: str, body: JsonObject | None) -> JsonObject:
        assert body is not None
        asked.append(body)
        raise PeerError("no", 403, "M_FORBIDDEN")

    other.scripts[f"{FEDERATION}/v2/invite/"] = take
    body = {"user_id": f"@carol:{other.name}"}
    assert (await server.refusal("POST", f"{room}/invite", body, alice))[0] == 403
    of_invite = {pdu["type"]: pdu for pdu in asked[0]["invite_room_state"]}
    outside = RemoteRoom(server, other, room_id)
    await outside.look()
    knock = await outside.build("m.room.member", {"membership": "knock"}, outside.user)
    target = f"{FEDERATION}/v1/send_knock/{path_part(room_id)}/{path_part(knock.event_id)}"
    status, answer = await other.ask(server, "PUT", target, knock.pdu)
    assert status == 200, answer
    create = outside.state["m.room.create", ""]
    assert of_invite.keys() == {"m.room.create", "m.room.member"}
    assert of_invite["m.room.create"] == create.pdu
    assert answer["knock_room_state"] == [create.pdu]
