"""Sessions: checking tokens from memory, and forgetting them in time."""

from collections.abc import Sequence

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.errors import MatrixError
from synapse_lite.handlers import access_tokens, last_seen
from synapse_lite.handlers.access_tokens import AccessTokens, DeviceRequest, TokenLifetimes
from synapse_lite.handlers.last_seen import LastSeen
from synapse_lite.handlers.requester import Requester
from synapse_lite.storage import accounts
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database
from synapse_lite.storage.devices import DeviceUse
from synapse_lite.storage.statements import Row
from synapse_lite.storage.stream import Change, Kind
from tests.http.memory import ManualClock

USER = "@user:hs.test"
OTHER = "@other:hs.test"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sessions(database: Database, clock: ManualClock) -> AccessTokens:
    return AccessTokens(database, clock)


async def _users(database: Database) -> None:
    for user_id in (USER, OTHER):
        await database.transact(accounts.create_account, NewAccount(user_id, 1))


async def _set(database: Database, flag: str) -> None:
    await database.transact(lambda txn: txn.execute(f"UPDATE users SET {flag} = true"))


async def _refusal(sessions: AccessTokens, token: str) -> MatrixError:
    with pytest.raises(MatrixError) as caught:
        await sessions.authenticate(token)
    assert caught.value.status == 401
    return caught.value


def _at_once(deferred: "Deferred[Requester]") -> Requester:
    """The result, if it is there without waiting for the database."""
    results: list[Requester] = []
    deferred.addCallback(results.append)
    return results[0]


@ensureDeferred
async def test_a_token_names_its_user_and_device(database: Database, sessions: AccessTokens) -> None:
    """Transactions are scoped to the device, and to the token when there is no device."""
    await _users(database)
    first = await sessions.open(USER, DeviceRequest("D"))
    requester = await sessions.authenticate(first.token)
    assert (requester.user_id, requester.device_id, requester.is_admin) == (USER, "D", False)
    again = await sessions.authenticate((await sessions.open(USER, DeviceRequest("D"))).token)
    assert again.session == requester.session
    alone = [await sessions.open_without_device(USER, None) for _ in range(2)]
    scopes = {(await sessions.authenticate(session.token)).session for session in alone}
    assert len(scopes | {requester.session}) == 3


@ensureDeferred
async def test_a_device_id_is_made_when_none_is_named(database: Database, sessions: AccessTokens) -> None:
    """Each such session has a device of its own."""
    await _users(database)
    opened = [await sessions.open(USER) for _ in range(2)]
    assert len({session.device_id for session in opened}) == 2
    assert all(session.device_id for session in opened)


@ensureDeferred
async def test_tokens_are_not_stored_as_text(database: Database, sessions: AccessTokens) -> None:
    """No column of any table holds the token."""
    await _users(database)
    token = (await sessions.open(USER)).token
    rows = await database.read(lambda txn: txn.rows("SELECT t::text FROM access_tokens AS t"))
    assert len(rows) == 1
    assert token not in rows[0][0]
    assert token.encode().hex() not in rows[0][0]


@ensureDeferred
async def test_a_known_token_needs_no_database(database: Database, sessions: AccessTokens) -> None:
    """The second check answers at once."""
    await _users(database)
    token = (await sessions.open(USER)).token
    await sessions.authenticate(token)
    assert _at_once(Deferred.fromCoroutine(sessions.authenticate(token))).user_id == USER


@ensureDeferred
async def test_a_change_of_the_user_voids_what_is_remembered(
    database: Database, sessions: AccessTokens
) -> None:
    """Only the sessions of the user who changed are read again."""
    await _users(database)
    token = (await sessions.open(USER)).token
    other = (await sessions.open(OTHER)).token
    for known in (token, other):
        await sessions.authenticate(known)
    await _set(database, "is_admin")
    sessions.on_changes([Change(1, Kind.EVENT, user_id=OTHER), Change(2, Kind.SESSION, user_id=USER)])
    assert (await sessions.authenticate(token)).is_admin
    assert not (await sessions.authenticate(other)).is_admin


@ensureDeferred
async def test_a_change_during_the_check_is_not_lost(database: Database, sessions: AccessTokens) -> None:
    """What was read before the change is not remembered after it."""
    await _users(database)
    token = (await sessions.open(USER)).token
    checking = Deferred.fromCoroutine(sessions.authenticate(token))
    sessions.on_changes([Change(1, Kind.SESSION, user_id=USER)])
    await checking
    await sessions.close(token)
    assert (await _refusal(sessions, token)).errcode == "M_UNKNOWN_TOKEN"


@ensureDeferred
async def test_memory_ends_after_a_minute(
    database: Database, sessions: AccessTokens, clock: ManualClock
) -> None:
    """A change that nobody announced is seen a minute later at most."""
    await _users(database)
    token = (await sessions.open(USER)).token
    await sessions.authenticate(token)
    await _set(database, "is_admin")
    clock.advance(59)
    assert not (await sessions.authenticate(token)).is_admin
    clock.advance(1)
    assert (await sessions.authenticate(token)).is_admin


