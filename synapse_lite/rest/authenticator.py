"""Access tokens at the door: who sent a request, and whether its route lets them in."""

from synapse_lite.errors import forbidden, guests_forbidden
from synapse_lite.handlers.access_tokens import AccessTokens
from synapse_lite.handlers.app_services import AppServices, AppServiceSessions
from synapse_lite.handlers.app_services.listening import HeardServices
from synapse_lite.handlers.closed_server import ClosedServer
from synapse_lite.handlers.last_seen import LastSeen
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.rest.server_authenticator import ServerAuthenticator

_GUESTS = frozenset({Access.OPTIONAL, Access.GUEST, Access.LOCKED})


class TokenAuthenticator:
    """Says who asks, and notes it for the access log and the list of devices."""

    def __init__(
        self,
        access_tokens: AccessTokens,
        last_seen: LastSeen,
        services: AppServices,
        sessions: AppServiceSessions,
        heard: HeardServices,
        closed: ClosedServer | None = None,
        *,
        notes_services: bool = False,
    ) -> None:
        """`closed`: to all who are no administrators; they may only log out. `notes_services`: also from where bridges speak."""
        self._closed = closed
        self._access_tokens = access_tokens
        self._last_seen = last_seen
        self._services = services
        self._sessions = sessions
        self._heard = heard
        self._notes_services = notes_services

    async def authenticate(self, request: Request, access: Access) -> Requester | None:
        """None without a token where it is optional.

        Raises 401 `M_MISSING_TOKEN`, `M_UNKNOWN_TOKEN`, `M_USER_LOCKED`, 403 `M_GUEST_ACCESS_FORBIDDEN` and `ORG_MATRIX_EXPIRED_ACCOUNT`, and
        403 `M_FORBIDDEN` for a user where an administrator is needed; while the server is closed what `ClosedServer` raises.
        """
        if access is Access.OPTIONAL and request.access_token_or_none() is None:
            return None
        requester = await self._requester(request, allow_locked=access is Access.LOCKED)
        request.requester_name = requester.user_id
        if requester.is_guest and access not in _GUESTS:
            raise guests_forbidden()
        if self._closed is not None and access is not Access.LOCKED:
            self._closed.check(requester)
        if requester.service is None or self._notes_services:
            self._last_seen.note(requester, request.client_ip, request.user_agent)
        if access is Access.ADMIN and not requester.is_admin:
            raise forbidden("You are not a server admin")
        return requester

    async def _requester(self, request: Request, *, allow_locked: bool) -> Requester:
        token = request.access_token()
        service = self._services.by_token(token)
        if service is None:
            return await self._access_tokens.authenticate(token, allow_locked=allow_locked)
        self._heard.heard_from(service)
        user_id, device_id = request.query("user_id"), request.query("device_id")
        device_id = device_id or request.query("org.matrix.msc3202.device_id")
        return await self._sessions.speak_for(
            service, user_id or None, device_id or None, allow_locked=allow_locked
        )


class Authenticator:
    """Users by their tokens, servers by their signatures."""

    def __init__(self, users: TokenAuthenticator, servers: ServerAuthenticator) -> None:
        self._users = users
        self._servers = servers

    async def authenticate(self, request: Request, access: Access) -> Requester | str | None:
        if access is Access.SERVER:
            return await self._servers.authenticate(request)
        return await self._users.authenticate(request, access)
