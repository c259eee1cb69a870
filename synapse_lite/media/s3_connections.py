"""Connections to object storage whose answers come in time: each byte that comes begins urllib3's own timeout anew."""

import logging
from io import BufferedReader, RawIOBase
from math import inf
from time import monotonic
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)

logger = logging.getLogger(__name__)

HEAD_SECONDS = 20.0
"""For the head of a file, or all of another answer: of a store that is slower a thread waits no longer."""
_FILE = frozenset({200, 206})
_OF_A_LIST = "list-type="


def limit_heads(client: Any) -> None:
    """Of a client of boto3, before it is used; botocore has no option for it, and may keep its pools elsewhere one day."""
    try:
        pools = client._endpoint.http_session._pool_classes_by_scheme  # noqa: SLF001
    except AttributeError as error:
        logger.warning(
            "this release of botocore is not known: object storage may be slow without end: %s", error
        )
        return
    pools.update(http=_Pool, https=_TlsPool)


class _Socket:
    """A socket whose reader looks at the clock. `until`: monotonic seconds."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.until = inf

    def makefile(self, mode: str, buffering: int = -1) -> Any:
        reader = _Reader(self, self._socket.makefile(mode, 0))
        return reader if buffering == 0 else BufferedReader(reader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class _Reader(RawIOBase):
    def __init__(self, socket: _Socket, file: Any) -> None:
        self._socket = socket
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, space: Any, /) -> int | None:
        if monotonic() > self._socket.until:
            raise TimeoutError("the answer takes too long")
        count: int | None = self._file.readinto(space)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Prompt:
    """Before one of botocore's classes of connections."""

    sock: Any
    _timed: _Socket | None = None
    _asked_for_file = False

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self.sock = self._timed = _Socket(self.sock)
        self._begin()

    def request(self, method: str, url: str, *arguments: Any, **more: Any) -> Any:
        self._asked_for_file = method == "GET" and _OF_A_LIST not in url
        self._begin()
        return super().request(method, url, *arguments, **more)  # type: ignore[misc]

    def getresponse(self) -> Any:
        self._begin()
        answer = super().getresponse()  # type: ignore[misc]
        if self._timed is not None and self._asked_for_file and answer.status in _FILE:
            self._timed.until = inf  # a client reads it at its own pace
        return answer

    def _begin(self) -> None:
        if self._timed is not None:
            self._timed.until = monotonic() + HEAD_SECONDS


class _Connection(_Prompt, AWSHTTPConnection):  # type: ignore[misc]
    pass


class _TlsConnection(_Prompt, AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _Pool(AWSHTTPConnectionPool):  # type: ignore[misc]
    ConnectionCls = _Connection


class _TlsPool(AWSHTTPSConnectionPool):  # type: ignore[misc]
    ConnectionCls = _TlsConnection
