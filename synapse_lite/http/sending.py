"""Sending a body that is made while it is sent, no faster than the client takes it."""

from collections.abc import AsyncIterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from synapse_lite.clock import Clock
from synapse_lite.errors import SynapseLiteError
from synapse_lite.http.kernel import KernelSender, is_plain_socket
from synapse_lite.http.response import KernelSource, Stream

STALL_SECONDS = 60.0
"""A client that takes nothing for so long is cut off."""


PIECE_BYTES = 256 * 1024
"""A larger answer goes out in pieces of this size, as the client takes them."""

SEND_GRACE_SECONDS = 60.0
SEND_BYTES_PER_SECOND = 8 * 1024
"""An answer must be taken within the grace and its length at this rate."""
UNKNOWN_LENGTH = 64 * 1024 * 1024
"""Taken for the length of an answer that does not know its own."""


class LengthMismatchError(SynapseLiteError):
    """A stream that does not hold what it announced."""


async def send_stream(consumer: Any, stream: Stream, clock: Clock) -> None:
    """Write to `consumer` (a request of Twisted's), which is cut off when it stalls.

    Raises `LengthMismatchError`: the answer is broken then, and its connection must end.
    """
    length = UNKNOWN_LENGTH if stream.length is None else stream.length
    seconds = SEND_GRACE_SECONDS + length / SEND_BYTES_PER_SECOND
    deadline = clock.call_later(seconds, consumer.channel.forceAbortClient)
    try:
        if stream.source is not None and is_plain_socket(consumer.channel.transport):
            sent = await _send_file(consumer, stream.source, length, clock)
        else:
            sent = await _send_chunks(consumer, stream, clock)
    finally:
        if deadline.active():
            deadline.cancel()
    if stream.length is not None and sent != stream.length:
        raise LengthMismatchError(f"{sent} of the {stream.length} bytes that were announced")


async def _send_file(consumer: Any, source: KernelSource, length: int, clock: Clock) -> int:
    sent = 0
    with KernelSender(consumer.channel) as sender:
        await _unless_stalled(consumer, sender.flushed(), clock)
        while sent < length:
            await source.prepare()
            some = sender.send(source)
            sent += some
            consumer.sentLength += some
            if some == 0:
                await _unless_stalled(consumer, sender.writable(), clock)
    return sent


async def _send_chunks(consumer: Any, stream: Stream, clock: Clock) -> int:
    flow = _Flow()
    consumer.registerProducer(flow, streaming=True)
    sent = 0
    try:
        async for chunk in stream.chunks:
            sent += len(chunk)
            if stream.length is not None and sent > stream.length:
                raise LengthMismatchError(f"more than the {stream.length} bytes that were announced")
            consumer.write(chunk)
            if flow.waiting is not None:
                await _unless_stalled(consumer, flow.waiting, clock)
    finally:
        consumer.unregisterProducer()
    return sent


async def _unless_stalled(consumer: Any, waiting: "Deferred[None]", clock: Clock) -> None:
    if waiting.called:
        return
    stalled = clock.call_later(STALL_SECONDS, consumer.channel.forceAbortClient)
    try:
        await waiting
    finally:
        if stalled.active():
            stalled.cancel()


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    """The body, so that no more of it is copied than is on its way."""
    view = memoryview(body)
    for start in range(0, len(body), PIECE_BYTES):
        yield bytes(view[start : start + PIECE_BYTES])


@implementer(IPushProducer)
class _Flow:
    """Whether the connection takes more: `waiting` is None, or fires when it does."""

    def __init__(self) -> None:
        self.waiting: Deferred[None] | None = None

    def pauseProducing(self) -> None:  # noqa: N802 (Twisted's name)
        if self.waiting is None:
            self.waiting = Deferred()

    def resumeProducing(self) -> None:  # noqa: N802 (Twisted's name)
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.callback(None)

    def stopProducing(self) -> None:  # noqa: N802 (Twisted's name)
        """The connection is lost; the handler is cancelled, and this wait with it."""
