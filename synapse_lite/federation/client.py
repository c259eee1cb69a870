"""Signed requests to other servers."""

from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from synapse_lite import canonical_json
from synapse_lite.canonical_json import JsonObject
from synapse_lite.federation.discovery import Discovery, Location
from synapse_lite.federation.peers import (
    MAX_ANSWER,
    MAX_ERROR_TEXT,
    TIMEOUT_SECONDS,
    PeerError,
    TooLargeError,
    read_answer,
)
from synapse_lite.http.client import BodyTooLargeError, HttpClient, Reply, RequestError, Route
from synapse_lite.ids import is_same_server, is_server_name
from synapse_lite.matrix.server_auth import sign_request
from synapse_lite.matrix.signing import SigningKey

KEYS = "/_matrix/key/"


class FederationClient:
    """`Peers` over HTTP. `allowed` are the only servers to speak with, None: all; keys are asked for everywhere."""

    def __init__(
        self,
        http: HttpClient,
        discovery: Discovery,
        signing_key: SigningKey,
        allowed: Collection[str] | None = None,
    ) -> None:
        self._http = http
        self._discovery = discovery
        self._signing_key = signing_key
        self._allowed = None if allowed is None else frozenset(allowed)

    async def ask(
        self,
        destination: str,
        method: str,
        target: str,
        body: JsonObject | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,  # noqa: ASYNC109 (there is no asyncio)
        max_bytes: int = MAX_ANSWER,
    ) -> JsonObject:
        async with self.open(destination, method, target, body, timeout=timeout) as reply:
            return await read_answer(destination, reply.status, await reply.read(max_bytes))

    @asynccontextmanager
    async def open(
        self,
        destination: str,
        method: str,
        target: str,
        body: JsonObject | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,  # noqa: ASYNC109 (there is no asyncio)
        redirects: int = 0,
    ) -> AsyncIterator[Reply]:
        self._check(destination, target)
        try:
            location = await self._discovery.locate(destination)
            async with self._request(
                location, destination, method, target, body, timeout, redirects
            ) as reply:
                yield reply
        except BodyTooLargeError as error:
            raise TooLargeError(str(error)) from None
        except RequestError as error:
            self._discovery.forget(destination)
            raise PeerError(str(error)) from None

    @asynccontextmanager
    async def open_url(
        self,
        url: str,
        *,
        timeout: float = TIMEOUT_SECONDS,  # noqa: ASYNC109 (there is no asyncio)
        redirects: int = 0,
    ) -> AsyncIterator[Reply]:
        try:
            async with self._http.request("GET", url, timeout=timeout, redirects=redirects) as reply:
                yield reply
        except RequestError as error:
            raise PeerError(str(error)) from None

    def _check(self, destination: str, target: str) -> None:
        if not is_server_name(destination):
            raise PeerError(f"{destination[:MAX_ERROR_TEXT]!r} is not the name of a server")
        if is_same_server(destination, self._signing_key.server_name):
            raise PeerError(f"{destination} is this server itself")
        if self._allowed is not None and destination not in self._allowed and not target.startswith(KEYS):
            raise PeerError(f"{destination} is not in federation_domain_whitelist")

    def _request(
        self,
        location: Location,
        destination: str,
        method: str,
        target: str,
        body: JsonObject | None,
        seconds: float,
        redirects: int,
    ) -> AbstractAsyncContextManager[Reply]:
        data = None if body is None else canonical_json.encode_exact(body)
        headers = {
            "Authorization": sign_request(self._signing_key, method, target, destination, data),
            "Host": location.host,
        }
        if data is not None:
            headers["Content-Type"] = "application/json"
        name = f"[{location.tls_name}]" if ":" in location.tls_name else location.tls_name
        return self._http.request(
            method,
            f"https://{name}{target}",
            timeout=seconds,
            headers=headers,
            body=data,
            redirects=redirects,
            route=Route(location.targets),
        )
