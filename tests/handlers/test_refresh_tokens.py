"""Refreshing sessions: what is lost on the way loses nobody their session."""

import pytest
from attrs import define
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.errors import MatrixError
from synapse_lite.handlers.access_tokens import AccessTokens, DeviceRequest, NewSession, TokenLifetimes
from synapse_lite.storage import accounts, devices
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database
from tests.http.memory import ManualClock

USER = "@user:hs.test"
DEVICE = DeviceRequest("D", refreshable=True)
MINUTE = 60_000


@define
class Home:
    """Two processes, as far as their memories of tokens are concerned."""

    database: Database
    clock: ManualClock
    tokens: AccessTokens
    others: AccessTokens

    async def log_in(self) -> NewSession:
        return await self.tokens.open(USER, DEVICE)

    async def status(self, tokens: AccessTokens, token: str) -> str:
        """Of a token: that it is good, or which kind of log-out the client is told."""
        try:
            await tokens.authenticate(token)
        except MatrixError as error:
            return {True: "soft", False: "hard"}[error.extra["soft_logout"]]
        return "ok"


@pytest.fixture
def lifetimes() -> TokenLifetimes:
    return TokenLifetimes(refreshable=5 * MINUTE)


@pytest.fixture
def home(database: Database, lifetimes: TokenLifetimes) -> Home:
    clock = ManualClock()
    home = Home(database, clock, *(AccessTokens(database, clock, lifetimes) for _ in range(2)))
    database.on_commit(lambda changes: [tokens.on_changes(changes) for tokens in (home.tokens, home.others)])
    return home


async def _user(database: Database) -> None:
    await database.transact(accounts.create_account, NewAccount(USER, 1))


def _refresh_token(session: NewSession) -> str:
    assert session.refresh_token is not None
    return session.refresh_token


@ensureDeferred
async def test_an_answer_that_is_lost_costs_nothing(home: Home) -> None:
    """The old tokens live until a new one is used; asking again gives the same new ones."""
    await _user(home.database)
    first = await home.log_in()
    assert first.expires_in_ms == 5 * MINUTE
    lost = await home.tokens.refresh(_refresh_token(first))
    assert await home.status(home.tokens, first.token) == "ok"
    again = await home.others.refresh(_refresh_token(first))
    assert again == lost
    assert again.token != first.token
    assert await home.status(home.others, again.token) == "ok"
    assert await home.status(home.tokens, first.token) == "soft"
    with pytest.raises(MatrixError) as caught:
        await home.tokens.refresh(_refresh_token(first))
    assert (caught.value.status, caught.value.errcode) == (401, "M_UNKNOWN_TOKEN")
    assert await home.status(home.tokens, again.token) == "ok"


@ensureDeferred
async def test_the_first_use_is_seen_whatever_is_remembered(home: Home) -> None:
    """A process that remembers the old token hears that its time is over."""
    await _user(home.database)
    first = await home.log_in()
    assert await home.status(home.others, first.token) == "ok"
    second = await home.tokens.refresh(_refresh_token(first))
    third = await home.tokens.refresh(_refresh_token(second))  # the first use of a token of the second pair
    assert await home.status(home.others, first.token) == "soft"
    assert await home.status(home.others, second.token) == "ok"
    assert await home.status(home.tokens, third.token) == "ok"
    assert await home.status(home.others, second.token) == "soft"


@ensureDeferred
async def test_those_who_refresh_together_agree(home: Home) -> None:
    """Twenty requests with one token: one pair of tokens, and the device lives."""
    await _user(home.database)
    first = await home.log_in()
    asked = [
        Deferred.fromCoroutine(tokens.refresh(_refresh_token(first)))
        for tokens in (home.tokens, home.others) * 10
    ]
    sessions = await gatherResults(asked)
    assert len({session.token for session in sessions}) == 1
    assert await home.status(home.tokens, sessions[0].token) == "ok"
    assert await home.status(home.others, sessions[-1].token) == "ok"
    assert [device.device_id for device in await home.database.read(devices.read_devices, USER)] == ["D"]


@ensureDeferred
async def test_the_end_of_a_token_is_not_the_end_of_the_session(home: Home) -> None:
    """A client that comes late is told to refresh, and may; when its device is gone it is logged out."""
    await _user(home.database)
    first = await home.log_in()
    home.clock.advance(300)
    assert await home.status(home.tokens, first.token) == "soft"
    second = await home.tokens.refresh(_refresh_token(first))
    assert await home.status(home.tokens, second.token) == "ok"
    home.clock.advance(300)
    assert await home.status(home.tokens, second.token) == "soft"
    await home.tokens.close_all(USER)
    assert await home.status(home.tokens, second.token) == "hard"
    with pytest.raises(MatrixError):
        await home.tokens.refresh(_refresh_token(second))


@ensureDeferred
async def test_a_chain_of_refreshes_leaves_little_behind(home: Home) -> None:
    """After many of them a device has as many rows as after a few."""
    await _user(home.database)
    session = await home.log_in()
    for _ in range(10):
        session = await home.tokens.refresh(_refresh_token(session))
        assert await home.status(home.tokens, session.token) == "ok"
    counts = await home.database.read(
        lambda txn: txn.row(
            "SELECT (SELECT count(*) FROM access_tokens), (SELECT count(*) FROM refresh_tokens)"
        )
    )
    assert counts == (2, 1)


@ensureDeferred
async def test_a_log_in_as_the_same_device_ends_its_chain(home: Home) -> None:
    """Neither the access token nor the refresh token of before works."""
    await _user(home.database)
    first = await home.log_in()
    second = await home.log_in()
    assert await home.status(home.tokens, first.token) == "hard"
    with pytest.raises(MatrixError):
        await home.tokens.refresh(_refresh_token(first))
    assert await home.status(home.tokens, second.token) == "ok"


@ensureDeferred
@pytest.mark.parametrize("lifetimes", [TokenLifetimes(session=10 * MINUTE, refreshable=8 * MINUTE)])
async def test_a_session_ends_whatever_is_refreshed(home: Home) -> None:
    """No token outlives the session's lifetime; the client keeps its keys, and logs in again."""
    await _user(home.database)
    first = await home.log_in()
    assert first.expires_in_ms == 8 * MINUTE
    home.clock.advance(7 * 60)
    second = await home.tokens.refresh(_refresh_token(first))
    assert second.expires_in_ms == 3 * MINUTE
    home.clock.advance(3 * 60)
    assert await home.status(home.tokens, second.token) == "soft"
    with pytest.raises(MatrixError, match="expired") as refusal:
        await home.tokens.refresh(_refresh_token(second))
    assert refusal.value.extra["soft_logout"]


@ensureDeferred
async def test_no_secret_is_stored(home: Home) -> None:
    """No column of the token tables holds a token as text."""
    await _user(home.database)
    session = await home.tokens.refresh(_refresh_token(await home.log_in()))
    rows = await home.database.read(
        lambda txn: txn.rows(
            "SELECT t::text FROM access_tokens AS t UNION ALL SELECT t::text FROM refresh_tokens AS t"
        )
    )
    assert len(rows) == 4
    stored = "\n".join(text for (text,) in rows)
    for secret in (session.token, _refresh_token(session)):
        assert secret not in stored
        assert secret.encode().hex() not in stored
