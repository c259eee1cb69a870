"""Canonical JSON (appendices, "Canonical JSON"), and the strict reading of JSON from outside.

orjson writes the canonical form when its keys are sorted, but it also writes what canonical JSON
forbids (NaN as null, floats) and reads integers of 2^64 and above as floats: `check_canonical`
refuses those.
"""

from typing import Any

import orjson

from synapse_lite.errors import Errcode, MatrixError, bad_json

MAX_SAFE_INTEGER = 2**53 - 1
MAX_DEPTH = 100

JsonObject = dict[str, Any]


def encode(value: Any) -> bytes:
    """Sorted keys, shortest form, UTF-8. The value must have passed `check_canonical`."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def decode(data: bytes | str) -> Any:
    """JSON as RFC 8259 has it: no NaN, no Infinity, no lone surrogates; 400 `M_NOT_JSON` else."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MatrixError(400, Errcode.NOT_JSON, f"Content not JSON: {error}") from None


def decode_object(data: bytes | str) -> JsonObject:
    value = decode(data)
    if not isinstance(value, dict):
        raise bad_json("Content must be a JSON object")
    return value


def check_canonical(value: Any) -> None:
    """400 `M_BAD_JSON` for floats, integers beyond 2^53 - 1, and nesting deeper than `MAX_DEPTH`."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, float):
                raise bad_json("Bad JSON value: float")
            elif isinstance(item, int) and abs(item) > MAX_SAFE_INTEGER:
                raise bad_json("JSON integer out of range")
        if not below:
            return
        level = below
    raise bad_json(f"JSON nested deeper than {MAX_DEPTH} levels")
