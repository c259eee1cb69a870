"""What a client sent: typed, checked access to one HTTP request."""

# Twisted types its web server in part only.

import re
from collections.abc import Collection
from enum import Enum
from ipaddress import ip_address
from typing import Any, BinaryIO, Final, Literal, TypeVar, cast, overload

from twisted.web import http

from synapse_lite import canonical_json
from synapse_lite.canonical_json import MAX_DEPTH, MAX_SAFE_INTEGER, JsonObject
from synapse_lite.errors import Errcode, MatrixError, bad_json, invalid_param, missing_param

MAX_JSON_BYTES = 150 * 65536
"""The largest transaction between servers: 50 events and 100 ephemeral ones of 64 KiB."""

MAX_USER_AGENT = 1024
_INTEGER = re.compile(r"-?[0-9]{1,16}")

T = TypeVar("T")
D = TypeVar("D")


class _Required(Enum):
    REQUIRED = "required"


REQUIRED: Final = _Required.REQUIRED
"""The default of parameters that have none: their absence is 400 `M_MISSING_PARAM`."""

RequiredType = Literal[_Required.REQUIRED]


class Request:
    """One request. A handler sets `requester_name` once it knows who asks, for the access log."""

    def __init__(self, source: http.Request, *, x_forwarded: bool) -> None:
        self._source = source
        self._x_forwarded = x_forwarded
        self._arguments = cast("dict[bytes, list[bytes]]", source.args)
        self._body: bytes | None = None
        self.requester_name: str | None = None

    @property
    def method(self) -> str:
        return self._source.method.decode("ascii", "backslashreplace")

    @property
    def path(self) -> str:
        """As sent: percent-encoded, without the query."""
        return self._source.path.decode("ascii", "backslashreplace")

    @property
    def client_ip(self) -> str:
        """The peer, or whom the proxy in front of us names last; "" on a UNIX socket.

        Only the last hop of `X-Forwarded-For` was written by our own proxy: those before it are
        whatever the client claims.
        """
        if self._x_forwarded:
            hops = self.header("X-Forwarded-For").rpartition(",")[2].strip()
            if _is_ip_address(hops):
                return hops
        return str(getattr(self._source.getClientAddress(), "host", ""))

    @property
    def user_agent(self) -> str:
        return self.header("User-Agent")[:MAX_USER_AGENT]

    def header(self, name: str) -> str:
        """The last header of that name, or ""."""
        values = self._source.requestHeaders.getRawHeaders(name.encode())
        return (
            values[-1].decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}") if values else ""
        )

    def access_token(self) -> str:
        """401 `M_MISSING_TOKEN` when there is none."""
        token = self.access_token_or_none()
        if token is None:
            raise MatrixError(401, Errcode.MISSING_TOKEN, "Missing access token")
        return token

    def access_token_or_none(self) -> str | None:
        """From `Authorization: Bearer`, else from the query."""
        scheme, _, token = self.header("Authorization").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return token.strip()
        return self.query("access_token") or None

    @overload
    def query(self, name: str, default: str) -> str: ...
    @overload
    def query(self, name: str, default: None = None) -> str | None: ...
    def query(self, name: str, default: str | None = None) -> str | None:
        """The first value; 400 `M_INVALID_PARAM` for invalid UTF-8 or NUL."""
        values = self._arguments.get(name.encode())
        return _decode_argument(name, values[0]) if values else default

    def query_list(self, name: str) -> list[str]:
        return [_decode_argument(name, value) for value in self._arguments.get(name.encode(), [])]

    @overload
    def query_int(self, name: str, *, minimum: int = 0) -> int: ...
    @overload
    def query_int(self, name: str, default: int, *, minimum: int = 0) -> int: ...
    @overload
    def query_int(self, name: str, default: int | None, *, minimum: int = 0) -> int | None: ...
    def query_int(
        self, name: str, default: int | RequiredType | None = REQUIRED, *, minimum: int = 0
    ) -> int | None:
        """400 `M_INVALID_PARAM` for what is no integer, below `minimum` or beyond 2^53 - 1."""
        text = self.query(name)
        if text is None:
            if default is REQUIRED:
                raise missing_param(name)
            return default
        if not _INTEGER.fullmatch(text) or abs(int(text)) > MAX_SAFE_INTEGER:
            raise invalid_param(f"Query parameter {name!r} must be an integer")
        if int(text) < minimum:
            raise invalid_param(f"Query parameter {name!r} must be at least {minimum}")
        return int(text)

    def query_bool(self, name: str, default: bool = False) -> bool:
        text = self.query(name)
        if text is None:
            return default
        if text not in ("true", "false"):
            raise invalid_param(f"Query parameter {name!r} must be 'true' or 'false'")
        return text == "true"

    def query_choice(self, name: str, choices: Collection[str], default: D) -> str | D:
        text = self.query(name)
        if text is None:
            return default
        if text not in choices:
            raise invalid_param(f"Query parameter {name!r} must be one of {', '.join(sorted(choices))}")
        return text

    @property
    def body(self) -> bytes:
        if self._body is None:
            self._body = cast("BinaryIO", self._source.content).read()
        return self._body

    def json(self) -> Any:
        """400 `M_NOT_JSON`, 400 `M_BAD_JSON` when nested too deeply, 413 `M_TOO_LARGE`."""
        if len(self.body) > MAX_JSON_BYTES:
            raise MatrixError(413, Errcode.TOO_LARGE, "JSON body is too large")
        value = canonical_json.decode(self.body)
        _check_depth(self.body, value)
        return value

    def json_object(self, *, allow_empty: bool = False) -> JsonObject:
        """As `json`, and 400 `M_BAD_JSON` for anything but an object. An empty body counts as {}
        with `allow_empty`.
        """
        if allow_empty and not self.body:
            return {}
        value = self.json()
        if not isinstance(value, dict):
            raise bad_json("Content must be a JSON object")
        return value


@overload
def parameter(body: JsonObject, name: str, kind: type[T]) -> T: ...
@overload
def parameter(body: JsonObject, name: str, kind: type[T], default: D) -> T | D: ...
@overload
def parameter(body: JsonObject, name: str, kind: tuple[type, ...], default: Any = REQUIRED) -> Any: ...
def parameter(body: JsonObject, name: str, kind: type | tuple[type, ...], default: Any = REQUIRED) -> Any:
    """A field of a body; null counts as absent when the default is None.

    Raises 400 `M_MISSING_PARAM` when it is absent and has no default, 400 `M_BAD_JSON` when it is
    of another type. A boolean is not an integer.
    """
    value = body.get(name)
    if name not in body or (value is None and default is None):
        if default is REQUIRED:
            raise missing_param(name)
        return default
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise bad_json(f"Parameter {name!r} must be of type {' or '.join(k.__name__ for k in kinds)}")
    return value


def _decode_argument(name: str, value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise invalid_param(f"Query parameter {name!r} is not valid UTF-8") from None
    if "\0" in text:
        raise invalid_param(f"Query parameter {name!r} holds a NUL character")
    return text


def _is_ip_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _check_depth(data: bytes, value: Any) -> None:
    """What is stored must be writable again: the JSON writer has a depth limit of its own."""
    if data.count(b"{") + data.count(b"[") <= MAX_DEPTH:
        return
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise bad_json(f"JSON nested deeper than {MAX_DEPTH} levels")
