"""What administrators do with users by the client API."""

import pytest
from pytest_twisted import ensureDeferred

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
