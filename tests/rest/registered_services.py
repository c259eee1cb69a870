"""Application services of the tests: their registration files, and what plays one of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import yaml
from twisted.internet.defer import Deferred

from tests.http.origins import Line, Origin, answer
from tests.server import TestServer

IRC = "irc"
TOKEN = "as_irc"
SENDER = "@irc_bot:hs.test"

Do = Callable[[], Deferred[Any]]


def registration(directory: Path, service: str = IRC, **more: Any) -> str:
    """The file of a service whose names begin with its own."""
    path = directory / f"{service}.yaml"
    names = {"regex": f"[@#]{service}_.*", "exclusive": True}
    path.write_text(
        yaml.safe_dump(
            {
                "id": service,
                "url": None,
                "as_token": f"as_{service}",
                "hs_token": f"hs_{service}",
                "sender_localpart": f"{service}_bot",
                "rate_limited": False,
                "namespaces": {"users": [names], "aliases": [names], "rooms": []},
                **more,
            }
        )
    )
    return str(path)


def registered(directory: Path, **more: Any) -> dict[str, Any]:
    """The option of homeserver.yaml for one service."""
    return {"app_service_config_files": [registration(directory, **more)]}


class Service:
    """One on a loopback address. `says`: status and body by the path, without its query, None for silence, else it is 404.

    `asked`: what came, in order.
    """

    def __init__(self) -> None:
        self.says: dict[str, tuple[int, Any] | None] = {}
        self.asked: list[str] = []
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self._does: dict[str, Do] = {}
        self._waiting: list[Deferred[None]] = []
        self._origin = Origin(self._say)

    @property
    def url(self) -> str:
        return self._origin.url("")

    async def stop(self) -> None:
        await self._origin.stop()

    async def was_asked(self) -> None:
        """Returns with the first question."""
        if not self.asked:
            self._waiting.append(Deferred())
            await self._waiting[-1]

    def makes(self, server: TestServer, question: str, method: str, path: str, body: Any) -> None:
        """Asked for something it makes that by a call, and then says that it is there."""
        self._does[question] = lambda: Deferred.fromCoroutine(server.ok(method, path, body, TOKEN))

    def _say(self, line: Line, request: bytes) -> None:
        head, _, body = request.partition(b"\r\n\r\n")
        method, target, _ = head.decode().split(None, 2)
        path = target.partition("?")[0]
        self.heads.append(head.decode())
        self.asked.append(f"{method} {target}")
        self.bodies.append(body)
        while self._waiting:
            self._waiting.pop().callback(None)
        if path in self._does:
            self._does.pop(path)().addCallback(lambda _: _answer(line, 200, {}))
            return
        said = self.says.get(path, (404, {"errcode": "M_NOT_FOUND"}))
        if said is not None:
            _answer(line, *said)


def _answer(line: Line, status: int, body: Any) -> None:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    line.send(answer(data, status=f"{status} Said"))
