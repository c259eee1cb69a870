"""When the log cannot be written, as on a full disk: what is told of that, and how often."""

import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress

AGAIN_SECONDS = 60.0


class LogTrouble:
    """Instead of a traceback for each record, as Python has it: a line a minute on standard error, of all handlers together."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tell_at = 0.0

    def watch(self, handler: logging.Handler) -> None:
        """Other errors, which are ours, are told as Python tells them."""
        usual = handler.handleError

        def handle(record: logging.LogRecord) -> None:
            error = sys.exc_info()[1]
            if isinstance(error, OSError):
                self._tell(error)
            else:
                usual(record)

        handler.handleError = handle  # type: ignore[method-assign]

    def _tell(self, error: OSError) -> None:
        now = self._clock()
        if now >= self._tell_at and sys.stderr is not None:
            self._tell_at = now + AGAIN_SECONDS
            with suppress(OSError):
                sys.stderr.write(f"the log cannot be written, and goes on when it can: {error}\n")
