"""A line to a server that does what a test says: slow, cut, dead, or with answers of its own."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from time import sleep
from urllib.parse import urlsplit

from attrs import define, field, frozen

PIECE = 1024
TRICKLE_SECONDS = 0.1
_RESET = struct.pack("ii", 1, 0)


@frozen
class Mood:
    """`cut_after`: bytes of each answer that arrive; `trickles_after`: the others do so one by one. `answer` comes instead of the server's. `silent`: nothing arrives anywhere."""

    cut_after: int | None = None
    trickles_after: int | None = None
    bytes_a_second: float | None = None
    answer: bytes | None = None
    silent: bool = False
    refuses: bool = False


WELL = Mood()


@define(eq=False)
class BadLine:
    """Listens on a port of its own; what it does may change at any time, also to what is on its way."""

    upstream: tuple[str, int]
    mood: Mood = WELL
    _listener: socket.socket = field(factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _open: list[socket.socket] = field(factory=list)
    trickled: bytes = b""
    """What went out one by one."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def start(self) -> None:
        Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Whoever waits is told."""
        for one in self._open:
            _reset(one)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.mood.refuses:
                    _reset(client)
                    continue
                server = socket.create_connection(self.upstream)
                self._open += [client, server]
                line = _Line(self, client, server)
                for pump in (line.up, line.down):
                    Thread(target=pump, daemon=True).start()


@define(eq=False)
class _Line:
    """One connection, in both directions."""

    owner: BadLine
    client: socket.socket
    server: socket.socket
    answered: int = 0

    def up(self) -> None:
        with suppress(OSError):
            while data := self.client.recv(64 * 1024):
                self.answered = 0
                mood = self.owner.mood
                if mood.refuses:
                    self._cut()
                elif mood.answer is not None:
                    self.client.sendall(mood.answer)
                    self.client.shutdown(socket.SHUT_WR)
                elif not mood.silent:
                    self._pass(self.server, data, mood)
            self.server.shutdown(socket.SHUT_WR)

    def down(self) -> None:
        with suppress(OSError):
            while data := self.server.recv(64 * 1024):
                mood = self.owner.mood
                if mood.cut_after is not None and self.answered + len(data) > mood.cut_after:
                    self.client.sendall(data[: mood.cut_after - self.answered])
                    # Not a reset: it would take from the reader what has come and is not read yet.
                    self.client.shutdown(socket.SHUT_WR)
                    _reset(self.server)
                    return
                if mood.trickles_after is not None and self.answered + len(data) > mood.trickles_after:
                    self._trickle(data, max(0, mood.trickles_after - self.answered))
                self.answered += len(data)
                if not mood.silent:
                    self._pass(self.client, data, mood)
            self.client.shutdown(socket.SHUT_WR)

    def _trickle(self, data: bytes, whole: int) -> None:
        """Until the other end has enough of it."""
        self.client.sendall(data[:whole])
        for place in range(whole, len(data)):
            self.client.sendall(data[place : place + 1])
            self.owner.trickled += data[place : place + 1]
            sleep(TRICKLE_SECONDS)
        self._cut()

    def _cut(self) -> None:
        _reset(self.client)
        _reset(self.server)

    def _pass(self, there: socket.socket, data: bytes, mood: Mood) -> None:
        if mood.bytes_a_second is None:
            there.sendall(data)
            return
        for start in range(0, len(data), PIECE):
            there.sendall(data[start : start + PIECE])
            sleep(PIECE / mood.bytes_a_second)


def _reset(one: socket.socket) -> None:
    """Wakes whoever reads from it, here and at the other end."""
    with suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def bad_line(url: str) -> Iterator[BadLine]:
    parts = urlsplit(url)
    line = BadLine((parts.hostname or "", parts.port or 80))
    line.start()
    try:
        yield line
    finally:
        line.stop()
