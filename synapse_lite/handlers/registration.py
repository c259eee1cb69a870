"""Making accounts: by their owners, by whoever knows the shared secret, by the command line."""

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable

import attrs

from synapse_lite.clock import Clock
from synapse_lite.config.accounts import RegistrationOptions
from synapse_lite.errors import Errcode, MatrixError, forbidden
from synapse_lite.handlers.passwords import Passwords
from synapse_lite.ids import MAX_ID_BYTES, is_localpart, localpart_of
from synapse_lite.storage import accounts
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database

NONCE_LIFETIME_MS = 60_000
MAX_NONCES = 10_000
USER_TYPES = ("bot", "support")

OnRegistered = Callable[[str], Awaitable[None]]
"""Called with the id of a new user who is no guest, before the answer."""


class Registration:
    """Checks names and makes accounts."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        clock: Clock,
        *,
        options: RegistrationOptions,
        server_name: str,
        on_registered: OnRegistered,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._clock = clock
        self._options = options
        self._server_name = server_name
        self._on_registered = on_registered

    def check_open(self) -> None:
        """403 `M_FORBIDDEN` unless anybody may register."""
        if not self._options.registration_is_open:
            raise forbidden(
                "Registration has been disabled. Only m.login.application_service registrations are allowed."
            )

    async def check_username(self, username: str) -> str:
        """The user id that `username` would get; its capitals are lowered.

        Raises 400 `M_INVALID_USERNAME`, 400 `M_USER_IN_USE`.
        """
        user_id = self._user_id(username)
        if await self._database.read(accounts.is_taken, user_id):
            raise _in_use()
        return user_id

    def check_password(self, password: str) -> None:
        """400 for a password that may not be chosen."""
        self._passwords.check_new(password)

    async def register(self, username: str | None, password: str) -> str:
        """The id of the new user: numbered when no name is given. The same errors as the checks."""
        self._passwords.check_new(password)
        user_id = self._user_id(username) if username is not None else await self._numbered_user_id()
        return await self._create(user_id, password)

    async def register_guest(self) -> str:
        """The id of a new guest, who cannot log in again; 403 `M_FORBIDDEN` when guests are not allowed."""
        if not self._options.allow_guest_access:
            raise forbidden("Guest access is disabled")
        user_id = await self._numbered_user_id()
        await self._store(NewAccount(user_id, self._clock.now_ms(), is_guest=True))
        return user_id

    async def create_user(
        self,
        username: str,
        password: str,
        *,
        is_admin: bool = False,
        user_type: str | None = None,
        displayname: str | None = None,
        exists_ok: bool = False,
    ) -> str:
        """For operators: also when registration is closed. With `exists_ok` an account that exists stays as it is."""
        self._passwords.check_new(password)
        if user_type is not None and user_type not in USER_TYPES:
            raise MatrixError(400, Errcode.UNKNOWN, "Invalid user type")
        user_id = self._user_id(username)
        if exists_ok and await self._database.read(accounts.is_taken, user_id):
            return user_id
        return await self._create(
            user_id, password, is_admin=is_admin, user_type=user_type, displayname=displayname
        )

    async def _create(
        self,
        user_id: str,
        password: str,
        *,
        is_admin: bool = False,
        user_type: str | None = None,
        displayname: str | None = None,
    ) -> str:
        if await self._database.read(accounts.is_taken, user_id):
            raise _in_use()
        account = NewAccount(
            user_id,
            self._clock.now_ms(),
            await self._passwords.hash(password),
            is_admin=is_admin,
            user_type=user_type,
            displayname=localpart_of(user_id) if displayname is None else displayname,
        )
        await self._store(account)
        await self._on_registered(user_id)
        return user_id

    async def _store(self, account: NewAccount) -> None:
        if not await self._database.transact(accounts.create_account, account):
            raise _in_use()

    async def _numbered_user_id(self) -> str:
        number = await self._database.transact(accounts.next_user_number)
        return f"@{number}:{self._server_name}"

    def _user_id(self, username: str) -> str:
        localpart = username.lower()
        if not localpart:
            raise _invalid("User ID cannot be empty")
        if not is_localpart(localpart):
            raise _invalid("User ID can only contain characters a-z, 0-9, or '=_-./+'")
        if localpart.startswith("_"):
            raise _invalid("User ID may not begin with _")
        if localpart.isdigit():
            raise _invalid("Numeric user IDs are reserved for guest users.")
        user_id = f"@{localpart}:{self._server_name}"
        if len(user_id) > MAX_ID_BYTES:
            raise _invalid(f"User ID may not be longer than {MAX_ID_BYTES} characters")
        return user_id


@attrs.frozen
class SignedRegistration:
    """What the shared secret signs, and the signature: hex HMAC-SHA1."""

    nonce: str
    username: str
    password: str = attrs.field(repr=False)
    is_admin: bool
    user_type: str | None
    displayname: str | None
    mac: str = attrs.field(repr=False)

    def is_signed_by(self, secret: str) -> bool:
        parts = [self.nonce, self.username, self.password, "admin" if self.is_admin else "notadmin"]
        if self.user_type is not None:
            parts.append(self.user_type)
        expected = hmac.new(secret.encode(), "\0".join(parts).encode(), hashlib.sha1).hexdigest()
        return hmac.compare_digest(expected.encode(), self.mac.encode())


class SharedSecretRegistration:
    """Registration by `registration_shared_secret`: a nonce, then a request signed with the secret."""

    def __init__(
        self, database: Database, clock: Clock, registration: Registration, secret: str | None
    ) -> None:
        self._database = database
        self._clock = clock
        self._registration = registration
        self._secret = secret

    async def new_nonce(self) -> str:
        """Good for one try, on any process, within a minute."""
        nonce = secrets.token_hex(64)
        await self._database.transact(
            accounts.add_nonce,
            nonce,
            self._clock.now_ms(),
            lifetime_ms=NONCE_LIFETIME_MS,
            most=MAX_NONCES,
        )
        return nonce

    def check_enabled(self) -> str:
        """The secret; 400 `M_UNKNOWN` when there is none."""
        if not self._secret:
            raise MatrixError(400, Errcode.UNKNOWN, "Shared secret registration is not enabled")
        return self._secret

    async def register(self, signed: SignedRegistration) -> str:
        """The id of the new user.

        Raises 400 `M_UNKNOWN` for a nonce that is not good, 403 `M_UNKNOWN` for a wrong signature, and
        what `Registration.create_user` raises. The nonce is used up in any case.
        """
        secret = self.check_enabled()
        if not await self._database.transact(
            accounts.use_nonce, signed.nonce, self._clock.now_ms(), lifetime_ms=NONCE_LIFETIME_MS
        ):
            raise MatrixError(400, Errcode.UNKNOWN, "unrecognised nonce")
        if not signed.is_signed_by(secret):
            raise MatrixError(403, Errcode.UNKNOWN, "HMAC incorrect")
        return await self._registration.create_user(
            signed.username,
            signed.password,
            is_admin=signed.is_admin,
            user_type=signed.user_type,
            displayname=signed.displayname,
        )


def _in_use() -> MatrixError:
    return MatrixError(400, Errcode.USER_IN_USE, "User ID already taken.")


def _invalid(message: str) -> MatrixError:
    return MatrixError(400, Errcode.INVALID_USERNAME, message)
