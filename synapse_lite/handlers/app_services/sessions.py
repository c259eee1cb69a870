"""Application services speak for their users (application service API, "Identity assertion")."""

from collections.abc import Mapping, Sequence

from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, forbidden
from synapse_lite.handlers.access_tokens import CheckedSession, message_limit_of
from synapse_lite.handlers.requester import UNLIMITED, Requester
from synapse_lite.ids import localpart_of
from synapse_lite.matrix.app_service import AppService
from synapse_lite.matrix.experimental_features import features_of
from synapse_lite.storage import access_tokens, accounts
from synapse_lite.storage.access_tokens import AccessToken
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.stream import Change, Kind

MAX_CACHED = 20_000
CACHE_LIFETIME_MS = 60_000


_Speaker = tuple[str, str | None]
"""A service, and the device of the user by which it speaks."""


class AppServiceSessions:
    """Who they speak for is remembered for a minute, or until a change of that user (`on_changes`)."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._cache: Cache[str, Mapping[_Speaker, CheckedSession]] = Cache(MAX_CACHED)
        self._generation = 0

    async def speak_for(
        self,
        service: AppService,
        user_id: str | None = None,
        device_id: str | None = None,
        *,
        allow_locked: bool = False,
    ) -> Requester:
        """The user, by one of their devices if that is named; without `user_id` the service's own, who is made if need be.

        Raises 403 `M_FORBIDDEN` for a user who is none of the service's or unknown, 403 `M_USER_DEACTIVATED`,
        400 `M_UNKNOWN_DEVICE`, and unless `allow_locked` 401 `M_USER_LOCKED` and 403 `ORG_MATRIX_EXPIRED_ACCOUNT`.
        """
        user_id = user_id or service.sender
        if not service.has_user(user_id):
            raise forbidden(f"Application service cannot masquerade as this user ({user_id}).")
        key = (service.id, device_id)
        cached = (self._cache.get(user_id) or {}).get(key)
        if cached is None or cached.expires_ms <= self._clock.now_ms():
            generation = self._generation
            cached = await self._database.transact(self._read, service, user_id, device_id)
            if generation == self._generation:
                self._cache.put(user_id, {**(self._cache.get(user_id) or {}), key: cached})
        return cached.admit(self._clock.now_ms(), allow_locked=allow_locked)

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Forget what was known of users who changed, here or in another process."""
        changed = {one.user_id for one in changes if one.kind is Kind.SESSION and one.user_id is not None}
        if changed:
            # Whoever is reading the database right now may have read what was before.
            self._generation += 1
            self._cache.remove_all(changed)

    # In a database thread

    def _read(
        self, txn: Transaction, service: AppService, user_id: str, device_id: str | None
    ) -> CheckedSession:
        found = access_tokens.speak_for(txn, user_id, device_id)
        if found is None and user_id == service.sender:
            accounts.create_account(
                txn,
                NewAccount(
                    user_id, self._clock.now_ms(), displayname=localpart_of(user_id), appservice_id=service.id
                ),
            )
            found = access_tokens.speak_for(txn, user_id, device_id)
        if found is None:
            raise forbidden(f"Application service has not registered this user ({user_id})")
        account, has_device = found
        if account.deactivated:
            raise MatrixError(403, Errcode.USER_DEACTIVATED, "This account has been deactivated")
        if device_id is not None and not has_device:
            message = (
                f"Application service trying to use a device that doesn't exist ({device_id!r} for {user_id})"
            )
            raise MatrixError(400, Errcode.UNKNOWN_DEVICE, message)
        expires_ms = self._clock.now_ms() + CACHE_LIFETIME_MS
        return CheckedSession(
            _requester(service, account), account.locked, account.account_expires_ts, expires_ms
        )


def _requester(service: AppService, account: AccessToken) -> Requester:
    scope = f" device {account.device_id}" if account.device_id is not None else ""
    return Requester(
        user_id=account.user_id,
        device_id=account.device_id,
        session=f"{account.user_id} service {service.id}{scope}",
        is_admin=account.is_admin,
        is_guest=account.is_guest,
        shadow_banned=account.shadow_banned,
        suspended=account.suspended,
        message_limit=message_limit_of(account) if service.is_rate_limited else UNLIMITED,
        features=features_of(account.features),
        service=service,
    )
