"""Users as operators see and change them, one by one: Synapse's keys and types."""

from typing import Any

from pytest_twisted import ensureDeferred

from synapse_lite.tasks.actions.deactivate_user import DEACTIVATE_USER
from tests.rest.admin.users import DETAILED, check, one, user_id
from tests.rest.admin_server import V1, V2, AdminServer
from tests.server import PASSWORD, path_part

V3 = "/_synapse/admin/v3"


@ensureDeferred
async def test_making_and_reading_a_user(server: AdminServer) -> None:
    """201 with the user as a GET shows them; with a password they can log in."""
    body = {
        "password": PASSWORD,
        "displayname": "Alice",
        "threepids": [{"medium": "email", "address": "Alice@Example.org"}],
        "external_ids": [{"auth_provider": "oidc", "external_id": "a1"}],
        "admin": True,
        "user_type": "support",
    }
    made = await server.call("PUT", one("alice"), body, server.token)
    assert made.status == 201
    user = made.json()
    check(user, DETAILED)
    assert user == await server.admin("GET", one("alice"))
    assert (user["displayname"], user["admin"], user["user_type"]) == ("Alice", True, "support")
    assert user["creation_ts"] == server.clock.now_ms() // 1000
    assert [{**user["threepids"][0], "added_at": 0, "validated_at": 0}] == [
        {"medium": "email", "address": "alice@example.org", "added_at": 0, "validated_at": 0}
    ]
    assert user["external_ids"] == body["external_ids"]
    assert (await server.admin("GET", f"{V1}/threepid/email/users/ALICE@example.org")) == {
        "user_id": user_id("alice")
    }
    assert (await server.admin("GET", f"{V1}/auth_providers/oidc/users/a1")) == {"user_id": user_id("alice")}
    await log_in(server, "alice")
    plain = await server.call("PUT", one("plain"), {}, server.token)
    assert (plain.status, plain.json()["displayname"]) == (201, "plain")


@ensureDeferred
async def test_changing_a_user(server: AdminServer) -> None:
    """What is named changes, lists are replaced, the rest stays; a new password ends sessions, unless told not to."""
    await server.admin_made("alice", {"displayname": "Alice", "user_type": "bot", "password": PASSWORD})
    token = (await log_in(server, "alice"))["access_token"]
    room = await server.room(token)
    user = await server.admin("PUT", one("alice"), {"displayname": "Alicia"})
    assert (user["displayname"], user["user_type"]) == ("Alicia", "bot")
    members = await server.ok("GET", f"{room}/joined_members", token=token)
    assert members["joined"][user_id("alice")]["display_name"] == "Alicia"
    await server.admin("PUT", one("alice"), {"password": "another one", "logout_devices": False})
    await server.ok("GET", "account/whoami", token=token)
    await server.admin("PUT", one("alice"), {"password": "a third one"})
    assert await server.refusal("GET", "account/whoami", token=token) == (401, "M_UNKNOWN_TOKEN")
    threepids = [{"medium": "email", "address": "a@b.test"}, {"medium": "msisdn", "address": "1"}]
    await server.admin("PUT", one("alice"), {"threepids": threepids})
    user = await server.admin("PUT", one("alice"), {"threepids": threepids[1:], "user_type": None})
    assert ([one["medium"] for one in user["threepids"]], user["user_type"]) == (["msisdn"], None)


@ensureDeferred
async def test_an_identity_belongs_to_one_user(server: AdminServer) -> None:
    """409, and nothing of the request has happened; no user is made by a request that is refused."""
    identity = {"external_ids": [{"auth_provider": "oidc", "external_id": "x"}]}
    await server.admin_made("alice", identity)
    for name in ("bob", "admin"):
        body = {"displayname": "Thief", **identity}
        assert await server.refusal("PUT", one(name), body, server.token) == (409, "M_UNKNOWN")
    assert await server.refusal("GET", one("bob"), None, server.token) == (404, "M_NOT_FOUND")
    assert (await server.admin("GET", one("admin")))["displayname"] is None
    await server.admin("PUT", one("alice"), identity)


