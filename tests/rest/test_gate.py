"""Who gets through the gate."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from tests.rest.home import OPEN, Home


class Echo:
    """Tells whom the gate saw."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.names: list[str | None] = []

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/any", self.any),
            Route("GET", "/admin", self.admin),
            Route("GET", "/own/{name}", self.own),
        ]

    async def any(self, request: Request) -> JsonObject:
        requester = await self._home.gate.requester(request)
        self.names.append(request.requester_name)
        return {"user_id": requester.user_id, "device_id": requester.device_id}

    async def admin(self, request: Request) -> JsonObject:
        return {"user_id": (await self._home.gate.admin(request)).user_id}

    async def own(self, request: Request, name: str) -> JsonObject:
        return {"user_id": (await self._home.gate.owner(request, name, "Not yours")).user_id}


@pytest.fixture
def echo(home: Home) -> Echo:
    echo = Echo(home)
    home.add_routes(echo.routes())
    return echo


@ensureDeferred
async def test_a_token_opens_in_header_and_query(home: Home, echo: Echo) -> None:
    """The access log learns the name, the device its last use."""
    token = await home.register("name", device_id="D")
    expected = {"user_id": "@name:hs.test", "device_id": "D"}
    assert await home.ok("GET", "/any", token=token) == expected
    assert await home.ok("GET", f"/any?access_token={token}") == expected
    assert echo.names == ["@name:hs.test"] * 2
    await home.last_seen.write()
    ip = await home.database.read(lambda txn: txn.value("SELECT last_seen_ip FROM devices"))
    assert ip == "192.0.2.1"


@ensureDeferred
async def test_without_a_good_token_nobody_passes(home: Home, echo: Echo) -> None:
    """Missing, unknown and locked each have their code."""
    assert await home.refusal("GET", "/any") == (401, "M_MISSING_TOKEN")
    answer = await home.call("GET", "/any", token="syt_no")
    assert (answer.status, answer.json()["errcode"]) == (401, "M_UNKNOWN_TOKEN")
    assert answer.json()["soft_logout"] is False
    token = await home.register("name")
    await home.database.transact(lambda txn: txn.execute("UPDATE users SET locked = true"))
    answer = await home.call("GET", "/any", token=token)
    assert (answer.status, answer.json()["errcode"]) == (401, "M_USER_LOCKED")
    assert answer.json()["soft_logout"] is True
    assert echo.names == []


@ensureDeferred
async def test_guests_pass_only_where_they_may(build_home, echo: Echo) -> None:
    """Where nothing is said they may not."""
    home = build_home(**OPEN, allow_guest_access=True)
    home.add_routes(Echo(home).routes())
    guest = await home.ok("POST", "register?kind=guest", {})
    token, user_id = guest["access_token"], guest["user_id"]
    assert await home.refusal("GET", "/any", token=token) == (403, "M_GUEST_ACCESS_FORBIDDEN")
    assert await home.ok("GET", f"/own/{user_id}", token=token) == {"user_id": user_id}


@ensureDeferred
async def test_doors_for_some(home: Home, echo: Echo) -> None:
    """Administrators and owners get through theirs, others read why not."""
    token = await home.register("name")
    answer = await home.call("GET", "/admin", token=token)
    assert answer.status == 403
    assert answer.json() == {"errcode": "M_FORBIDDEN", "error": "You are not a server admin"}
    answer = await home.call("GET", "/own/@other:hs.test", token=token)
    assert answer.json() == {"errcode": "M_FORBIDDEN", "error": "Not yours"}
    admin = await home.register("boss")
    await home.make_admin("@boss:hs.test")
    assert await home.ok("GET", "/admin", token=admin) == {"user_id": "@boss:hs.test"}
