"""When the database is away, full or out of connections: what is told about it, and for how long one waits."""

import logging
import time
from collections.abc import Callable
from threading import Lock

import psycopg2
from attrs import define, field
from psycopg2 import errors

from synapse_lite.errors import UnavailableError

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0
"""Callers wait for so long from the beginning of an outage: most restarts of a database are shorter."""

RETRY_SECONDS = 1.0
_SAME_SHORTAGE_SECONDS = 60.0

SHORTAGES = (errors.InsufficientResources, errors.DiskFull, errors.OutOfMemory, errors.TooManyConnections)
"""The statement failed, though the connection is good (PostgreSQL's error class 53)."""


class DatabaseUnavailableError(UnavailableError, psycopg2.OperationalError):
    """There is no connection, PostgreSQL lacks what the statement needs, or it took too long. Nothing was done."""


def describe_error(error: Exception) -> str:
    """In one line: what PostgreSQL or the system says, without the statement and the place in it."""
    diagnosis = error.diag if isinstance(error, psycopg2.Error) else None
    message = diagnosis.message_primary if diagnosis else None
    return " ".join((message or str(error)).split())


@define
class Outage:
    """Whether the database is away, as the pools of a process find out together. Thread-safe.

    One line of the log tells of its beginning and one of its end; `clock` gives seconds that only grow.
    """

    _clock: Callable[[], float] = time.monotonic
    reason: str = ""
    _began: float | None = None
    _next_try: float = 0.0
    _shortages: dict[type[Exception], float] = field(factory=dict)
    _lock: Lock = field(factory=Lock)

    @property
    def is_on(self) -> bool:
        return self._began is not None

    def may_try(self) -> bool:
        """Whether to connect now: during an outage one caller may each second, so that the others fail at once."""
        with self._lock:
            if self._began is None:
                return True
            now = self._clock()
            if now < self._next_try:
                return False
            self._next_try = now + RETRY_SECONDS
            return True

    def seconds_left(self, patience: float) -> float:
        """How long a caller of such patience still waits; none is left when it is not positive."""
        began = self._began
        return patience if began is None else began + patience - self._clock()

    def begin(self, error: Exception) -> None:
        with self._lock:
            self.reason = describe_error(error)
            if self._began is not None:
                return
            self._began = self._clock()
            self._next_try = self._began
        logger.error("the database is not available: %s", self.reason)

    def end(self) -> None:
        with self._lock:
            if self._began is None:
                return
            seconds, self._began = self._clock() - self._began, None
        logger.info("the database is available again, after %.1f s", seconds)

    def note_shortage(self, error: Exception) -> None:
        """Told once, and again after a minute without it."""
        with self._lock:
            now = self._clock()
            before = self._shortages.get(type(error))
            self._shortages[type(error)] = now
        if before is None or now - before > _SAME_SHORTAGE_SECONDS:
            logger.error("the database cannot do its work: %s", describe_error(error))
