"""Profiles over HTTP."""

import time
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from synapse_lite.handlers.event_writer import EventWriter
from synapse_lite.rooms.values import Sent, Write
from tests.databases import rows
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer, path_part

MINE = "profile/@name:hs.test"


@ensureDeferred
async def test_a_profile_is_public_and_its_owners(server: TestServer) -> None:
    """Anybody reads it, only the owner and administrators write it."""
    token, other = await server.register("name"), await server.register("other")
    assert await server.ok("PUT", f"{MINE}/displayname", {"displayname": "Name \u2603"}, token) == {}
    assert await server.ok("PUT", f"{MINE}/avatar_url", {"avatar_url": "mxc://hs.test/a"}, token) == {}
    await server.ok("PUT", f"{MINE}/m.tz", {"m.tz": "UTC"}, token)
    assert await server.ok("GET", MINE) == {
        "displayname": "Name \u2603",
        "avatar_url": "mxc://hs.test/a",
        "m.tz": "UTC",
    }
    assert await server.ok("GET", "profile/%40name%3Ahs.test/displayname") == {"displayname": "Name \u2603"}
    assert await server.ok("DELETE", f"{MINE}/m.tz", token=token) == {}
    assert await server.refusal("GET", f"{MINE}/m.tz") == (404, "M_NOT_FOUND")
    body = {"displayname": "Not me"}
    assert await server.refusal("PUT", f"{MINE}/displayname", body, other) == (403, "M_FORBIDDEN")
    assert await server.refusal("DELETE", f"{MINE}/displayname", None, other) == (403, "M_FORBIDDEN")
    assert await server.refusal("PUT", f"{MINE}/displayname", body) == (401, "M_MISSING_TOKEN")
    boss = await server.register("boss")
    await server.make_admin("@boss:hs.test")
    await server.ok("PUT", f"{MINE}/displayname", body, boss)
    assert await server.ok("GET", f"{MINE}/displayname") == body


@ensureDeferred
async def test_nothing_returns_to_an_account_that_is_being_closed(
    server: TestServer, database_arguments: dict[str, Any]
) -> None:
    """Who was let in before it was closed, and waits for it, changes nothing any more."""
    token = await server.register("name")
    await server.ok("PUT", f"{MINE}/displayname", {"displayname": "Name"}, token)

    with closing(psycopg2.connect(**database_arguments)) as holder:
        holder.cursor().execute("UPDATE users SET deactivated = TRUE, displayname = NULL")
        body = {"displayname": "Back"}
        writing = Deferred.fromCoroutine(server.refusal("PUT", f"{MINE}/displayname", body, token))
        await deferToThread(_wait_for_a_wait, database_arguments)
        holder.commit()
    assert await writing == (403, "M_USER_DEACTIVATED")
    assert await server.refusal("GET", f"{MINE}/displayname") == (404, "M_NOT_FOUND")


def _wait_for_a_wait(arguments: dict[str, Any]) -> None:
    waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    while not rows(arguments, f"{waits} AND datname = current_database()"):
        time.sleep(0.01)


@ensureDeferred
async def test_bad_profile_requests(server: TestServer) -> None:
    """Of users who are not, and of bodies that do not fit."""
    token = await server.register("name")
    assert await server.refusal("GET", "profile/@nobody:hs.test") == (404, "M_NOT_FOUND")
    assert await server.refusal("GET", "profile/nobody") == (400, "M_INVALID_PARAM")
    put = f"{MINE}/displayname"
    assert await server.refusal("PUT", put, {"name": "x"}, token) == (400, "M_MISSING_PARAM")
    assert await server.refusal("PUT", put, {"displayname": 1}, token) == (400, "M_BAD_JSON")
    assert await server.refusal("PUT", put, {"displayname": "x" * 257}, token) == (400, "M_INVALID_PARAM")
    assert await server.refusal("PUT", put, b"", token) == (400, "M_NOT_JSON")
    assert await server.refusal("PUT", f"{MINE}/{'k' * 256}", {"k" * 256: 1}, token) == (
        400,
        "M_KEY_TOO_LARGE",
    )


@ensureDeferred
async def test_the_length_of_names(server: TestServer) -> None:
    """Characters count, whatever they take: in profiles, of who administrates them, in member events."""
    token = await server.register("name")
    await server.make_admin("@name:hs.test")
    room = await server.room(token)
    member, user = f"{room}/state/m.room.member/@name:hs.test", "/_synapse/admin/v2/users/@name:hs.test"
    for field, longest, letters in (
        ("displayname", "\u00e9" * 256, "\u00e9" * 257),
        ("avatar_url", "mxc://" + "\u00e9" * 994, "mxc://" + "\u00e9" * 995),
    ):
        await server.ok("PUT", f"{MINE}/{field}", {field: longest}, token)
        await server.ok("PUT", user, {field: longest}, token)
        await server.ok("PUT", member, {"membership": "join", field: longest}, token)
        refused = await server.refusal("PUT", f"{MINE}/{field}", {field: letters}, token)
        assert refused == (400, "M_INVALID_PARAM")
        assert await server.refusal("PUT", user, {field: letters}, token) == (400, "M_INVALID_PARAM")
        body = {"membership": "join", field: letters}
        assert await server.refusal("PUT", member, body, token) == (400, "M_BAD_JSON")


@ensureDeferred
async def test_a_profile_without_fields(server: TestServer) -> None:
    """There is none; it comes back with its first field."""
    token = await server.register("name")
    await server.ok("DELETE", f"{MINE}/displayname", None, token)
    assert await server.refusal("GET", MINE) == (404, "M_NOT_FOUND")
    await server.ok("PUT", f"{MINE}/m.tz", {"m.tz": "Europe/Rome"}, token)
    assert await server.ok("GET", MINE) == {"m.tz": "Europe/Rome"}


