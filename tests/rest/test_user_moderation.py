"""What administrators do with users by the client API."""

import re

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.http.access import Access
from tests.server import TestServer, path_part

ADMIN = "/_matrix/client/v1/admin"
BOB = path_part("@bob:hs.test")


@ensureDeferred
async def test_locking_and_suspending(server: TestServer) -> None:
    """Read and set by administrators of the server, of others; what it means for the user holds at once."""
    alice, bob = await server.user("alice", is_admin=True), await server.user("bob")
    for word, flag in (("suspend", "suspended"), ("lock", "locked")):
        path = f"{ADMIN}/{word}/{BOB}"
        assert await server.ok("GET", path, None, alice) == {flag: False}
        assert await server.ok("PUT", path, {flag: True}, alice) == {flag: True}
        assert await server.ok("GET", path, None, alice) == {flag: True}
        assert await server.refusal("PUT", path, {flag: "yes"}, alice) == (400, "M_BAD_JSON")
        assert await server.refusal("GET", f"{ADMIN}/{word}/{path_part('@x:hs.test')}", None, alice) == (
            404, "M_NOT_FOUND",
        )  # fmt: skip
    assert await server.refusal("GET", "joined_rooms", None, bob) == (401, "M_USER_LOCKED")
    await server.ok("PUT", f"{ADMIN}/lock/{BOB}", {"locked": False}, alice)
    assert await server.ok("GET", "joined_rooms", None, bob) == {"joined_rooms": []}


@ensureDeferred
async def test_who_is_locked_can_only_log_out(server: TestServer) -> None:
    """Whatever they ask for: their session is kept, and is as good as before when the lock is taken off."""
    admin, bob = await server.user("admin", is_admin=True), await server.user("bob")
    await server.ok("PUT", f"{ADMIN}/lock/{BOB}", {"locked": True}, admin)
    asked, left = 0, set()
    for route in server.routes:
        if route.access in (Access.NONE, Access.SERVER):
            continue
        if route.access is Access.LOCKED:
            left.add(route.pattern)
            continue
        answer = await server.call(route.method, re.sub(r"{\w+}", "x", route.pattern), {}, bob)
        assert (answer.status, answer.json()["errcode"]) == (401, "M_USER_LOCKED"), route
        assert answer.json()["soft_logout"] is True, route
        asked += 1
    assert asked > 200
    assert {pattern.split("/", 4)[-1] for pattern in left} == {"logout", "logout/all"}
    await server.ok("PUT", f"{ADMIN}/lock/{BOB}", {"locked": False}, admin)
    assert (await server.ok("GET", "account/whoami", None, bob))["user_id"] == "@bob:hs.test"
    await server.ok("PUT", f"{ADMIN}/lock/{BOB}", {"locked": True}, admin)
    await server.ok("POST", "logout", {}, bob)


@ensureDeferred
async def test_who_is_suspended_leaves_rooms_as_they_are(server: TestServer) -> None:
    """Also their own: it is neither shown to everybody nor replaced."""
    admin, bob = await server.user("admin", is_admin=True), await server.user("bob")
    room = await server.room(bob)
    await server.ok("PUT", f"{ADMIN}/suspend/{BOB}", {"suspended": True}, admin)
    listing = f"directory/list/room/{path_part(room.removeprefix('rooms/'))}"
    for method, path, body in (
        ("PUT", listing, {"visibility": "public"}),
        ("POST", f"{room}/upgrade", {"new_version": "11"}),
    ):
        assert await server.refusal(method, path, body, bob) == (403, "M_USER_SUSPENDED")
    assert await server.ok("GET", listing) == {"visibility": "private"}


@pytest.mark.parametrize("word", ["suspend", "lock"])
@ensureDeferred
async def test_moderation_is_for_administrators(server: TestServer, word: str) -> None:
    """Users may not, not even read."""
    bob = await server.user("bob")
    assert await server.refusal("GET", f"{ADMIN}/{word}/{BOB}", None, bob) == (403, "M_FORBIDDEN")


@ensureDeferred
async def test_whois(server: TestServer) -> None:
    """Where a user is logged in, for administrators and the user alone."""
    alice, bob = await server.user("alice", is_admin=True), await server.user("bob")
    for token in (alice, bob):
        answer = await server.ok("GET", f"admin/whois/{BOB}", None, token)
        assert answer["user_id"] == "@bob:hs.test"
        assert answer["devices"]
    assert await server.refusal("GET", f"admin/whois/{path_part('@alice:hs.test')}", None, bob) == (
        403, "M_FORBIDDEN",
    )  # fmt: skip
