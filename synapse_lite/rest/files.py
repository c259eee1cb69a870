"""Sending files: whole, in part, or not at all when the client has them."""

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from synapse_lite.handlers.media.downloads import Content
from synapse_lite.http.ranges import choose_span, matches
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response, Stream
from synapse_lite.matrix.media import served_type
from synapse_lite.media.pieces import FilePieces

AT_ONCE_BYTES = 64 * 1024
"""So much is sent together with the headers."""


class Files(Protocol):
    """Gives the bytes of contents: from a place, so many."""

    async def read(self, content: Content, start: int, length: int, /) -> AsyncIterator[bytes]: ...
    async def read_at_once(self, content: Content, start: int, length: int, /) -> bytes: ...


async def send_file(request: Request, content: Content, headers: Mapping[str, str], files: Files) -> Response:
    """200, 206, 304 or 416; `headers` hold an ETag, and go along with each of them."""
    etag = headers["ETag"]
    media_type = served_type(content.media_type)
    if matches(request.header("If-None-Match"), etag):
        return Response(304, b"", headers, media_type)
    span = choose_span(request.header("Range"), request.header("If-Range"), content.size, etag)
    sent = dict(headers)
    if span.content_range is not None:
        sent["Content-Range"] = span.content_range
    if request.method == "HEAD":
        return Response(span.status, b"", {**sent, "Content-Length": str(span.length)}, media_type)
    if span.length <= AT_ONCE_BYTES:
        body = await files.read_at_once(content, span.start, span.length) if span.length else b""
        return Response(span.status, body, sent, media_type)
    chunks = await files.read(content, span.start, span.length)
    source = chunks if isinstance(chunks, FilePieces) else None
    return Response(span.status, Stream(chunks, span.length, source), sent, media_type)