@ensureDeferred
async def test_profiles_can_be_for_users_only_and_fixed(build_server: BuildServer) -> None:
    """By configuration: reading needs a token, names stay as they are."""
    server = await build_server(**OPEN, require_auth_for_profile_requests=True, enable_set_displayname=False)
    token = await server.register("name")
    for path in (MINE, f"{MINE}/displayname"):
        assert await server.refusal("GET", path) == (401, "M_MISSING_TOKEN")
        assert await server.ok("GET", path, token=token) == {"displayname": "name"}
    body = {"displayname": "Other"}
    assert await server.refusal("PUT", f"{MINE}/displayname", body, token) == (403, "M_FORBIDDEN")


@ensureDeferred
async def test_a_change_that_is_overtaken(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rooms show what the profile says at last, though the first change comes to them after the second."""
    token = await server.register("name")
    room = await server.room(token)
    send, overtaking = EventWriter.send, ["second"]

    async def send_late(self: EventWriter, write: Write) -> Sent:
        if overtaking:
            await server.ok("PUT", f"{MINE}/displayname", {"displayname": overtaking.pop()}, token)
        return await send(self, write)

    monkeypatch.setattr(EventWriter, "send", send_late)
    await server.ok("PUT", f"{MINE}/displayname", {"displayname": "first"}, token)
    member = await server.ok("GET", f"{room}/state/m.room.member/{path_part('@name:hs.test')}", None, token)
    assert member["displayname"] == "second"


@ensureDeferred
async def test_a_change_is_on_its_way_into_the_rooms_with_its_commit(server: TestServer) -> None:
    """By a task, should the process die before it has told them; none where there is nothing to show."""
    alice = await server.user("alice")
    path = f"profile/{path_part('@alice:hs.test')}"
    await server.ok("PUT", f"{path}/displayname", {"displayname": "nowhere"}, alice)
    room = await server.room(alice)
    await server.ok("PUT", f"{path}/org.example.field", {"org.example.field": 1}, alice)
    tasks = "SELECT count(*) FROM scheduled_tasks WHERE action = 'update_join_states'"
    assert await server.database.read(lambda txn: txn.value(tasks)) == 0
    await server.ok("PUT", f"{path}/displayname", {"displayname": "Alice"}, alice)
    assert await server.database.read(lambda txn: txn.value(tasks)) == 1
    members = await server.ok("GET", f"{room}/joined_members", None, alice)
    assert members["joined"]["@alice:hs.test"]["display_name"] == "Alice"


@ensureDeferred
async def test_profiles_of_those_whom_one_shares_a_room_with(build_server: BuildServer) -> None:
    """`limit_profile_requests_to_users_who_share_rooms`: others are refused, one's own is always there."""
    server = await build_server(**OPEN, limit_profile_requests_to_users_who_share_rooms=True)
    token, other = await server.register("name"), await server.register("other")
    assert await server.refusal("GET", MINE) == (401, "M_MISSING_TOKEN")
    assert await server.refusal("GET", MINE, token=other) == (403, "M_FORBIDDEN")
    assert await server.refusal("GET", f"{MINE}/displayname", token=other) == (403, "M_FORBIDDEN")
    far = "profile/@far:other.test"
    assert await server.refusal("GET", far, token=other) == (403, "M_FORBIDDEN")
    assert (await server.ok("GET", MINE, token=token))["displayname"] == "name"
    room = await server.room(token, preset="public_chat")
    await server.ok("POST", f"{room}/join", {}, other)
    assert (await server.ok("GET", MINE, token=other))["displayname"] == "name"


@ensureDeferred
async def test_one_profile_for_all_rooms(server: TestServer, build_server: BuildServer) -> None:
    """`allow_per_room_profiles: false`: what a member event asks for is that of the profile, the rest stays."""
    uniform = await build_server(**OPEN, allow_per_room_profiles=False)
    shown = {}
    for one in (server, uniform):
        token = await server.register(f"user{len(shown)}")
        room = await one.room(token)
        me = f"{room}/state/m.room.member/@user{len(shown)}:hs.test"
        content = {"membership": "join", "displayname": "Here", "avatar_url": "mxc://x/y", "mood": "well"}
        await one.ok("PUT", me, content, token)
        shown[one] = await one.ok("GET", me, token=token)
    assert shown[server] == {
        "membership": "join",
        "displayname": "Here",
        "avatar_url": "mxc://x/y",
        "mood": "well",
    }
    assert shown[uniform] == {"membership": "join", "displayname": "user1", "mood": "well"}


@ensureDeferred
async def test_invites_that_do_not_show_whom_they_are_for(
    server: TestServer, build_server: BuildServer
) -> None:
    """`include_profile_data_on_invite: false`: with a new room, and to one; what the inviter writes stays."""
    silent = await build_server(**OPEN, include_profile_data_on_invite=False)
    alice = await server.register("alice")
    await server.register("name")
    for one, shown in ((server, {"displayname": "name"}), (silent, {})):
        for invited_with_it in (True, False):
            room = await one.room(alice, invite=["@name:hs.test"] if invited_with_it else [])
            if not invited_with_it:
                await one.ok("POST", f"{room}/invite", {"user_id": "@name:hs.test"}, alice)
            content = await one.ok("GET", f"{room}/state/m.room.member/@name:hs.test", token=alice)
            assert content == {"membership": "invite", **shown}
