"""Files that the kernel sends: over real sockets."""

import http.client
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from synapse_lite.http.access import Access
from synapse_lite.http.response import Response, Stream
from synapse_lite.http.router import Route
from synapse_lite.http.sending import STALL_SECONDS
from tests.http.memory import ManualClock, fetch, site

SIZE = 8_000_000  # more than the buffers of two sockets
PIECE = 100_000
TEXT = 80_000
TEXTS = 100  # of three digits each: together more than the buffers of two sockets
SECONDS = 300


class File:
    """A source, and the chunks that stand for it where files are not taken."""

    def __init__(self, path: Path) -> None:
        self.data = os.urandom(SIZE)
        path.write_bytes(self.data)
        self._file = path.open("rb")
        self._place = 0
        self._told = 100
        self._was_full = False
        self.is_full: Deferred[None] = Deferred()
        self.is_closed: Deferred[None] = Deferred()
        self.route = Route("GET", "/file", self.handle, Access.NONE)
        self.word = Route("GET", "/word", self.say, Access.NONE)
        self.text = Route("GET", "/text", self.recite, Access.NONE)

    async def handle(self, _request: object) -> Response:
        return Response(200, Stream(self, SIZE, self), content_type="video/mp4")

    async def say(self, _request: object) -> Response:
        return Response(200, {"word": "yes"})

    async def recite(self, _request: object) -> Response:
        self._told += 1
        return Response(200, b"%d" % self._told * TEXT)

    async def prepare(self) -> None:
        pass

    def send_to(self, descriptor: int) -> int:
        try:
            sent = os.sendfile(descriptor, self._file.fileno(), self._place, PIECE)
        except BlockingIOError:
            if not self._was_full:
                self._was_full = True
                reactor.callLater(0, self.is_full.callback, None)  # when it waits
            raise
        self._place += sent
        return sent

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = self._file.read(PIECE)
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        self.is_closed.callback(self._file.tell())
        self._file.close()


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "file")


@contextmanager
def listening(file: File, clock: ManualClock) -> Iterator[int]:
    port = reactor.listenTCP(0, site([file.route, file.word, file.text], clock=clock), interface="127.0.0.1")
    try:
        yield port.getHost().port
    finally:
        port.stopListening()


def ask_twice(port: int) -> tuple[bytes, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    answers = []
    for path in ("/file", "/word"):
        connection.request("GET", path)
        answers.append(connection.getresponse().read())
    connection.close()
    return answers[0], answers[1]


@ensureDeferred
async def test_a_file_and_what_follows(file: File) -> None:
    """All of the file arrives, none of it through this process, and the connection goes on."""
    with listening(file, ManualClock()) as port:
        assert await deferToThread(ask_twice, port) == (file.data, b'{"word":"yes"}')
        assert await file.is_closed == 0, "nothing was read"


@ensureDeferred
async def test_answers_to_who_reads_late(file: File) -> None:
    """What the socket does not take at once goes out later, and before what comes after it."""

    def ask_much(port: int) -> list[bytes]:
        with socket.create_connection(("127.0.0.1", port), SECONDS) as client:
            client.sendall(b"GET /text HTTP/1.1\r\nHost: x\r\n\r\n" * TEXTS)
            client.sendall(b"GET /word HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            with client.makefile("rb") as stream:
                return [
                    part.partition(b"\r\n\r\n")[2] for part in stream.read().split(b"HTTP/1.1 200 OK")[1:]
                ]

    with listening(file, ManualClock()) as port:
        texts = [b"%d" % number * TEXT for number in range(101, 101 + TEXTS)]
        assert await deferToThread(ask_much, port) == [*texts, b'{"word":"yes"}']
    await file.aclose()


@ensureDeferred
async def test_a_client_that_takes_nothing(file: File) -> None:
    """It is cut off after a while, and the file is closed."""
    clock = ManualClock()
    with listening(file, clock) as port, socket.create_connection(("127.0.0.1", port), SECONDS) as client:
        client.sendall(b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n")
        await file.is_full
        clock.advance(STALL_SECONDS)
        await file.is_closed


@ensureDeferred
async def test_a_client_that_goes(file: File) -> None:
    """A connection that is lost in the middle closes the file."""
    with listening(file, ManualClock()) as port:
        client = socket.create_connection(("127.0.0.1", port), SECONDS)
        client.sendall(b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n")
        await file.is_full
        client.close()
        await file.is_closed


def test_where_files_are_not_taken(file: File) -> None:
    """A connection without a socket of its own, as of TLS, is given the same bytes in chunks."""
    assert fetch(site([file.route]), "GET", "/file").body == file.data
