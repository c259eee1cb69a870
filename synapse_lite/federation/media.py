"""Files of other servers (server-server API, "Content Repository"; before that the endpoints that need no signature)."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import quote, urlsplit

from attrs import frozen

from synapse_lite.errors import Errcode
from synapse_lite.federation.peers import OK, PeerError, Peers, read_answer
from synapse_lite.http.client import Reply
from synapse_lite.matrix.media import OCTETS, Mxc, name_of
from synapse_lite.matrix.multipart import MIXED, Head, MultipartError, MultipartReader

GRACE_SECONDS = 60.0
BYTES_PER_SECOND = 256 * 1024
"""A file must come within the grace and its largest size at this rate."""
REDIRECTS = 3
MAX_ERROR = 64 * 1024
MAX_AROUND = 64 * 1024  # bytes around a file
MAX_DIGITS = 9
_UNKNOWN_ENDPOINT = frozenset({404, 405})


class FileTooLargeError(PeerError):
    """The other server says that it is more than we take."""


@frozen
class RemoteFile:
    """A file on its way here; `chunks` are read once. `size` (bytes): it has no more, as the other server says."""

    content_type: str
    name: str | None
    size: int | None
    chunks: AsyncIterator[bytes]


@frozen
class RemoteFiles:
    """`max_bytes` is what a file may have; who reads counts, too."""

    peers: Peers
    max_bytes: int

    @asynccontextmanager
    async def open(self, mxc: Mxc, timeout_ms: int) -> AsyncIterator[RemoteFile]:
        """The file, to be read while the block lasts. The origin is to wait `timeout_ms` for an upload under way.

        Raises `PeerError`, also in the block.
        """
        async with AsyncExitStack() as stack:
            try:
                yield await self._find(stack, mxc, timeout_ms)
            except MultipartError as error:
                raise PeerError(f"{mxc.origin} sends no file: {error}", OK) from None

    async def _find(self, stack: AsyncExitStack, mxc: Mxc, timeout_ms: int) -> RemoteFile:
        target = f"/_matrix/federation/v1/media/download/{quote(mxc.media_id)}?timeout_ms={timeout_ms}"
        reply = await self._enter(stack, mxc, target)
        if reply.status in _UNKNOWN_ENDPOINT:
            refusal = await _refusal(mxc, reply)
            if refusal.errcode not in (None, Errcode.UNRECOGNIZED):
                raise refusal
            return await self._find_old(stack, mxc, timeout_ms)
        if reply.status != OK:
            raise await _refusal(mxc, reply)
        if not reply.headers.get("content-type", "").lower().startswith(MIXED):
            raise PeerError(f"{mxc.origin} sends no file: it has no parts", reply.status)
        return await self._open_parts(stack, mxc, reply)

    async def _find_old(self, stack: AsyncExitStack, mxc: Mxc, timeout_ms: int) -> RemoteFile:
        """Of a server that knows the endpoints without signatures only."""
        query = f"allow_remote=false&allow_redirect=true&timeout_ms={timeout_ms}"
        path = f"/_matrix/media/v3/download/{quote(mxc.origin)}/{quote(mxc.media_id)}"
        reply = await self._enter(stack, mxc, f"{path}?{query}", REDIRECTS)
        if reply.status != OK:
            raise await _refusal(mxc, reply)
        return self._plain(mxc, reply)

    async def _open_parts(self, stack: AsyncExitStack, mxc: Mxc, reply: Reply) -> RemoteFile:
        """The second part is the file, or says where it is."""
        reader = MultipartReader(reply.headers["content-type"])
        parts = _parts(reader, reply.chunks(self.max_bytes + MAX_AROUND))
        heads = 0
        async for one in parts:
            heads += isinstance(one, Head)
            if isinstance(one, Head) and heads == 2:  # noqa: PLR2004 (the second is the file)
                location = one.headers.get("location")
                if location is not None:
                    return await self._follow(stack, mxc, location)
                return _file(one.headers, reply.length, _rest(reader, parts))
        raise MultipartError("there is no second part")

    async def _follow(self, stack: AsyncExitStack, mxc: Mxc, location: str) -> RemoteFile:
        """A place without a host is one of the same server."""
        seconds = self._seconds
        if urlsplit(location).netloc:
            opening = self.peers.open_url(location, timeout=seconds, redirects=REDIRECTS)
        else:
            target = location if location.startswith("/") else f"/{location}"
            opening = self.peers.open(mxc.origin, "GET", target, timeout=seconds, redirects=REDIRECTS)
        reply = await stack.enter_async_context(opening)
        if reply.status != OK:
            raise PeerError(f"{mxc.origin} sends us to where the answer is {reply.status}", reply.status)
        return self._plain(mxc, reply)

    def _plain(self, mxc: Mxc, reply: Reply) -> RemoteFile:
        if reply.length is not None and reply.length > self.max_bytes:
            raise FileTooLargeError(f"the file of {mxc.origin} has {reply.length} bytes", reply.status)
        return _file(reply.headers, reply.length, reply.chunks(self.max_bytes + 1))

    async def _enter(self, stack: AsyncExitStack, mxc: Mxc, target: str, redirects: int = 0) -> Reply:
        opening = self.peers.open(mxc.origin, "GET", target, timeout=self._seconds, redirects=redirects)
        reply = await stack.enter_async_context(opening)
        if reply.status == OK and reply.length is not None and reply.length > self.max_bytes + MAX_AROUND:
            raise FileTooLargeError(f"the file of {mxc.origin} has {reply.length} bytes", reply.status)
        return reply

    @property
    def _seconds(self) -> float:
        return GRACE_SECONDS + self.max_bytes / BYTES_PER_SECOND


def _file(headers: Mapping[str, str], size: int | None, chunks: AsyncIterator[bytes]) -> RemoteFile:
    name = name_of(headers.get("content-disposition", ""))
    return RemoteFile(headers.get("content-type", OCTETS), name, size, chunks)


async def _parts(reader: MultipartReader, chunks: AsyncIterator[bytes]) -> AsyncIterator[Head | bytes]:
    async for chunk in chunks:
        for one in reader.feed(chunk):
            yield one
        if reader.ended:
            return


async def _rest(reader: MultipartReader, parts: AsyncIterator[Head | bytes]) -> AsyncIterator[bytes]:
    """The bytes of the part under way, which must be the last one."""
    async for one in parts:
        if isinstance(one, Head):
            raise MultipartError("there are more than two parts")
        yield one
    if not reader.ended:
        raise MultipartError("it breaks off")


async def _refusal(mxc: Mxc, reply: Reply) -> PeerError:
    """Why there is no file, with what the other server says."""
    refusal = PeerError(f"{mxc.origin} answers {reply.status}", reply.status)
    try:
        await read_answer(mxc.origin, reply.status, await reply.read(MAX_ERROR))
    except PeerError as error:
        refusal = error
    seconds = reply.headers.get("retry-after", "")
    if refusal.retry_after_ms is None and seconds.isascii() and seconds.isdigit():
        refusal.retry_after_ms = int(seconds[:MAX_DIGITS]) * 1000
    return refusal
