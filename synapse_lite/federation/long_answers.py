"""Reading the JSON of long answers piece by piece: the state of a large room is tens of megabytes, and a parser stops for nobody."""

import itertools
import json
import re
from collections.abc import Generator
from typing import Any

from synapse_lite.canonical_json import decode_exact
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.federation.turns import take_turns

Steps = Generator[None, None, Any]

AT_ONCE_BYTES = 64 * 1024
AT_ONCE = 500
"""So much, or so many elements, are read without a pause: about a millisecond's work."""
WINDOW_BYTES = 4 * AT_ONCE_BYTES
MAX_ELEMENT = 1024 * 1024
"""Bytes of one value that is read as a whole: an event has at most 64 KiB, without its `unsigned`."""
_BLANKS = re.compile(rb"[ \t\r\n]{0,1000}")
_LIST, _OBJECT, _COMMA = b"[", b"{", b","


async def decode_in_turns(data: bytes) -> Any:
    """As `decode_exact`. Of a long answer the lists in its object are read some elements at a time, while others have their turn.

    400 `M_NOT_JSON` also where one element is longer than `MAX_ELEMENT`.
    """
    if len(data) <= AT_ONCE_BYTES:
        return decode_exact(data)
    reading = _Reading(data)
    try:
        await take_turns(reading.steps())
    except (ValueError, RecursionError):
        raise MatrixError(400, Errcode.NOT_JSON, "Content not JSON") from None
    return reading.value


class _Reading:
    """The parser of the standard library finds where values end, in a window on the data; `decode_exact` says what they are.

    In the window each byte is a letter, so that places are the same. Only texts hold others than those of ASCII, and none of these ends a text.
    """

    def __init__(self, data: bytes) -> None:
        self.value: Any = None
        self._data = data
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
        return decode_exact(self._data[start : self._place])

    def _object(self) -> Steps:
        found: dict[str, Any] = {}
        self._take(_OBJECT)
        while self._peek() != b"}" or found:
            start = self._place
            self._pass()
            name = decode_exact(self._data[start : self._place])
            self._peek()
            self._take(b":")
            found[name] = yield from self._value(self._peek())
            yield
            if self._peek() != _COMMA:
                break
            self._take(_COMMA)
            self._peek()
        self._take(b"}")
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
                found += decode_exact(b"[%b]" % self._data[start : self._place])
                start = self._place + 1
                yield
            if is_last:
                break
            self._take(_COMMA)
            self._peek()
        self._take(b"]")
        return found

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
