"""Servers that reach each other without sockets: requests are signed, sent and answered as on the network."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from attrs import define, field

from synapse_lite import canonical_json
from synapse_lite.canonical_json import JsonObject
from synapse_lite.federation.peers import MAX_ANSWER, PeerError, TooLargeError
from synapse_lite.http.client import Reply, RequestError
from synapse_lite.matrix.server_auth import sign_request
from synapse_lite.matrix.server_keys import write_key_answer
from synapse_lite.matrix.signing import SigningKey, generate_signing_key
from tests.http.memory import Answer
from tests.server import TestServer

FOREVER = 2**52
Script = Callable[[str, str, JsonObject | None], Awaitable[JsonObject] | JsonObject]


@define
class Network:
    """Who answers to which name: one of our servers, or a script. `asked` is all that was asked, in order.

    `pages` are what is elsewhere, by URL.
    """

    servers: dict[str, "TestServer | Scripted"] = field(factory=dict)
    pages: dict[str, Callable[[], Reply]] = field(factory=dict)
    asked: list[tuple[str, str, str]] = field(factory=list)  # destination, method, target

    def peers(self, key: SigningKey) -> "NetworkPeers":
        return NetworkPeers(self, key)

    def scripted(self, name: str) -> "Scripted":
        """A server that the test plays."""
        self.servers[name] = server = Scripted(name, self)
        return server


class Memory:
    """The body of an answer, in the pieces in which it arrives. An error among them breaks it off."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = list(pieces)

    async def next(self) -> bytes:
        piece = self._pieces.pop(0) if self._pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece


def reply(*pieces: bytes | Exception, status: int = 200, length: int | None = None, **headers: str) -> Reply:
    """An answer on its way; headers with underscores for hyphens."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, named, "https://other.test/", length, Memory(*pieces))  # type: ignore[arg-type]


@define
class NetworkPeers:
    """The way of one server to the others."""

    network: Network
    key: SigningKey

    async def ask(
        self,
        destination: str,
        method: str,
        target: str,
        body: JsonObject | None = None,
        *,
        max_bytes: int = MAX_ANSWER,
        **_limits: Any,
    ) -> JsonObject:
        self.network.asked.append((destination, method, target))
        server = self.network.servers.get(destination)
        if server is None:
            raise PeerError(f"{destination} cannot be reached")
        if isinstance(server, Scripted):
            return _within(max_bytes, await server.answer(method, target, body))
        answer = await send_signed(server, self.key, method, target, body)
        content = json.loads(answer.body)
        if answer.status != 200:
            raise PeerError(content.get("error", ""), answer.status, content.get("errcode"))
        return content

    @asynccontextmanager
    async def open(self, destination: str, method: str, target: str, **_limits: Any) -> AsyncIterator[Reply]:
        self.network.asked.append((destination, method, target))
        server = self.network.servers.get(destination)
        if server is None:
            raise PeerError(f"{destination} cannot be reached")
        try:
            yield await self._open(server, method, target)
        except RequestError as error:
            raise PeerError(str(error)) from None

    async def _open(self, server: "TestServer | Scripted", method: str, target: str) -> Reply:
        if isinstance(server, Scripted):
            return server.open(target)
        answer = await send_signed(server, self.key, method, target)
        headers = {name.lower(): text for name, text in answer.headers.items()}
        return Reply(answer.status, headers, "", len(answer.body), Memory(answer.body))  # type: ignore[arg-type]

    @asynccontextmanager
    async def open_url(self, url: str, **_limits: Any) -> AsyncIterator[Reply]:
        self.network.asked.append(("", "GET", url))
        yield self.network.pages[url]()


def _within(max_bytes: int, answer: JsonObject) -> JsonObject:
    size = len(canonical_json.encode_exact(answer))
    if size > max_bytes:
        raise TooLargeError(f"{size} bytes")
    return answer


async def send_signed(
    server: TestServer, key: SigningKey, method: str, target: str, body: JsonObject | None = None
) -> Answer:
    """What the server answers to a request that is signed with the key."""
    data = None if body is None else canonical_json.encode_exact(body)
    authorization = sign_request(key, method, target, server.name, data)
    return await server.call(method, target, data, headers={"Authorization": authorization})


@define
class Scripted:
    """A server of the test: `scripts` answer by the beginning of the target, `files` as well. Its keys are published."""

    name: str
    network: Network
    scripts: dict[str, Script] = field(factory=dict)
    files: dict[str, Callable[[], Reply]] = field(factory=dict)
    key: SigningKey = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.key = generate_signing_key(self.name)

    async def answer(self, method: str, target: str, body: JsonObject | None) -> JsonObject:
        for prefix, script in self.scripts.items():
            if target.startswith(prefix):
                answered = script(method, target, body)
                return answered if isinstance(answered, dict) else await answered
        if target == "/_matrix/key/v2/server":
            return write_key_answer(self.key, [], FOREVER)
        raise PeerError(f"{self.name} has no answer to {target}", 404, "M_UNRECOGNIZED")

    def open(self, target: str) -> Reply:
        for prefix, answer in self.files.items():
            if target.startswith(prefix):
                return answer()
        return reply(b'{"errcode": "M_UNRECOGNIZED"}', status=404)

    async def ask(
        self, server: TestServer, method: str, target: str, body: JsonObject | None = None
    ) -> tuple[int, Any]:
        """Status and body of what the server answers."""
        answer = await send_signed(server, self.key, method, target, body)
        return answer.status, answer.json()
