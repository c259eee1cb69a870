"""Other servers at the door: who signed a request, and whether we speak with them."""

from collections.abc import Callable, Collection, Sequence

from attrs import evolve

from synapse_lite.clock import Clock
from synapse_lite.errors import bad_json, forbidden
from synapse_lite.federation.keyring import Keyring, Signed
from synapse_lite.federation.long_json import read_request
from synapse_lite.http.request import Request
from synapse_lite.matrix.server_auth import (
    ServerAuthorization,
    parse_authorization,
    signed_request,
    unauthorized,
)
from synapse_lite.matrix.signing import SignatureError

MAX_HEADERS = 4
"""A server with several keys may send a header for each."""


class ServerAuthenticator:
    """`allowed` are the only servers to speak with; None: all. `heard_from` is told of each request that is good."""

    def __init__(
        self,
        keyring: Keyring,
        clock: Clock,
        server_name: str,
        allowed: Collection[str] | None,
        heard_from: Sequence[Callable[[str], None]],
    ) -> None:
        self._keyring = keyring
        self._clock = clock
        self._server_name = server_name
        self._allowed = allowed
        self._heard_from = heard_from

    async def authenticate(self, request: Request) -> str:
        """The name of the server. Its signature covers the body, which is in `request.body` afterwards.

        Raises 401 `M_UNAUTHORIZED`, and 403 `M_FORBIDDEN` for a server with which we do not speak.
        """
        found = [parse_authorization(header) for header in request.headers("Authorization")[:MAX_HEADERS]]
        if not found:
            raise unauthorized("Missing X-Matrix authorization")
        origin = found[0].origin
        for one in found:
            if one.destination not in (None, self._server_name):
                raise unauthorized(f"The request is for {one.destination}, this is {self._server_name}")
            if one.origin != origin:
                raise unauthorized("The request has several origins")
        if self._allowed is not None and origin not in (*self._allowed, self._server_name):
            raise forbidden(f"Federation denied with {origin}.")
        await self._check_signatures(request, origin, found)
        request.requester_name = origin
        for tell in self._heard_from:
            tell(origin)
        return origin

    async def _check_signatures(
        self, request: Request, origin: str, found: Sequence[ServerAuthorization]
    ) -> None:
        """The body is not even read unless there is a key that can have signed it."""
        signatures = {origin: {one.key_id: one.signature for one in found}}
        signed = Signed(origin, signatures, b"", self._clock.now_ms())
        try:
            keys = await self._keyring.keys_of(signed)
            request.body = await request.stream.read()
            content = await _read_content(request)
            data = signed_request(request.method, request.target, origin, self._server_name, content)
            self._keyring.check(evolve(signed, data=data), keys)
        except SignatureError as error:
            raise unauthorized(
                f"{error.message}. If a reverse proxy is in between: it must not decode or change the path."
            ) from None


async def _read_content(request: Request) -> bytes | None:
    """The body as canonical JSON, which is signed, and its object as `request.content`."""
    if not request.body:
        return None
    content, canonical = await read_request(request.body)
    if not isinstance(content, dict):
        raise bad_json("Content must be a JSON object")
    request.content = content
    return canonical
