"""Invites to addresses: when the owner is found, they become invites of a user (server-server API, "Third-party invites")."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.signing import encode_base64, generate_signing_key
from synapse_lite.storage.relayed_events import relayed_among
from tests.federation.conftest import JoinNetwork
from tests.federation.network import Network, Scripted
from tests.federation.pair import home, join_path, members, tell_newest
from tests.server import TestServer, path_part

ONBIND = "/_matrix/federation/v1/3pid/onbind"
IDENTITY = generate_signing_key("identity.test")
TOKEN = "token"


async def invite_address(server: TestServer, room_id: str, token: str) -> None:
    """As the inviter's client or homeserver does it, with what the identity server told it."""
    content = {
        "display_name": "bo...@ex...",
        "key_validity_url": "https://identity.test/valid",
        "public_key": encode_base64(bytes(IDENTITY.verify_key)),
    }
    path = f"rooms/{path_part(room_id)}/state/m.room.third_party_invite/{TOKEN}"
    await server.ok("PUT", path, content, token)


def binding(room_id: str, sender: str, user_id: str, **changes: Any) -> JsonObject:
    """What an identity server tells the homeserver of the user."""
    signed: JsonObject = {"mxid": user_id, "token": TOKEN, **changes}
    signed["signatures"] = {IDENTITY.server_name: {IDENTITY.key_id: IDENTITY.sign(signed)}}
    address = {"medium": "email", "address": "bob@example.com", "mxid": user_id}
    return {**address, "invites": [{**address, "room_id": room_id, "sender": sender, "signed": signed}]}


async def own_member_event(server: TestServer, room_id: str, user_id: str, token: str) -> JsonObject:
    chunk = (await server.ok("GET", f"rooms/{path_part(room_id)}/members", token=token))["chunk"]
    event: JsonObject = next(one for one in chunk if one["state_key"] == user_id)
    return event


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
@ensureDeferred
async def test_in_a_room_of_ours(server: TestServer, version: str) -> None:
    """The user is invited by whoever invited the address, under the name that it was given; in every version."""
    alice, bob = await server.user("alice"), await server.user("bob")
    body = {"preset": "private_chat", "room_version": version}
    room_id = (await server.ok("POST", "createRoom", body, alice))["room_id"]
    await invite_address(server, room_id, alice)
    user_id = f"@bob:{server.name}"
    assert await server.ok("PUT", ONBIND, binding(room_id, f"@alice:{server.name}", user_id)) == {}
    event = await own_member_event(server, room_id, user_id, alice)
    assert event["sender"] == f"@alice:{server.name}"
    assert event["content"]["membership"] == "invite"
    assert event["content"]["third_party_invite"]["display_name"] == "bo...@ex..."
    await server.ok("POST", f"join/{path_part(room_id)}", {}, bob)


@ensureDeferred
async def test_in_a_room_of_others(server: TestServer, join_network: JoinNetwork) -> None:
    """The inviter's server is asked to make the invite, which comes to us as every other does."""
    there, alice, room_id = await home(join_network, preset="private_chat", name="Den")
    bob = await server.user("bob")
    await invite_address(there, room_id, alice)
    user_id = f"@bob:{server.name}"
    await server.ok("PUT", ONBIND, binding(room_id, f"@alice:{there.name}", user_id))
    assert (await members(there, room_id, alice))[user_id] == "invite"
    invites = (await server.ok("GET", "sync", token=bob))["rooms"]["invite"]
    assert room_id in invites
    await server.ok("POST", join_path(room_id), {}, bob)