@ensureDeferred
async def test_what_cannot_be_set(server: AdminServer) -> None:
    """Each wrong value with Synapse's status and code; no user comes of it."""
    for body, refusal in (
        ({"admin": "yes"}, (400, "M_BAD_JSON")),
        ({"user_type": "king"}, (400, "M_UNKNOWN")),
        ({"user_type": ["bot"]}, (400, "M_UNKNOWN")),
        ({"password": 1}, (400, "M_UNKNOWN")),
        ({"password": "x" * 513}, (400, "M_UNKNOWN")),
        ({"deactivated": "x"}, (400, "M_UNKNOWN")),
        ({"locked": 1}, (400, "M_UNKNOWN")),
        ({"logout_devices": 1}, (400, "M_UNKNOWN")),
        ({"deactivated": True, "locked": True}, (400, "M_UNKNOWN")),
        ({"threepids": [{"medium": "email"}]}, (400, "M_MISSING_PARAM")),
        ({"threepids": {}}, (400, "M_BAD_JSON")),
        ({"external_ids": [{"external_id": "x"}]}, (400, "M_MISSING_PARAM")),
        ({"displayname": 1}, (400, "M_BAD_JSON")),
        ({"displayname": "x" * 257}, (400, "M_INVALID_PARAM")),
        (b"", (400, "M_NOT_JSON")),
        (b"[]", (400, "M_BAD_JSON")),
    ):
        assert await server.refusal("PUT", one("new"), body, server.token) == refusal, body
    assert await server.refusal("GET", one("new"), None, server.token) == (404, "M_NOT_FOUND")
    assert await server.refusal("PUT", one("NEW"), {}, server.token) == (400, "M_INVALID_USERNAME")
    assert await server.refusal("PUT", one("_a"), {}, server.token) == (400, "M_INVALID_USERNAME")
    assert await server.refusal("PUT", one("admin"), {"admin": False}, server.token) == (400, "M_UNKNOWN")
    for path, errcode in (
        (f"{V2}/users/@a:elsewhere.test", "M_UNKNOWN"),
        (f"{V2}/users/a", "M_INVALID_PARAM"),
    ):
        for method, body in (("GET", None), ("PUT", {})):
            assert await server.refusal(method, path, body, server.token) == (400, errcode)


@ensureDeferred
async def test_closing_and_reopening(server: AdminServer) -> None:
    """A closed account is out everywhere and its name stays taken; it can be opened again, without its data."""
    await server.admin_made(
        "alice", {"password": PASSWORD, "threepids": [{"medium": "email", "address": "a@b"}]}
    )
    token = (await log_in(server, "alice"))["access_token"]
    room = await server.room(token)
    answer = await server.admin("POST", f"{V1}/deactivate/{path_part(user_id('alice'))}", {"erase": True})
    assert answer == {"id_server_unbind_result": "success"}
    assert await server.refusal("GET", "account/whoami", token=token) == (401, "M_UNKNOWN_TOKEN")
    await server.run_task(DEACTIVATE_USER)
    user = await server.admin("GET", one("alice"))
    assert (user["deactivated"], user["erased"], user["threepids"], user["displayname"]) == (
        True,
        True,
        [],
        None,
    )
    members = await server.admin("GET", f"{V1}/{room}/members")
    assert members["members"] == []
    assert await server.refusal("PUT", one("Alice"), {}, server.token) == (400, "M_INVALID_USERNAME")
    user = await server.admin("PUT", one("alice"), {"deactivated": False, "password": PASSWORD})
    assert (user["deactivated"], user["erased"]) == (False, False)
    await log_in(server, "alice")
    for path, body, refusal in (
        ("@nobody:hs.test", {}, (404, "M_NOT_FOUND")),
        ("@a:elsewhere.test", {}, (400, "M_UNKNOWN")),
        (user_id("alice"), {"erase": 1}, (400, "M_BAD_JSON")),
    ):
        assert await server.refusal("POST", f"{V1}/deactivate/{path}", body, server.token) == refusal


@ensureDeferred
async def test_administrators(server: AdminServer) -> None:
    """The flag is read and set, open sessions have it at once, and nobody demotes themselves."""
    token = await server.user("alice")
    path = f"{one('alice', V1)}/admin"
    assert await server.admin("GET", path) == {"admin": False}
    assert await server.admin("GET", f"{one('nobody', V1)}/admin") == {"admin": False}
    assert await server.refusal("GET", f"{V2}/users", None, token) == (403, "M_FORBIDDEN")
    assert await server.admin("PUT", path, {"admin": True}) == {}
    assert await server.admin("GET", path) == {"admin": True}
    await server.ok("GET", f"{V2}/users", token=token)
    assert await server.refusal("PUT", path, {"admin": False}, token) == (400, "M_UNKNOWN")
    await server.admin("PUT", path, {"admin": False})
    assert await server.refusal("GET", f"{V2}/users", None, token) == (403, "M_FORBIDDEN")
    assert await server.refusal("PUT", path, {}, server.token) == (400, "M_MISSING_PARAM")
    assert await server.refusal("PUT", f"{one('nobody', V1)}/admin", {"admin": True}, server.token) == (
        404,
        "M_NOT_FOUND",
    )


@ensureDeferred
async def test_suspending_and_locking(server: AdminServer) -> None:
    """A suspended user reads and does not write; one who is locked is out until the lock is taken off."""
    token = await server.user("alice")
    room = await server.room(token)
    path = f"{V1}/suspend/{path_part(user_id('alice'))}"
    assert await server.admin("PUT", path, {"suspend": True}) == {f"user_{user_id('alice')}_suspended": True}
    message = {"msgtype": "m.text", "body": "x"}
    send = f"{room}/send/m.room.message/"
    assert await server.refusal("PUT", f"{send}1", message, token) == (403, "M_USER_SUSPENDED")
    assert (await server.admin("GET", one("alice")))["suspended"] is True
    listed = await server.admin("GET", f"{V2}/users?user_id={user_id('alice')}")
    assert [user["suspended"] for user in listed["users"]] == [True]
    await server.admin("PUT", path, {"suspend": False})
    await server.ok("PUT", f"{send}2", message, token)
    await server.admin("PUT", one("alice"), {"locked": True})
    assert await server.refusal("GET", "account/whoami", token=token) == (401, "M_USER_LOCKED")
    await server.admin("PUT", one("alice"), {"locked": False})
    await server.ok("GET", "account/whoami", token=token)
    for body, errcode in (({}, "M_MISSING_PARAM"), ({"suspend": 1}, "M_BAD_JSON"), (b"", "M_NOT_JSON")):
        assert await server.refusal("PUT", path, body, server.token) == (400, errcode)
    for target, refusal in (("@x:elsewhere.test", (400, "M_UNKNOWN")), ("@x:hs.test", (404, "M_NOT_FOUND"))):
        assert (
            await server.refusal("PUT", f"{V1}/suspend/{target}", {"suspend": True}, server.token) == refusal
        )


