"""Accounts that expire: by themselves after a while, or when an administrator says so."""

from typing import Any

from pytest_twisted import ensureDeferred

from tests.builders import SERVER
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer

RENEW = "/_synapse/admin/v1/account_validity/validity"
EXPIRED = (403, "ORG_MATRIX_EXPIRED_ACCOUNT")
DAY_MS = 86_400_000
ALICE = f"@alice:{SERVER}"


async def renew(server: TestServer, admin: str, **more: Any) -> Any:
    return await server.ok("POST", RENEW, {"user_id": ALICE, **more}, admin)


@ensureDeferred
async def test_an_administrator_lets_an_account_expire_and_renews_it(server: TestServer) -> None:
    """Sessions end being useful at that time, keep their devices, may log out, and go on when it is renewed."""
    admin, alice = await server.user("admin", is_admin=True), await server.user("alice")
    await server.ok("GET", "account/whoami", None, alice)
    until_ms = server.clock.now_ms() + DAY_MS
    assert await renew(server, admin, expiration_ts=until_ms) == {"expiration_ts": until_ms}
    await server.ok("GET", "account/whoami", None, alice)
    server.clock.advance(DAY_MS / 1000)
    assert await server.refusal("GET", "account/whoami", None, alice) == EXPIRED
    assert await server.refusal("PUT", "rooms/!x:y/send/m.room.message/1", {}, alice) == EXPIRED
    await renew(server, admin, expiration_ts=until_ms + 2 * DAY_MS, enable_renewal_emails=False)
    await server.ok("GET", "account/whoami", None, alice)
    await renew(server, admin, expiration_ts=until_ms)
    await server.ok("POST", "logout", {}, alice)


@ensureDeferred
async def test_new_accounts_are_valid_for_the_period(build_server: BuildServer) -> None:
    """However they are made; a renewal without a time is for another period."""
    server = await build_server(**OPEN, account_validity={"enabled": True, "period": "1d"})
    admin, alice = await server.user("admin", is_admin=True), await server.register("alice")
    server.clock.advance(DAY_MS / 2000)
    await server.ok("GET", "account/whoami", None, alice)
    server.clock.advance(DAY_MS / 2000)
    assert await server.refusal("GET", "account/whoami", None, alice) == EXPIRED
    before = server.clock.now_ms()
    renewed = await renew(server, admin)
    assert before + DAY_MS <= renewed["expiration_ts"] <= server.clock.now_ms() + DAY_MS
    await server.ok("GET", "account/whoami", None, alice)


@ensureDeferred
async def test_without_the_option_accounts_do_not_expire(server: TestServer) -> None:
    """Nobody set a time: none comes."""
    alice = await server.register("alice")
    server.clock.advance(400 * DAY_MS / 1000)
    await server.ok("GET", "account/whoami", None, alice)


@ensureDeferred
async def test_what_is_refused(server: TestServer) -> None:
    """Nobody, somebody unknown, somebody of another server, seconds instead of milliseconds, no time at all."""
    admin = await server.user("admin", is_admin=True)
    await server.user("alice")
    until_ms = server.clock.now_ms()
    for body, status, errcode in (
        ({"expiration_ts": until_ms}, 400, "M_UNKNOWN"),
        ({"user_id": f"@nobody:{SERVER}", "expiration_ts": until_ms}, 404, "M_NOT_FOUND"),
        ({"user_id": "@alice:other.test", "expiration_ts": until_ms}, 400, "M_UNKNOWN"),
        ({"user_id": ALICE, "expiration_ts": until_ms // 1000}, 400, "M_INVALID_PARAM"),
        ({"user_id": ALICE, "expiration_ts": "tomorrow"}, 400, "M_BAD_JSON"),
        ({"user_id": ALICE}, 400, "M_MISSING_PARAM"),
        ({"user_id": ALICE, "expiration_ts": until_ms, "enable_renewal_emails": 1}, 400, "M_BAD_JSON"),
    ):
        assert await server.refusal("POST", RENEW, body, admin) == (status, errcode), body
