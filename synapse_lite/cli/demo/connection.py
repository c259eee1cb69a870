"""A user's connection to the client and admin APIs."""

import time
from http.client import HTTPConnection, HTTPException
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import attrs
import orjson

from synapse_lite.cli.api import ApiError
from synapse_lite.errors import SynapseLiteError

_TIMEOUT = 120.0
_IDLE_SECONDS = 30.0  # the server closes a connection that is idle for longer than that
_OK = 200


class DemoError(SynapseLiteError):
    """The demo did not go as it must."""


class Connection:
    """Stays open between calls; for one thread at a time."""

    def __init__(self, base_url: str, access_token: str) -> None:
        self._http = HTTPConnection(urlsplit(base_url).netloc, timeout=_TIMEOUT)
        self._last_used = time.monotonic()
        self._headers = {"Authorization": f"Bearer {access_token}", "Content-Type": "application/json"}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON of the answer. Raises ApiError unless the status is 200."""
        if time.monotonic() - self._last_used > _IDLE_SECONDS:
            self._http.close()  # the request opens it anew
        try:
            self._http.request(method, path, None if body is None else orjson.dumps(body), self._headers)
            answer = self._http.getresponse()
            content = orjson.loads(answer.read())
        except (HTTPException, OSError, ValueError) as error:
            raise ApiError(0, "", f"{method} {path}: {error!r}") from error
        self._last_used = time.monotonic()
        if answer.status != _OK:
            errcode, message = content.get("errcode", ""), content.get("error", "")
            raise ApiError(answer.status, errcode, f"{method} {path}: {answer.status} {errcode}: {message}")
        return content


@attrs.frozen
class User:
    base_url: str
    user_id: str
    password: str
    access_token: str

    def connect(self) -> Connection:
        return Connection(self.base_url, self.access_token)
