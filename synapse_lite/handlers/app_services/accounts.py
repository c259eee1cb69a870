"""The users that application services make (application service API, "Server admin style permissions")."""

from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, forbidden
from synapse_lite.handlers.access_tokens import AccessTokens, DeviceRequest
from synapse_lite.handlers.app_services.services import AppServices
from synapse_lite.handlers.closed_server import ClosedServer
from synapse_lite.handlers.login import Login, admit
from synapse_lite.handlers.registration import user_in_use
from synapse_lite.ids import is_user_id
from synapse_lite.matrix.app_service import AppService
from synapse_lite.storage import accounts
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database, Transaction


class ServiceAccounts:
    """Made whether registration is open or not, and without proofs. Who asks holds the token of a service. `server_name` is ours."""

    def __init__(
        self,
        database: Database,
        access_tokens: AccessTokens,
        services: AppServices,
        clock: Clock,
        server_name: str,
        closed: ClosedServer | None,
    ) -> None:
        self._database = database
        self._access_tokens = access_tokens
        self._services = services
        self._clock = clock
        self._server_name = server_name
        self._closed = closed

    @property
    def has_services(self) -> bool:
        return bool(self._services.all)

    def service_of(self, token: str) -> AppService:
        """401 `M_UNKNOWN_TOKEN` for a token that is none of a service."""
        service = self._services.by_token(token)
        if service is None:
            raise MatrixError(401, Errcode.UNKNOWN_TOKEN, "Unrecognised access token", {"soft_logout": False})
        return service

    async def register(self, service: AppService, username: str) -> str:
        """The id of the new user, with capitals where the service wants them, as bridges of old do.

        Raises 400 `M_INVALID_USERNAME`, `M_EXCLUSIVE` outside its namespaces and in those of others, `M_USER_IN_USE`, and
        what `ClosedServer` raises.
        """
        if self._closed is not None:
            self._closed.check(None)
        user_id = f"@{username}:{self._server_name}"
        if not username or ":" in username or not is_user_id(user_id):
            raise MatrixError(400, Errcode.INVALID_USERNAME, "Invalid username")
        self._services.check_user(user_id, service)
        account = NewAccount(user_id, self._clock.now_ms(), displayname=username, appservice_id=service.id)
        await self._database.transact(_create, account)
        return user_id

    async def log_in(self, service: AppService, user: str, device: DeviceRequest) -> Login:
        """A session of a user of the service. 403 `M_FORBIDDEN` for others and for unknown ones; raises as `Logins.log_in`."""
        user_id = user if user.startswith("@") else f"@{user}:{self._server_name}"
        known = is_user_id(user_id) and service.has_user(user_id)
        account = await self._database.read(accounts.find_account, user_id) if known else None
        if account is None:
            raise forbidden("Not a user of this application service")
        admit(account)
        return Login(account.user_id, await self._access_tokens.open(account.user_id, device))


def _create(txn: Transaction, account: NewAccount) -> None:
    if accounts.is_taken(txn, account.user_id) or not accounts.create_account(txn, account):
        raise user_in_use()
