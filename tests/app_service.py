"""An application service on a socket: answers what the test says, and remembers what it was asked."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml
from attrs import define, field, frozen
from twisted.internet import reactor
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

Json = dict[str, Any]


@frozen
class Asked:
    """`path` is decoded, `query` as it came."""

    method: str
    path: str
    query: str
    token: str
    body: Any

    @property
    def txn_id(self) -> str | None:
        head, found, txn_id = self.path.partition("/_matrix/app/v1/transactions/")
        return txn_id if found and not head else None


Answer = tuple[int, Any]


def accept(_asked: Asked) -> Answer | None:
    return 200, {}


@define(eq=False)
class AppServiceProcess:
    """`answer` decides about each request (None: the connection is closed). `write` makes its registration file."""

    id: str = "bridge"
    answer: Callable[[Asked], Answer | None] = accept
    asked: list[Asked] = field(factory=list)
    _port: Any = None

    @property
    def token(self) -> str:
        return f"as_{self.id}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port.getHost().port}"

    def start(self) -> None:
        resource = Resource()
        resource.isLeaf = True
        resource.render = self._render  # type: ignore[method-assign]
        self._port = reactor.listenTCP(0, Site(resource), interface="127.0.0.1")  # type: ignore[attr-defined]

    async def stop(self) -> None:
        await self._port.stopListening()

    def write(self, directory: Path, **more: Any) -> Path:
        """Users `@_<id>_…` and aliases `#_<id>_…` are its own, unless `more` says otherwise."""
        own = [{"regex": rf"[@#]_{self.id}_.*", "exclusive": True}]
        registration = {
            "id": self.id,
            "url": self.url,
            "as_token": self.token,
            "hs_token": f"hs_{self.id}",
            "sender_localpart": f"{self.id}bot",
            "namespaces": {"users": own, "aliases": own, "rooms": []},
            **more,
        }
        path = directory / f"{self.id}.yaml"
        path.write_text(yaml.safe_dump(registration))
        return path

    @property
    def transactions(self) -> Iterator[Asked]:
        return (one for one in self.asked if one.txn_id is not None)

    @property
    def events(self) -> list[Json]:
        """Of all transactions, a repeated one once."""
        bodies = {one.txn_id: one.body for one in self.transactions}
        return [event for body in bodies.values() for event in body["events"]]

    @property
    def said(self) -> list[str]:
        return [event["content"]["body"] for event in self.events if event["type"] == "m.room.message"]

    def ephemeral(self, event_type: str) -> list[Json]:
        bodies = {one.txn_id: one.body for one in self.transactions}
        return [
            one for body in bodies.values() for one in body.get("ephemeral", ()) if one["type"] == event_type
        ]

    def _render(self, request: Request) -> bytes | int:
        path, _, query = request.uri.decode().partition("?")
        data = request.content.read()  # type: ignore[union-attr]
        asked = Asked(
            request.method.decode(),
            unquote(path),
            query,
            (request.getHeader("authorization") or "").removeprefix("Bearer "),
            json.loads(data) if data else None,
        )
        self.asked.append(asked)
        answered = self.answer(asked)
        if answered is None:
            request.loseConnection()
            return NOT_DONE_YET
        request.setResponseCode(answered[0])
        request.setHeader("content-type", "application/json")
        return json.dumps(answered[1]).encode()
