"""The gate that every request with a token passes."""

from synapse_lite.errors import MatrixError, forbidden
from synapse_lite.handlers.auth import LastSeen, Requester, Sessions
from synapse_lite.http.request import Request


class Gate:
    """Says who asks, and notes it for the access log and the list of devices."""

    def __init__(self, sessions: Sessions, last_seen: LastSeen) -> None:
        self._sessions = sessions
        self._last_seen = last_seen

    async def requester(
        self, request: Request, *, allow_guest: bool = False, allow_locked: bool = False
    ) -> Requester:
        """Raises 401 `M_MISSING_TOKEN`, `M_UNKNOWN_TOKEN`, `M_USER_LOCKED`, 403 `M_GUEST_ACCESS_FORBIDDEN`."""
        requester = await self._sessions.authenticate(request.access_token(), allow_locked=allow_locked)
        request.requester_name = requester.user_id
        if requester.is_guest and not allow_guest:
            raise MatrixError(403, "M_GUEST_ACCESS_FORBIDDEN", "Guest access not allowed")
        self._last_seen.note(requester, request.client_ip, request.user_agent)
        return requester

    async def owner(self, request: Request, user_id: str, refusal: str) -> Requester:
        """As `requester`, guests too, and 403 `M_FORBIDDEN` with the words `refusal` for other users."""
        requester = await self.requester(request, allow_guest=True)
        if requester.user_id != user_id:
            raise forbidden(refusal)
        return requester

    async def admin(self, request: Request) -> Requester:
        """As `requester`, and 403 `M_FORBIDDEN` for who is no server admin."""
        requester = await self.requester(request)
        if not requester.is_admin:
            raise forbidden("You are not a server admin")
        return requester
