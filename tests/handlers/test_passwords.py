"""Hashing and checking passwords."""

from collections.abc import Iterator

import bcrypt
import pytest
from argon2 import PasswordHasher
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.config.accounts import PasswordPolicy
from synapse_lite.errors import MatrixError
from synapse_lite.handlers import passwords as module
from synapse_lite.handlers.passwords import Passwords, Verdict

PEPPER = "pepper"
RIGHT = Verdict(correct=True)
WRONG = Verdict(correct=False)


def _passwords(policy: PasswordPolicy | None = None, time_cost: int = 1, pepper: str = PEPPER) -> Passwords:
    return Passwords(
        reactor,
        pepper=pepper,
        policy=policy or PasswordPolicy(),
        hasher=PasswordHasher(time_cost, 64, 1),
    )


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    started = _passwords()
    started.start()
    yield started
    started.stop()


@ensureDeferred
async def test_the_right_password_and_no_other(passwords: Passwords) -> None:
    """Hashes are argon2id, salted, and hold no password."""
    stored = await passwords.hash("secret word")
    assert stored.startswith("$argon2id$")
    assert "secret" not in stored
    assert stored != await passwords.hash("secret word")
    assert await passwords.verify("secret word", stored) == RIGHT
    assert await passwords.verify("secret worD", stored) == WRONG


@ensureDeferred
async def test_equal_looking_passwords_are_equal(passwords: Passwords) -> None:
    """Composed and decomposed letters are the same password."""
    stored = await passwords.hash("caf\u00e9")
    assert await passwords.verify("cafe\u0301", stored) == RIGHT


@ensureDeferred
async def test_nothing_fits_where_no_password_is(passwords: Passwords) -> None:
    """Neither without a hash (not even the decoy's password), nor with a broken one."""
    for stored in (None, "", "$argon2id$broken", "$2b$broken"):
        for password in ("", PEPPER, "secret"):
            assert await passwords.verify(password, stored) == WRONG


@ensureDeferred
async def test_a_decoy_costs_time_and_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a stored hash another one of the same cost is worked on. None has to be made for that at the start."""
    checked: list[str] = []
    verify = PasswordHasher.verify

    def recording(hasher: PasswordHasher, stored: str, password: bytes) -> bool:
        checked.append(stored)
        return verify(hasher, stored, password)

    monkeypatch.setattr(PasswordHasher, "verify", recording)
    monkeypatch.setattr(PasswordHasher, "hash", None)
    plain = _passwords(pepper="", time_cost=2)
    plain.start()
    try:
        assert await plain.verify("", None) == WRONG
    finally:
        plain.stop()
    (decoy,) = checked
    assert not PasswordHasher(2, 64, 1).check_needs_rehash(decoy)


@ensureDeferred
async def test_imported_hashes_are_read_and_outdated(passwords: Passwords) -> None:
    """They are bcrypt with the pepper, cut at 72 bytes as ever."""
    salt = bcrypt.gensalt(4)
    stored = bcrypt.hashpw(f"secret{PEPPER}".encode(), salt).decode()
    assert await passwords.verify("secret", stored) == Verdict(correct=True, outdated=True)
    assert await passwords.verify("Secret", stored) == WRONG
    long = bcrypt.hashpw(b"x" * 72, salt).decode()
    assert (await passwords.verify("x" * 100, long)).correct


@ensureDeferred
async def test_weaker_parameters_are_outdated(passwords: Passwords) -> None:
    """A hash made with other parameters than today's is right, and to be replaced."""
    stored = await passwords.hash("secret")
    stronger = _passwords(time_cost=2)
    stronger.start()
    try:
        assert await stronger.verify("secret", stored) == Verdict(correct=True, outdated=True)
    finally:
        stronger.stop()


@ensureDeferred
async def test_too_many_at_once_are_asked_to_come_later(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue is bounded, and open again when it is empty."""
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    hashing = [Deferred.fromCoroutine(passwords.hash("secret")) for _ in range(2)]
    with pytest.raises(MatrixError) as caught:
        await passwords.hash("secret")
    assert caught.value.status == 429
    await gatherResults(hashing)
    await passwords.hash("secret")


def _refusal(policy: PasswordPolicy | None, password: str) -> str | None:
    try:
        _passwords(policy).check_new(password)
    except MatrixError as error:
        return f"{error.status} {error.errcode}"
    return None


@pytest.mark.parametrize("password", ["", "x" * 513, "nul\0"])
def test_what_is_no_password(password: str) -> None:
    """Empty, too long or with NUL: refused without any policy."""
    assert _refusal(None, password) == "400 M_UNKNOWN"
    assert _refusal(None, "x" * 512) is None


@pytest.mark.parametrize(
    ("password", "refusal"),
    [
        ("aB3$", "400 M_PASSWORD_TOO_SHORT"),
        ("abcDEF$$", "400 M_PASSWORD_NO_DIGIT"),
        ("abcDEF12", "400 M_PASSWORD_NO_SYMBOL"),
        ("abcdef1$", "400 M_PASSWORD_NO_UPPERCASE"),
        ("ABCDEF1$", "400 M_PASSWORD_NO_LOWERCASE"),
        ("abcDEF1$", None),
    ],
)
def test_the_policy_names_what_is_missing(password: str, refusal: str | None) -> None:
    """One code per rule, and nothing when the policy is off."""
    rules = {
        "minimum_length": 8,
        "require_digit": True,
        "require_symbol": True,
        "require_uppercase": True,
        "require_lowercase": True,
    }
    assert _refusal(PasswordPolicy(enabled=True, **rules), password) == refusal
    assert _refusal(PasswordPolicy(enabled=False, **rules), password) is None
