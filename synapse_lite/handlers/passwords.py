"""Passwords: hashing off the reactor, checking, and what a new one must have."""

import unicodedata
from collections.abc import Callable
from typing import TypeVar

import attrs
import bcrypt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from twisted.internet.interfaces import IReactorFromThreads

from synapse_lite.config.accounts import PasswordPolicy
from synapse_lite.errors import Errcode, MatrixError, limit_exceeded
from synapse_lite.threads import Threads

MAX_PASSWORD_LENGTH = 512
THREADS = 2

# What OWASP's password storage cheat sheet asks of argon2id. More would let a few logins use up a small machine.
TIME_COST = 2
MEMORY_KIB = 19 * 1024
PARALLELISM = 1

MAX_WAITING = 100
RETRY_AFTER_MS = 2000
_BCRYPT_BYTES = 72  # bcrypt has always ignored what comes after; the library now refuses it

R = TypeVar("R")


@attrs.frozen
class Verdict:
    """`outdated`: the password is right, and its hash should be replaced by a better one."""

    correct: bool
    outdated: bool = False


class Passwords:
    """Writes argon2id, and also reads the bcrypt hashes that Synapse wrote.

    The pepper is appended to every password. At most `THREADS` passwords are
    worked on at a time; when too many wait, the answer is 429 `M_LIMIT_EXCEEDED`.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        *,
        pepper: str,
        policy: PasswordPolicy,
        hasher: PasswordHasher,
    ) -> None:
        self._pepper = pepper
        self._policy = policy
        self._hasher = hasher
        self._threads = Threads(reactor, THREADS, "passwords")
        self._decoy = _decoy(hasher)
        self._waiting = 0

    def start(self) -> None:
        """Its threads begin with the first password."""

    def stop(self) -> None:
        self._threads.stop()

    async def hash(self, password: str) -> str:
        return await self._in_thread(self._hasher.hash, self._prepare(password))

    async def verify(self, password: str, stored: str | None) -> Verdict:
        """Takes as long without a stored hash as with one, so that time does not tell who exists."""
        return await self._in_thread(self._verify, self._prepare(password), stored)

    def check_new(self, password: str) -> None:
        """400 for what is no password (`M_UNKNOWN`), or not good enough (Synapse's code per rule)."""
        if not 1 <= len(password) <= MAX_PASSWORD_LENGTH or "\0" in password:
            raise MatrixError(400, Errcode.UNKNOWN, "Invalid password")
        policy = self._policy
        if not policy.enabled:
            return
        if len(password) < policy.minimum_length:
            raise _weak("TOO_SHORT", f"The password must be at least {policy.minimum_length} characters long")
        if policy.require_digit and not any(letter.isdigit() for letter in password):
            raise _weak("NO_DIGIT", "The password must include at least one digit")
        if policy.require_symbol and all(letter.isalnum() for letter in password):
            raise _weak("NO_SYMBOL", "The password must include at least one symbol")
        if policy.require_uppercase and not any(letter.isupper() for letter in password):
            raise _weak("NO_UPPERCASE", "The password must include at least one uppercase letter")
        if policy.require_lowercase and not any(letter.islower() for letter in password):
            raise _weak("NO_LOWERCASE", "The password must include at least one lowercase letter")

    def _prepare(self, password: str) -> bytes:
        return (unicodedata.normalize("NFKC", password) + self._pepper).encode()

    async def _in_thread(self, work: Callable[..., R], *args: object) -> R:
        if self._waiting >= MAX_WAITING:
            raise limit_exceeded(RETRY_AFTER_MS)
        self._waiting += 1
        try:
            return await self._threads.run(work, *args)
        finally:
            self._waiting -= 1

    def _verify(self, password: bytes, stored: str | None) -> Verdict:
        if stored is not None and stored.startswith("$2"):
            return _verify_bcrypt(password, stored)
        try:
            self._hasher.verify(stored or self._decoy, password)
        except (VerificationError, InvalidHashError):
            return Verdict(correct=False)
        if stored is None:
            return Verdict(correct=False)
        return Verdict(correct=True, outdated=self._hasher.check_needs_rehash(stored))


def password_hasher() -> PasswordHasher:
    """For new hashes: argon2id at the cost that is asked for today."""
    return PasswordHasher(TIME_COST, MEMORY_KIB, PARALLELISM)


def _decoy(hasher: PasswordHasher) -> str:
    """A hash of no password, which costs as much to verify as one of the hasher's."""
    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    salt, digest = "A" * 22, "A" * 43  # zeros, in base64: 16 bytes and 32
    return f"$argon2id$v=19${cost}${salt}${digest}"


def _verify_bcrypt(password: bytes, stored: str) -> Verdict:
    try:
        correct = bcrypt.checkpw(password[:_BCRYPT_BYTES], stored.encode())
    except ValueError:
        return Verdict(correct=False)
    return Verdict(correct, outdated=correct)


def _weak(rule: str, message: str) -> MatrixError:
    return MatrixError(400, f"M_PASSWORD_{rule}", message)
