"""Access and refresh tokens: opening and ending sessions, and whose a token is."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

import attrs

from synapse_lite.clock import Clock
from synapse_lite.config.accounts import AccountOptions
from synapse_lite.errors import Errcode, MatrixError, invalid_param
from synapse_lite.handlers.active_users import ActiveUsers
from synapse_lite.handlers.requester import UNLIMITED, MessageLimit, OverLimit, Requester
from synapse_lite.handlers.terms import Terms
from synapse_lite.ids import random_text
from synapse_lite.matrix.experimental_features import features_of
from synapse_lite.storage import access_tokens, accounts, devices
from synapse_lite.storage.access_tokens import AccessToken, NewToken, RefreshToken
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.dehydrated_devices import find_dehydrated
from synapse_lite.storage.stream import Change, Kind
from synapse_lite.tasks.actions.delete_device_messages import delete_devices

TOKEN_LETTERS = 40
DEVICE_ID_LETTERS = 10
SALT_BYTES = 32
CACHED_TOKENS = 20_000
CACHE_LIFETIME_MS = 60_000


class PasswordChangedError(Exception):
    """Since it was checked: what the change ends must not begin after it."""


@attrs.frozen
class NewSession:
    """`token` and `refresh_token` are shown to their owner once and stored nowhere."""

    token: str = attrs.field(repr=False)
    device_id: str | None
    expires_in_ms: int | None = None
    refresh_token: str | None = attrs.field(default=None, repr=False)


@attrs.frozen
class DeviceRequest:
    """As which device somebody logs in: a new one when none is named. `refreshable`: with a refresh token."""

    device_id: str | None = None
    display_name: str | None = None
    refreshable: bool = False


ANY_DEVICE = DeviceRequest()


@attrs.frozen
class TokenLifetimes:
    """Milliseconds; None: for ever. `session` bounds what a refresh can prolong."""

    session: int | None = None
    refreshable: int | None = 5 * 60 * 1000
    refresh: int | None = None
    nonrefreshable: int | None = None

    @classmethod
    def of(cls, options: AccountOptions) -> "TokenLifetimes":
        return cls(
            options.session_lifetime,
            options.refreshable_access_token_lifetime,
            options.refresh_token_lifetime,
            options.nonrefreshable_access_token_lifetime,
        )


FOR_EVER = TokenLifetimes()


@attrs.frozen
class CheckedSession:
    """Whom a token stands for, as it was when it was read. `expires_ms`: not to be believed any longer."""

    requester: Requester
    locked: bool
    account_expires_ms: int | None
    expires_ms: int

    def admit(self, now_ms: int, *, allow_locked: bool) -> Requester:
        """Unless `allow_locked` 401 `M_USER_LOCKED`, and 403 for an expired account."""
        if self.locked and not allow_locked:
            raise user_locked()
        until_ms = self.account_expires_ms
        if until_ms is not None and until_ms <= now_ms and not allow_locked:
            raise account_expired()
        return self.requester


class AccessTokens:
    """Opens, checks, refreshes and closes sessions.

    Tokens that were checked are remembered for a minute, or until a change of their user (`on_changes`).
    A refresh token and its access token end when one of their successors is used for the first time: a client
    that did not hear the answer to its refresh asks again, and gets the same successors.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        lifetimes: TokenLifetimes = FOR_EVER,
        terms: Terms | None = None,
        active: ActiveUsers | None = None,
    ) -> None:
        """`active` None: users are neither limited nor counted."""
        self._database = database
        self._clock = clock
        self._lifetimes = lifetimes
        self._terms = terms
        self._active = active
        self._cache: dict[bytes, CheckedSession] = {}
        self._of_user: dict[str, set[bytes]] = {}
        self._generation = 0

    async def authenticate(self, token: str, *, allow_locked: bool = False) -> Requester:
        """Raises 401 `M_UNKNOWN_TOKEN`; unless `allow_locked` 401 `M_USER_LOCKED` and 403 for an expired account.

        `soft_logout` is true while the device exists: its client keeps its keys, and refreshes or logs in again.
        """
        return await self._authenticate(hash_token(token), allow_locked=allow_locked)

    async def check_again(self, requester: Requester) -> None:
        """As `authenticate`, for whoever has been waiting: what a session may see it sees until it ends."""
        if requester.token_hash is not None:
            await self._authenticate(requester.token_hash, allow_locked=False)

    async def open(
        self, user_id: str, device: DeviceRequest = ANY_DEVICE, *, password_hash: str | None = None
    ) -> NewSession:
        """A new token for the device, whose earlier tokens are void.

        `password_hash`: as it was when the user proved who they are. Raises `PasswordChangedError` if it is another now,
        and 400 `M_INVALID_PARAM` for the id of the user's dehydrated device, whose keys no session may have.
        """
        device_id = device.device_id or random_text(DEVICE_ID_LETTERS).upper()
        lifetimes, now = self._lifetimes, self._clock.now_ms()
        most = lifetimes.refreshable if device.refreshable else lifetimes.nonrefreshable
        lifetime = _shortest(most, lifetimes.session)
        token = f"syt_{random_text(TOKEN_LETTERS)}"
        refresh_token = f"syr_{random_text(TOKEN_LETTERS)}" if device.refreshable else None
        await self._database.transact(
            _open,
            user_id,
            device_id,
            device.display_name,
            NewToken(hash_token(token), _after(now, lifetime)),
            NewToken(hash_token(refresh_token), _after(now, lifetimes.refresh)) if refresh_token else None,
            now_ms=now,
            session_until_ts=_after(now, lifetimes.session),
            password_hash=password_hash,
        )
        return NewSession(token, device_id, lifetime, refresh_token)

    async def open_without_device(self, user_id: str, valid_until_ts: int | None) -> NewSession:
        """A token for an administrator who acts as the user, until `valid_until_ts` (ms)."""
        token = f"syt_{random_text(TOKEN_LETTERS)}"
        await self._database.transact(
            access_tokens.add_access_token,
            user_id,
            None,
            NewToken(hash_token(token), valid_until_ts),
            self._clock.now_ms(),
        )
        return NewSession(token, None)

    async def refresh(self, refresh_token: str) -> NewSession:
        """New tokens for an old refresh token (client-server API, "Refreshing access tokens").

        Raises 401 `M_UNKNOWN_TOKEN` (unknown, over, or its successor is in use), 401 `M_USER_LOCKED`.
        """
        return await self._database.transact(self._refresh, refresh_token)

    async def close(self, token: str) -> None:
        """Log out: the token and its device are gone."""
        await self._database.transact(_close, hash_token(token))

    async def close_spoken_for(self, requester: Requester) -> None:
        """A service logs its user out: the device by which it speaks is gone. 401 `M_UNKNOWN_TOKEN` if it names none."""
        if requester.device_id is None:
            raise _unknown_token("Unrecognised access token")
        await self._database.transact(delete_devices, requester.user_id, [requester.device_id])

    async def close_all(self, user_id: str, *, except_token_nid: int | None = None) -> None:
        await self._database.transact(end_sessions, user_id, except_token_nid=except_token_nid)

    async def _authenticate(self, token_hash: bytes, *, allow_locked: bool) -> Requester:
        cached = self._cache.get(token_hash)
        if cached is None or cached.expires_ms <= self._clock.now_ms():
            cached = await self._read(token_hash)
        return cached.admit(self._clock.now_ms(), allow_locked=allow_locked)

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Forget the tokens of users who changed, here or in another process."""
        for change in changes:
            if change.kind is Kind.SESSION and change.user_id is not None:
                # Whoever is reading the database right now may have read what was before.
                self._generation += 1
                for token_hash in self._of_user.pop(change.user_id, ()):
                    del self._cache[token_hash]

    def _refresh(self, txn: Transaction, refresh_token: str) -> NewSession:
        now, lifetimes = self._clock.now_ms(), self._lifetimes
        found = access_tokens.find_refresh_token(txn, hash_token(refresh_token))
        if found is None or found.deactivated:
            raise _unknown_token("Invalid refresh token")
        if any(
            until is not None and until <= now for until in (found.valid_until_ts, found.session_until_ts)
        ):
            raise _unknown_token("The supplied refresh token has expired", soft_logout=True)
        if found.locked:
            raise user_locked()
        if found.replaces_nid is not None:
            access_tokens.end_replaced(txn, found.nid, found.replaces_nid, found.user_id)
        left = None if found.session_until_ts is None else found.session_until_ts - now
        lifetime = _shortest(lifetimes.refreshable, left)
        session = _successor(txn, found, refresh_token, lifetime)
        refresh_nid = access_tokens.add_refresh_token(
            txn,
            found.user_id,
            found.device_id,
            NewToken(hash_token(session.refresh_token or ""), _after(now, lifetimes.refresh)),
            session_until_ts=found.session_until_ts,
            replaces_nid=found.nid,
        )
        token = NewToken(hash_token(session.token), _after(now, lifetime))
        access_tokens.add_access_token(
            txn, found.user_id, found.device_id, token, now, refresh_nid=refresh_nid
        )
        return session

    async def _read(self, token_hash: bytes) -> CheckedSession:
        generation = self._generation
        token = await self._database.read(access_tokens.find_access_token, token_hash)
        now = self._clock.now_ms()
        if token is None or token.deactivated:
            raise _unknown_token("Invalid access token passed.")
        if token.valid_until_ts is not None and token.valid_until_ts <= now:
            raise _unknown_token("Access token has expired", soft_logout=token.device_id is not None)
        if token.refresh_nid is not None and token.replaces_nid is not None:
            await self._database.transact(
                access_tokens.end_replaced, token.refresh_nid, token.replaces_nid, token.user_id
            )
        expires_ms = min(now + CACHE_LIFETIME_MS, token.valid_until_ts or now + CACHE_LIFETIME_MS)
        is_out = token.locked or (token.account_expires_ts is not None and token.account_expires_ts <= now)
        over_limit = await self._active.admit(token.user_id) if self._active and not is_out else None
        cached = CheckedSession(
            self._requester(token, token_hash, over_limit), token.locked, token.account_expires_ts, expires_ms
        )
        if generation == self._generation:
            self._store(token_hash, cached)
        return cached

    def _store(self, token_hash: bytes, cached: CheckedSession) -> None:
        self._forget(token_hash)
        if len(self._cache) >= CACHED_TOKENS:
            self._forget(next(iter(self._cache)))
        self._cache[token_hash] = cached
        self._of_user.setdefault(cached.requester.user_id, set()).add(token_hash)

    def _forget(self, token_hash: bytes) -> None:
        cached = self._cache.pop(token_hash, None)
        if cached is None:
            return
        hashes = self._of_user[cached.requester.user_id]
        hashes.discard(token_hash)
        if not hashes:
            del self._of_user[cached.requester.user_id]

    def _requester(self, token: AccessToken, token_hash: bytes, over_limit: OverLimit | None) -> Requester:
        scope = f"token {token.token_nid}" if token.device_id is None else f"device {token.device_id}"
        terms = self._terms
        return Requester(
            user_id=token.user_id,
            device_id=token.device_id,
            session=f"{token.user_id} {scope}",
            is_admin=token.is_admin,
            is_guest=token.is_guest,
            shadow_banned=token.shadow_banned,
            suspended=token.suspended,
            message_limit=message_limit_of(token),
            missing_consent=terms.missing(token.user_id, token.consent_version) if terms else None,
            over_limit=over_limit,
            token_nid=token.token_nid,
            token_hash=token_hash,
            features=features_of(token.features),
        )


def hash_token(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def end_sessions(txn: Transaction, user_id: str, *, except_token_nid: int | None = None) -> None:
    """Delete the tokens of a user but that one, and the devices that are left without a token."""
    delete_devices(txn, user_id, access_tokens.delete_tokens(txn, user_id, except_token_nid=except_token_nid))


def keep_session(txn: Transaction, requester: Requester) -> None:
    """It does not end until the transaction does; 401 `M_UNKNOWN_TOKEN` when it has: what outlives it is no longer made."""
    if requester.token_nid is not None and not access_tokens.keep_token(txn, requester.token_nid):
        raise _unknown_token("Invalid access token passed.")


def account_expired() -> MatrixError:
    """403 by a code that clients of such servers know."""
    return MatrixError(403, Errcode.EXPIRED_ACCOUNT, "User account has expired")


def user_locked() -> MatrixError:
    """401 `M_USER_LOCKED`: clients keep their data and may only log out ("Account locking")."""
    return MatrixError(401, Errcode.USER_LOCKED, "User account has been locked", {"soft_logout": True})


def _open(
    txn: Transaction,
    user_id: str,
    device_id: str,
    display_name: str | None,
    token: NewToken,
    refresh_token: NewToken | None,
    *,
    now_ms: int,
    session_until_ts: int | None,
    password_hash: str | None,
) -> None:
    if password_hash is not None and not accounts.keep_password(txn, user_id, password_hash):
        raise PasswordChangedError
    while not devices.create_device(txn, user_id, device_id, display_name, now_ms):
        if devices.lock_device(txn, user_id, device_id):  # else it was deleted just now
            dehydrated = find_dehydrated(txn, user_id)
            if dehydrated is not None and dehydrated.device_id == device_id:
                raise invalid_param("Your dehydrated device has that ID")
            access_tokens.delete_device_tokens(txn, user_id, device_id)
            break
    refresh_nid = None
    if refresh_token is not None:
        refresh_nid = access_tokens.add_refresh_token(
            txn, user_id, device_id, refresh_token, session_until_ts=session_until_ts
        )
    access_tokens.add_access_token(txn, user_id, device_id, token, now_ms, refresh_nid=refresh_nid)


def _close(txn: Transaction, token_hash: bytes) -> None:
    deleted = access_tokens.delete_access_token(txn, token_hash)
    if deleted is not None and deleted[1] is not None:
        delete_devices(txn, deleted[0], [deleted[1]])


def _successor(
    txn: Transaction, found: RefreshToken, refresh_token: str, expires_in_ms: int | None
) -> NewSession:
    """Made of the token, which only its client has, and of the salt, which only the database has."""
    salt = found.salt
    if salt is None:
        salt = secrets.token_bytes(SALT_BYTES)
        access_tokens.set_salt(txn, found.nid, salt)

    def derive(purpose: str) -> str:
        digest = hmac.digest(salt, f"{purpose} {refresh_token}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    return NewSession(f"syt_{derive('access')}", found.device_id, expires_in_ms, f"syr_{derive('refresh')}")


def _shortest(*lifetimes: int | None) -> int | None:
    return min((lifetime for lifetime in lifetimes if lifetime is not None), default=None)


def _after(now_ms: int, lifetime: int | None) -> int | None:
    return None if lifetime is None else now_ms + lifetime


def _unknown_token(message: str, *, soft_logout: bool = False) -> MatrixError:
    return MatrixError(401, Errcode.UNKNOWN_TOKEN, message, {"soft_logout": soft_logout})


def message_limit_of(token: AccessToken) -> MessageLimit | None:
    """What was set for its user instead of `rc_message`."""
    if token.messages_per_second is None or token.burst_count is None:
        return None
    if token.messages_per_second == 0:
        return UNLIMITED
    return MessageLimit(token.messages_per_second, token.burst_count)
