"""What operators ask about a user, with Synapse's keys and types; locking and suspending by the client API."""

import pytest
from pytest_twisted import ensureDeferred

from tests.builders import SERVER
from tests.rest.admin_server import V1, AdminServer

ALICE = f"@alice:{SERVER}"
USER = f"{V1}/users/{ALICE}"
REMOTE = "@x:elsewhere.test"


@ensureDeferred
async def test_rooms_of_a_user(server: AdminServer) -> None:
    """The rooms joined now, every membership, and counts since a time: all joins and invites, what is over too."""
    alice, bob = await server.user("alice"), await server.user("bob")
    stays, leaves, invited = [(await server.room(bob)).removeprefix("rooms/") for _ in range(3)]
    for room_id in (stays, leaves):
        await server.ok("POST", f"join/{room_id}", {}, alice)
    await server.ok("POST", f"rooms/{leaves}/leave", {}, alice)
    await server.ok("POST", f"rooms/{invited}/invite", {"user_id": ALICE}, bob)
    assert await server.admin("GET", f"{USER}/joined_rooms") == {"joined_rooms": [stays], "total": 1}
    assert await server.admin("GET", f"{USER}/memberships") == {
        "memberships": {stays: "join", leaves: "leave", invited: "invite"}
    }
    count, since = "cumulative_joined_room_count", f"?from_ts={server.clock.now_ms() + 1}"
    assert await server.admin("GET", f"{USER}/{count}?from_ts=0") == {count: 2}
    assert await server.admin("GET", f"{USER}/{count}{since}") == {count: 0}
    invites = f"{V1}/users/@bob:{SERVER}/sent_invite_count"
    assert await server.admin("GET", f"{invites}?from_ts=0") == {"invite_count": 1}
    assert await server.admin("GET", f"{invites}{since}") == {"invite_count": 0}
    for path in (f"{USER}/{count}", invites):
        assert await server.refusal("GET", path, None, server.token) == (400, "M_MISSING_PARAM")
        assert await server.refusal("GET", f"{path}?from_ts=-1", None, server.token) == (
            400,
            "M_INVALID_PARAM",
        )
    remote = f"{V1}/users/{REMOTE}"
    assert await server.admin("GET", f"{remote}/joined_rooms") == {"joined_rooms": [], "total": 0}
    assert await server.admin("GET", f"{remote}/memberships") == {"memberships": {}}
    for part in ("joined_rooms", "memberships", f"{count}?from_ts=0", "sent_invite_count?from_ts=0"):
        path = f"{V1}/users/alice/{part}"
        assert await server.refusal("GET", path, None, server.token) == (400, "M_INVALID_PARAM")


@ensureDeferred
async def test_account_data_of_a_user(server: AdminServer) -> None:
    """What is of no room, with the push rules, and what is of rooms."""
    alice = await server.user("alice")
    room_id = (await server.room(alice)).removeprefix("rooms/")
    await server.ok("PUT", f"user/{ALICE}/account_data/org.x", {"a": 1}, alice)
    await server.ok("PUT", f"user/{ALICE}/rooms/{room_id}/account_data/org.y", {"b": 2}, alice)
    data = (await server.admin("GET", f"{USER}/accountdata"))["account_data"]
    rules = await server.ok("GET", f"user/{ALICE}/account_data/m.push_rules", token=alice)
    assert data == {
        "global": {"org.x": {"a": 1}, "m.push_rules": rules},
        "rooms": {room_id: {"org.y": {"b": 2}}},
    }
    for target, refusal in ((REMOTE, (400, "M_UNKNOWN")), (f"@nobody:{SERVER}", (404, "M_NOT_FOUND"))):
        path = f"{V1}/users/{target}/accountdata"
        assert await server.refusal("GET", path, None, server.token) == refusal


