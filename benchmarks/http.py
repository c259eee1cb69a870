"""An HTTP client that costs little: it shares two cores with the servers, and much of what it spends, it would time.

`aiohttp` needs 1 to 3 ms for an answer of 140 kB, this one 0.1 ms.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from httptools import HttpParserError, HttpResponseParser

LIMIT_S = 120
"""Of one request."""

IDLE_S = 20
"""Servers close connections on which nothing happens, some after a minute: those are not used again."""


class Http:
    """Connections to one server, as many as there are requests at a time. `session` is for files, and for other protocols."""

    def __init__(self, base_url: str) -> None:
        url = urlsplit(base_url)
        self._host, self._port = str(url.hostname), int(url.port or 80)
        self._idle: list[_Connection] = []
        self.session = aiohttp.ClientSession(
            base_url,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=LIMIT_S),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._idle:
            connection.close()
        await self.session.close()

    async def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, bytes]:
        """The answer's status and body; `target` is as it goes over the wire.

        Raises TimeoutError after two minutes, and ConnectionError when the server hangs up or answers no HTTP.
        """
        head = [f"{method} {target} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None:
            head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        data = "\r\n".join([*head, "", ""]).encode() + (body or b"")
        async with asyncio.timeout(LIMIT_S):
            connection = await self._connection()
            try:
                return await connection.ask(data)
            finally:
                if connection.is_usable():
                    self._idle.append(connection)
                else:
                    connection.close()

    async def _connection(self) -> "_Connection":
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable() and time.monotonic() - connection.used < IDLE_S:
                return connection
            connection.close()
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, self._host, self._port)
        return connection


class _Connection(asyncio.Protocol):
    """One request after the other. The parser calls the methods that begin with `on_`."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.used = time.monotonic()
        self._parser = HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._is_open = True

    def is_usable(self) -> bool:
        """Open, and nothing is asked."""
        return self._is_open and self._answer is None

    def close(self) -> None:
        self._is_open = False
        self.transport.close()

    async def ask(self, data: bytes) -> tuple[int, bytes]:
        self._answer = answer = asyncio.get_running_loop().create_future()
        self.transport.write(data)
        return await answer

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self.close()
            self._fail(f"no HTTP: {error}")

    def connection_lost(self, reason: Exception | None) -> None:
        self._is_open = False
        self._fail(f"the server closed the connection: {reason}")

    def on_message_begin(self) -> None:
        self._pieces = []

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        answer, self._answer, self.used = self._answer, None, time.monotonic()
        self._is_open = self._is_open and self._parser.should_keep_alive()
        if answer is not None and not answer.done():
            answer.set_result((self._parser.get_status_code(), b"".join(self._pieces)))

    def _fail(self, why: str) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(ConnectionError(why))
