"""Sync and pagination tokens: `s` and a position of the stream (docs/architecture.md)."""

import re

from synapse_lite.errors import invalid_param

_TOKEN = re.compile(r"s([0-9]{1,18})")


def write_token(position: int) -> str:
    return f"s{position}"


def read_token(text: str) -> int:
    """400 `M_INVALID_PARAM` for what we never gave out."""
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise invalid_param(f"Invalid token: {text[:80]!r}")
    return int(match[1])
