"""What could not be had a moment ago is not asked for again at once."""

from collections.abc import Hashable

from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError

MAX_KEYS = 10_000


class Refusals:
    """Errors by what they are about, each for a while. Beyond `MAX_KEYS` the oldest is forgotten."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._errors: dict[Hashable, tuple[float, MatrixError]] = {}

    def check(self, key: Hashable) -> None:
        """Raises the error again while its time is not over."""
        until, error = self._errors.get(key, (0.0, None))
        if error is None:
            return
        if until > self._clock.monotonic():
            raise MatrixError(error.status, error.errcode, error.message, error.extra)
        del self._errors[key]

    def remember(self, key: Hashable, error: MatrixError, seconds: float) -> None:
        self._errors.pop(key, None)
        self._errors[key] = (self._clock.monotonic() + seconds, error)
        if len(self._errors) > MAX_KEYS:
            del self._errors[next(iter(self._errors))]
