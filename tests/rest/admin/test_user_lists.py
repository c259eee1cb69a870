"""Lists of users as operators see them: Synapse's keys and types, every order, every filter."""

import pytest
from pytest_twisted import ensureDeferred

from tests.rest.admin.users import LISTED, check, names, one, user_id
from tests.rest.admin_server import V1, V2, AdminServer
from tests.server import path_part

V3 = "/_synapse/admin/v3"
ORDERS = [name for name in LISTED if name not in {"erased", "suspended", "name"}] + ["name"]


async def some_users(server: AdminServer) -> None:
    """Alice the bot, bob, who is locked, carol, who is closed, and a guest; besides the administrator."""
    await server.admin_made("alice", {"displayname": "Wonder", "user_type": "bot"})
    await server.admin_made("bob", {"locked": True})
    await server.admin_made("carol", {})
    await server.user("guest", is_guest=True)
    await server.admin("PUT", one("carol"), {"deactivated": True})


@ensureDeferred
async def test_the_list(server: AdminServer) -> None:
    """All fields, what they say, and the pages."""
    await server.admin_made("alice", {"displayname": "Wonder"})
    answer = await server.admin("GET", f"{V2}/users")
    assert (answer.keys(), names(answer), answer["total"]) == ({"users", "total"}, ["admin", "alice"], 2)
    for user in answer["users"]:
        check(user, LISTED)
    first = await server.admin("GET", f"{V2}/users?limit=1")
    assert (names(first), first["total"], first["next_token"]) == (["admin"], 2, "1")
    second = await server.admin("GET", f"{V2}/users?limit=1&from={first['next_token']}")
    assert (names(second), "next_token" in second) == (["alice"], False)


@ensureDeferred
async def test_filters(server: AdminServer) -> None:
    """Each one by itself, and what they leave out unless they are asked."""
    await some_users(server)
    for version, query, found in (
        (V2, "", ["admin", "alice", "guest"]),
        (V2, "guests=false", ["admin", "alice"]),
        (V2, "deactivated=true", ["admin", "alice", "carol", "guest"]),
        (V2, "locked=true", ["admin", "alice", "bob", "guest"]),
        (V2, "admins=true", ["admin"]),
        (V2, "admins=false&guests=false", ["alice"]),
        (V2, "name=WOND", ["alice"]),
        (V2, "name=lic", ["alice"]),
        (V2, "name=hs.test", []),
        (V2, "name=%25", []),
        (V2, "user_id=hs.test&guests=false", ["admin", "alice"]),
        (V2, "user_id=hs.test&name=lic", ["alice"]),
        (V2, "not_user_type=bot", ["admin", "guest"]),
        (V2, "not_user_type=", ["alice"]),
        (V2, "not_user_type=&not_user_type=bot", []),
        (V3, "", ["admin", "alice", "carol", "guest"]),
        (V3, "deactivated=true", ["carol"]),
        (V3, "deactivated=false", ["admin", "alice", "guest"]),
    ):
        assert names(await server.admin("GET", f"{version}/users?{query}")) == found, query
    for wrong in ("order_by=age", "dir=up", "from=-1", "limit=x", "guests=1", "deactivated=no", "admins=all"):
        refusal = await server.refusal("GET", f"{V2}/users?{wrong}", None, server.token)
        assert refusal == (400, "M_INVALID_PARAM"), wrong


@pytest.mark.parametrize("order", ORDERS)
@ensureDeferred
async def test_every_order_both_ways(server: AdminServer, order: str) -> None:
    """What has a value is sorted by it, and everybody is in the list."""
    await some_users(server)
    await server.core.accounts.last_seen.write()
    query = f"{V2}/users?deactivated=true&locked=true&order_by={order}"
    for direction in "fb":
        users = (await server.admin("GET", f"{query}&dir={direction}"))["users"]
        assert len(users) == 5
        values = [user[order] for user in users if user[order] is not None]
        assert values == sorted(values, reverse=direction == "b")


@ensureDeferred
async def test_the_old_search(server: AdminServer) -> None:
    """An array of five fields, by a part of the id; never a hash of a password."""
    await some_users(server)
    path = f"{V1}/search_users/{path_part(user_id('admin'))}"
    answer = await server.call("GET", f"{path}?term=ARO", None, server.token)
    assert answer.json() == [
        {
            "name": user_id("carol"),
            "password_hash": None,
            "is_guest": False,
            "admin": False,
            "user_type": None,
        }
    ]
    assert await server.refusal("GET", path, None, server.token) == (400, "M_MISSING_PARAM")
    far = f"{V1}/search_users/@a:other.test?term=a"
    assert await server.refusal("GET", far, None, server.token) == (400, "M_UNKNOWN")
