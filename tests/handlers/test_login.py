"""Logging in and changing the password."""

from collections.abc import Iterator

import attrs
import bcrypt
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.config.accounts import LoginViaExistingSession, PasswordPolicy
from synapse_lite.config.rate_limits import RateLimit
from synapse_lite.errors import MatrixError
from synapse_lite.handlers.access_tokens import AccessTokens, DeviceRequest
from synapse_lite.handlers.login import Login, LoginLimiters, Logins, PasswordChanges
from synapse_lite.handlers.login_tokens import LoginTokens
from synapse_lite.handlers.passwords import Passwords, Verdict
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.storage import accounts
from synapse_lite.storage.accounts import Account, NewAccount
from synapse_lite.storage.database import Database
from tests.builders import CHEAP_HASHER
from tests.http.memory import ManualClock

USER = "@User:hs.test"
SECRET = "correct horse"


@attrs.frozen
class Door:
    """The parts that a login takes, with an account that came from Synapse."""

    database: Database
    clock: ManualClock
    sessions: AccessTokens
    passwords: Passwords
    login_tokens: LoginTokens
    logins: Logins

    async def add_user(self, user_id: str = USER) -> None:
        stored = bcrypt.hashpw(SECRET.encode(), bcrypt.gensalt(4)).decode()
        await self.database.transact(accounts.create_account, NewAccount(user_id, 1, stored))

    async def log_in(
        self, user: str = USER, password: str = SECRET, ip: str = "192.0.2.1", device: str | None = None
    ) -> Login:
        return await self.logins.log_in(user, password, DeviceRequest(device), client_ip=ip)

    async def refusal(
        self, user: str = USER, password: str = SECRET, ip: str = "192.0.2.1"
    ) -> tuple[int, str]:
        with pytest.raises(MatrixError) as caught:
            await self.log_in(user, password, ip)
        return caught.value.status, caught.value.errcode

    async def stored_hash(self) -> str:
        account = await self.database.read(accounts.find_account, USER)
        assert account is not None
        assert account.password_hash is not None
        return account.password_hash


def _limiter(clock: ManualClock, burst: int) -> RateLimiter:
    return RateLimiter(clock, RateLimit(per_second=0.001, burst_count=burst))


@pytest.fixture
def door(database: Database) -> Iterator[Door]:
    clock = ManualClock()
    sessions = AccessTokens(database, clock)
    passwords = Passwords(reactor, pepper="", policy=PasswordPolicy(), hasher=CHEAP_HASHER)
    limiters = LoginLimiters(
        address=_limiter(clock, 9), account=_limiter(clock, 6), failed_attempts=_limiter(clock, 4)
    )
    passwords.start()
    tokens = LoginTokens(database, clock, LoginViaExistingSession(enabled=True))
    logins = Logins(database, sessions, tokens, passwords, limiters, "hs.test")
    yield Door(database, clock, sessions, passwords, tokens, logins)
    passwords.stop()


@ensureDeferred
async def test_users_are_named_in_several_ways(door: Door) -> None:
    """By localpart or full id, in whatever case; the session is theirs."""
    await door.add_user()
    for name in (USER, "user", "@USER:hs.test"):
        login = await door.log_in(name, device="D")
        assert login.user_id == USER
        requester = await door.sessions.authenticate(login.session.token)
        assert (requester.user_id, requester.device_id) == (USER, "D")


@ensureDeferred
async def test_an_imported_hash_is_replaced_at_login(door: Door) -> None:
    """By argon2id, for the same password."""
    await door.add_user()
    assert (await door.stored_hash()).startswith("$2b$")
    await door.log_in()
    assert (await door.stored_hash()).startswith("$argon2id$")
    await door.log_in()


@pytest.mark.parametrize("is_imported", [True, False])
@ensureDeferred
async def test_a_password_that_changes_during_a_login(
    door: Door, monkeypatch: pytest.MonkeyPatch, is_imported: bool
) -> None:
    """No session outlives a change that ends all sessions: after it the old password opens none."""
    await door.add_user()
    if not is_imported:
        await door.log_in()
    changed, verify = await door.passwords.hash("another"), door.passwords.verify

    async def verify_before_the_change(password: str, stored: str | None) -> Verdict:
        verdict = await verify(password, stored)
        await door.database.transact(accounts.set_password_hash, USER, changed)
        return verdict

    monkeypatch.setattr(door.passwords, "verify", verify_before_the_change)
    assert await door.refusal() == (403, "M_FORBIDDEN")


@ensureDeferred
async def test_two_first_logins_with_an_imported_hash(door: Door) -> None:
    """Each hashes the password anew; one of these hashes stays, and both are in."""
    await door.add_user()
    logins = [Deferred.fromCoroutine(door.log_in(device=device)) for device in "AB"]
    for login in await gatherResults(logins):
        assert (await door.sessions.authenticate(login.session.token)).user_id == USER


@ensureDeferred
async def test_strangers_stay_out(door: Door) -> None:
    """Wrong passwords, unknown users, other servers, no user ids: all get the same answer."""
    await door.add_user()
    await door.database.transact(accounts.create_account, NewAccount("@guest:hs.test", 1))
    tries = [
        (USER, "wrong"),
        ("nobody", SECRET),
        ("@user:other.test", SECRET),
        ("a\0", SECRET),
        ("guest", ""),
    ]
    assert [await door.refusal(user, password) for user, password in tries] == [(403, "M_FORBIDDEN")] * 5


