"""Canonical JSON (appendices, "Canonical JSON"), and the reading of JSON from outside.

orjson writes the canonical form when its keys are sorted, but it also writes what canonical JSON
forbids (floats), and it holds integers of 64 bits only: larger ones it reads as floats. `decode`
refuses those. Events of room versions 1 to 5 may hold floats and integers of any size;
`decode_exact` and `encode_exact` serve them.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from synapse_lite.errors import Errcode, MatrixError, bad_json

MAX_SAFE_INTEGER = 2**53 - 1
MAX_DEPTH = 100

JsonObject = dict[str, Any]

_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER = b"0" * 19  # as many digits as the smallest integer beyond 64 bits has


def encode(value: Any) -> bytes:
    """Sorted keys, shortest form, UTF-8. The value must have passed `check_canonical`."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def encode_exact(value: Any) -> bytes:
    """As `encode`, for values with floats or integers of any size; much slower.

    Floats are written as Python writes them: other servers hash the same bytes.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def dump(value: Any) -> bytes:
    """JSON with keys as they come, for storing and showing; integers of any size."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return encode_exact(value)


def decode(data: bytes | str) -> Any:
    """JSON as RFC 8259 has it: no NaN, no Infinity, no lone surrogates; 400 `M_NOT_JSON` else.

    400 `M_BAD_JSON` for an integer beyond 64 bits, which could not be given back as it was.
    """
    value = _read(data)
    if _may_hold_long_number(data):
        _parse_integers(data, _refuse_long_integer)
    return value


def decode_exact(data: bytes | str) -> Any:
    """As `decode`, with integers of up to 308 digits."""
    value = _read(data)
    return _parse_integers(data, int) if _may_hold_long_number(data) else value


def _read(data: bytes | str) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MatrixError(400, Errcode.NOT_JSON, f"Content not JSON: {error}") from None


def _may_hold_long_number(data: bytes | str) -> bool:
    """Whether there are so many digits in a row, in a number or in a text."""
    raw = data.encode() if isinstance(data, str) else data
    return _LONG_NUMBER in raw.translate(_DIGITS)


def _parse_integers(data: bytes | str, parse_int: Callable[[str], int]) -> Any:
    try:
        return json.loads(data, parse_int=parse_int)
    except (ValueError, RecursionError):
        raise bad_json("JSON integer out of range") from None


def _refuse_long_integer(text: str) -> int:
    if not -(2**63) <= int(text) < 2**64:
        raise ValueError(text)
    return 0


def decode_object(data: bytes | str) -> JsonObject:
    value = decode(data)
    if not isinstance(value, dict):
        raise bad_json("Content must be a JSON object")
    return value


def check_canonical(value: Any) -> None:
    """400 `M_BAD_JSON` for floats, integers beyond 2^53 - 1, and nesting deeper than `MAX_DEPTH`."""
    for item in _walk(value):
        if isinstance(item, float):
            raise bad_json("Bad JSON value: float")
        _check_integer(item)


def check_storable(value: Any) -> None:
    """As `check_canonical`, but floats are allowed."""
    for item in _walk(value):
        _check_integer(item)


def check_depth(value: Any) -> None:
    """400 `M_BAD_JSON` for nesting deeper than `MAX_DEPTH`."""
    for _ in _walk(value):
        pass


def check_no_nul(value: Any) -> None:
    """400 `M_BAD_JSON` for NUL in a text or a key, which PostgreSQL's text cannot hold."""
    below = [value]
    while below:
        item = below.pop()
        if isinstance(item, dict):
            below += item.keys()
            below += item.values()
        elif isinstance(item, list):
            below += item
        elif isinstance(item, str) and "\0" in item:
            raise bad_json("A text must not hold a NUL character")


def _check_integer(item: Any) -> None:
    if isinstance(item, int) and abs(item) > MAX_SAFE_INTEGER:
        raise bad_json("JSON integer out of range")


def _walk(value: Any) -> Iterator[Any]:
    """Every value that is neither list nor object; 400 `M_BAD_JSON` below `MAX_DEPTH` levels."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
            elif isinstance(item, list):
                below += item
            else:
                yield item
        if not below:
            return
        level = below
    raise bad_json(f"JSON nested deeper than {MAX_DEPTH} levels")
