"""A server that is closed to its users for a while (`hs_disabled`)."""

from typing import Self

from attrs import frozen

from synapse_lite.config.server import ServerOptions
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.handlers.requester import Requester


@frozen
class ClosedServer:
    """`message`: what users read; `contact`: whom they may ask."""

    message: str
    contact: str | None

    @classmethod
    def of(cls, options: ServerOptions) -> Self | None:
        """None while it is open."""
        return cls(options.hs_disabled_message, options.admin_contact) if options.hs_disabled else None

    def check(self, requester: Requester | None) -> None:
        """403 `M_RESOURCE_LIMIT_EXCEEDED` for everybody but administrators."""
        if requester is None or not requester.is_admin:
            contact = {"admin_contact": self.contact} if self.contact else {}
            raise MatrixError(
                403, Errcode.RESOURCE_LIMIT_EXCEEDED, self.message, {"limit_type": "hs_disabled", **contact}
            )
