"""Messages of the operator to single users."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.server_notices import ServerNotices
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.ids import MAX_ID_BYTES, check_length
from synapse_lite.rest.body import optional_text, parameter, text

PATH = "/_synapse/admin/v1/send_server_notice"
MESSAGE = "m.room.message"


class ServerNoticesApi:
    def __init__(self, notices: ServerNotices) -> None:
        self._notices = notices

    def routes(self) -> list[Route]:
        return [
            Route("POST", PATH, self.send, Access.ADMIN),
            Route("PUT", f"{PATH}/{{txn_id}}", self.send_once, Access.ADMIN),
        ]

    async def send(self, request: Request, requester: Requester) -> JsonObject:
        """`POST /_synapse/admin/v1/send_server_notice`"""
        return await self._send(request, requester, None)

    async def send_once(self, request: Request, requester: Requester, txn_id: str) -> JsonObject:
        """`PUT /_synapse/admin/v1/send_server_notice/{txn_id}`: once for each transaction id."""
        check_length("txn_id", txn_id)
        return await self._send(request, requester, txn_id)

    async def _send(self, request: Request, requester: Requester, txn_id: str | None) -> JsonObject:
        body = request.json_object()
        event_id = await self._notices.send(
            requester,
            text(body, "user_id", MAX_ID_BYTES),
            optional_text(body, "type", MAX_ID_BYTES) or MESSAGE,
            parameter(body, "content", dict),
            state_key=optional_text(body, "state_key", MAX_ID_BYTES),
            txn_id=txn_id,
        )
        return {"event_id": event_id}