@ensureDeferred
async def test_memory_is_bounded(
    database: Database, sessions: AccessTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest entry makes room, and voiding its user later does no harm."""
    monkeypatch.setattr(access_tokens, "CACHED_TOKENS", 2)
    await _users(database)
    tokens = [(await sessions.open(user)).token for user in (USER, OTHER, OTHER)]
    for token in tokens:
        await sessions.authenticate(token)
    await _set(database, "is_admin")
    admins = [(await sessions.authenticate(token)).is_admin for token in reversed(tokens)]
    assert admins == [False, False, True]
    sessions.on_changes([Change(1, Kind.SESSION, user_id=user) for user in (USER, OTHER)])
    assert (await sessions.authenticate(tokens[1])).is_admin


@ensureDeferred
async def test_closed_sessions_are_unknown(database: Database, sessions: AccessTokens) -> None:
    """Also tokens that never were, and those of a deactivated account."""
    await _users(database)
    one, two, three = [(await sessions.open(USER)).token for _ in range(3)]
    await sessions.close(one)
    assert (await _refusal(sessions, one)).errcode == "M_UNKNOWN_TOKEN"
    assert (await _refusal(sessions, "syt_never")).errcode == "M_UNKNOWN_TOKEN"
    spared = await sessions.authenticate(three)
    await sessions.close_all(USER, except_token_nid=spared.token_nid)
    await _refusal(sessions, two)
    assert (await sessions.authenticate(three)).user_id == USER
    await _set(database, "deactivated")
    sessions.on_changes([Change(1, Kind.SESSION, user_id=USER)])
    await _refusal(sessions, three)


@ensureDeferred
async def test_tokens_expire(database: Database, clock: ManualClock) -> None:
    """At the end of their life, remembered or not."""
    await _users(database)
    sessions = AccessTokens(database, clock, TokenLifetimes(nonrefreshable=30_000))
    opened = await sessions.open(USER)
    acting = await sessions.open_without_device(OTHER, clock.now_ms() + 10_000)
    assert opened.expires_in_ms == 30_000
    for session in (opened, acting):
        await sessions.authenticate(session.token)
    clock.advance(10)
    await _refusal(sessions, acting.token)
    await sessions.authenticate(opened.token)
    clock.advance(20)
    await _refusal(sessions, opened.token)


@ensureDeferred
async def test_locked_users_may_only_log_out(database: Database, sessions: AccessTokens) -> None:
    """Their clients are told to keep their data."""
    await _users(database)
    token = (await sessions.open(USER)).token
    await _set(database, "locked")
    refusal = await _refusal(sessions, token)
    assert (refusal.errcode, refusal.extra) == ("M_USER_LOCKED", {"soft_logout": True})
    assert (await sessions.authenticate(token, allow_locked=True)).user_id == USER


@ensureDeferred
async def test_uses_are_written_now_and_then(
    database: Database, sessions: AccessTokens, clock: ManualClock
) -> None:
    """The last use of each device, on time and at the end; tokens without device are left out."""
    await _users(database)
    seen = LastSeen(database, clock)

    async def rows() -> list[Row]:
        return await database.read(
            lambda txn: txn.rows("SELECT last_seen_ts, last_seen_ip, last_seen_user_agent FROM devices")
        )

    requester = await sessions.authenticate((await sessions.open(USER)).token)
    alone = await sessions.authenticate((await sessions.open_without_device(USER, None)).token)
    seen.start()
    for ip in ("192.0.2.1", "192.0.2.2"):
        seen.note(requester, ip, "agent")
    seen.note(alone, "192.0.2.3", "agent")
    assert await rows() == [(None, None, None)]
    await seen.write()
    assert await rows() == [(0, "192.0.2.2", "agent")]
    clock.advance(1)
    seen.note(requester, "192.0.2.4", "other")
    await seen.stop()
    assert await rows() == [(1000, "192.0.2.4", "other")]
    assert clock.reactor.getDelayedCalls() == []


@ensureDeferred
async def test_uses_are_written_by_the_timer() -> None:
    """Every interval, again and again, also after a failure."""
    clock = ManualClock()
    asked: list[int] = []

    class Failing:
        async def transact(self, *_args: object) -> None:
            asked.append(clock.now_ms())
            raise ValueError("no database")

    seen = LastSeen(Failing(), clock)  # type: ignore[arg-type]
    seen.start()
    for _ in range(2):
        seen.note(Requester(USER, "D", "s"), "", "")
        clock.advance(last_seen.USES_INTERVAL_SECONDS)
    assert asked == [120_000, 240_000]


@ensureDeferred
async def test_the_first_use_is_written_soon() -> None:
    """Of each device; later ones wait for the interval."""
    clock = ManualClock()
    written: list[tuple[int, list[str]]] = []

    class Noting:
        async def transact(self, _function: object, uses: Sequence[DeviceUse]) -> None:
            written.append((clock.now_ms(), [use.device_id for use in uses]))

    seen = LastSeen(Noting(), clock)  # type: ignore[arg-type]
    seen.start()
    for names in ("A", "AB", "AB"):
        for name in names:
            seen.note(Requester(USER, name, "s"), "", "")
        clock.advance(last_seen.FIRST_USES_SECONDS)
    assert written == [(5_000, ["A"]), (10_000, ["B"])]
    clock.advance(last_seen.USES_INTERVAL_SECONDS)
    assert written[2:] == [(135_000, ["A", "B"])]
    await seen.stop()
