"""Times in requests of administrators: milliseconds since 1970."""

from datetime import UTC, datetime

from synapse_lite.clock import Clock
from synapse_lite.errors import invalid_param

DAY_MS = 86_400_000
YEAR_1971_MS = 31_536_000_000
YEAR_2286_MS = 10**13


def past_ts(name: str, value: int, clock: Clock) -> int:
    """400 for what is likely no time in milliseconds: seconds would be a date of 1970, and nothing would be that old."""
    if not YEAR_1971_MS <= value <= clock.now_ms() + DAY_MS:
        day = datetime.fromtimestamp(max(0, min(value, 2 * clock.now_ms())) / 1000, UTC).date()
        raise invalid_param(
            f"Parameter {name!r} is understood as {day}: it must be a time in milliseconds"
            " since 1970, after 1970 and not in the future"
        )
    return value
