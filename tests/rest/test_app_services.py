"""Application services make users, log them in and speak for them."""

from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from tests.rest.conftest import BuildServer
from tests.rest.office import open_office
from tests.rest.registered_services import TOKEN, registered
from tests.server import OPEN, PASSWORD, TestServer, path_part

APP_SERVICE = "m.login.application_service"
EXCLUSIVE = (400, "M_EXCLUSIVE")
JIM = "@irc_jim:hs.test"
AS_JIM = f"user_id={JIM}"


def new(username: str, **more: Any) -> dict[str, Any]:
    return {"type": APP_SERVICE, "username": username, **more}


def login(user: str) -> dict[str, Any]:
    return {"type": APP_SERVICE, "identifier": {"type": "m.id.user", "user": user}}


async def with_jim(build_server: BuildServer, directory: Path, **options: Any) -> TestServer:
    server = await build_server(**registered(directory), **options)
    await server.ok("POST", "register", new("irc_jim", inhibit_login=True), TOKEN)
    return server


@ensureDeferred
async def test_a_service_registers_users(build_server: BuildServer, tmp_path: Path) -> None:
    """While registration is closed, without a proof; with a session unless it wants none, and in no room."""
    room = {"auto_join_rooms": ["#all:hs.test"]}
    server = await build_server(**registered(tmp_path), **room, enable_registration=False)
    made = await server.ok("POST", "register", new("irc_jim", device_id="D"), TOKEN)
    token = made.pop("access_token")
    assert made == {"user_id": JIM, "home_server": "hs.test", "device_id": "D"}
    assert (await server.ok("GET", "account/whoami", token=token))["device_id"] == "D"
    assert await server.ok("GET", "joined_rooms", token=token) == {"joined_rooms": []}
    answer = await server.ok("POST", f"register?access_token={TOKEN}", new("irc_Ann", inhibit_login=True))
    assert answer == {"user_id": "@irc_Ann:hs.test", "home_server": "hs.test"}
    profile = await server.ok("GET", f"profile/{path_part(JIM)}")
    assert profile == {"displayname": "irc_jim"}


@ensureDeferred
async def test_what_a_service_may_not_register(build_server: BuildServer, tmp_path: Path) -> None:
    """Names that are not its own, names in use in whatever case, names that are none."""
    server = await with_jim(build_server, tmp_path)
    for body, refusal in (
        (new("irc_jim"), (400, "M_USER_IN_USE")),
        (new("irc_JIM"), (400, "M_USER_IN_USE")),
        (new("jim"), EXCLUSIVE),
        (new(""), (400, "M_INVALID_USERNAME")),
        (new("irc_a:b"), (400, "M_INVALID_USERNAME")),
        (new(f"irc_{'x' * 300}"), (400, "M_INVALID_USERNAME")),
        ({"type": APP_SERVICE}, (400, "M_MISSING_PARAM")),
    ):
        assert await server.refusal("POST", "register", body, TOKEN) == refusal
    alice = await server.user("alice")
    for token, refusal in (
        (None, (401, "M_MISSING_TOKEN")),
        ("unknown", (401, "M_UNKNOWN_TOKEN")),
        (alice, (401, "M_UNKNOWN_TOKEN")),
    ):
        assert await server.refusal("POST", "register", new("irc_x"), token) == refusal
        assert await server.refusal("POST", "login", login("irc_jim"), token) == refusal


