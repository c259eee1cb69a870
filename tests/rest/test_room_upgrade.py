"""Replacing rooms by those of another version, over HTTP."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from tests.rest.contention import locked_until_met
from tests.server import TestServer, path_part, user_path

SPACE = {"creation_content": {"type": "m.space", "m.federate": False}}


async def upgrade(server: TestServer, room: str, token: str, version: str = "12", **body: Any) -> str:
    """The path of the new room."""
    answer = await server.ok("POST", f"{room}/upgrade", {"new_version": version, **body}, token)
    assert list(answer) == ["replacement_room"]
    return f"rooms/{answer['replacement_room']}"


async def state(server: TestServer, room: str, token: str) -> dict[tuple[str, str], dict[str, Any]]:
    events = await server.ok("GET", f"{room}/state", token=token)
    return {(event["type"], event["state_key"]): event["content"] for event in events}


@ensureDeferred
async def test_what_is_carried_over(server: TestServer) -> None:
    """Creation, look, rules, links, bans, aliases, the place in the directory; the old room points to the new one."""
    alice = await server.user("alice")
    child = {"via": ["hs.test"], "order": "1"}
    contents = {
        ("m.room.avatar", ""): {"url": "mxc://hs.test/a"},
        ("m.room.encryption", ""): {"algorithm": "m.megolm.v1.aes-sha2"},
        ("m.room.guest_access", ""): {"guest_access": "forbidden"},
        ("m.room.history_visibility", ""): {"history_visibility": "joined"},
        ("m.room.join_rules", ""): {"join_rule": "knock"},
        ("m.room.server_acl", ""): {"allow": ["*"]},
        ("m.space.child", "!child:hs.test"): child,
    }
    initial = [
        {"type": kind, "state_key": key, "content": content} for (kind, key), content in contents.items()
    ]
    room = await server.room(alice, room_version="10", name="Den", topic="Talk", room_alias_name="den",
        visibility="public", initial_state=[*initial, {"type": "x.other", "content": {"a": 1}}], **SPACE)  # fmt: skip
    await server.ok("POST", f"{room}/ban", {"user_id": "@eve:hs.test", "reason": "because"}, alice)
    last = (await server.ok("GET", f"{room}/messages?dir=b&limit=1", token=alice))["chunk"][0]["event_id"]
    new = await upgrade(server, room, alice)
    found = await state(server, new, alice)
    assert {key: found.get(key) for key in contents} == contents
    assert found["m.room.name", ""] == {"name": "Den"}
    assert found["m.room.topic", ""]["topic"] == "Talk"
    assert found["m.room.canonical_alias", ""] == {"alias": "#den:hs.test"}
    assert found["m.room.member", "@eve:hs.test"] == {"membership": "ban", "reason": "because"}
    assert ("x.other", "") not in found
    old_id, new_id = room.removeprefix("rooms/"), new.removeprefix("rooms/")
    assert found["m.room.create", ""] == {
        "room_version": "12", "type": "m.space", "m.federate": False,
        "predecessor": {"room_id": old_id, "event_id": last},
    }  # fmt: skip
    before = await state(server, room, alice)
    assert before["m.room.tombstone", ""]["replacement_room"] == new_id
    assert before["m.room.canonical_alias", ""] == {}
    assert (
        before["m.room.power_levels", ""]["events_default"],
        before["m.room.power_levels", ""]["invite"],
    ) == (50, 50)
    assert (await server.ok("GET", f"directory/room/{path_part('#den:hs.test')}"))["room_id"] == new_id
    assert (await server.ok("GET", f"directory/list/room/{new_id}")) == {"visibility": "public"}
    assert (await server.ok("GET", f"directory/list/room/{old_id}")) == {"visibility": "private"}


@ensureDeferred
async def test_power_into_version_12_and_back(server: TestServer) -> None:
    """Creators are named where they need to be, and only there; the tombstone stays out of reach of admins."""
    alice, bob = await server.user("alice"), await server.user("bob")
    levels = {"users": {"@alice:hs.test": 150, "@bob:hs.test": 100, "@carol:hs.test": 50}}
    room = await server.room(alice, room_version="10", power_level_content_override=levels)
    new = await upgrade(server, room, alice, additional_creators=["@dave:hs.test"])
    found = await state(server, new, alice)
    assert found["m.room.create", ""]["additional_creators"] == ["@dave:hs.test"]
    power = found["m.room.power_levels", ""]
    assert power["users"] == {"@bob:hs.test": 100, "@carol:hs.test": 50}
    assert power.keys() == (await state(server, room, alice))["m.room.power_levels", ""].keys()
    assert power["events"]["m.room.tombstone"] == 150
    await server.ok("POST", f"{new}/join", {}, bob)
    refused = await server.refusal("POST", f"{new}/upgrade", {"new_version": "12"}, bob)
    assert refused == (403, "M_FORBIDDEN")
    back = await state(server, await upgrade(server, new, alice, "11"), alice)
    power = back["m.room.power_levels", ""]
    assert power["users"] == dict.fromkeys(("@alice:hs.test", "@dave:hs.test", "@bob:hs.test"), 100) | {
        "@carol:hs.test": 50
    }
    assert power["events"]["m.room.tombstone"] == 100
    assert "additional_creators" not in back["m.room.create", ""]
    again = await state(server, await upgrade(server, new, alice, "12"), alice)
    assert again["m.room.power_levels", ""]["events"]["m.room.tombstone"] == 150


@ensureDeferred
async def test_a_moderator_upgrades(server: TestServer) -> None:
    """Who may write the tombstone may upgrade, and has in the new room the power that they had, no more."""
    alice, bob = await server.user("alice"), await server.user("bob")
    levels = {
        "users": {"@alice:hs.test": 100, "@bob:hs.test": 50},
        "events": {"m.room.tombstone": 50},
    }
    room = await server.room(alice, room_version="10", power_level_content_override=levels, name="Den")
    assert await server.refusal("POST", f"{room}/upgrade", {"new_version": "11"}, bob) == (403, "M_FORBIDDEN")
    await server.ok("POST", f"{room}/join", {}, bob)
    found = await state(server, await upgrade(server, room, bob, "11"), bob)
    assert found["m.room.power_levels", ""]["users"] == levels["users"]
    assert found["m.room.name", ""] == {"name": "Den"}
    before = await state(server, room, bob)
    assert before["m.room.power_levels", ""]["users"] == levels["users"]


@pytest.mark.parametrize(("version", "expected"), [("6", "invite"), ("7", "invite"), ("8", "restricted")])
@ensureDeferred
async def test_rules_that_the_new_version_lacks(server: TestServer, version: str, expected: str) -> None:
    """A room that nobody could enter by its rules is one for the invited, never an open one."""
    alice = await server.user("alice")
    allow = [{"type": "m.room_membership", "room_id": "!lobby:hs.test"}]
    rules = {"join_rule": "restricted", "allow": allow}
    room = await server.room(
        alice, room_version="10", initial_state=[{"type": "m.room.join_rules", "content": rules}]
    )
    found = await state(server, await upgrade(server, room, alice, version), alice)
    assert found["m.room.join_rules", ""]["join_rule"] == expected


@ensureDeferred
async def test_refusals(server: TestServer) -> None:
    """Unknown versions and rooms, bodies of the wrong shape; a refused upgrade changes nothing."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice)
    await server.ok("POST", f"{room}/join", {}, bob)
    for body, token, expected in (
        ({"new_version": "99"}, alice, (400, "M_UNSUPPORTED_ROOM_VERSION")),
        ({}, alice, (400, "M_MISSING_PARAM")),
        ({"new_version": 12}, alice, (400, "M_BAD_JSON")),
        ({"new_version": "12", "additional_creators": "x"}, alice, (400, "M_BAD_JSON")),
        ({"new_version": "12", "additional_creators": ["x"]}, alice, (400, "M_INVALID_PARAM")),
        ({"new_version": "12"}, bob, (403, "M_FORBIDDEN")),
    ):
        assert await server.refusal("POST", f"{room}/upgrade", body, token) == expected
    unknown = await server.refusal("POST", "rooms/!none:hs.test/upgrade", {"new_version": "12"}, alice)
    assert unknown == (403, "M_FORBIDDEN")
    assert ("m.room.tombstone", "") not in await state(server, room, alice)
    assert len((await server.ok("GET", "joined_rooms", token=alice))["joined_rooms"]) == 1