@ensureDeferred
async def test_pushers_of_a_user(server: AdminServer) -> None:
    """Ten fields, and how many there are."""
    alice = await server.user("alice")
    pusher = {
        "app_display_name": "App",
        "app_id": "org.example",
        "data": {"url": "https://push.example/_matrix/push/v1/notify"},
        "device_display_name": "Phone",
        "kind": "http",
        "lang": "en",
        "pushkey": "key",
    }
    await server.ok("POST", "pushers/set", pusher, alice)
    answer = await server.admin("GET", f"{USER}/pushers")
    assert answer.keys() == {"pushers", "total"}
    (shown,) = answer["pushers"]
    assert isinstance(shown.pop("device_id"), str)
    assert (shown, answer["total"]) == ({**pusher, "profile_tag": "", "enabled": True}, 1)
    for target, refusal in ((REMOTE, (400, "M_UNKNOWN")), (f"@nobody:{SERVER}", (404, "M_NOT_FOUND"))):
        path = f"{V1}/users/{target}/pushers"
        assert await server.refusal("GET", path, None, server.token) == refusal


@pytest.mark.parametrize("path", [f"{V1}/whois", "admin/whois", "/_matrix/client/r0/admin/whois"])
@ensureDeferred
async def test_whois(server: AdminServer, path: str) -> None:
    """From where the devices were used, for administrators and oneself; nobody else is told, not even who exists."""
    alice, bob = await server.user("alice"), await server.user("bob")
    await server.ok("GET", "account/whoami", token=alice)
    await server.core.accounts.last_seen.write()
    for token in (server.token, alice):
        answer = await server.ok("GET", f"{path}/{ALICE}", token=token)
        assert answer.keys() == {"user_id", "devices"}
        (connection,) = answer["devices"][""]["sessions"][0]["connections"]
        assert {name: type(value) for name, value in connection.items()} == {
            "ip": str,
            "last_seen": int,
            "user_agent": str,
        }
    for target in (ALICE, f"@nobody:{SERVER}"):
        assert await server.refusal("GET", f"{path}/{target}", None, bob) == (403, "M_FORBIDDEN")
    assert await server.refusal("GET", f"{path}/{REMOTE}", None, server.token) == (400, "M_UNKNOWN")
    assert await server.refusal("GET", f"{path}/alice", None, server.token) == (400, "M_INVALID_PARAM")


@pytest.mark.parametrize(("word", "flag"), [("lock", "locked"), ("suspend", "suspended")])
@ensureDeferred
async def test_moderation_by_the_client_api(server: AdminServer, word: str, flag: str) -> None:
    """The flag is set and read; neither oneself nor another administrator; nobody else may ask who exists."""
    alice = await server.user("alice")
    await server.user("other_admin", is_admin=True)
    path = f"/_matrix/client/v1/admin/{word}"
    assert await server.admin("GET", f"{path}/{ALICE}") == {flag: False}
    assert await server.admin("PUT", f"{path}/{ALICE}", {flag: True}) == {flag: True}
    assert await server.admin("GET", f"{path}/{ALICE}") == {flag: True}
    assert (await server.admin("GET", f"/_synapse/admin/v2/users/{ALICE}"))[flag] is True
    assert await server.admin("PUT", f"{path}/{ALICE}", {flag: False}) == {flag: False}
    for target in (ALICE, f"@nobody:{SERVER}"):
        assert await server.refusal("GET", f"{path}/{target}", None, alice) == (403, "M_FORBIDDEN")
    for target, body, refusal in (
        (f"@admin:{SERVER}", {flag: True}, (403, "M_FORBIDDEN")),
        (f"@other_admin:{SERVER}", {flag: True}, (403, "M_FORBIDDEN")),
        (f"@nobody:{SERVER}", {flag: True}, (404, "M_NOT_FOUND")),
        (REMOTE, {flag: True}, (400, "M_INVALID_PARAM")),
        (ALICE, {}, (400, "M_MISSING_PARAM")),
        (ALICE, {flag: 1}, (400, "M_BAD_JSON")),
    ):
        assert await server.refusal("PUT", f"{path}/{target}", body, server.token) == refusal
    await server.admin("POST", f"{V1}/deactivate/{ALICE}")
    assert await server.refusal("GET", f"{path}/{ALICE}", None, server.token) == (404, "M_NOT_FOUND")
