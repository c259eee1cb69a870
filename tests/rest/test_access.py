"""Who may call which route: the whole table of the server, with every kind of caller."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.http.access import Access
from synapse_lite.http.router import Route
from tests.builders import SERVER
from tests.http.memory import Answer
from tests.rest.conftest import BuildServer
from tests.server import TestServer, path_part

DELAYED = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events"
"""Who knows the id of one may send it, or call it off."""

NO_OBJECT = b"[]"
"""A body that no handler takes for a request: who gets through to one changes nothing."""

PATH_PARTS = {
    "server_name": SERVER,
    "room_id": f"!room:{SERVER}",
    "room_id_or_alias": f"!room:{SERVER}",
    "event_id": "$event",
    "user_id": f"@somebody:{SERVER}",
    "alias": f"#alias:{SERVER}",
}

PEOPLE: dict[str, dict[str, Any]] = {
    "user": {},
    "guest": {"is_guest": True},
    "locked": {},
    "suspended": {},
    "deactivated": {},
    "expired": {"expires_ts": 1},
    "admin": {"is_admin": True},
}
MARKED = ("locked", "suspended", "deactivated")

MISSING = (401, "M_MISSING_TOKEN")
UNKNOWN = (401, "M_UNKNOWN_TOKEN")
LOCKED = (401, "M_USER_LOCKED")
EXPIRED = (403, "ORG_MATRIX_EXPIRED_ACCOUNT")
NO_GUESTS = (403, "M_GUEST_ACCESS_FORBIDDEN")
UNSIGNED = (401, "M_UNAUTHORIZED")
NO_ADMIN = (403, "M_FORBIDDEN")

REFUSALS: dict[Access, dict[str, tuple[int, str]]] = {
    Access.NONE: {},
    Access.OPTIONAL: {"locked": LOCKED, "deactivated": UNKNOWN, "expired": EXPIRED},
    Access.GUEST: {"nobody": MISSING, "locked": LOCKED, "deactivated": UNKNOWN, "expired": EXPIRED},
    Access.LOCKED: {"nobody": MISSING, "deactivated": UNKNOWN},
    Access.USER: {
        "nobody": MISSING,
        "guest": NO_GUESTS,
        "locked": LOCKED,
        "deactivated": UNKNOWN,
        "expired": EXPIRED,
    },
    Access.ADMIN: {
        "nobody": MISSING,
        "user": NO_ADMIN,
        "guest": NO_GUESTS,
        "locked": LOCKED,
        "suspended": NO_ADMIN,
        "deactivated": UNKNOWN,
        "expired": EXPIRED,
    },
    Access.SERVER: dict.fromkeys(("nobody", *PEOPLE), UNSIGNED),
}

TOKENS_OF_ANOTHER_KIND = frozenset({"/_matrix/federation/v1/openid/userinfo"})
"""Patterns of routes that have tokens of their own: those of sessions are unknown to them."""


class Callers:
    """One account of each kind; each call has a token of its own, as some calls end it."""

    def __init__(self, server: TestServer) -> None:
        self._server = server

    async def create(self) -> None:
        for name, more in PEOPLE.items():
            await self._server.user(name, **more)
        for name in MARKED:
            await self._server.database.transact(
                lambda txn, name=name: txn.execute(
                    f"UPDATE users SET {name} = true WHERE user_id = %s", (f"@{name}:{SERVER}",)
                )
            )

    async def call(self, route: Route, name: str) -> Answer:
        token = None
        if name != "nobody":
            token = (await self._server.core.accounts.access_tokens.open(f"@{name}:{SERVER}")).token
        body = None if route.method == "GET" else NO_OBJECT
        return await self._server.call(route.method, path_of(route), body, token)


def path_of(route: Route) -> str:
    parts = [
        path_part(PATH_PARTS.get(part[1:-1], "x")) if part.startswith("{") else part
        for part in route.pattern.split("/")
    ]
    return "/".join(parts)


def refusal(answer: Answer) -> tuple[int, str] | None:
    """Status and code of an answer that says who may not come in."""
    if answer.status not in (401, 403) or not answer.headers["Content-Type"].startswith("application/json"):
        return None
    return answer.status, answer.json().get("errcode", "")


@pytest.mark.parametrize("name", ["nobody", *PEOPLE])
@ensureDeferred
async def test_every_route_knows_its_callers(build_server: BuildServer, name: str) -> None:
    """Refused is who must be, in the words for it; who is let in meets the handler, and no route breaks."""
    server = await build_server()
    callers = Callers(server)
    await callers.create()
    wrong = []
    for route in (route for route in server.routes if route.pattern not in TOKENS_OF_ANOTHER_KIND):
        answer = await callers.call(route, name)
        expected = REFUSALS[route.access].get(name)
        found = refusal(answer)
        # A handler may have reasons of its own for a 403; a token that is good is never a reason for a 401.
        is_right = found == expected if expected else answer.status != 401 and found != NO_GUESTS
        if not is_right or answer.status >= 500:
            wrong.append(
                (route.method, route.pattern, route.access.name, expected, answer.status, answer.body)
            )
    assert wrong == []


@ensureDeferred
async def test_routes_that_anybody_may_use(build_server: BuildServer) -> None:
    """A route that asks for no token is on this list: a new one is put there on purpose."""
    server = await build_server()
    public = {
        (route.method, route.pattern.replace("/r0/", "/v3/").replace("/v1/", "/v3/"))
        for route in server.routes
        if route.access is Access.NONE and "/admin/ui" not in route.pattern
    }
    client = "/_matrix/client/v3"
    assert public == {
        ("GET", "/.well-known/matrix/client"),
        ("GET", "/.well-known/matrix/server"),
        ("GET", "/.well-known/matrix/support"),
        ("POST", f"{DELAYED}/{{delay_id}}"),
        ("POST", f"{DELAYED}/{{delay_id}}/{{action}}"),
        ("PUT", "/_matrix/federation/v3/3pid/onbind"),
        ("GET", "/_matrix/federation/v3/openid/userinfo"),
        ("GET", "/_matrix/federation/v3/version"),
        ("GET", "/_matrix/key/v2/server"),
        ("GET", "/_matrix/key/v2/server/{key_id}"),
        ("POST", "/_matrix/key/v2/query"),
        ("GET", "/_matrix/key/v2/query/{server_name}"),
        ("GET", "/_matrix/key/v2/query/{server_name}/{key_id}"),
        ("GET", f"{client}/login"),
        ("POST", f"{client}/login"),
        ("POST", f"{client}/refresh"),
        *(
            ("POST", f"{client}/{asked}/{medium}/requestToken")
            for asked in ("account/3pid", "account/password", "register")
            for medium in ("email", "msisdn")
        ),
        ("POST", f"{client}/register"),
        ("GET", f"{client}/auth/{{stage}}/fallback/web"),
        ("POST", f"{client}/auth/{{stage}}/fallback/web"),
        ("GET", f"{client}/register/available"),
        ("GET", f"{client}/register/m.login.registration_token/validity"),
        ("GET", f"{client}/auth_metadata"),
        ("GET", "/_matrix/client/unstable/org.matrix.msc2965/auth_issuer"),
        ("GET", "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata"),
        ("GET", f"{client}/password_policy"),
        ("GET", f"{client}/directory/room/{{alias}}"),
        ("GET", f"{client}/directory/list/room/{{room_id}}"),
        ("GET", "/_matrix/media/v3/download/{server_name}/{media_id}"),
        ("GET", "/_matrix/media/v3/download/{server_name}/{media_id}/{file_name}"),
        ("GET", "/_matrix/media/v3/thumbnail/{server_name}/{media_id}"),
        ("GET", "/_synapse/admin/v3/register"),
        ("POST", "/_synapse/admin/v3/register"),
        ("GET", "/_synapse/admin/v3/server_version"),
    }


def test_a_route_without_access_cannot_be_built() -> None:
    """Access is no default that one may forget."""

    async def handler(_request: object) -> dict[str, Any]:
        return {}

    with pytest.raises(TypeError):
        Route("GET", "/x", handler)  # type: ignore[call-arg]
