"""Our media for other servers: a file as the second of two parts."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast

from synapse_lite.handlers.media.downloads import Content, Downloads, Wanted
from synapse_lite.handlers.media.thumbnails import Thumbnails
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response, Stream
from synapse_lite.http.router import Route
from synapse_lite.ids import random_text
from synapse_lite.matrix.media import Mxc, content_disposition, served_type
from synapse_lite.matrix.multipart import Envelope
from synapse_lite.rest.client.media import read_wish

MEDIA = "/_matrix/federation/v1/media"
BOUNDARY_LETTERS = 32


class FederationMediaApi:
    """`server_name` is ours: what we have of others' is theirs to give."""

    def __init__(self, downloads: Downloads, thumbnails: Thumbnails, server_name: str) -> None:
        self._downloads = downloads
        self._thumbnails = thumbnails
        self._server_name = server_name

    def routes(self) -> list[Route]:
        return [
            Route("GET", f"{MEDIA}/download/{{media_id}}", self.download, Access.SERVER),
            Route("GET", f"{MEDIA}/thumbnail/{{media_id}}", self.thumbnail, Access.SERVER),
        ]

    async def download(self, request: Request, _origin: str, media_id: str) -> Response:
        """`GET /_matrix/federation/v1/media/download/{mediaId}`"""
        _, content = await self._downloads.find(self._wanted(request, media_id))
        return await self._send(content, content.name)

    async def thumbnail(self, request: Request, _origin: str, media_id: str) -> Response:
        """`GET /_matrix/federation/v1/media/thumbnail/{mediaId}`"""
        wish = read_wish(request)
        content = await self._thumbnails.find(
            self._wanted(request, media_id), wish.width, wish.height, wish.method, animated=wish.animated
        )
        return await self._send(content, None)

    def _wanted(self, request: Request, media_id: str) -> Wanted:
        return Wanted(
            Mxc(self._server_name, media_id),
            token_given=True,
            allow_remote=False,
            timeout_ms=request.query_int("timeout_ms", 20_000),
        )

    async def _send(self, content: Content, name: str | None) -> Response:
        envelope = Envelope(random_text(BOUNDARY_LETTERS))
        before = envelope.before(
            {
                "Content-Type": served_type(content.media_type),
                "Content-Disposition": content_disposition(content.media_type, name),
            }
        )
        chunks = await self._downloads.read(content, 0, content.size) if content.size else None
        length = len(before) + content.size + len(envelope.after)
        body = Stream(_wrapped(before, chunks, envelope.after), length)
        return Response(200, body, content_type=envelope.content_type)


async def _wrapped(before: bytes, chunks: AsyncIterator[bytes] | None, after: bytes) -> AsyncIterator[bytes]:
    yield before
    if chunks is not None:
        async with aclosing(cast("AsyncGenerator[bytes, None]", chunks)):
            async for chunk in chunks:
                yield chunk
    yield after
