"""Application services of the tests: their registration files, and what plays one of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import yaml

from tests.http.origins import Line, Origin, answer

IRC = "irc"
TOKEN = "as_irc"
SENDER = "@irc_bot:hs.test"

Say = Callable[[], tuple[int, Any]]


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
    """One on a loopback address. `says`: an answer by the path, without its query, else it is 404; `asked`: what came, in order."""

    def __init__(self) -> None:
        self.says: dict[str, tuple[int, Any] | Say | None] = {}
        self.asked: list[str] = []
        self.heads: list[str] = []
        self._origin = Origin(self._say)

    @property
    def url(self) -> str:
        return self._origin.url("").rstrip("/")

    async def stop(self) -> None:
        await self._origin.stop()

    def _say(self, line: Line, request: bytes) -> None:
        head = request.partition(b"\r\n\r\n")[0].decode()
        method, target, _ = head.split(None, 2)
        self.heads.append(head)
        self.asked.append(f"{method} {target}")
        said = self.says.get(target.partition("?")[0], (404, {"errcode": "M_NOT_FOUND"}))
        if said is None:  # it never answers
            return
        status, body = said() if callable(said) else said
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        line.send(answer(data, status=f"{status} Said"))
