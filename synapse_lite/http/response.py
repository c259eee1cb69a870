"""Answers: what a handler returns, and the one place where errors become answers."""

from collections.abc import Mapping

import attrs
import orjson

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError


@attrs.frozen
class Response:
    """An answer whose status, headers or content type are not those of a plain JSON success.

    A body of bytes is sent as it is; an object is sent as JSON and may hold `orjson.Fragment`s.
    """

    status: int
    body: JsonObject | bytes
    headers: Mapping[str, str] = attrs.field(factory=dict)
    content_type: str = "application/json"

    def encoded_body(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else orjson.dumps(self.body)


def render_error(error: MatrixError) -> Response:
    """The standard error response; with `retry_after_ms` also the header `Retry-After` (seconds)."""
    headers = {}
    retry_after_ms = error.extra.get("retry_after_ms")
    if retry_after_ms is not None:
        headers["Retry-After"] = str(-(-retry_after_ms // 1000))
    body = {"errcode": error.errcode, "error": error.message, **error.extra}
    return Response(error.status, body, headers)


def render_fault() -> Response:
    """The answer when our own code failed; the reason is in the log only."""
    return render_error(MatrixError(500, Errcode.UNKNOWN, "Internal server error"))
