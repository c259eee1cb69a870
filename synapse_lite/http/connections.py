"""How connections to other servers are made: to permitted addresses only, and bounded in what they bring."""

# mypy: allow-untyped-calls, disable-error-code="call-arg"
# Twisted types its web client in part only, and its interfaces without `self`.

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredSemaphore, fail
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import (
    IConnector,
    IHostnameResolver,
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.client import URI, Agent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from synapse_lite.errors import SynapseLiteError
from synapse_lite.http.addresses import AddressPolicy

CONNECT_SECONDS = 10.0
CONNECTING = 100
"""So many connections are being made at the same time; what is more waits for its turn."""
MAX_HEAD_BYTES = 512 * 1024
"""Of an answer: what arrives before its body."""


class RequestError(SynapseLiteError):
    """No answer, or none that can be used: the text says why, in words for a log."""


class AddressDeniedError(RequestError):
    """The policy does not allow the address; nothing was sent to it."""


@frozen
class Route:
    """Where a request goes instead of to the host of its URL: (host, port), tried in this order.

    The certificate is still to be for the host of the URL.
    """

    targets: tuple[tuple[str, int], ...]


@implementer(IReactorTCP, IReactorTime, IReactorPluggableNameResolver)
class GuardedReactor:
    """What an agent uses of a reactor; connects to permitted literal addresses only."""

    def __init__(self, reactor: Any, policy: AddressPolicy) -> None:
        self._reactor = reactor
        self._policy = policy

    def connectTCP(self, host: str, port: int, *args: Any, **kwargs: Any) -> IConnector:  # noqa: N802
        if not self._policy.permits(host):
            raise AddressDeniedError(f"the address {host} is not allowed")
        connector: IConnector = self._reactor.connectTCP(host, port, *args, **kwargs)
        return connector

    def listenTCP(self, *_args: Any, **_kwargs: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    @property
    def nameResolver(self) -> IHostnameResolver:  # noqa: N802
        resolver: IHostnameResolver = self._reactor.nameResolver
        return resolver

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:  # noqa: N802
        raise NotImplementedError

    def seconds(self) -> float:
        seconds: float = self._reactor.seconds()
        return seconds

    def callLater(self, delay: float, function: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N802
        return self._reactor.callLater(delay, function, *args, **kwargs)

    def getDelayedCalls(self) -> Any:  # noqa: N802
        return self._reactor.getDelayedCalls()


@implementer(IAgentEndpointFactory)
class GuardedEndpoints:
    """Makes the endpoints of an agent."""

    def __init__(self, reactor: GuardedReactor, tls: IPolicyForHTTPS) -> None:
        self._reactor = reactor
        self._tls = tls
        self._turns = DeferredSemaphore(CONNECTING)

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802
        return self.endpoint_via(uri, Route(((uri.host.decode("ascii"), uri.port),)))

    def endpoint_via(self, uri: URI, route: Route) -> IStreamClientEndpoint:
        return cast(
            "IStreamClientEndpoint", _WatchedEndpoint(partial(self._endpoint, uri, route), self._turns)
        )

    def _endpoint(self, uri: URI, route: Route) -> IStreamClientEndpoint:
        endpoint: Any = _FirstEndpoint(
            [
                cast("Any", HostnameEndpoint(self._reactor, host.encode("ascii"), port, CONNECT_SECONDS))
                for host, port in route.targets
            ]
        )
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._tls.creatorForNetloc(uri.host, uri.port), endpoint)
        return cast("IStreamClientEndpoint", endpoint)


class RoutedAgent(Agent):
    """An agent that can be told where a URL leads. Connections of one route are used for that route only."""

    def request_via(
        self,
        endpoints: GuardedEndpoints,
        route: Route,
        method: bytes,
        url: bytes,
        headers: Headers,
        body: IBodyProducer | None,
    ) -> "Deferred[IResponse]":
        uri = URI.fromBytes(url)
        key: Any = (uri.scheme, uri.host, route)
        endpoint = endpoints.endpoint_via(uri, route)
        return self._requestWithEndpoint(key, endpoint, method, uri, headers, body, uri.originForm)


@implementer(IStreamClientEndpoint)
class _FirstEndpoint:
    """The first of several that can be connected to."""

    def __init__(self, endpoints: Sequence[IStreamClientEndpoint]) -> None:
        self._endpoints = endpoints

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":  # noqa: N803
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        for endpoint in self._endpoints[:-1]:
            try:
                return await endpoint.connect(factory)
            except (ConnectError, DNSLookupError, RequestError):
                continue
        return await self._endpoints[-1].connect(factory)


@implementer(IStreamClientEndpoint)
class _WatchedEndpoint:
    """`make` is called when a connection is made: most requests take one that is there."""

    def __init__(self, make: Callable[[], IStreamClientEndpoint], turns: DeferredSemaphore) -> None:
        self._make = make
        self._turns = turns

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":  # noqa: N803
        factory = _WatchingFactory(cast("Any", protocolFactory))
        connected: Deferred[Any] = self._turns.run(self._connect, factory)
        return connected.addCallback(lambda watched: watched.wrappedProtocol)

    def _connect(self, factory: "_WatchingFactory") -> "Deferred[Any]":
        try:
            return cast("Deferred[Any]", self._make().connect(factory))
        except Exception:  # noqa: BLE001 (an endpoint that raises is one that fails)
            return fail()


class _Watched(ProtocolWrapper):
    """Bounds the head of each answer, and cuts the connection when the reader gives up."""

    def __init__(self, factory: Any, protocol: Any) -> None:
        super().__init__(factory, protocol)
        self._head_bytes: int | None = 0

    def write(self, data: bytes) -> None:
        self._head_bytes = 0
        super().write(data)

    def writeSequence(self, data: Any) -> None:  # noqa: N802
        self._head_bytes = 0
        super().writeSequence(data)

    def pauseProducing(self) -> None:  # noqa: N802
        """Twisted pauses when a head is complete: from here on the reader of the body counts."""
        self._head_bytes = None
        cast("Any", self.transport).pauseProducing()

    def stopProducing(self) -> None:  # noqa: N802
        cast("Any", self.transport).abortConnection()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                cast("Any", self.transport).abortConnection()
                return
        super().dataReceived(data)


class _WatchingFactory(WrappingFactory):
    protocol = _Watched
    noisy = False
