"""Invites between servers: made, shown, accepted, rejected, withdrawn."""

import json
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.push import PUSH
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import read_changes_of, read_position
from synapse_lite.tasks.followers import DatabaseFollower, Shard
from tests.federation.conftest import JoinNetwork
from tests.federation.network import Network, Scripted
from tests.federation.pair import HOME, home, join_path, members, tell_newest
from tests.federation.remote_room import remote_room, send
from tests.rest.test_auto_accept import deliver_all
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
async def test_who_wants_no_invites(server: TestServer, join_network: JoinNetwork) -> None:
    """The other server is refused, and tells its user why; there is no event."""
    there, alice, room_id = await home(join_network, preset="private_chat")
    bob = await server.user("bob")
    path = f"user/{path_part(f'@bob:{server.name}')}/account_data/m.invite_permission_config"
    await server.ok("PUT", path, {"default_action": "block"}, bob)
    invite = {"user_id": f"@bob:{server.name}"}
    assert await there.refusal("POST", room_path(room_id, "invite"), invite, alice) == (
        403,
        "M_INVITE_BLOCKED",
    )
    assert "rooms" not in await server.ok("GET", "sync", token=bob)
    assert (await members(there, room_id, alice)).keys() == {f"@alice:{HOME}"}


@ensureDeferred
async def test_who_wants_no_invites_is_shown_none(server: TestServer, other: Scripted) -> None:
    """What another server brings into a room of ours is an event of it, but the user's clients hear of it only when they want invites."""
    room, _ = await remote_room(server, other, power_level_content_override={"invite": 0})
    bob, bob_id, lists = await server.user("bob"), f"@bob:{server.name}", {"lists": {"all": LIST}}
    wish = f"user/{path_part(bob_id)}/account_data/m.invite_permission_config"
    await server.ok("PUT", wish, {"default_action": "block"}, bob)
    since = (await server.ok("GET", "sync", token=bob))["next_batch"]
    pos = (await server.ok("POST", SLIDING, lists, bob))["pos"]
    invite = await room.build("m.room.member", {"membership": "invite"}, bob_id)
    await send(server, other, invite.pdu)
    assert await room.membership(bob_id) == "invite"
    for path in ("sync", f"sync?since={since}"):
        assert "rooms" not in await server.ok("GET", path, token=bob)
    for path in (f"{SLIDING}?pos={pos}", SLIDING):
        assert not (await server.ok("POST", path, lists, bob))["rooms"]
    await server.ok("PUT", wish, {}, bob)
    assert room.room_id in (await server.ok("GET", "sync", token=bob))["rooms"]["invite"]
    assert room.room_id in (await server.ok("POST", SLIDING, lists, bob))["rooms"]
    await server.ok("PUT", wish, {"default_action": "block"}, bob)
    assert not (await server.ok("POST", SLIDING, lists, bob))["rooms"]


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
        assert isinstance(registered.handler, DatabaseFollower)
        registered.handler.follow(txn, changes, Shard(0, 1))
        return txn.rows("SELECT q.user_id, r.room_id FROM push_queue q JOIN rooms r USING (room_nid)")

    assert await server.database.transact(follow) == [(f"@bob:{server.name}", room_id)]


@ensureDeferred
async def test_invites_to_rooms_of_others_are_accepted(join_network: JoinNetwork) -> None:
    """`auto_accept_invites`, unless it is for users of this server only."""
    there, alice, room_id = await home(join_network, preset="private_chat")
    choices = ({"only_from_local_users": True}, {})
    for number, choice in enumerate(choices):
        here = await join_network(f"here{number}.test", auto_accept_invites={"enabled": True, **choice})
        bob, user_id = await here.user("bob"), f"@bob:{here.name}"
        await there.ok("POST", room_path(room_id, "invite"), {"user_id": user_id}, alice)
        await deliver_all(here)
        expected = [] if choice else [room_id]
        assert (await here.ok("GET", "joined_rooms", token=bob))["joined_rooms"] == expected
        assert (await members(there, room_id, alice))[user_id] == ("invite" if choice else "join")


# What servers of others send


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


@ensureDeferred
async def test_invites_where_only_admins_invite(join_network: JoinNetwork) -> None:
    """A server with `block_non_admin_invites` signs none of others."""
    server = await join_network(block_non_admin_invites=True)
    there, alice, room_id = await home(join_network, preset="private_chat")
    await server.user("bob")
    invite = {"user_id": f"@bob:{server.name}"}
    assert (await there.refusal("POST", room_path(room_id, "invite"), invite, alice))[0] == 403
    assert f"@bob:{server.name}" not in await members(there, room_id, alice)