@ensureDeferred
async def test_very_many_bans(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some are carried at once, a task carries the others."""
    monkeypatch.setattr("synapse_lite.handlers.room_upgrade.BANS_AT_ONCE", 2)
    alice = await server.user("alice")
    room = await server.room(alice)
    for name in "abc":
        await server.ok("POST", f"{room}/ban", {"user_id": f"@{name}:hs.test"}, alice)
    new = await upgrade(server, room, alice)
    members = [key for kind, key in await state(server, new, alice) if kind == "m.room.member"]
    assert sorted(members) == ["@a:hs.test", "@alice:hs.test", "@b:hs.test"]
    sql = "SELECT params ->> 'after' FROM scheduled_tasks WHERE action = 'carry_bans'"
    assert await server.database.read(lambda txn: txn.rows(sql, ())) == [("@b:hs.test",)]


def muted(room_id: str) -> dict[str, Any]:
    return {
        "actions": [],
        "conditions": [{"kind": "event_match", "key": "room_id", "pattern": room_id}],
    }


@ensureDeferred
async def test_what_users_have_set(server: TestServer) -> None:
    """Tags, direct chats and push rules come along for who upgrades, who joins later, and who is there when the tombstone is
    written by hand; what is set in the new room stays, and the old one keeps its own.
    """
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice)
    await server.ok("POST", f"{room}/join", {}, bob)
    old_id = room.removeprefix("rooms/")
    tags = {"tags": {"u.work": {"order": 0.5}}}
    for name, token in (("alice", alice), ("bob", bob)):
        await server.ok("PUT", user_path(name, f"{room}/account_data/m.tag"), tags, token)
        await server.ok("PUT", user_path(name, "account_data/m.direct"), {"@x:hs.test": [old_id]}, token)
        await server.ok("PUT", f"pushrules/global/room/{path_part(old_id)}", {"actions": []}, token)
        await server.ok("PUT", f"pushrules/global/override/{path_part(old_id)}", muted(old_id), token)
    new = await upgrade(server, room, alice)
    new_id = new.removeprefix("rooms/")
    await server.ok("POST", f"{new}/join", {}, bob)
    third = await server.room(alice, creation_content={"predecessor": {"room_id": new_id}})
    third_id = third.removeprefix("rooms/")
    await server.ok("PUT", f"{new}/state/m.room.tombstone", {"body": "", "replacement_room": third_id}, alice)
    own = {"tags": {"u.play": {}}}
    await server.ok("PUT", user_path("bob", f"{third}/account_data/m.tag"), own, bob)
    await server.ok("POST", f"{third}/join", {}, bob)
    for name, token in (("alice", alice), ("bob", bob)):
        assert await server.ok("GET", user_path(name, f"{new}/account_data/m.tag"), token=token) == tags
        assert await server.ok("GET", user_path(name, f"{room}/account_data/m.tag"), token=token) == tags
        direct = await server.ok("GET", user_path(name, "account_data/m.direct"), token=token)
        assert direct["@x:hs.test"] == [old_id, new_id, third_id]
        rule = await server.ok("GET", f"pushrules/global/room/{path_part(third_id)}", token=token)
        assert (rule["rule_id"], rule["actions"]) == (third_id, [])
        rule = await server.ok("GET", f"pushrules/global/override/{path_part(third_id)}", token=token)
        assert rule["conditions"] == muted(third_id)["conditions"], "so clients mute a room"
    assert await server.ok("GET", user_path("bob", f"{third}/account_data/m.tag"), token=bob) == own


@ensureDeferred
async def test_settings_that_are_taken_back_before_one_leaves_and_returns(server: TestServer) -> None:
    """They are carried over once: what the user has removed in the new room does not come back with the next join."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, preset="public_chat")
    await server.ok("POST", f"{room}/join", {}, bob)
    old_id = room.removeprefix("rooms/")
    direct = {"@x:hs.test": [old_id]}
    await server.ok("PUT", user_path("bob", "account_data/m.direct"), direct, bob)
    await server.ok("PUT", f"pushrules/global/room/{path_part(old_id)}", {"actions": []}, bob)
    new = await upgrade(server, room, alice)
    rule = f"pushrules/global/room/{path_part(new.removeprefix('rooms/'))}"
    await server.ok("POST", f"{new}/join", {}, bob)
    await server.ok("PUT", user_path("bob", "account_data/m.direct"), direct, bob)
    await server.ok("DELETE", rule, token=bob)
    await server.ok("POST", f"{new}/leave", {}, bob)
    await server.ok("POST", f"{new}/join", {}, bob)
    assert await server.ok("GET", user_path("bob", "account_data/m.direct"), token=bob) == direct
    assert await server.refusal("GET", rule, token=bob) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_names_that_are_given_anew_after_the_upgrade(server: TestServer) -> None:
    """They move once: what somebody has then said of the old room, such as an alias for its archive, outlasts who joins the new one."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, preset="public_chat", room_alias_name="den", visibility="public")
    old_id = room.removeprefix("rooms/")
    new = await upgrade(server, room, alice)
    archive, listing = "directory/room/" + path_part("#archive:hs.test"), "directory/list/room/"
    await server.ok("PUT", archive, {"room_id": old_id}, alice)
    await server.ok("PUT", listing + path_part(old_id), {"visibility": "public"}, alice)
    await server.ok("POST", f"{new}/join", {}, bob)
    assert (await server.ok("GET", archive))["room_id"] == old_id
    assert (await server.ok("GET", "directory/room/" + path_part("#den:hs.test")))["room_id"] == (
        new.removeprefix("rooms/")
    )
    for room_id in (old_id, new.removeprefix("rooms/")):
        assert await server.ok("GET", listing + path_part(room_id)) == {"visibility": "public"}


@ensureDeferred
async def test_a_room_that_claims_a_predecessor(server: TestServer) -> None:
    """Nothing is copied into a room of which the other one does not say that it replaces it."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice)
    tags = {"tags": {"u.work": {}}}
    await server.ok("PUT", user_path("alice", f"{room}/account_data/m.tag"), tags, alice)
    predecessor = {"room_id": room.removeprefix("rooms/")}
    false = await server.room(bob, creation_content={"predecessor": predecessor})
    await server.ok("POST", f"{false}/join", {}, alice)
    path = user_path("alice", f"{false}/account_data/m.tag")
    assert await server.refusal("GET", path, token=alice) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_two_upgrades_at_once(server: TestServer) -> None:
    """Both get the same new room."""
    alice = await server.user("alice")
    room = await server.room(alice)
    room_id = room.removeprefix("rooms/")
    async with locked_until_met(server, 2, "SELECT FROM rooms WHERE room_id = %s", (room_id,)):
        upgrades = [Deferred.fromCoroutine(upgrade(server, room, alice)) for _ in range(2)]
    one, other = await gatherResults(upgrades)
    assert one == other


@ensureDeferred
async def test_an_upgrade_that_is_asked_for_again(server: TestServer) -> None:
    """Whose answer was lost gets the same room; another version, other owners, other people and who left it another one."""
    alice, bob = await server.user("alice"), await server.user("bob")
    levels = {"users": {"@alice:hs.test": 150, "@bob:hs.test": 150}}
    room = await server.room(
        alice, room_version="10", preset="public_chat", power_level_content_override=levels
    )
    await server.ok("POST", f"{room}/join", {}, bob)
    last = ""
    for token, version, owners in (
        (alice, "11", []),
        (alice, "12", []),
        (alice, "12", ["@carol:hs.test"]),
        (bob, "12", ["@carol:hs.test"]),
    ):
        new = await upgrade(server, room, token, version, additional_creators=owners)
        assert new != last
        last = new
        for _ in range(2):
            assert await upgrade(server, room, token, version, additional_creators=owners) == new
    await server.ok("POST", f"{last}/leave", {}, bob)
    assert await upgrade(server, room, bob, "12", additional_creators=["@carol:hs.test"]) != last


@ensureDeferred
async def test_an_upgrade_by_hand(server: TestServer) -> None:
    """Who names a room that does not come from the old one upgrades that anew."""
    alice = await server.user("alice")
    room, other = await server.room(alice, room_version="11"), await server.room(alice, room_version="11")
    other_id = other.removeprefix("rooms/")
    tombstone = {"body": "x", "replacement_room": other_id}
    await server.ok("PUT", f"{room}/state/m.room.tombstone", tombstone, alice)
    assert await upgrade(server, room, alice, "11") != other
