"""The HTTP server: what listens on a port and hands requests to a router."""

from twisted.internet.interfaces import IAddress, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory
from zope.interface import implementer

from synapse_lite.clock import Clock
from synapse_lite.http.access import Authenticator
from synapse_lite.http.channel import Channel
from synapse_lite.http.exchange import Dates, Service
from synapse_lite.http.large_answers import LargeAnswers
from synapse_lite.http.metrics import HttpMetrics
from synapse_lite.http.router import Router


def build_site(
    router: Router,
    authenticator: Authenticator,
    *,
    x_forwarded: bool,
    clock: Clock,
    metrics: HttpMetrics,
) -> "Site":
    """A site for one listener. Believe `X-Forwarded-For` only behind a proxy."""
    return Site(
        Service(router, authenticator, metrics, clock, x_forwarded, LargeAnswers(clock), Dates(clock))
    )


@implementer(IProtocolNegotiationFactory)
class Site(Factory):
    """Makes a `Channel` for each connection."""

    noisy = False

    def __init__(self, service: Service) -> None:
        self._service = service

    def buildProtocol(self, addr: IAddress | None) -> Channel:  # noqa: ARG002, N802 (Twisted's name)
        return Channel(self._service)

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802 (Twisted's name)
        """HTTP/1.1 only: the limits on bodies are those of its channel."""
        return [b"http/1.1"]
