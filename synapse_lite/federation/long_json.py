"""JSON of megabytes piece by piece: the state of a large room, or a transaction. Neither a parser nor a writer stops for anybody."""

import itertools
import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from attrs import frozen

from synapse_lite.canonical_json import MAX_DEPTH, decode_exact, encode_exact
from synapse_lite.errors import Errcode, MatrixError, too_large
from synapse_lite.federation.turns import take_turns
from synapse_lite.http.request import MAX_MARKS, check_shape, count_marks

Steps = Generator[None, None, Any]

AT_ONCE_BYTES = 64 * 1024
AT_ONCE = 500
"""So much, or so many elements, are read without a pause: about a millisecond's work."""
WINDOW_BYTES = 4 * AT_ONCE_BYTES
MAX_ELEMENT = 1024 * 1024
"""Bytes of one value that is read as a whole: an event has at most 64 KiB, without its `unsigned`."""
MAX_VALUES = 5_000_000
"""Of an answer: five times what the largest rooms have. Each takes a hundred bytes of memory, however few it is written with."""
SHORT_TEXT = 1000
_BLANKS = re.compile(rb"[ \t\r\n]{0,1000}")
_LIST, _OBJECT, _COMMA = b"[", b"{", b","


@frozen
class _Bounds:
    """How many values there may be, and how those of a piece are counted, before anything is built of it."""

    most: int
    count: Callable[[bytes], int]


async def decode_in_turns(data: bytes) -> Any:
    """As `decode_exact`. Of a long answer the lists in its object are read some elements at a time, while others have their turn.

    400 `M_NOT_JSON` also where one element is longer than `MAX_ELEMENT`; 413 `M_TOO_LARGE` for more than `MAX_VALUES`.
    """
    if len(data) <= AT_ONCE_BYTES:
        return decode_exact(data)
    return await _read(data, _Bounds(MAX_VALUES, _about_values))


async def read_request(data: bytes) -> tuple[Any, bytes]:
    """A value and its canonical form, within the bounds of all requests (`http.request.check_shape`); else as `decode_in_turns`."""
    if len(data) <= AT_ONCE_BYTES:
        check_shape(data)
        value = decode_exact(data)
        return value, encode_exact(value)
    value = await _read(data, _Bounds(MAX_MARKS, count_marks))
    return value, await _encode_in_turns(value)


async def _encode_in_turns(value: Any) -> bytes:
    pieces: list[bytes] = []

    def write() -> Iterator[None]:
        for piece in _written(value):
            pieces.append(piece)
            yield

    await take_turns(write())
    return b"".join(pieces)


async def _read(data: bytes, bounds: _Bounds) -> Any:
    reading = _Reading(data, bounds)
    try:
        await take_turns(reading.steps())
    except (ValueError, RecursionError):
        raise MatrixError(400, Errcode.NOT_JSON, "Content not JSON") from None
    return reading.value


