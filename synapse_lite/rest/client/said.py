"""When it was said what a service sends (application service API, "Timestamp massaging")."""

from attrs import evolve

from synapse_lite.handlers.requester import Requester
from synapse_lite.http.request import Request


def said_by(request: Request, requester: Requester) -> Requester:
    """With the time that a service gives its event. What others say of the time is not looked at.

    400 `M_INVALID_PARAM` for what is no time.
    """
    if requester.service is None:
        return requester
    return evolve(requester, said_ms=request.query_int("ts", None))
