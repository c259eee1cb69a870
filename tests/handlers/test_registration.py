"""Making accounts."""

import hashlib
import hmac
from collections.abc import Awaitable, Iterator
from typing import Any

import attrs
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.config.accounts import PasswordPolicy, RegistrationOptions
from synapse_lite.errors import MatrixError
from synapse_lite.handlers.passwords import Passwords
from synapse_lite.handlers.registration import Registration, SharedSecretRegistration, SignedRegistration
from synapse_lite.handlers.uia import Proof
from synapse_lite.storage import accounts
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database
from synapse_lite.storage.uia import create_uia_session
from tests.builders import CHEAP_HASHER
from tests.http.memory import ManualClock

SECRET = "shared secret"


class Office:
    """Registration, and who was announced."""

    def __init__(self, database: Database, passwords: Passwords) -> None:
        self.database = database
        self.clock = ManualClock()
        self.passwords = passwords
        self.announced: list[tuple[str, bool]] = []
        self.registration = self.build()
        self.shared = SharedSecretRegistration(database, self.clock, self.registration, SECRET)

    def build(self, **options: bool) -> Registration:
        async def announce(user_id: str, *, is_guest: bool = False) -> None:
            self.announced.append((user_id, is_guest))

        return Registration(
            self.database,
            self.passwords,
            self.clock,
            options=RegistrationOptions(**options),
            server_name="hs.test",
            on_registered=announce,
        )

    async def row(self, user_id: str) -> tuple[Any, ...]:
        row = await self.database.read(
            lambda txn: txn.row(
                "SELECT is_admin, is_guest, user_type, displayname FROM users WHERE user_id = %s", (user_id,)
            )
        )
        assert row is not None
        return row


@pytest.fixture
def office(database: Database) -> Iterator[Office]:
    policy = PasswordPolicy(enabled=True, minimum_length=3)
    passwords = Passwords(reactor, pepper="", policy=policy, hasher=CHEAP_HASHER)
    passwords.start()
    yield Office(database, passwords)
    passwords.stop()


async def _refusal(waiting: Any) -> tuple[int, str, str]:
    with pytest.raises(MatrixError) as caught:
        await waiting
    return caught.value.status, caught.value.errcode, caught.value.message


@ensureDeferred
async def test_a_new_user_has_a_name_and_a_password(office: Office) -> None:
    """Capitals are lowered, the name is shown, the password is hashed, rooms hear of it."""
    assert await office.registration.register("Name", "secret") == "@name:hs.test"
    assert await office.row("@name:hs.test") == (False, False, None, "name")
    account = await office.database.read(accounts.find_account, "@name:hs.test")
    assert account is not None
    assert (await office.passwords.verify("secret", account.password_hash)).correct
    assert office.announced == [("@name:hs.test", False)]


@ensureDeferred
async def test_users_without_a_name_are_numbered(office: Office) -> None:
    """Nobody can choose such a name, so none is ever taken."""
    assert await office.registration.register(None, "secret") == "@1:hs.test"
    assert await office.registration.register(None, "secret") == "@2:hs.test"


@ensureDeferred
async def test_names_that_cannot_be_had(office: Office) -> None:
    """Empty, odd, numeric, reserved, over-long: invalid. In use, in whatever case: in use."""
    check = office.registration.check_username
    for name in ("", "a b", "a!", "\u00e4", "a\0", "_a", "123", "x" * 247, "a:b"):
        for waiting in (check(name), office.registration.register(name, "secret")):
            assert (await _refusal(waiting))[:2] == (400, "M_INVALID_USERNAME")
    assert await check("x" * 246) == f"@{'x' * 246}:hs.test"
    await office.registration.register("taken", "secret")
    await office.database.transact(accounts.create_account, NewAccount("@Imported:hs.test", 1))
    for waiting in (
        check("TAKEN"),
        check("imported"),
        office.registration.register("Taken", "secret"),
        office.registration.register("imported", "secret"),
    ):
        assert (await _refusal(waiting))[:2] == (400, "M_USER_IN_USE")


async def _outcome(waiting: Awaitable[str]) -> str:
    try:
        return await waiting
    except MatrixError as error:
        return error.errcode


@ensureDeferred
async def test_of_two_at_once_one_gets_the_name(office: Office) -> None:
    """The other hears that it is taken, and its password is not the account's."""
    asked = [office.registration.register("name", f"secret{n}") for n in range(2)]
    both = [Deferred.fromCoroutine(_outcome(one)) for one in asked]
    assert sorted(await gatherResults(both)) == ["@name:hs.test", "M_USER_IN_USE"]


@ensureDeferred
async def test_registration_and_guests_can_be_closed(office: Office) -> None:
    """Both are, unless the configuration opens them; guests have no password."""
    with pytest.raises(MatrixError, match="disabled"):
        office.registration.check_open()
    assert (await _refusal(office.registration.register_guest()))[:2] == (403, "M_FORBIDDEN")
    open_office = office.build(
        enable_registration=True, enable_registration_without_verification=True, allow_guest_access=True
    )
    open_office.check_open()
    guest = await open_office.register_guest()
    assert await office.row(guest) == (False, True, None, None)
    account = await office.database.read(accounts.find_account, guest)
    assert account is not None
    assert account.password_hash is None
    assert office.announced == [(guest, True)]