@ensureDeferred
async def test_names_that_are_kept_for_a_service(build_server: BuildServer, tmp_path: Path) -> None:
    """Nobody else gets one, whoever makes the account; other names of its namespaces are for everybody."""
    loose = {"regex": "@loose_.*", "exclusive": False}
    numbers = {"regex": "@[0-9]+:.*", "exclusive": True}
    kept = {"regex": "@irc_.*", "exclusive": True}
    files = registered(tmp_path, namespaces={"users": [kept, loose, numbers]})
    server = await build_server(**OPEN, **files, allow_guest_access=True)
    admin = (await open_office(server)).token
    user: dict[str, Any] = {"password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    for name in ("irc_x", "irc_bot"):
        assert await server.refusal("POST", "register", {"username": name, **user}) == EXCLUSIVE
        assert await server.refusal("GET", f"register/available?username={name}") == EXCLUSIVE
    assert await server.refusal("POST", "register?kind=guest", {}) == EXCLUSIVE
    by_admin = f"/_synapse/admin/v2/users/{path_part('@irc_x:hs.test')}"
    assert await server.refusal("PUT", by_admin, {"password": PASSWORD}, admin) == EXCLUSIVE
    available = "/_synapse/admin/v1/username_available?username=irc_x"
    assert await server.refusal("GET", available, token=admin) == EXCLUSIVE
    await server.register("loose_1")
    await server.ok("POST", "register", new("loose_2"), TOKEN)


@ensureDeferred
async def test_a_service_logs_its_users_in(build_server: BuildServer, tmp_path: Path) -> None:
    """By their names or ids, on a device; others and unknown ones it does not."""
    server = await with_jim(build_server, tmp_path)
    assert {"type": APP_SERVICE} in (await server.ok("GET", "login"))["flows"]
    for name in ("irc_jim", JIM):
        answer = await server.ok("POST", "login", {**login(name), "device_id": "D"}, TOKEN)
        me = await server.ok("GET", "account/whoami", token=answer["access_token"])
        assert me == {"user_id": JIM, "device_id": "D", "is_guest": False}
    await server.user("alice")
    for name in ("alice", "irc_nobody", "@irc_jim:other.test", "@"):
        assert await server.refusal("POST", "login", login(name), TOKEN) == (403, "M_FORBIDDEN")
    by_mail = {"type": "m.id.thirdparty", "medium": "email", "address": "a@b.test"}
    body = {"type": APP_SERVICE, "identifier": by_mail}
    assert await server.refusal("POST", "login", body, TOKEN) == (400, "M_INVALID_PARAM")
    await server.ok("POST", f"account/deactivate?{AS_JIM}", {}, TOKEN)
    assert await server.refusal("POST", "login", login(JIM), TOKEN) == (403, "M_USER_DEACTIVATED")


@ensureDeferred
async def test_users_of_services_are_not_counted(build_server: BuildServer, tmp_path: Path) -> None:
    """Neither as active users, nor as too many of them."""
    limit = {"limit_usage_by_mau": True, "max_mau_value": 1}
    server = await build_server(**OPEN, **limit, **registered(tmp_path))
    jim = (await server.ok("POST", "register", new("irc_jim"), TOKEN))["access_token"]
    await server.ok("GET", "sync", token=jim)
    alice = await server.register("alice")
    await server.ok("GET", "sync", token=alice)
    ann = (await server.ok("POST", "register", new("irc_ann"), TOKEN))["access_token"]
    await server.ok("GET", "sync", token=ann)


@ensureDeferred
async def test_when_it_was_said(build_server: BuildServer, tmp_path: Path) -> None:
    """A service says so of messages and state, memberships among it; nobody else does, and of nothing else."""
    server = await with_jim(build_server, tmp_path)
    room = await server.room(TOKEN)
    hello = {"msgtype": "m.text", "body": "hello"}
    await server.ok("PUT", f"{room}/send/m.room.message/1?ts=5", hello, TOKEN)
    await server.ok("PUT", f"{room}/state/m.room.topic?ts=6", {"topic": "t"}, TOKEN)
    member = f"{room}/state/m.room.member/{path_part(JIM)}?ts=7&{AS_JIM}"
    await server.ok("PUT", member, {"membership": "join"}, TOKEN)
    alice = await server.user("alice")
    await server.ok("POST", f"{room}/join?ts=8", {}, alice)
    await server.ok("PUT", f"{room}/send/m.room.message/2?ts=x", hello, alice)
    await server.ok("POST", f"{room}/leave?ts=9&{AS_JIM}", {}, TOKEN)
    events = (await server.ok("GET", f"{room}/messages?dir=b&limit=6", token=TOKEN))["chunk"]
    times = [event["origin_server_ts"] for event in events]
    assert times[3:] == [7, 6, 5]
    assert min(times[:3]) > 1_000_000_000_000
    for wrong in ("x", "-1", ""):
        path = f"{room}/send/m.room.message/3?ts={wrong}"
        assert await server.refusal("PUT", path, hello, TOKEN) == (400, "M_INVALID_PARAM")


@pytest.mark.parametrize("limited", [False, True])
@ensureDeferred
async def test_services_without_limits(build_server: BuildServer, tmp_path: Path, limited: bool) -> None:
    """What they do is counted nowhere, unless the operator says so."""
    tight = {"per_second": 1e-6, "burst_count": 2}
    limits: dict[str, Any] = {
        "rc_message": tight,
        "rc_joins": {"local": tight, "remote": tight},
        "rc_joins_per_room": tight,
        "rc_invites": dict.fromkeys(("per_room", "per_user", "per_issuer"), tight),
        "rc_room_creation": tight,
        "rc_reports": tight,
        "rc_key_uploads": tight,
        "rc_presence": {"per_user": tight},
        "rc_user_directory": tight,
    }
    server = await build_server(**registered(tmp_path, rate_limited=limited), **limits)
    await server.ok("POST", "register", new("irc_jim", inhibit_login=True), TOKEN)
    await server.ok("POST", "register", new("irc_ann", inhibit_login=True), TOKEN)
    made = [await server.call("POST", "createRoom", {"preset": "public_chat"}, TOKEN) for _ in range(3)]
    room = f"rooms/{made[0].json()['room_id']}"
    ann, me = "@irc_ann:hs.test", "@irc_bot:hs.test"
    name = f"profile/{path_part(me)}/displayname"
    key = {"master_key": {"user_id": me, "usage": ["master"], "keys": {"ed25519:x": "x"}}}
    calls: list[tuple[str, str, Any]] = [
        ("PUT", f"{room}/send/m.room.message", {"msgtype": "m.text", "body": "hello"}),
        ("POST", f"{room}/join", {"reason": "again"}),
        ("POST", f"{room}/invite", {"user_id": ann}),
        ("POST", f"{room}/report", {"reason": "bad"}),
        ("PUT", f"{room}/typing/{path_part(me)}", {"typing": False}),
        ("PUT", f"presence/{path_part(me)}/status", {"presence": "online"}),
        ("POST", "user_directory/search", {"search_term": "x"}),
        ("PUT", name, {"displayname": "x"}),
        ("POST", "keys/device_signing/upload", key),
    ]
    refused = {"createRoom"} if made[-1].status == 429 else set()
    for method, path, body in calls:
        statuses = []
        for number in range(60 if "typing" in path else 4):
            more = f"/{number}" if "/send/" in path else ""
            statuses.append((await server.call(method, path + more, body, TOKEN)).status)
        refused |= {path.removeprefix(room)} if statuses[-1] == 429 else set()
    assert refused == (
        {path.removeprefix(room) for _, path, _ in calls} | {"createRoom"} if limited else set()
    )
