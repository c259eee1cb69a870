"""Invites between servers: made, shown, accepted, rejected, withdrawn."""

import json
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.federation.peers import PeerError
from synapse_lite.handlers.push import PUSH
from synapse_lite.matrix.event import Draft, Event, build_event, stripped_state
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import read_changes_of, read_position
from synapse_lite.tasks.followers import Shard
from tests.builders import SERVER
from tests.federation.conftest import JoinNetwork
from tests.federation.network import Network, Scripted
from tests.federation.pair import HOME, home, join_path, members, tell_newest
from tests.federation.remote_room import RemoteRoom
from tests.server import TestServer, path_part

FEDERATION = "/_matrix/federation"
SLIDING = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
LIST = {"ranges": [[0, 9]], "timeline_limit": 1, "required_state": []}


def room_path(room_id: str, rest: str) -> str:
    return f"rooms/{path_part(room_id)}/{rest}"


async def invited(
    server: TestServer, join_network: JoinNetwork, **body: Any
) -> tuple[TestServer, str, str, str]:
    """The other server and its alice, a private room of hers, and the token of bob, whom she has invited."""
    there, alice, room_id = await home(join_network, preset="private_chat", name="Den", **body)
    bob = await server.user("bob")
    await there.ok("POST", room_path(room_id, "invite"), {"user_id": f"@bob:{server.name}"}, alice)
    return there, alice, room_id, bob


@ensureDeferred
@pytest.mark.parametrize("version", ["1", "2", "3", "5", "6", "8", "10", "11", "12"])
async def test_invite_and_join(server: TestServer, join_network: JoinNetwork, version: str) -> None:
    """The invited user sees the room from outside, with the invite; then joins without naming a server."""
    there, alice, room_id, bob = await invited(server, join_network, room_version=version)
    invites = (await server.ok("GET", "sync", token=bob))["rooms"]["invite"]
    shown = {event["type"]: event for event in invites[room_id]["invite_state"]["events"]}
    assert shown["m.room.name"]["content"] == {"name": "Den"}
    assert shown["m.room.member"]["state_key"] == f"@bob:{server.name}"
    assert shown["m.room.create"].keys() == {"type", "state_key", "sender", "content"}
    assert (await members(there, room_id, alice))[f"@bob:{server.name}"] == "invite"
    await server.ok("POST", join_path(room_id), {}, bob)
    synced = (await server.ok("GET", "sync", token=bob))["rooms"]
    assert room_id in synced["join"]
    assert room_id not in synced.get("invite", {})
    assert (await members(there, room_id, alice))[f"@bob:{server.name}"] == "join"


@ensureDeferred
async def test_an_invite_wakes_a_long_poll(server: TestServer, join_network: JoinNetwork) -> None:
    """Who waits is told of the invite at once, by /sync and by sliding sync."""
    there, alice, room_id = await home(join_network, preset="private_chat")
    bob = await server.user("bob")
    lists = {"lists": {"all": LIST}}
    pos = (await server.ok("POST", SLIDING, lists, bob))["pos"]
    since = (await server.ok("GET", "sync", token=bob))["next_batch"]
    polling = Deferred.fromCoroutine(server.ok("GET", f"sync?timeout=30000&since={since}", token=bob))
    sliding_poll = Deferred.fromCoroutine(server.ok("POST", f"{SLIDING}?timeout=30000&pos={pos}", lists, bob))
    await there.ok("POST", room_path(room_id, "invite"), {"user_id": f"@bob:{server.name}"}, alice)
    assert room_id in (await polling)["rooms"]["invite"]
    assert (await sliding_poll)["rooms"][room_id]["invite_state"]


