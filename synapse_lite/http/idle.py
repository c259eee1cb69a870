"""Connections to other servers that wait for the next request to the same origin."""

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList

from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.http.answers import Connection
from synapse_lite.http.connections import Origin

IDLE_SECONDS = 60.0


@define
class IdleConnections:
    """`_kept` of one origin at most, each for a minute; 0: none, each is closed after its answer."""

    _clock: Clock
    _kept: int
    _idle: dict[Origin, list[Connection]] = field(factory=dict)
    _sweep: DelayedCall | None = None

    def take(self, origin: Origin) -> Connection | None:
        """The one that was used last."""
        while there := self._idle.get(origin):
            connection = there[-1]
            self.lost(connection)
            if not self._is_old(connection):
                return connection
            connection.transport.loseConnection()
        return None

    def freed(self, connection: Connection) -> None:
        there = self._idle.setdefault(connection.origin, [])
        if len(there) >= self._kept:
            connection.transport.loseConnection()
            return
        connection.idle_since = self._clock.monotonic()
        there.append(connection)
        if self._sweep is None:
            self._sweep = self._clock.call_later(IDLE_SECONDS, self._close_old)

    def lost(self, connection: Connection) -> None:
        there = self._idle.get(connection.origin, [])
        if connection in there:
            there.remove(connection)
            if not there:
                del self._idle[connection.origin]

    def close(self) -> "Deferred[None]":
        """When all are closed."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        connections = [one for there in self._idle.values() for one in there]
        for one in connections:
            one.transport.abortConnection()
        closed: Deferred[Any] = DeferredList([one.closed for one in connections])
        return closed.addCallback(lambda _: None)

    def _is_old(self, connection: Connection) -> bool:
        return self._clock.monotonic() - connection.idle_since >= IDLE_SECONDS

    def _close_old(self) -> None:
        self._sweep = None
        for connection in [one for there in self._idle.values() for one in there]:
            if self._is_old(connection):
                connection.transport.loseConnection()
        if self._idle:
            self._sweep = self._clock.call_later(IDLE_SECONDS, self._close_old)
