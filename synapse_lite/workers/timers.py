"""The timers of the reactor."""

import time
from typing import Any


def use_monotonic_time(reactor: Any) -> None:
    """Before the first timer is set. Twisted's reactors count by the wall clock: were it set back an hour, every timer
    would wait for an hour.
    """
    reactor.seconds = time.monotonic