@ensureDeferred
async def test_invite_with_a_new_room(server: TestServer, join_network: JoinNetwork) -> None:
    """Whom a new room invites is told, with what they may see of it."""
    there = await join_network(HOME)
    alice = await there.user("alice")
    bob = await server.user("bob")
    wish = {"invite": [f"@bob:{server.name}"], "is_direct": True, "preset": "trusted_private_chat"}
    room_id = (await there.ok("POST", "createRoom", wish, alice))["room_id"]
    invites = (await server.ok("GET", "sync", token=bob))["rooms"]["invite"]
    own = [one for one in invites[room_id]["invite_state"]["events"] if one["type"] == "m.room.member"]
    assert {"membership": "invite", "is_direct": True}.items() <= own[-1]["content"].items()


@ensureDeferred
async def test_rejecting(server: TestServer, join_network: JoinNetwork) -> None:
    """The other server hears of it; the user sees the room no more, and may be invited again."""
    there, alice, room_id, bob = await invited(server, join_network)
    since = (await server.ok("GET", "sync", token=bob))["next_batch"]
    await server.ok("POST", room_path(room_id, "leave"), {"reason": "no"}, bob)
    assert (await members(there, room_id, alice))[f"@bob:{server.name}"] == "leave"
    left = await server.ok("GET", f"sync?since={since}", token=bob)
    assert room_id in left["rooms"]["leave"]
    assert "invite" not in (await server.ok("GET", "sync", token=bob)).get("rooms", {})
    await there.ok("POST", room_path(room_id, "invite"), {"user_id": f"@bob:{server.name}"}, alice)
    again = await server.ok("GET", f"sync?since={left['next_batch']}", token=bob)
    assert room_id in again["rooms"]["invite"]


@ensureDeferred
async def test_rejecting_without_being_heard(
    server: TestServer, join_network: JoinNetwork, network: Network
) -> None:
    """Where the other server is gone the user is out all the same, in /sync and in sliding sync."""
    _, _, room_id, bob = await invited(server, join_network)
    lists = {"lists": {"all": LIST}}
    first = await server.ok("POST", SLIDING, lists, bob)
    assert room_id in first["rooms"]
    since = (await server.ok("GET", "sync", token=bob))["next_batch"]
    del network.servers[HOME]
    await server.ok("POST", room_path(room_id, "leave"), {}, bob)
    assert room_id in (await server.ok("GET", f"sync?since={since}", token=bob))["rooms"]["leave"]
    after = await server.ok("POST", f"{SLIDING}?pos={first['pos']}", lists, bob)
    assert after["lists"]["all"]["count"] == 0
    await server.ok("POST", room_path(room_id, "forget"), {}, bob)


@ensureDeferred
async def test_withdrawing(server: TestServer, join_network: JoinNetwork) -> None:
    """The leave that the inviter sends ends the invite; other events of the room do not get in.

    In sliding sync it comes once, on each device.
    """
    there, alice, room_id, bob = await invited(server, join_network)
    since = (await server.ok("GET", "sync", token=bob))["next_batch"]
    devices = [{"conn_id": str(number), "lists": {"all": LIST}} for number in range(2)]
    known = [await server.ok("POST", SLIDING, body, bob) for body in devices]
    await there.ok("PUT", room_path(room_id, "state/m.room.topic"), {"topic": "secret"}, alice)
    await tell_newest(there, server, room_id)
    assert room_id in (await server.ok("GET", "sync", token=bob))["rooms"]["invite"]
    await there.ok("POST", room_path(room_id, "kick"), {"user_id": f"@bob:{server.name}"}, alice)
    await tell_newest(there, server, room_id)
    assert room_id in (await server.ok("GET", f"sync?since={since}", token=bob))["rooms"]["leave"]
    assert (await server.refusal("GET", room_path(room_id, "state/m.room.topic"), token=bob))[0] == 403
    for body, before in zip(devices, known, strict=True):
        told = await server.ok("POST", f"{SLIDING}?pos={before['pos']}", body, bob)
        assert [one["content"]["membership"] for one in told["rooms"][room_id]["timeline"]] == ["leave"]
        assert (await server.ok("POST", f"{SLIDING}?pos={told['pos']}", body, bob))["rooms"] == {}


