"""Who gets through to a handler."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer


class Echo:
    """Tells who came through."""

    def __init__(self) -> None:
        self.names: list[str | None] = []

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/user", self.user, Access.USER),
            Route("GET", "/guest", self.user, Access.GUEST),
            Route("GET", "/admin", self.user, Access.ADMIN),
            Route("GET", "/optional", self.user, Access.OPTIONAL),
            Route("GET", "/own/{name}", self.own, Access.GUEST),
        ]

    async def user(self, request: Request, requester: Requester | None) -> JsonObject:
        self.names.append(request.requester_name)
        return {"user_id": requester.user_id, "device_id": requester.device_id} if requester else {}

    async def own(self, _request: Request, requester: Requester, name: str) -> JsonObject:
        requester.check_is(name, "Not yours")
        return {"user_id": requester.user_id}


@pytest.fixture
def echo(server: TestServer) -> Echo:
    echo = Echo()
    server.add_routes(echo.routes())
    return echo


@ensureDeferred
async def test_a_token_opens_in_header_and_query(server: TestServer, echo: Echo) -> None:
    """The access log learns the name, the device its last use."""
    token = await server.register("name", device_id="D")
    expected = {"user_id": "@name:hs.test", "device_id": "D"}
    assert await server.ok("GET", "/user", token=token) == expected
    assert await server.ok("GET", f"/user?access_token={token}") == expected
    assert echo.names == ["@name:hs.test"] * 2
    await server.core.accounts.last_seen.write()
    ip = await server.database.read(lambda txn: txn.value("SELECT last_seen_ip FROM devices"))
    assert ip == "192.0.2.1"


@ensureDeferred
async def test_without_a_good_token_nobody_passes(server: TestServer, echo: Echo) -> None:
    """Missing, unknown and locked each have their code."""
    assert await server.refusal("GET", "/user") == (401, "M_MISSING_TOKEN")
    answer = await server.call("GET", "/user", token="syt_no")
    assert (answer.status, answer.json()["errcode"]) == (401, "M_UNKNOWN_TOKEN")
    assert answer.json()["soft_logout"] is False
    token = await server.register("name")
    await server.database.transact(lambda txn: txn.execute("UPDATE users SET locked = true"))
    answer = await server.call("GET", "/user", token=token)
    assert (answer.status, answer.json()["errcode"]) == (401, "M_USER_LOCKED")
    assert answer.json()["soft_logout"] is True
    assert echo.names == []


@ensureDeferred
async def test_an_optional_token_must_be_good(server: TestServer, echo: Echo) -> None:
    """Without one nobody is known; with one its owner is, or the request is refused."""
    token = await server.register("name", device_id="D")
    assert await server.ok("GET", "/optional") == {}
    assert (await server.ok("GET", "/optional", token=token))["user_id"] == "@name:hs.test"
    assert await server.refusal("GET", "/optional", token="syt_no") == (401, "M_UNKNOWN_TOKEN")


@ensureDeferred
async def test_guests_pass_only_where_they_may(build_server) -> None:
    """A route for users is none for guests."""
    server = await build_server(**OPEN, allow_guest_access=True)
    server.add_routes(Echo().routes())
    guest = await server.ok("POST", "register?kind=guest", {})
    token, user_id = guest["access_token"], guest["user_id"]
    assert await server.refusal("GET", "/user", token=token) == (403, "M_GUEST_ACCESS_FORBIDDEN")
    assert await server.ok("GET", f"/own/{user_id}", token=token) == {"user_id": user_id}


@ensureDeferred
async def test_doors_for_some(server: TestServer, echo: Echo) -> None:
    """Administrators and owners get through theirs, others read why not."""
    token = await server.register("name")
    answer = await server.call("GET", "/admin", token=token)
    assert answer.status == 403
    assert answer.json() == {"errcode": "M_FORBIDDEN", "error": "You are not a server admin"}
    answer = await server.call("GET", "/own/@other:hs.test", token=token)
    assert answer.json() == {"errcode": "M_FORBIDDEN", "error": "Not yours"}
    admin = await server.register("boss")
    await server.make_admin("@boss:hs.test")
    assert (await server.ok("GET", "/admin", token=admin))["user_id"] == "@boss:hs.test"


@ensureDeferred
async def test_a_closed_server(build_server: BuildServer) -> None:
    """`hs_disabled`: users may log out, and nothing else; administrators go on; nobody registers."""
    closed = {"hs_disabled": True, "hs_disabled_message": "Back at noon", "admin_contact": "mailto:a@b.test"}
    server = await build_server(**OPEN, allow_guest_access=True, **closed)
    user, boss = await server.user("user"), await server.user("boss")
    await server.make_admin("@boss:hs.test")
    answer = await server.call("GET", "sync", token=user)
    assert (answer.status, answer.json()) == (
        403,
        {
            "errcode": "M_RESOURCE_LIMIT_EXCEEDED",
            "error": "Back at noon",
            "limit_type": "hs_disabled",
            "admin_contact": "mailto:a@b.test",
        },
    )
    assert (await server.call("GET", "sync", token=boss)).status == 200
    for kind in ("user", "guest"):
        refusal = await server.refusal("POST", f"register?kind={kind}", {"password": "secret"})
        assert refusal == (403, "M_RESOURCE_LIMIT_EXCEEDED")
    assert await server.ok("POST", "logout", {}, user) == {}
