"""Who asks: access tokens, the sessions that they open, and when those were used."""

import hashlib
import logging
from collections.abc import Sequence

import attrs
from twisted.internet.defer import Deferred

from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.ids import random_text
from synapse_lite.storage import sessions
from synapse_lite.storage.database import Database
from synapse_lite.storage.sessions import Session, Use
from synapse_lite.storage.stream import Change, Kind

logger = logging.getLogger(__name__)

TOKEN_LETTERS = 40
DEVICE_ID_LETTERS = 10
CACHED_SESSIONS = 20_000
CACHE_LIFETIME_MS = 60_000
USES_INTERVAL_SECONDS = 120.0
MAX_NOTED_USES = 10_000


@attrs.frozen
class Requester:
    """The user behind a request.

    `session` scopes transaction ids: the same for all tokens that a device ever has, and for a token
    without a device as long as it lives. `token_nid` is the token itself.
    """

    user_id: str
    device_id: str | None
    session: str
    is_admin: bool = False
    is_guest: bool = False
    shadow_banned: bool = False
    suspended: bool = False
    token_nid: int | None = None


@attrs.frozen
class NewSession:
    """`token` is shown to its owner once and stored nowhere."""

    token: str = attrs.field(repr=False)
    device_id: str | None
    expires_in_ms: int | None = None


@attrs.frozen
class _Cached:
    requester: Requester
    locked: bool
    expires_ms: int


class Sessions:
    """Opens, checks and closes sessions.

    Tokens that were checked are remembered for a minute, or until a change of their user (`on_changes`).
    `token_lifetime_ms` is the life of new tokens; None: for ever.
    """

    def __init__(self, database: Database, clock: Clock, token_lifetime_ms: int | None = None) -> None:
        self._database = database
        self._clock = clock
        self._token_lifetime_ms = token_lifetime_ms
        self._cache: dict[bytes, _Cached] = {}
        self._of_user: dict[str, set[bytes]] = {}
        self._generation = 0

    async def authenticate(self, token: str, *, allow_locked: bool = False) -> Requester:
        """Raises 401 `M_UNKNOWN_TOKEN`, and 401 `M_USER_LOCKED` unless `allow_locked`."""
        token_hash = hash_token(token)
        cached = self._cache.get(token_hash)
        if cached is None or cached.expires_ms <= self._clock.now_ms():
            cached = await self._read(token_hash)
        if cached.locked and not allow_locked:
            raise user_locked()
        return cached.requester

    async def open(
        self,
        user_id: str,
        *,
        device_id: str | None = None,
        display_name: str | None = None,
    ) -> NewSession:
        """A new token for the device; for a new device when none is named."""
        device_id = device_id or random_text(DEVICE_ID_LETTERS).upper()
        lifetime = self._token_lifetime_ms
        valid_until_ts = None if lifetime is None else self._clock.now_ms() + lifetime
        token = await self._open(user_id, device_id, display_name, valid_until_ts)
        return NewSession(token, device_id, lifetime)

    async def open_without_device(self, user_id: str, valid_until_ts: int | None) -> NewSession:
        """A token for an administrator who acts as the user, until `valid_until_ts` (ms)."""
        return NewSession(await self._open(user_id, None, None, valid_until_ts), None)

    async def close(self, token: str) -> None:
        """Log out: the token and its device are gone."""
        await self._database.transact(sessions.delete_session, hash_token(token))

    async def close_all(self, user_id: str, *, except_token_nid: int | None = None) -> None:
        await self._database.transact(
            sessions.delete_all_sessions, user_id, except_token_nid=except_token_nid
        )

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Forget the sessions of users who changed, here or in another process."""
        for change in changes:
            if change.kind is Kind.SESSION and change.user_id is not None:
                # Whoever is reading the database right now may have read what was before.
                self._generation += 1
                for token_hash in self._of_user.pop(change.user_id, ()):
                    del self._cache[token_hash]

    async def _open(
        self, user_id: str, device_id: str | None, display_name: str | None, valid_until_ts: int | None
    ) -> str:
        token = f"syt_{random_text(TOKEN_LETTERS)}"
        await self._database.transact(
            sessions.create_session,
            user_id,
            device_id,
            hash_token(token),
            self._clock.now_ms(),
            display_name=display_name,
            valid_until_ts=valid_until_ts,
        )
        return token

    async def _read(self, token_hash: bytes) -> _Cached:
        generation = self._generation
        session = await self._database.read(sessions.find_session, token_hash)
        now = self._clock.now_ms()
        if session is None or session.deactivated:
            raise _unknown_token("Invalid access token passed.")
        if session.valid_until_ts is not None and session.valid_until_ts <= now:
            raise _unknown_token("Access token has expired")
        expires_ms = min(now + CACHE_LIFETIME_MS, session.valid_until_ts or now + CACHE_LIFETIME_MS)
        cached = _Cached(_requester(session), session.locked, expires_ms)
        if generation == self._generation:
            self._store(token_hash, cached)
        return cached

    def _store(self, token_hash: bytes, cached: _Cached) -> None:
        self._forget(token_hash)
        if len(self._cache) >= CACHED_SESSIONS:
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


class LastSeen:
    """Collects when and from where devices are used, and writes it every two minutes, in one statement."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._uses: dict[tuple[str, str], Use] = {}
        self._timer: DelayedCall | None = None

    def start(self) -> None:
        self._timer = self._clock.call_later(USES_INTERVAL_SECONDS, self._on_time)

    async def stop(self) -> None:
        """Write what is noted and end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self.write()

    def note(self, requester: Requester, ip: str, user_agent: str) -> None:
        if requester.device_id is None or len(self._uses) >= MAX_NOTED_USES:
            return
        use = Use(requester.user_id, requester.device_id, self._clock.now_ms(), ip, user_agent)
        self._uses[requester.user_id, requester.device_id] = use

    async def write(self) -> None:
        if self._uses:
            uses, self._uses = self._uses, {}
            await self._database.transact(sessions.write_uses, list(uses.values()))

    def _on_time(self) -> None:
        self.start()
        Deferred.fromCoroutine(self.write()).addErrback(
            lambda failure: logger.warning("last use of devices is not written: %s", failure.value)
        )


def hash_token(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def user_locked() -> MatrixError:
    """401 `M_USER_LOCKED`: clients keep their data and may only log out ("Account locking")."""
    return MatrixError(401, "M_USER_LOCKED", "User account has been locked", {"soft_logout": True})


def _unknown_token(message: str) -> MatrixError:
    return MatrixError(401, Errcode.UNKNOWN_TOKEN, message, {"soft_logout": False})


def _requester(session: Session) -> Requester:
    scope = f"token {session.token_nid}" if session.device_id is None else f"device {session.device_id}"
    return Requester(
        user_id=session.user_id,
        device_id=session.device_id,
        session=f"{session.user_id} {scope}",
        is_admin=session.is_admin,
        is_guest=session.is_guest,
        shadow_banned=session.shadow_banned,
        suspended=session.suspended,
        token_nid=session.token_nid,
    )
