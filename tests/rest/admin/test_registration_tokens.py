"""Tokens with which one may register: Synapse's keys, every rule, what is valid when."""

from typing import Any

from pytest_twisted import ensureDeferred

from tests.rest.admin_server import V1, AdminServer

PATH = f"{V1}/registration_tokens"


def shown(token: str, uses_allowed: int | None = None, expiry_time: int | None = None) -> dict[str, Any]:
    return {
        "token": token,
        "uses_allowed": uses_allowed,
        "pending": 0,
        "completed": 0,
        "expiry_time": expiry_time,
    }


@ensureDeferred
async def test_tokens_are_made_changed_and_deleted(server: AdminServer) -> None:
    """As named, or by chance; what is absent in a change stays, null takes the bound away."""
    end = server.clock.now_ms() + 1000
    body = {"token": "a._~-Z9", "uses_allowed": 2, "expiry_time": end}
    assert await server.admin("POST", f"{PATH}/new", body) == shown("a._~-Z9", 2, end)
    made = await server.admin("POST", f"{PATH}/new", {})
    assert made == shown(made["token"])
    assert len(made["token"]) == 16
    assert len((await server.admin("POST", f"{PATH}/new", {"length": 64}))["token"]) == 64
    one = f"{PATH}/a._~-Z9"
    assert await server.admin("GET", one) == shown("a._~-Z9", 2, end)
    assert await server.admin("PUT", one, {"uses_allowed": None}) == shown("a._~-Z9", None, end)
    assert await server.admin("PUT", one, {"expiry_time": None}) == shown("a._~-Z9")
    assert await server.admin("PUT", one, {"uses_allowed": 0}) == shown("a._~-Z9", 0)
    assert await server.admin("PUT", one, {}) == shown("a._~-Z9", 0)
    assert await server.admin("DELETE", one) == {}
    for method in ("GET", "PUT", "DELETE"):
        assert await server.refusal(method, one, {}, server.token) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_valid_tokens(server: AdminServer) -> None:
    """Valid is what is neither over nor used up."""
    now = server.clock.now_ms()
    for token, body in (
        ("free", {}),
        ("used", {"uses_allowed": 0}),
        ("over", {"expiry_time": now + 10**6}),
        ("bound", {"uses_allowed": 1, "expiry_time": now + 10**9}),
    ):
        await server.admin("POST", f"{PATH}/new", {"token": token, **body})
    await server.database.transact(
        lambda txn: txn.execute("UPDATE registration_tokens SET expiry_ts = 1 WHERE token = 'over'")
    )
    for query, found in (
        ("", {"free", "used", "over", "bound"}),
        ("?valid=true", {"free", "bound"}),
        ("?valid=false", {"used", "over"}),
    ):
        answer = await server.admin("GET", f"{PATH}{query}")
        assert answer.keys() == {"registration_tokens"}
        assert {token["token"] for token in answer["registration_tokens"]} == found
    assert await server.refusal("GET", f"{PATH}?valid=1", None, server.token) == (400, "M_INVALID_PARAM")


@ensureDeferred
async def test_what_is_no_token(server: AdminServer) -> None:
    """Each rule is 400 `M_INVALID_PARAM`; so is a token that exists."""
    await server.admin("POST", f"{PATH}/new", {"token": "there"})
    for body in (
        {"token": ""},
        {"token": "x" * 65},
        {"token": "a b"},
        {"token": 1},
        {"token": "there"},
        {"length": 0},
        {"length": 65},
        {"length": "16"},
        {"uses_allowed": -1},
        {"uses_allowed": 1.5},
        {"uses_allowed": True},
        {"uses_allowed": 2**31},
        {"expiry_time": 1},
        {"expiry_time": "soon"},
    ):
        assert await server.refusal("POST", f"{PATH}/new", body, server.token) == (400, "M_INVALID_PARAM"), (
            body
        )
    for body in ({"uses_allowed": -1}, {"expiry_time": 1}):
        assert await server.refusal("PUT", f"{PATH}/there", body, server.token) == (400, "M_INVALID_PARAM")
    assert await server.admin("GET", f"{PATH}/there") == shown("there")
