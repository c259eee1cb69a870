"""JSON that is sent while it is made, so that an answer without a limit does not need its size in memory."""

from collections.abc import AsyncIterator, Sequence

import orjson

from synapse_lite.canonical_json import JsonObject
from synapse_lite.http.response import Stream
from synapse_lite.http.sending import PIECE_BYTES


async def body_of(chunks: AsyncIterator[bytes]) -> bytes | Stream:
    """The whole body when it is small; else what sends it as it is made. What the first chunk raises is raised."""
    start = b""
    async for chunk in chunks:
        start += chunk
        if len(start) > PIECE_BYTES:
            return Stream(_continued(start, chunks))
    return start


async def _continued(start: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        yield start
        async for chunk in rest:
            yield chunk
    finally:
        await Stream(rest).close()


async def json_chunks(
    before: bytes, pages: AsyncIterator[Sequence[object] | JsonObject], after: bytes
) -> AsyncIterator[bytes]:
    """One list (or object) of what is in all the pages, between `before` and `after`."""
    text = before
    separator = b""
    async for page in pages:
        if page:
            yield text + separator + orjson.dumps(page)[1:-1]
            text, separator = b"", b","
    yield text + after
