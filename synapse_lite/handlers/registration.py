"""Making accounts: by their owners, by whoever knows the shared secret, by the command line."""

import hashlib
import hmac
import secrets
from typing import Any, Protocol

import attrs

from synapse_lite.clock import Clock
from synapse_lite.config.accounts import RegistrationOptions
from synapse_lite.errors import Errcode, MatrixError, forbidden
from synapse_lite.handlers.active_users import ActiveUsers
from synapse_lite.handlers.app_services.services import AppServices
from synapse_lite.handlers.closed_server import ClosedServer
from synapse_lite.handlers.passwords import Passwords
from synapse_lite.handlers.uia import (
    DUMMY,
    REGISTRATION_TOKEN,
    TERMS,
    Proof,
    invalid_token,
    unknown_session,
)
from synapse_lite.ids import MAX_ID_BYTES, is_localpart, localpart_of
from synapse_lite.storage import accounts, consent
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.registration_tokens import find_token, lock_token, use_token
from synapse_lite.storage.uia import note_registered

NONCE_LIFETIME_MS = 60_000
USER_TYPES = ("bot", "support")


class OnRegistered(Protocol):
    """Called with the id of a new user, before the answer."""

    async def __call__(self, user_id: str, *, is_guest: bool = False) -> None: ...


class Registration:
    """Checks names and makes accounts. `terms_version`: of the terms to which who registers has to agree."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        clock: Clock,
        *,
        options: RegistrationOptions,
        server_name: str,
        on_registered: OnRegistered,
        terms_version: str | None = None,
        closed: ClosedServer | None = None,
        active: ActiveUsers | None = None,
        services: AppServices | None = None,
    ) -> None:
        self._closed = closed
        self._active = active
        self._services = services
        self._terms_version = terms_version
        self._database = database
        self._passwords = passwords
        self._clock = clock
        self._options = options
        self._server_name = server_name
        self._on_registered = on_registered

    def check_open(self) -> None:
        """403 `M_FORBIDDEN` unless anybody may register; `M_RESOURCE_LIMIT_EXCEEDED` while the server is closed."""
        if self._closed is not None:
            self._closed.check(None)
        if not self._options.registration_is_open:
            raise forbidden(
                "Registration has been disabled. Only m.login.application_service registrations are allowed."
            )

    @property
    def stages(self) -> tuple[str, ...]:
        """What has to be proved by who registers."""
        asked = []
        if self._options.registration_requires_token:
            asked.append(REGISTRATION_TOKEN)
        if self._terms_version is not None:
            asked.append(TERMS)
        return (*asked, DUMMY)

    async def is_token_valid(self, token: str) -> bool:
        """Whether somebody may register with the token now."""
        now_ms = self._clock.now_ms()
        found = await self._database.read(find_token, token, now_ms)
        return found is not None and found.is_valid(now_ms)

    async def check_username(self, username: str) -> str:
        """The user id that `username` would get; its capitals are lowered.

        Raises 400 `M_INVALID_USERNAME`, `M_EXCLUSIVE` for a name of an application service, and `M_USER_IN_USE` unless that is not to be told so early.
        """
        user_id = self._user_id(username)
        if self._options.inhibit_user_in_use_error:
            return user_id
        if await self._database.read(accounts.is_taken, user_id):
            raise user_in_use()
        return user_id

    def check_password(self, password: str) -> None:
        """400 for a password that may not be chosen."""
        self._passwords.check_new(password)

    async def register(self, username: str | None, password: str, proof: Proof | None = None) -> str:
        """The id of the new user: numbered when no name is given. The same errors as the checks.

        The account and the use of the `proof` are one commit; 401 `M_UNAUTHORIZED` when others have used the
        registration token up, 400 `M_UNKNOWN` when another request has used the session,
        403 `M_RESOURCE_LIMIT_EXCEEDED` where users are too many.
        """
        self._passwords.check_new(password)
        await self._check_number()
        user_id = self._user_id(username) if username is not None else await self._numbered_user_id()
        return await self._create(user_id, password, proof=proof or Proof(None, None))

    def check_repeated(self, user_id: str, username: str | None) -> None:
        """400 `M_UNKNOWN` for who wants another name than the one that their session has registered."""
        if username is not None and self._user_id(username) != user_id:
            raise MatrixError(
                400, Errcode.UNKNOWN, "A different user ID has already been registered for this session"
            )

    async def register_guest(self) -> str:
        """The id of a new guest, who cannot log in again; 403 `M_FORBIDDEN` when guests are not allowed."""
        if self._closed is not None:
            self._closed.check(None)
        if not self._options.allow_guest_access:
            raise forbidden("Guest access is disabled")
        await self._check_number()
        user_id = await self._numbered_user_id()
        self._check_not_kept(user_id)
        await self._store(self._new_account(user_id, is_guest=True))
        await self._on_registered(user_id, is_guest=True)
        return user_id

    async def prepare(self, username: str, password: str | None) -> NewAccount:
        """A new account for operators to complete and store, and then to `announce`; as `create_user`."""
        if password is not None:
            self._passwords.check_new(password)
        user_id = await self.check_username(username)
        password_hash = None if password is None else await self._passwords.hash(password)
        return self._new_account(user_id, password_hash=password_hash, displayname=localpart_of(user_id))

    async def _check_number(self) -> None:
        if self._active is not None:
            await self._active.check()

    async def announce(self, user_id: str) -> None:
        """The account is stored: what happens for every new user happens now."""
        await self._on_registered(user_id)

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
        proof: Proof | None = None,
    ) -> str:
        """`proof` is of who registers by themselves, and so agrees to the terms."""
        if await self._database.read(accounts.is_taken, user_id):
            raise user_in_use()
        account = self._new_account(
            user_id,
            password_hash=await self._passwords.hash(password),
            is_admin=is_admin,
            user_type=user_type,
            displayname=localpart_of(user_id) if displayname is None else displayname,
            registration_token=proof.registration_token if proof else None,
        )
        await self._store(account, proof)
        await self._on_registered(user_id)
        return user_id

    def _new_account(self, user_id: str, **values: Any) -> NewAccount:
        now_ms, period = self._clock.now_ms(), self._options.account_validity.effective_period
        return NewAccount(user_id, now_ms, expires_ts=None if period is None else now_ms + period, **values)

    async def _store(self, account: NewAccount, proof: Proof | None = None) -> None:
        def store(txn: Transaction) -> None:
            if proof is not None:
                self._use(txn, account.user_id, proof)
            if not accounts.create_account(txn, account):
                raise user_in_use()
            if proof is not None and self._terms_version is not None:
                consent.set_agreed(txn, account.user_id, self._terms_version, self._clock.now_ms())

        await self._database.transact(store)

    def _use(self, txn: Transaction, user_id: str, proof: Proof) -> None:
        """The session before its token: until then it holds a use of it."""
        session_id, token = proof.session_id, proof.registration_token
        if token is not None:
            lock_token(txn, token)
        if session_id is not None and not note_registered(txn, session_id, user_id):
            raise unknown_session(session_id)
        if token is not None and not use_token(txn, token, self._clock.now_ms()):
            raise invalid_token()

    async def _numbered_user_id(self) -> str:
        number = await self._database.transact(accounts.next_user_number)
        return f"@{number}:{self._server_name}"

    def _user_id(self, username: str) -> str:
        localpart = username.lower()
        if not localpart:
            raise _invalid("User ID cannot be empty")
        if not is_localpart(localpart):
            raise _invalid("User ID can only contain characters a-z, 0-9, or '=_-./+'")
        if localpart.startswith("_") and not self._options.allow_underscore_prefixed_registration:
            raise _invalid("User ID may not begin with _")
        if localpart.isdigit():
            raise _invalid("Numeric user IDs are reserved for guest users.")
        user_id = f"@{localpart}:{self._server_name}"
        if len(user_id) > MAX_ID_BYTES:
            raise _invalid(f"User ID may not be longer than {MAX_ID_BYTES} characters")
        self._check_not_kept(user_id)
        return user_id

    def _check_not_kept(self, user_id: str) -> None:
        if self._services is not None:
            self._services.check_user(user_id, None)


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

    def new_nonce(self) -> str:
        """Good once, on any process, within a minute. It says itself when it was made: nothing is stored."""
        made = self._clock.now_ms().to_bytes(8, "big") + secrets.token_bytes(24)
        return (made + self._seal(made)).hex()

    def check_enabled(self) -> str:
        """The secret; 400 `M_UNKNOWN` when there is none."""
        if not self._secret:
            raise MatrixError(400, Errcode.UNKNOWN, "Shared secret registration is not enabled")
        return self._secret

    def check(self, signed: SignedRegistration) -> None:
        """400 `M_UNKNOWN` for a nonce that is not good, 403 `M_UNKNOWN` for a wrong signature."""
        secret = self.check_enabled()
        if not self._is_good(signed.nonce):
            raise MatrixError(400, Errcode.UNKNOWN, "unrecognised nonce")
        if not signed.is_signed_by(secret):
            raise MatrixError(403, Errcode.UNKNOWN, "HMAC incorrect")

    async def register(self, signed: SignedRegistration) -> str:
        """The id of the new user.

        Raises as `check`, 400 `M_UNKNOWN` for a nonce that was used, and what `Registration.create_user` raises.
        A good signature uses the nonce up.
        """
        self.check(signed)
        if not await self._database.transact(accounts.use_nonce, signed.nonce, self._clock.now_ms()):
            raise MatrixError(400, Errcode.UNKNOWN, "unrecognised nonce")
        return await self._registration.create_user(
            signed.username,
            signed.password,
            is_admin=signed.is_admin,
            user_type=signed.user_type,
            displayname=signed.displayname,
        )

    def _seal(self, made: bytes) -> bytes:
        key = f"nonce {self._secret}".encode()
        return hmac.digest(key, made, "sha256")

    def _is_good(self, nonce: str) -> bool:
        try:
            raw = bytes.fromhex(nonce)
        except ValueError:
            return False
        made, seal = raw[:32], raw[32:]
        age_ms = self._clock.now_ms() - int.from_bytes(made[:8], "big")
        return hmac.compare_digest(seal, self._seal(made)) and 0 <= age_ms < NONCE_LIFETIME_MS


def user_in_use() -> MatrixError:
    """400 `M_USER_IN_USE`"""
    return MatrixError(400, Errcode.USER_IN_USE, "User ID already taken.")


def _invalid(message: str) -> MatrixError:
    return MatrixError(400, Errcode.INVALID_USERNAME, message)
