"""What calls of many go through (MSC4143)."""

from collections.abc import Mapping, Sequence
from typing import Any

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route

_PATHS = (
    "/_matrix/client/v1/rtc/transports",
    "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports",
)


class RtcApi:
    """`transports` as the operator wrote them: the server does not look into them."""

    def __init__(self, transports: Sequence[Mapping[str, Any]]) -> None:
        self._transports = [dict(transport) for transport in transports]

    def routes(self) -> list[Route]:
        return [Route("GET", path, self.transports, Access.USER) for path in _PATHS]

    async def transports(self, _request: Request, _requester: Requester) -> JsonObject:
        """`GET /_matrix/client/unstable/org.matrix.msc4143/rtc/transports`"""
        return {"rtc_transports": self._transports}
