"""The HTTP server: a Twisted site whose requests go to a router."""

# mypy: allow-untyped-calls
# Twisted types its web server in part only.

from functools import partial
from typing import Any, cast

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import Site

from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.http.exchange import Exchange, Service
from synapse_lite.http.metrics import HttpMetrics
from synapse_lite.http.router import Router

IDLE_SECONDS = 60.0
"""A connection on which nothing arrives is closed, unless a handler works for it."""


def build_site(
    router: Router, *, max_body_size: int, x_forwarded: bool, clock: Clock, metrics: HttpMetrics
) -> Site:
    """A site for one listener; `max_body_size` in bytes. Believe `X-Forwarded-For` only behind a proxy."""
    return RoutedSite(Service(router, metrics, clock, max_body_size, x_forwarded))


class RoutedSite(Site):
    def __init__(self, service: Service) -> None:
        timers = cast("IReactorTime", _ClockTimers(service.clock))
        super().__init__(
            Resource(), requestFactory=partial(Exchange, service), timeout=IDLE_SECONDS, reactor=timers
        )

    def startFactory(self) -> None:  # noqa: N802 (Twisted's name)
        """Twisted's own access log, which would print queries, stays closed."""

    def stopFactory(self) -> None:  # noqa: N802 (Twisted's name)
        pass

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802 (Twisted's name)
        """HTTP/1.1 only: the limits on bodies are those of its channel."""
        return [b"http/1.1"]


class _ClockTimers:
    """The part of a reactor that Twisted's channels use."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def callLater(self, delay: float, function: Any, *args: Any) -> DelayedCall:  # noqa: N802 (Twisted's name)
        return self._clock.call_later(delay, function, *args)

    def seconds(self) -> float:
        return self._clock.now_ms() / 1000
