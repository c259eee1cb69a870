"""Durations and sizes as Synapse's configuration writes them.

Durations are held as integers of milliseconds, sizes as integers of bytes.
"""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY
YEAR = 365 * DAY
KIBIBYTE = 1024
MEBIBYTE = 1024**2

_DURATION_UNITS = {"y": YEAR, "w": WEEK, "d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND, "ms": 1}
_SIZE_UNITS = {"T": 1024**4, "G": 1024**3, "M": MEBIBYTE, "K": KIBIBYTE}
_DURATION = re.compile(r"([0-9]+)(ms|[smhdwy])?")
_SIZE = re.compile(r"([0-9]+)(?:([KMGT])(?:iB)?)?")


def parse_duration(value: Any) -> int:
    """Milliseconds of `1500`, `"1500"`, `"90s"`, `"7d"`; raises ValueError for anything else."""
    return _parse(
        value,
        _DURATION,
        _DURATION_UNITS,
        "should be a duration: milliseconds, or a number followed by ms, s, m, h, d, w or y",
    )


def parse_size(value: Any) -> int:
    """Bytes of `1024`, `"1K"`, `"50M"`, `"500MiB"`; raises ValueError for anything else."""
    return _parse(
        value,
        _SIZE,
        _SIZE_UNITS,
        "should be a size: bytes, or a number followed by K, M, G or T (powers of 1024)",
    )


def _parse(value: Any, pattern: re.Pattern[str], units: dict[str, int], expected: str) -> int:
    # `true` is an int to Python, never to an operator.
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = pattern.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(expected)
    number, unit = match.groups()
    return int(number) * units.get(unit, 1)


def format_duration(milliseconds: int) -> str:
    """The shortest exact text, in the largest unit that fits: `604800000` is `1w`."""
    return _format(milliseconds, _DURATION_UNITS)


def format_size(size: int) -> str:
    return _format(size, _SIZE_UNITS)


def _format(value: int, units: dict[str, int]) -> str:
    for unit, factor in units.items():
        if value and value % factor == 0:
            return f"{value // factor}{unit}"
    return str(value)


Duration = Annotated[int, BeforeValidator(parse_duration), PlainSerializer(format_duration, when_used="json")]
Size = Annotated[int, BeforeValidator(parse_size), PlainSerializer(format_size, when_used="json")]