@ensureDeferred
async def test_time_does_not_tell_who_exists(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password is hashed for users who do not exist as well."""
    asked: list[str | None] = []
    verify = door.passwords.verify

    async def recording(password: str, stored: str | None) -> Verdict:
        asked.append(stored)
        return await verify(password, stored)

    monkeypatch.setattr(door.passwords, "verify", recording)
    for name in ("nobody", "@user:other.test", "@x"):
        await door.refusal(name)
    assert asked == [None] * 3


@ensureDeferred
async def test_closed_accounts_stay_closed(door: Door) -> None:
    """Locked and deactivated users do not get in with the right password, nor prove anything by it."""
    await door.add_user()
    await door.database.transact(lambda txn: txn.execute("UPDATE users SET locked = true"))
    assert await door.refusal() == (401, "M_USER_LOCKED")
    await door.database.transact(lambda txn: txn.execute("UPDATE users SET deactivated = true"))
    assert await door.refusal() == (403, "M_USER_DEACTIVATED")
    with pytest.raises(MatrixError, match="deactivated"):
        await door.logins.check_password(USER, SECRET)
    assert await door.refusal(password="wrong") == (403, "M_FORBIDDEN")


@ensureDeferred
async def test_failures_are_limited_per_account(door: Door) -> None:
    """From whatever address and in whatever case; the right password is refused too, other users are not."""
    await door.add_user()
    await door.add_user("@other:hs.test")
    for name in ("user", "USER", USER, "@user:hs.test"):
        assert await door.refusal(name, "wrong", ip=name) == (403, "M_FORBIDDEN")
    assert await door.refusal(ip="192.0.2.9") == (429, "M_LIMIT_EXCEEDED")
    await door.log_in("other")


@ensureDeferred
async def test_logins_are_limited_per_account_and_address(door: Door) -> None:
    """Six to one account here, nine from one address."""
    await door.add_user()
    await door.add_user("@other:hs.test")
    for _ in range(6):
        await door.log_in()
    assert await door.refusal(ip="192.0.2.2") == (429, "M_LIMIT_EXCEEDED")
    for _ in range(3):
        await door.log_in("other")
    assert await door.refusal("other") == (429, "M_LIMIT_EXCEEDED")
    await door.log_in("other", ip="192.0.2.2")


@ensureDeferred
async def test_a_changed_password_logs_others_out_if_asked(door: Door) -> None:
    """One's own session stays; the old password is void."""
    await door.add_user()
    change = PasswordChanges(door.database, door.passwords).change
    tokens = [(await door.log_in(device=device)).session.token for device in ("D", "E")]
    requester = await door.sessions.authenticate(tokens[0])
    await change(requester, "second", log_out_others=False)
    assert (await door.sessions.authenticate(tokens[1])).device_id == "E"
    await change(requester, "third", log_out_others=True)
    fresh = AccessTokens(door.database, door.clock)
    assert (await fresh.authenticate(tokens[0])).device_id == "D"
    with pytest.raises(MatrixError):
        await fresh.authenticate(tokens[1])
    assert [await door.refusal(password=old) for old in (SECRET, "second")] == [(403, "M_FORBIDDEN")] * 2
    await door.log_in(password="third")
    with pytest.raises(MatrixError, match="Invalid password"):
        await change(requester, "", log_out_others=False)


@ensureDeferred
async def test_a_login_token_logs_in_once(door: Door) -> None:
    """As a new device of the same user, within its time; closed accounts stay closed."""
    await door.add_user()
    issuer = await door.sessions.authenticate((await door.log_in(device="D")).session.token)

    async def use(text: str) -> Login:
        return await door.logins.log_in_by_token(text, DeviceRequest("E"), client_ip="192.0.2.7")

    token = await door.login_tokens.issue(issuer)
    assert token.expires_in_ms == 300_000
    login = await use(token.text)
    assert (login.user_id, login.session.device_id) == (USER, "E")
    late = await door.login_tokens.issue(issuer)
    barred = await door.login_tokens.issue(issuer)
    await door.database.transact(lambda txn: txn.execute("UPDATE users SET locked = true"))
    with pytest.raises(MatrixError, match="locked"):
        await use(barred.text)
    await door.database.transact(lambda txn: txn.execute("UPDATE users SET locked = false"))
    door.clock.advance(300)
    for text in (token.text, barred.text, late.text, "syl_never"):
        with pytest.raises(MatrixError, match="Invalid login token"):
            await use(text)


@ensureDeferred
async def test_what_an_ended_session_may_not_do(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it began before a change of the password gives nobody the account afterwards."""
    await door.add_user()
    change = PasswordChanges(door.database, door.passwords).change
    owner = await door.sessions.authenticate((await door.log_in(device="D")).session.token)
    thief = await door.sessions.authenticate((await door.log_in(device="E")).session.token)
    issued, used = [(await door.login_tokens.issue(thief)).text for _ in range(2)]
    take = door.login_tokens.use

    async def take_before_the_change(token: str) -> Account | None:
        account = await take(token)
        await change(owner, "second", log_out_others=True)
        return account

    monkeypatch.setattr(door.login_tokens, "use", take_before_the_change)
    with pytest.raises(MatrixError, match="Invalid login token"):
        await door.logins.log_in_by_token(used, DeviceRequest("F"), client_ip="192.0.2.7")
    monkeypatch.undo()
    with pytest.raises(MatrixError, match="Invalid login token"):
        await door.logins.log_in_by_token(issued, DeviceRequest("F"), client_ip="192.0.2.7")
    with pytest.raises(MatrixError, match="Invalid access token"):
        await door.login_tokens.issue(thief)
    with pytest.raises(MatrixError, match="Invalid access token"):
        await change(thief, "stolen", log_out_others=True)
    await door.log_in(password="second")
