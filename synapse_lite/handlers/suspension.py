"""What suspended users may not do (client-server API, "Account Suspension")."""

from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.handlers.requester import Requester


def check_not_suspended(requester: Requester, doing: str) -> None:
    """403 `M_USER_SUSPENDED`; `doing` begins the sentence that the user reads."""
    if requester.suspended:
        raise MatrixError(
            403, Errcode.USER_SUSPENDED, f"{doing} while your account is suspended is not allowed."
        )
