"""A push gateway on a socket: answers what the test says, and remembers what it was told."""

import json
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import DeferredQueue
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

Body = dict[str, Any]
Answer = tuple[int, Any, dict[str, str]]  # status, body, headers


def accept(_body: Body) -> Answer:
    return 200, {"rejected": []}, {}


@define(eq=False)
class Gateway:
    """`answer` decides about each request (None: the connection is closed); what came is in `told`, in order."""

    answer: Callable[[Body], Answer | None] = accept
    told: "DeferredQueue[Body]" = field(factory=DeferredQueue)
    requests: int = 0
    _port: Any = None

    def start(self) -> None:
        resource = Resource()
        resource.isLeaf = True
        resource.render_POST = self._render  # type: ignore[attr-defined]  # found by its name
        self._port = reactor.listenTCP(0, Site(resource), interface="127.0.0.1")  # type: ignore[attr-defined]

    async def stop(self) -> None:
        await self._port.stopListening()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port.getHost().port}/_matrix/push/v1/notify"

    async def next(self) -> Body:
        """What the next request says, in `notification`."""
        return await self.told.get()

    def _render(self, request: Request) -> bytes | int:
        assert request.path == b"/_matrix/push/v1/notify"
        body = json.loads(request.content.read())["notification"]  # type: ignore[union-attr]
        self.requests += 1
        answered = self.answer(body)
        if answered is None:
            self.told.put(body)
            request.loseConnection()
            return NOT_DONE_YET
        status, answer, headers = answered
        request.setResponseCode(status)
        for name, value in headers.items():
            request.setHeader(name, value)
        self.told.put(body)
        return json.dumps(answer).encode()
