"""The HTTP client of the benchmarks: whole answers, however they come; no connection is used for what it cannot carry."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import pytest

from benchmarks.http import Http

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
NEVER = b""


class _Server:
    """Answers the requests of all its connections in turn, in pieces of a few bytes; `seen`: requests by connection."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self._answers = iter(answers)
        self.seen: list[list[bytes]] = []
        self.busy: set[asyncio.Task[None]] = set()
        self.asked = asyncio.Event()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.busy.add(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine: list[bytes] = []
        self.seen.append(mine)
        while head := await _head(reader):
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
            mine.append(head + await reader.readexactly(length))
            answer = next(self._answers)
            self.asked.set()
            for start in range(0, len(answer), 7):
                writer.write(answer[start : start + 7])
                await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def _run(answers: Sequence[bytes], scene: Callable[[Http, _Server], Awaitable[object]]) -> list[list[bytes]]:
    async def run() -> list[list[bytes]]:
        server = _Server(answers)
        listening = await asyncio.start_server(server.accept, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        async with Http(f"http://127.0.0.1:{port}") as http:
            await scene(http, server)
        await asyncio.gather(*server.busy)
        listening.close()
        return server.seen

    return asyncio.run(run())


def test_one_connection_carries_requests_one_after_the_other() -> None:
    async def scene(http: Http, _: _Server) -> None:
        assert await http.request("GET", "/a?b=c", {"X-One": "1"}, None) == (200, b"hello")
        assert await http.request("PUT", "/d", {}, b"{}") == (404, b"hello")
        assert await http.request("GET", "/e", {}, None) == (200, b"hello")

    (requests,) = _run([WHOLE, CHUNKED, WHOLE], scene)
    assert requests[0].startswith(b"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nX-One: 1\r\n" in requests[0]
    assert requests[1].endswith(b"Content-Length: 2\r\n\r\n{}")


def test_requests_at_the_same_time_have_connections_of_their_own() -> None:
    async def scene(http: Http, _: _Server) -> None:
        await asyncio.gather(*(http.request("GET", "/", {}, None) for _ in range(3)))

    assert [len(requests) for requests in _run([WHOLE] * 3, scene)] == [1, 1, 1]


def test_a_connection_that_the_server_ends_is_not_used_again() -> None:
    async def scene(http: Http, _: _Server) -> None:
        assert await http.request("GET", "/", {}, None) == (200, b"")
        assert await http.request("GET", "/", {}, None) == (200, b"hello")

    assert len(_run([LAST, WHOLE], scene)) == 2


def test_a_connection_whose_request_was_given_up_is_not_used_again() -> None:
    async def scene(http: Http, server: _Server) -> None:
        waiting = asyncio.ensure_future(http.request("GET", "/", {}, None))
        await server.asked.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await http.request("GET", "/", {}, None) == (200, b"hello")

    assert [len(requests) for requests in _run([NEVER, WHOLE], scene)] == [1, 1]


def test_what_is_no_http_is_an_error() -> None:
    async def scene(http: Http, _: _Server) -> None:
        with pytest.raises(ConnectionError):
            await http.request("GET", "/", {}, None)

    _run([b"SSH-2.0-hello\r\n\r\n"], scene)