@ensureDeferred
async def test_resetting_a_password(server: AdminServer) -> None:
    """The new one is good and the old one is not; sessions end, unless told not to."""
    await server.admin_made("alice", {"password": PASSWORD})
    token = (await log_in(server, "alice"))["access_token"]
    path = f"{V1}/reset_password/{path_part(user_id('alice'))}"
    assert await server.admin("POST", path, {"new_password": "new one", "logout_devices": False}) == {}
    await server.ok("GET", "account/whoami", token=token)
    assert await server.admin("POST", path, {"new_password": "newer"}) == {}
    assert await server.refusal("GET", "account/whoami", token=token) == (401, "M_UNKNOWN_TOKEN")
    await log_in(server, "alice", "newer")
    assert await server.refusal("POST", path, {}, server.token) == (400, "M_MISSING_PARAM")
    unknown = f"{V1}/reset_password/@nobody:hs.test"
    assert await server.refusal("POST", unknown, {"new_password": "x"}, server.token) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_logging_in_as_a_user(server: AdminServer) -> None:
    """A token without a device, for as long as was said; not for oneself, nor for who is not there."""
    await server.user("alice")
    path = f"{one('alice', V1)}/login"
    answer = await server.admin("POST", path, {"valid_until_ms": server.clock.now_ms() + 1000})
    assert answer.keys() == {"access_token"}
    whoami = await server.ok("GET", "account/whoami", token=answer["access_token"])
    assert whoami == {"user_id": user_id("alice"), "is_guest": False}
    assert await server.admin("POST", path) != answer
    over = await server.admin("POST", path, {"valid_until_ms": 1})
    assert await server.refusal("GET", "account/whoami", token=over["access_token"]) == (
        401,
        "M_UNKNOWN_TOKEN",
    )
    for target, body, refusal in (
        ("admin", {}, (400, "M_UNKNOWN")),
        ("alice", {"valid_until_ms": "1"}, (400, "M_UNKNOWN")),
        ("nobody", {}, (404, "M_NOT_FOUND")),
    ):
        assert await server.refusal("POST", f"{one(target, V1)}/login", body, server.token) == refusal


@ensureDeferred
async def test_free_names(server: AdminServer) -> None:
    """Also when registration is closed."""
    path = f"{V1}/username_available?username="
    assert await server.admin("GET", f"{path}free") == {"available": True}
    for name, errcode in (("admin", "M_USER_IN_USE"), ("a%20b", "M_INVALID_USERNAME")):
        assert await server.refusal("GET", f"{path}{name}", None, server.token) == (400, errcode)
    assert await server.refusal("GET", f"{V1}/username_available", None, server.token) == (
        400,
        "M_MISSING_PARAM",
    )
    for unknown in ("threepid/email/users/x@y.test", "auth_providers/oidc/users/x"):
        assert await server.refusal("GET", f"{V1}/{unknown}", None, server.token) == (404, "M_NOT_FOUND")


async def log_in(server: AdminServer, name: str, password: str = PASSWORD) -> Any:
    identifier = {"type": "m.id.user", "user": name}
    return await server.ok(
        "POST", "login", {"type": "m.login.password", "identifier": identifier, "password": password}
    )


@ensureDeferred
async def test_erasing_a_user(server: AdminServer) -> None:
    """A task; one at a time for a user; not oneself, nor who is not there."""
    await server.user("alice")
    path = f"{one('alice', V1)}/erase"
    answer = await server.admin("POST", path, {"reason": "spam"})
    assert answer.keys() == {"task_id"}
    task = await server.admin("GET", f"{V1}/scheduled_tasks/{answer['task_id']}")
    assert (task["action"], task["resource_id"]) == ("erase_user", user_id("alice"))
    again = await server.call("POST", path, None, server.token)
    assert (again.status, again.json()["task_id"]) == (400, answer["task_id"])
    assert await server.admin("POST", path, {"dry_run": True}) != answer
    for target, body, refusal in (
        ("admin", {}, (400, "M_UNKNOWN")),
        ("nobody", {}, (404, "M_NOT_FOUND")),
        ("alice", {"dry_run": 1}, (400, "M_BAD_JSON")),
        ("alice", {"reason": 1}, (400, "M_BAD_JSON")),
    ):
        assert await server.refusal("POST", f"{one(target, V1)}/erase", body, server.token) == refusal
