"""A service wants to know whether it can be reached (client-server API, `POST /appservice/{appserviceId}/ping`)."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, forbidden
from synapse_lite.handlers.app_services.calls import ServiceCalls
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.client import RequestError, TookTooLongError
from synapse_lite.matrix.app_service import AppService

SHOWN = 4096
"""Bytes of an answer that is none."""
_BAD_GATEWAY, _GATEWAY_TIMEOUT = 502, 504


class ServicePings:
    def __init__(self, calls: ServiceCalls, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock

    async def ping(self, requester: Requester, service_id: str, txn_id: str | None) -> int:
        """How many milliseconds it took.

        Raises 403 `M_FORBIDDEN` for anybody but the service itself, 400 `M_URL_NOT_SET`, 502 `M_CONNECTION_FAILED` and
        `M_BAD_STATUS`, 504 `M_CONNECTION_TIMEOUT`.
        """
        service = requester.service
        if service is None or service.id != service_id:
            raise forbidden("Provided access token is not the appservice's as_token")
        if service.url is None:
            raise MatrixError(400, Errcode.URL_NOT_SET, "The application service does not have a URL set")
        began = self._clock.monotonic()
        await self._ask(service, {} if txn_id is None else {"transaction_id": txn_id})
        return round((self._clock.monotonic() - began) * 1000)

    async def _ask(self, service: AppService, body: JsonObject) -> None:
        try:
            answer = await self._calls.ask(service, "POST", "/_matrix/app/v1/ping", body, is_repeatable=True)
        except TookTooLongError as error:
            raise MatrixError(_GATEWAY_TIMEOUT, Errcode.CONNECTION_TIMEOUT, str(error)) from None
        except RequestError as error:
            raise MatrixError(_BAD_GATEWAY, Errcode.CONNECTION_FAILED, str(error)) from None
        if not answer.is_ok:
            shown = {"status": answer.status, "body": answer.body[:SHOWN].decode(errors="replace")}
            raise MatrixError(
                _BAD_GATEWAY, Errcode.BAD_STATUS, f"Ping returned status {answer.status}", shown
            )
