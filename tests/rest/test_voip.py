"""TURN servers over HTTP."""

import base64
import hashlib
import hmac

from pytest_twisted import ensureDeferred

from tests.rest.conftest import BuildServer
from tests.server import OPEN, SERVER, TestServer

URIS = ["turn:turn.example.com?transport=udp", "turns:turn.example.com"]


@ensureDeferred
async def test_credentials_are_signed_with_the_shared_secret(build_server: BuildServer) -> None:
    """For the user, until a time that the name tells."""
    server = await build_server(**OPEN, turn_uris=URIS, turn_shared_secret="s", turn_user_lifetime="2h")
    token = await server.register("alice")
    answer = await server.ok("GET", "voip/turnServer", token=token)
    until, _, user_id = answer["username"].partition(":")
    assert user_id == f"@alice:{SERVER}"
    assert int(until) == server.clock.now_ms() // 1000 + 7200
    signature = hmac.new(b"s", answer["username"].encode(), hashlib.sha1).digest()
    assert answer["password"] == base64.b64encode(signature).decode()
    assert (answer["ttl"], answer["uris"]) == (7200, URIS)


@ensureDeferred
async def test_credentials_for_all(build_server: BuildServer) -> None:
    """Without a shared secret, those of the configuration; none for guests where they are not let in."""
    account = {"turn_username": "u", "turn_password": "p", "turn_allow_guests": False}
    server = await build_server(**OPEN, turn_uris=URIS, **account)
    answer = await server.ok("GET", "voip/turnServer", token=await server.register("alice"))
    assert answer == {"username": "u", "password": "p", "ttl": 3600, "uris": URIS}
    guest = await server.user("1", is_guest=True)
    assert await server.ok("GET", "voip/turnServer", token=guest) == {}


@ensureDeferred
async def test_no_servers(server: TestServer) -> None:
    """An empty object says so."""
    assert await server.ok("GET", "voip/turnServer", token=await server.register("alice")) == {}
