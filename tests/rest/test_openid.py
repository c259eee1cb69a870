"""OpenID tokens over HTTP."""

from pytest_twisted import ensureDeferred

from synapse_lite.handlers.openid import LIFETIME_MS, TOKENS_OF_A_USER
from tests.server import SERVER, TestServer

USER_INFO = "/_matrix/federation/v1/openid/userinfo"


def path(name: str) -> str:
    return f"user/@{name}:{SERVER}/openid/request_token"


@ensureDeferred
async def test_a_token_tells_who_its_bearer_is(server: TestServer) -> None:
    """To anybody who has it, for an hour; it opens nothing else."""
    session = await server.register("alice")
    issued = await server.ok("POST", path("alice"), {}, session)
    assert issued["token_type"] == "Bearer"
    assert issued["matrix_server_name"] == SERVER
    assert issued["expires_in"] == 3600
    question = f"{USER_INFO}?access_token={issued['access_token']}"
    assert await server.ok("GET", question) == {"sub": f"@alice:{SERVER}"}
    refusal = await server.refusal("GET", "account/whoami", token=issued["access_token"])
    assert refusal == (401, "M_UNKNOWN_TOKEN")
    server.clock.advance(LIFETIME_MS / 1000)
    assert await server.refusal("GET", question) == (401, "M_UNKNOWN_TOKEN")


@ensureDeferred
async def test_who_asks_for_a_token(server: TestServer) -> None:
    """Only the user; and a token is needed to ask whose it is."""
    session = await server.register("alice")
    assert await server.refusal("POST", path("bob"), {}, session) == (403, "M_FORBIDDEN")
    assert await server.refusal("GET", USER_INFO) == (401, "M_MISSING_TOKEN")
    assert await server.refusal("GET", f"{USER_INFO}?access_token={session}") == (401, "M_UNKNOWN_TOKEN")


@ensureDeferred
async def test_a_user_has_so_many_tokens(server: TestServer) -> None:
    """The oldest end first."""
    session = await server.register("alice")
    tokens = []
    for _ in range(TOKENS_OF_A_USER + 1):
        tokens.append((await server.ok("POST", path("alice"), {}, session))["access_token"])
        server.clock.advance(0.001)
    assert await server.refusal("GET", f"{USER_INFO}?access_token={tokens[0]}") == (401, "M_UNKNOWN_TOKEN")
    for token in (tokens[1], tokens[-1]):
        assert await server.ok("GET", f"{USER_INFO}?access_token={token}") == {"sub": f"@alice:{SERVER}"}


@ensureDeferred
async def test_tokens_end_with_the_account(server: TestServer) -> None:
    """Nobody vouches for who was deactivated."""
    session = await server.register("alice")
    token = (await server.ok("POST", path("alice"), {}, session))["access_token"]
    await server.database.transact(lambda txn: txn.execute("UPDATE users SET deactivated = true"))
    assert await server.refusal("GET", f"{USER_INFO}?access_token={token}") == (401, "M_UNKNOWN_TOKEN")
