"""Who may use a route: declared with it, checked before its handler runs."""

from enum import Enum, auto
from typing import Any, Protocol

from synapse_lite.http.request import Request


class Access(Enum):
    """What a route asks of its caller. A handler gets the requester as its second argument, but for `NONE`."""

    NONE = auto()
    """Anybody; a token is not looked at. The handler is called without a requester."""
    OPTIONAL = auto()
    """Anybody, guests too; the requester is None without a token. A token that is sent must be a good one."""
    GUEST = auto()
    """Any account that is logged in, guests too."""
    USER = auto()
    """An account that is no guest's."""
    LOCKED = auto()
    """As `GUEST`, and locked and expired accounts: only what the specification leaves them ("Account locking")."""
    ADMIN = auto()
    """A server administrator."""
    SERVER = auto()
    """Another homeserver, by its signature. It covers the body, so the route cannot stream; the handler gets the
    server's name."""


class Authenticator(Protocol):
    """Knows callers. The HTTP layer does not: what it returns is handed to the handler as it is."""

    async def authenticate(self, request: Request, access: Access) -> Any:
        """Who sent the request; raises `MatrixError` (401, 403) when `access` does not let them in.

        Never called for `Access.NONE`.
        """
