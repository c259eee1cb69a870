"""Files that the kernel sends by itself: their bytes are never copied into this process."""

# mypy: allow-untyped-calls
# Twisted types its transports in part only.

from typing import Any, Self

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer
from twisted.internet.tcp import Connection
from zope.interface import implementer

from synapse_lite.http.response import KernelSource


def is_plain_socket(transport: Any) -> bool:
    """It takes files, and whatever else is written to it as it is: what TLS sends has to be encrypted here."""
    return isinstance(transport, Connection) and not transport.TLS


def write_now(transport: Any, data: bytes) -> int:
    """How many of the bytes the socket took: 0 where something else waits for it, or is between it and us.

    The reactor would be told to look at the socket, and then to look no more: two calls of the system for nothing.
    """
    if not is_plain_socket(transport) or transport.disconnected or _has_unsent(transport):
        return 0
    sent = transport.writeSomeData(data)
    return sent if isinstance(sent, int) else 0  # an error is met again, and told, by the reactor


def _has_unsent(transport: Connection) -> bool:
    return bool(transport.dataBuffer) or transport._tempDataLen > 0  # noqa: SLF001 (Twisted tells it in no other way)


@implementer(IPullProducer)
class KernelSender:
    """Stands in for the channel at its transport, between the headers and the end of an answer."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._transport = channel.transport
        self._writable: Deferred[None] | None = None

    def __enter__(self) -> Self:
        self._transport.unregisterProducer()
        self._transport.registerProducer(self, streaming=False)
        return self

    def __exit__(self, *_error: object) -> None:
        if not self._transport.disconnected:
            self._transport.unregisterProducer()
            self._transport.registerProducer(self._channel, streaming=True)

    def flushed(self) -> "Deferred[None]":
        """As `writable`, after something was written: it goes out now, if the socket takes it."""
        waiting = self._writable = Deferred()
        if not self._transport.disconnected:
            self._transport.doWrite()  # its errors are met again, and told, by the reactor
        return waiting

    def writable(self) -> "Deferred[None]":
        """Fires when all that was written is on its way, and the socket takes more."""
        self._writable = Deferred()
        self._transport.startWriting()
        return self._writable

    def send(self, source: KernelSource) -> int:
        """Bytes that went out: 0 when the socket takes none, or nobody takes them any more."""
        try:
            return source.send_to(self._transport.fileno())
        except BlockingIOError:
            return 0
        except OSError:  # the client is gone
            self._channel.forceAbortClient()
            return 0

    def resumeProducing(self) -> None:  # noqa: N802 (Twisted's name)
        writable, self._writable = self._writable, None
        if writable is not None:
            writable.callback(None)

    def stopProducing(self) -> None:  # noqa: N802 (Twisted's name)
        """The connection is lost; the handler is cancelled, and this wait with it."""