@ensureDeferred
async def test_in_a_room_that_is_shared(server: TestServer, join_network: JoinNetwork) -> None:
    """We make the invite in the name of a user of theirs, and see to it that they hear of it."""
    there, alice, room_id = await home(join_network)
    carol = await server.user("carol")
    await server.ok("POST", join_path(room_id, there.name), {}, carol)
    await invite_address(there, room_id, alice)
    await server.user("bob")
    user_id = f"@bob:{server.name}"
    binds = binding(room_id, f"@alice:{there.name}", user_id)
    await server.ok("PUT", ONBIND, binds)
    assert (await members(server, room_id, carol)).get(user_id) is None, "the invite has not come here yet"
    await tell_newest(there, server, room_id)
    await server.ok("PUT", ONBIND, binds)
    event = await own_member_event(server, room_id, user_id, carol)
    assert (event["sender"], event["content"]["membership"]) == (f"@alice:{there.name}", "invite")
    assert await server.database.read(relayed_among, [event["event_id"]]) == {event["event_id"]}


@ensureDeferred
async def test_bindings_that_are_not_good(server: TestServer, other: Scripted) -> None:
    """A signature that does not fit, an invite that does not wait, a user or an inviter that is none: nobody is invited."""
    alice = await server.user("alice")
    await server.user("bob")
    room_id = (await server.room(alice)).removeprefix("rooms/")
    alice_id, bob_id = f"@alice:{server.name}", f"@bob:{server.name}"
    early = binding(room_id, alice_id, bob_id)
    await server.ok("PUT", ONBIND, early)
    await invite_address(server, room_id, alice)
    forged = binding(room_id, alice_id, bob_id)
    forged["invites"][0]["signed"]["more"] = "than was signed"
    await server.ok("PUT", ONBIND, forged)
    await server.ok("PUT", ONBIND, binding(room_id, bob_id, bob_id))
    await server.ok("PUT", ONBIND, binding("!unknown:other.test", f"@carol:{other.name}", bob_id))
    assert bob_id not in await members(server, room_id, alice)
    stranger = binding(room_id, alice_id, f"@nobody:{server.name}")
    assert await server.refusal("PUT", ONBIND, stranger) == (404, "M_NOT_FOUND")
    elsewhere = binding(room_id, alice_id, f"@bob:{other.name}")
    assert await server.refusal("PUT", ONBIND, elsewhere) == (404, "M_NOT_FOUND")
    mixed = binding(room_id, alice_id, bob_id, mxid=alice_id)
    assert await server.refusal("PUT", ONBIND, mixed) == (400, "M_BAD_JSON")
    many = binding(room_id, alice_id, bob_id)
    many["invites"] *= 51
    assert await server.refusal("PUT", ONBIND, many) == (400, "M_INVALID_PARAM")


@ensureDeferred
async def test_exchanges_that_are_not_good(server: TestServer, other: Scripted, network: Network) -> None:
    """Only the invited user's own server may ask, for an invite that one of ours made, in a room that it may enter."""
    alice = await server.user("alice")
    room_id = (await server.room(alice)).removeprefix("rooms/")
    await invite_address(server, room_id, alice)
    alice_id, carol_id = f"@alice:{server.name}", f"@carol:{other.name}"

    async def exchange(asking: Scripted, room: str, sender: str, **changes: Any) -> int:
        signed = binding(room, sender, carol_id)["invites"][0]["signed"]
        event = {
            "type": "m.room.member",
            "room_id": room,
            "sender": sender,
            "state_key": carol_id,
            "content": {
                "membership": "invite",
                "third_party_invite": {"display_name": "x", "signed": signed},
            },
            **changes,
        }
        path = f"/_matrix/federation/v1/exchange_third_party_invite/{path_part(room)}"
        status, _ = await asking.ask(server, "PUT", path, event)
        return status

    assert await exchange(network.scripted("third.test"), room_id, alice_id) == 403
    assert await exchange(other, room_id, f"@eve:{other.name}") == 403
    assert await exchange(other, "!unknown:hs.test", alice_id) == 404
    assert await exchange(other, room_id, alice_id, type="m.room.topic") == 400
    assert await exchange(other, room_id, alice_id, content={"membership": "invite"}) == 400
    assert await exchange(other, room_id, alice_id) == 404, "its server does not know the user"
    assert carol_id not in await members(server, room_id, alice)
