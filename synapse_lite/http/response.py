"""Answers: what a handler returns, and the one place where errors become answers."""

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

import attrs
import orjson

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, UnavailableError

JSON = "application/json"


class KernelSource(Protocol):
    """A file that can be sent without being read."""

    async def prepare(self) -> None:
        """Wait until a piece of it can be sent at once."""

    def send_to(self, socket: int, /) -> int:
        """Bytes of that piece which a socket took, by its descriptor; `OSError` of the socket."""


@attrs.frozen
class Stream:
    """A body that is sent while it is made: `chunks` of together exactly `length` bytes; None: as many as come.

    The next chunk is asked for when the connection takes it. An iterator with `aclose` is closed, however the
    request ends. `source`: the same bytes, as many as `length` says, for connections that take files.
    """

    chunks: AsyncIterator[bytes]
    length: int | None = None
    source: KernelSource | None = None

    async def close(self) -> None:
        close = getattr(self.chunks, "aclose", None)
        if close is not None:
            await close()


@attrs.frozen
class Response:
    """An answer whose status, headers or content type are not those of a plain JSON success.

    A body of bytes, or a stream of them, is sent as it is; an object is sent as JSON and may hold
    `orjson.Fragment`s.
    """

    status: int
    body: JsonObject | bytes | Stream
    headers: Mapping[str, str] = attrs.field(factory=dict)
    content_type: str = JSON

    @property
    def length(self) -> int | None:
        """Bytes of an encoded body; None where that shows only at its end."""
        return self.body.length if isinstance(self.body, Stream) else len(self.body)

    def encoded(self) -> "Response":
        """The same answer with a body that can be sent."""
        if isinstance(self.body, bytes | Stream):
            return self
        return Response(self.status, orjson.dumps(self.body), self.headers, self.content_type)


def render_error(error: MatrixError) -> Response:
    """The standard error response; with `retry_after_ms` also the header `Retry-After` (seconds)."""
    headers = {}
    retry_after_ms = error.extra.get("retry_after_ms")
    if retry_after_ms is not None:
        headers["Retry-After"] = str(-(-retry_after_ms // 1000))
    body = {"errcode": error.errcode, "error": error.message, **error.extra}
    return Response(error.status, body, headers)


def render_unavailable(error: UnavailableError) -> Response:
    """503 with `Retry-After`; the reason is in the log only."""
    extra = {"retry_after_ms": error.retry_after_ms}
    return render_error(
        MatrixError(503, Errcode.UNKNOWN, "The server is not available for the moment", extra)
    )


def render_fault() -> Response:
    """The answer when our own code failed; the reason is in the log only."""
    return render_error(MatrixError(500, Errcode.UNKNOWN, "Internal server error"))
