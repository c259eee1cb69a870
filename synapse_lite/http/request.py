"""What a client sent: typed, checked access to one HTTP request."""

import re
from collections.abc import Collection
from enum import Enum
from ipaddress import ip_address
from itertools import accumulate
from typing import Any, Final, Literal, TypeVar, overload

from synapse_lite import canonical_json
from synapse_lite.canonical_json import MAX_DEPTH, MAX_SAFE_INTEGER, JsonObject
from synapse_lite.errors import Errcode, MatrixError, bad_json, invalid_param, missing_param, too_large
from synapse_lite.http.body_stream import BodyStream
from synapse_lite.http.head import Head
from synapse_lite.http.large_answers import LargeAnswers

MAX_USER_AGENT = 1024
_STRINGS = re.compile(rb'"[^"]*"')
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_MARKS = bytes(set(range(256)) - set(b'[{]},"'))
MAX_MARKS = 600_000
"""Brackets and commas of a body: reading so much takes a tenth of a second, however few bytes it has."""
_INTEGER = re.compile(r"-?[0-9]{1,16}")

T = TypeVar("T")
D = TypeVar("D")


class _Required(Enum):
    REQUIRED = "required"


REQUIRED: Final = _Required.REQUIRED
"""The default of parameters that have none: their absence is 400 `M_MISSING_PARAM`."""

RequiredType = Literal[_Required.REQUIRED]


class Request:
    """One request. A handler sets `requester_name` once it knows who asks, for the access log.

    `body` is empty where the route streams: it is in `stream` then, `length` bytes or, when that is None, until
    it ends. Whoever reads the JSON of the body before the handler leaves it in `content`.
    """

    def __init__(
        self,
        head: Head,
        client_host: str,
        *,
        x_forwarded: bool,
        stream: BodyStream,
        large_answers: LargeAnswers,
    ) -> None:
        self._head = head
        self._client_host = client_host
        self._x_forwarded = x_forwarded
        self._arguments = head.arguments
        self.stream = stream
        self.length = head.length
        self.body = b""
        self.content: Any = None
        self.requester_name: str | None = None
        self._large_answers = large_answers
        self._place: str | None = None

    async def expect_large_answer(self) -> None:
        """Wait until few enough others are answered at length; until the client has its answer, this is one.

        429 `M_LIMIT_EXCEEDED` when that takes too long.
        """
        if self._place is None:
            who = self.requester_name or self.client_ip
            await self._large_answers.acquire(who)
            self._place = who

    def release(self) -> None:
        """The request has come to its end."""
        if self._place is not None:
            self._large_answers.release(self._place)
            self._place = None

    @property
    def method(self) -> str:
        return self._head.method.decode("ascii", "backslashreplace")

    @property
    def path(self) -> str:
        """As sent: percent-encoded, without the query."""
        return self._head.path.decode("ascii", "backslashreplace")

    @property
    def target(self) -> str:
        """As sent, with the query."""
        return self._head.target.decode("ascii", "backslashreplace")

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
        return self._client_host

    @property
    def user_agent(self) -> str:
        return self.header("User-Agent")[:MAX_USER_AGENT]

    def header(self, name: str) -> str:
        """The last header of that name, or ""."""
        values = self._head.headers.get(name.lower().encode())
        return (
            values[-1].decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}") if values else ""
        )

    def headers(self, name: str) -> list[str]:
        """All headers of that name."""
        values = self._head.headers.get(name.lower().encode(), ())
        return [value.decode("utf-8", "replace") for value in values]

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
    def query(self, name: str, default: str | RequiredType) -> str: ...
    @overload
    def query(self, name: str, default: None = None) -> str | None: ...
    def query(self, name: str, default: str | RequiredType | None = None) -> str | None:
        """The first value; 400 `M_INVALID_PARAM` for invalid UTF-8 or NUL."""
        values = self._arguments.get(name.encode())
        if values:
            return _decode_argument(name, values[0])
        if default is REQUIRED:
            raise missing_param(name)
        return default

    def query_items(self) -> list[tuple[str, str]]:
        """All names and values; 400 `M_INVALID_PARAM` as of `query`."""
        names = [_decode_argument("", name) for name in self._arguments]
        return [(name, value) for name in names for value in self.query_list(name)]

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

    @overload
    def query_bool(self, name: str, default: bool = False) -> bool: ...
    @overload
    def query_bool(self, name: str, default: None) -> bool | None: ...
    def query_bool(self, name: str, default: bool | None = False) -> bool | None:
        """400 `M_INVALID_PARAM` for what is neither `true` nor `false`."""
        text = self.query(name)
        if text is None:
            return default
        if text not in ("true", "false"):
            raise invalid_param(f"Query parameter {name!r} must be 'true' or 'false'")
        return text == "true"

    @overload
    def query_choice(self, name: str, choices: Collection[str], default: RequiredType) -> str: ...
    @overload
    def query_choice(self, name: str, choices: Collection[str], default: D) -> str | D: ...
    def query_choice(self, name: str, choices: Collection[str], default: D | RequiredType) -> str | D:
        """400 `M_INVALID_PARAM` for what is none of the choices."""
        text = self.query(name)
        if text is None:
            if default is REQUIRED:
                raise missing_param(name)
            return default
        if text not in choices:
            raise invalid_param(f"Query parameter {name!r} must be one of {', '.join(sorted(choices))}")
        return text

    def json(self) -> Any:
        """400 `M_NOT_JSON`, 400 `M_BAD_JSON` when nested too deeply."""
        check_shape(self.body)
        return canonical_json.decode(self.body)

    def exact_json_object(self) -> JsonObject:
        """As `json_object`, with integers of any size: for events, which are hashed as they were sent."""
        value = self.content
        if value is None:
            check_shape(self.body)
            value = canonical_json.decode_exact(self.body)
        if not isinstance(value, dict):
            raise bad_json("Content must be a JSON object")
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


def check_shape(data: bytes) -> None:
    """400 `M_BAD_JSON` for JSON nested deeper than `MAX_DEPTH`, 413 `M_TOO_LARGE` for too many values.

    Before anything is built of it.
    """
    marks = data.translate(None, _NO_MARKS)
    if len(marks) <= MAX_MARKS and marks.count(b"{") + marks.count(b"[") <= MAX_DEPTH:
        return
    if _count_marks(data, marks) > MAX_MARKS:
        raise too_large("The body holds too many values")


def count_marks(data: bytes) -> int:
    """How many brackets and commas are outside of texts. 400 `M_BAD_JSON` as of `check_shape`."""
    return _count_marks(data, data.translate(None, _NO_MARKS))


def _count_marks(data: bytes, marks: bytes) -> int:
    """`marks`: what is left of the data without `_NO_MARKS`."""
    if b"\\" in data:  # there are escapes in texts only, and of them these two matter
        marks = data.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_MARKS)
    # Most texts have no mark within; two that only a colon divides become one, which changes nothing.
    marks = _STRINGS.sub(b"", marks.replace(b'""', b""))
    if len(marks) > MAX_MARKS:
        return len(marks)
    brackets = marks.translate(_STEPS, b'",')
    # In `brackets` a step down is 1 and a step up 255, which is -1 as a signed byte.
    if max(accumulate(memoryview(brackets).cast("b")), default=0) > MAX_DEPTH:
        raise bad_json(f"JSON nested deeper than {MAX_DEPTH} levels")
    return len(marks)