@ensureDeferred
async def test_operators_make_users_of_any_kind(office: Office) -> None:
    """Also when registration is closed; an existing one is left alone when that is wanted."""
    create = office.registration.create_user
    user = await create("bot", "secret", is_admin=True, user_type="bot", displayname="The bot")
    assert await office.row(user) == (True, False, "bot", "The bot")
    assert await create("Bot", "other", exists_ok=True) == user
    assert await office.row(user) == (True, False, "bot", "The bot")
    assert (await _refusal(create("bot", "secret")))[1] == "M_USER_IN_USE"
    assert (await _refusal(create("cat", "secret", user_type="cat")))[1:] == (
        "M_UNKNOWN",
        "Invalid user type",
    )
    assert (await _refusal(create("weak", "no")))[1] == "M_PASSWORD_TOO_SHORT"


async def _sign(office: Office, secret: str = SECRET, **more: Any) -> SignedRegistration:
    """Signed by a second implementation of the protocol."""
    nonce = office.shared.new_nonce()
    wanted = {"username": "Name", "password": "secret", "is_admin": True, "user_type": None, **more}
    mac = hmac.new(secret.encode(), digestmod=hashlib.sha1)
    mac.update(nonce.encode() + b"\0" + wanted["username"].encode() + b"\0" + wanted["password"].encode())
    mac.update(b"\0admin" if wanted["is_admin"] else b"\0notadmin")
    if wanted["user_type"]:
        mac.update(b"\0" + wanted["user_type"].encode())
    return SignedRegistration(nonce=nonce, displayname=None, mac=mac.hexdigest(), **wanted)


@ensureDeferred
async def test_the_shared_secret_makes_users(office: Office) -> None:
    """The signature covers the name as given; the id is in lower case."""
    assert await office.shared.register(await _sign(office)) == "@name:hs.test"
    assert await office.row("@name:hs.test") == (True, False, None, "name")
    bot = await _sign(office, username="bot", is_admin=False, user_type="bot", password="p\u00e4sse")
    assert await office.row(await office.shared.register(bot)) == (False, False, "bot", "bot")


@ensureDeferred
async def test_only_what_was_signed_is_done(office: Office) -> None:
    """Any other field, another secret, no secret: refused, and the nonce stays good for who knows the secret."""
    for change in (
        {"username": "x"},
        {"password": "xxx"},
        {"is_admin": False},
        {"user_type": "bot"},
        {"mac": "\u00e4"},
    ):
        signed = await _sign(office)
        changed = attrs.evolve(signed, **change)
        assert await _refusal(office.shared.register(changed)) == (403, "M_UNKNOWN", "HMAC incorrect")
    assert await office.shared.register(signed)
    stranger = await _sign(office, secret="guess")
    assert (await _refusal(office.shared.register(stranger)))[0] == 403
    for absent in (None, ""):
        closed = SharedSecretRegistration(office.database, office.clock, office.registration, absent)
        message = "Shared secret registration is not enabled"
        signed = await _sign(office, secret="")
        assert await _refusal(closed.register(signed)) == (400, "M_UNKNOWN", message)


@ensureDeferred
async def test_nonces_are_good_once_for_a_minute_everywhere(office: Office) -> None:
    """Another process takes it; twice, or a minute later, nobody does."""
    elsewhere = SharedSecretRegistration(office.database, office.clock, office.registration, SECRET)
    signed = await _sign(office)
    assert len(signed.nonce) == 128
    office.clock.advance(59)
    await elsewhere.register(signed)
    assert (await _refusal(office.shared.register(signed)))[2] == "unrecognised nonce"
    other_end = "01" if signed.nonce.endswith("00") else "00"
    for forged in ("", "x", "00" * 64, signed.nonce[:-2] + other_end):
        unknown = attrs.evolve(await _sign(office, username="forged"), nonce=forged)
        assert (await _refusal(office.shared.register(unknown)))[2] == "unrecognised nonce"
    assert await office.database.read(lambda txn: txn.value("SELECT count(*) FROM registration_nonces")) == 1
    late = await _sign(office, username="late")
    office.clock.advance(60)
    assert (await _refusal(office.shared.register(late)))[2] == "unrecognised nonce"


@ensureDeferred
async def test_a_session_makes_one_user(office: Office) -> None:
    """What is refused leaves it as it was."""
    await office.registration.register("taken", "secret")
    await office.database.transact(create_uia_session, "s", "register", 0, lifetime_ms=1)
    proof = Proof("s", None)
    assert (await _refusal(office.registration.register("taken", "secret", proof)))[1] == "M_USER_IN_USE"
    assert await office.registration.register("name", "secret", proof) == "@name:hs.test"
    assert (await _refusal(office.registration.register("other", "secret", proof)))[:2] == (400, "M_UNKNOWN")
    assert await office.registration.check_username("other") == "@other:hs.test"