class _Reading:
    """The parser of the standard library finds where values end, in a window on the data; `decode_exact` says what they are.

    In the window each byte is a letter, so that places are the same. Only texts hold others than those of ASCII, and none of these ends a text.
    """

    def __init__(self, data: bytes, bounds: _Bounds) -> None:
        self.value: Any = None
        self._data = data
        self._bounds = bounds
        self._values = 0
        self._depth = 0
        self._place = 0
        self._start, self._window = 0, ""
        self._parser = json.JSONDecoder()

    def steps(self) -> Steps:
        first = self._peek()
        self.value = yield from (self._outer_list() if first == _LIST else self._value(first))
        if self._peek():
            raise ValueError("Something follows the value")

    def _value(self, first: bytes) -> Steps:
        if first == _OBJECT:
            return (yield from self._object())
        if first == _LIST:
            return (yield from self._elements())
        start = self._place
        self._pass()
        return self._decode(self._data[start : self._place])

    def _object(self) -> Steps:
        found: dict[str, Any] = {}
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError("Too many objects are in each other")
        self._take(_OBJECT)
        while self._peek() != b"}" or found:
            start = self._place
            self._pass()
            name = self._decode(self._data[start : self._place])
            self._peek()
            self._take(b":")
            found[name] = yield from self._value(self._peek())
            yield
            if self._peek() != _COMMA:
                break
            self._take(_COMMA)
            self._peek()
        self._take(b"}")
        self._depth -= 1
        return found

    def _outer_list(self) -> Steps:
        """Around an answer, as the first versions of some endpoints have it."""
        found: list[Any] = []
        self._take(_LIST)
        while self._peek() != b"]" or found:
            found.append((yield from self._value(self._peek())))
            if self._peek() != _COMMA:
                break
            self._take(_COMMA)
        self._take(b"]")
        return found

    def _elements(self) -> Steps:
        found: list[Any] = []
        self._take(_LIST)
        if self._peek() == b"]":
            self._take(b"]")
            return found
        start = self._place
        for count in itertools.count(1):
            self._pass()
            is_last = self._peek() != _COMMA
            if is_last or count % AT_ONCE == 0 or self._place - start >= AT_ONCE_BYTES:
                found += self._decode(b"[%b]" % self._data[start : self._place])
                start = self._place + 1
                yield
            if is_last:
                break
            self._take(_COMMA)
            self._peek()
        self._take(b"]")
        return found

    def _decode(self, piece: bytes) -> Any:
        self._values += self._bounds.count(piece)
        if self._values > self._bounds.most:
            raise too_large("The body holds too many values")
        return decode_exact(piece)

    # Places

    def _peek(self) -> bytes:
        """The byte behind the blanks here; none at the end."""
        found = _BLANKS.match(self._data, self._place)
        self._place = found.end() if found else self._place
        return self._data[self._place : self._place + 1]

    def _take(self, expected: bytes) -> None:
        if self._data[self._place : self._place + 1] != expected:
            raise ValueError(f"{expected!r} is missing")
        self._place += 1

    def _pass(self) -> None:
        """Go on to the end of the value that begins here."""
        end = self._end()
        for size in (WINDOW_BYTES, MAX_ELEMENT):
            if end is not None:
                break
            self._start = self._place
            self._window = self._data[self._start : self._start + size].decode("latin-1")
            end = self._end()
        if end is None:
            raise ValueError("There is no value, or one that is too long")
        self._place = end

    def _end(self) -> int | None:
        """Where that is; None: not in the window."""
        try:
            _, end = self._parser.raw_decode(self._window, self._place - self._start)
        except json.JSONDecodeError:
            return None
        # What ends with the window may be the beginning of a longer number.
        is_whole = end < len(self._window) or self._start + end == len(self._data)
        return self._start + end if is_whole else None


def _about_values(piece: bytes) -> int:
    """No fewer than there are: what is in texts counts, too."""
    return piece.count(b",") + piece.count(b"[") + piece.count(b"{")


def _written(value: Any) -> Iterator[bytes]:
    if isinstance(value, dict):
        yield b"{"
        for number, key in enumerate(sorted(value)):
            yield b"%b%b:" % (b"," if number else b"", encode_exact(key))
            yield from _written(value[key])
        yield b"}"
    elif isinstance(value, list):
        yield b"["
        for number, some in enumerate(_together(value)):
            yield b"%b%b" % (b"," if number else b"", encode_exact(some)[1:-1])
        yield b"]"
    else:
        yield encode_exact(value)


def _together(elements: Iterable[Any]) -> Iterator[list[Any]]:
    """What is written at once: one long element, or many short ones."""
    some: list[Any] = []
    for element in elements:
        is_long = isinstance(element, dict | list) or (isinstance(element, str) and len(element) > SHORT_TEXT)
        if some and (is_long or len(some) == AT_ONCE):
            yield some
            some = []
        some.append(element)
        if is_long:
            yield some
            some = []
    if some:
        yield some
