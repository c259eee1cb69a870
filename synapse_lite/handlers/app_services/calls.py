"""What application services are asked and told (application service API, "Homeserver -> Application Service API")."""

from urllib.parse import quote

import orjson
from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.http.client import HttpClient, RequestError
from synapse_lite.matrix.app_service import AppService

TIMEOUT_SECONDS = 10.0
MAX_ANSWER_BYTES = 1024 * 1024
_OK = range(200, 300)


@frozen
class ServiceAnswer:
    """`body` as it came."""

    status: int
    body: bytes

    @property
    def is_ok(self) -> bool:
        return self.status in _OK

    def json(self) -> object:
        """None where it is no JSON."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None


@frozen
class ServiceCalls:
    """`legacy`: the token is in the query, too, for services that know no other way."""

    http: HttpClient
    legacy: bool = False

    async def ask(
        self,
        service: AppService,
        method: str,
        path: str,
        body: JsonObject | orjson.Fragment | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,  # noqa: ASYNC109 (there is no asyncio)
        is_repeatable: bool = False,
    ) -> ServiceAnswer:
        """The answer of whatever status. `path` begins with /_matrix/app, its parts are quoted, and it may have a query.

        `timeout` (seconds) is for all of it. `is_repeatable`: twice does no harm, whatever the method. Raises `RequestError`
        (`TookTooLongError`, `BodyTooLargeError` beyond 1 MiB), also for a service without a URL; it does not say the token.
        """
        if service.url is None:
            raise RequestError(f"{service.id} has no URL")
        token = quote(service.hs_token, safe="")
        headers = {"Authorization": f"Bearer {service.hs_token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self.legacy:
            path += f"{'&' if '?' in path else '?'}access_token={token}"
        try:
            async with self.http.request(
                method,
                service.url + path,
                timeout=timeout,
                headers=headers,
                body=None if body is None else orjson.dumps(body),
                is_repeatable=is_repeatable,
            ) as reply:
                return ServiceAnswer(reply.status, await reply.read(MAX_ANSWER_BYTES))
        except RequestError as error:  # which names the URL
            raise type(error)(str(error).replace(token, "…")) from None