@pytest.mark.parametrize(
    ("left_out", "fitting"),
    [
        ((), {"is_encrypted", "room_types", "room_name_like", "not_room_types"}),
        (("m.room.encryption",), {"room_types", "room_name_like", "not_room_types", "is_not_encrypted"}),
        (("m.room.create",), {"room_name_like", "not_room_types"}),
        (("m.room.create", "m.room.name", "m.room.encryption"), {"not_room_types"}),
    ],
)
@ensureDeferred
async def test_invites_in_filtered_lists(
    server: TestServer, join_network: JoinNetwork, left_out: tuple[str, ...], fitting: set[str]
) -> None:
    """What another server tells of a room decides in which lists its invite stands; what is unknown fits no filter."""
    encryption = {
        "type": "m.room.encryption",
        "state_key": "",
        "content": {"algorithm": "m.megolm.v1.aes-sha2"},
    }
    _, _, _, bob = await invited(
        server, join_network, initial_state=[encryption], creation_content={"type": "org.example.wiki"}
    )
    await server.database.transact(_without, left_out)
    filters: dict[str, JsonObject] = {
        "is_encrypted": {"is_encrypted": True},
        "is_not_encrypted": {"is_encrypted": False},
        "room_types": {"room_types": ["org.example.wiki"]},
        "plain": {"room_types": [None]},
        "room_name_like": {"room_name_like": "den"},
        "not_room_types": {"not_room_types": ["m.space"]},
        "not_wikis": {"not_room_types": ["org.example.wiki"]},
    }
    lists = {name: {**LIST, "filters": {**one, "is_invite": True}} for name, one in filters.items()}
    shown = (await server.ok("POST", SLIDING, {"lists": lists}, bob))["lists"]
    unknown = {"not_wikis"} if "m.room.create" in left_out else set()
    assert {name for name, one in shown.items() if one["count"] == 1} == fitting | unknown


def _without(txn: Transaction, left_out: tuple[str, ...]) -> None:
    """As if the server that invites had told less."""
    (row,) = txn.rows("SELECT room_nid, json FROM stripped_state")
    events = [event for event in json.loads(row[1]) if event["type"] not in left_out]
    txn.execute("UPDATE stripped_state SET json = %s WHERE room_nid = %s", (json.dumps(events), row[0]))


@ensureDeferred
async def test_invite_to_a_room_that_we_are_in(server: TestServer, join_network: JoinNetwork) -> None:
    """It is an event of the room like others: our members see it, and its rules decide."""
    there, alice, room_id = await home(join_network)
    bob = await server.user("bob")
    carl = await server.user("carl")
    await server.ok("POST", join_path(room_id, HOME), {}, bob)
    await there.ok("POST", room_path(room_id, "invite"), {"user_id": f"@carl:{server.name}"}, alice)
    assert (await members(server, room_id, bob))[f"@carl:{server.name}"] == "invite"
    shown = (await server.ok("GET", "sync", token=carl))["rooms"]["invite"][room_id]["invite_state"]["events"]
    assert "m.room.create" in {event["type"] for event in shown}


@ensureDeferred
async def test_users_who_are_not_there(server: TestServer, join_network: JoinNetwork) -> None:
    """An invite of somebody who does not exist comes back as the other server answers; there is no event."""
    there, alice, room_id = await home(join_network, preset="private_chat")
    body = {"user_id": f"@nobody:{server.name}"}
    refused = await there.refusal("POST", room_path(room_id, "invite"), body, alice)
    assert refused == (404, "M_NOT_FOUND")
    assert (await members(there, room_id, alice)).keys() == {f"@alice:{HOME}"}


@ensureDeferred
async def test_invites_of_ignored_users(server: TestServer, join_network: JoinNetwork) -> None:
    """Nothing of them is shown."""
    there, alice, room_id = await home(join_network, preset="private_chat")
    bob = await server.user("bob")
    path = f"user/{path_part(f'@bob:{server.name}')}/account_data/m.ignored_user_list"
    await server.ok("PUT", path, {"ignored_users": {f"@alice:{HOME}": {}}}, bob)
    await there.ok("POST", room_path(room_id, "invite"), {"user_id": f"@bob:{server.name}"}, alice)
    assert "rooms" not in await server.ok("GET", "sync", token=bob)


@ensureDeferred
async def test_invites_are_pushed(server: TestServer, join_network: JoinNetwork) -> None:
    """Who has a pusher is to hear of an invite to a room in which this server has nobody."""
    there, alice, room_id = await home(join_network, preset="private_chat")
    bob = await server.user("bob")
    pusher = {
        "app_id": "org.example.app", "pushkey": "key", "kind": "http", "app_display_name": "App", "lang": "en",
        "device_display_name": "Phone", "data": {"url": "https://push.example/_matrix/push/v1/notify"},
    }  # fmt: skip
    await server.ok("POST", "pushers/set", pusher, bob)
    await there.ok("POST", room_path(room_id, "invite"), {"user_id": f"@bob:{server.name}"}, alice)
    (registered,) = [one for one in server.core.extensions.followers if one.spec is PUSH]

    def follow(txn: Transaction) -> list[Any]:
        changes = read_changes_of(txn, PUSH.kinds, 0, read_position(txn), 1000)
        registered.handler.follow(txn, changes, Shard(0, 1))
        return txn.rows("SELECT q.user_id, r.room_id FROM push_queue q JOIN rooms r USING (room_nid)")

    assert await server.database.transact(follow) == [(f"@bob:{server.name}", room_id)]


# What servers of others send


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


# Knocking


@ensureDeferred
async def test_knocking_and_being_let_in(server: TestServer, join_network: JoinNetwork) -> None:
    """The knock is seen by both sides; the invite that answers it can be accepted."""
    rule = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    there, alice, room_id = await home(join_network, name="Den", initial_state=[rule])
    bob = await server.user("bob")
    path = f"knock/{path_part(room_id)}?via={HOME}"
    assert await server.ok("POST", path, {"reason": "me"}, bob) == {"room_id": room_id}
    knocked = (await server.ok("GET", "sync", token=bob))["rooms"]["knock"][room_id]["knock_state"]["events"]
    assert {"m.room.name", "m.room.create"} <= {event["type"] for event in knocked}
    assert (await members(there, room_id, alice))[f"@bob:{server.name}"] == "knock"
    await there.ok("POST", room_path(room_id, "invite"), {"user_id": f"@bob:{server.name}"}, alice)
    synced = (await server.ok("GET", "sync", token=bob))["rooms"]
    assert synced.keys() & {"knock", "invite"} == {"invite"}
    await server.ok("POST", join_path(room_id), {}, bob)


@ensureDeferred
async def test_knocking_in_vain(server: TestServer, join_network: JoinNetwork) -> None:
    """A denied knock is over; one that is withdrawn is over at both sides; where nobody may knock it is 403."""
    rule = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    there, alice, room_id = await home(join_network, initial_state=[rule])
    bob = await server.user("bob")
    path = f"knock/{path_part(room_id)}?via={HOME}"
    await server.ok("POST", path, {}, bob)
    await server.ok("POST", room_path(room_id, "leave"), {}, bob)
    assert (await members(there, room_id, alice))[f"@bob:{server.name}"] == "leave"
    await server.ok("POST", path, {}, bob)
    await there.ok("POST", room_path(room_id, "kick"), {"user_id": f"@bob:{server.name}"}, alice)
    since = (await server.ok("GET", "sync", token=bob))["next_batch"]
    await tell_newest(there, server, room_id)
    assert room_id in (await server.ok("GET", f"sync?since={since}", token=bob))["rooms"]["leave"]
    public = (await there.room(alice)).removeprefix("rooms/")
    refused = await server.refusal("POST", f"knock/{path_part(public)}?via={HOME}", {}, bob)
    assert refused == (403, "M_FORBIDDEN")
