"""How connections to other servers are made: to permitted addresses only."""

# mypy: allow-untyped-calls
# Twisted types its endpoints in part only.

from typing import Any, cast

from attrs import frozen
from twisted.internet.defer import DeferredSemaphore
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import (
    IConnector,
    IHostnameResolver,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
)
from twisted.internet.protocol import Factory
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from synapse_lite.errors import SynapseLiteError
from synapse_lite.http.addresses import AddressPolicy
from synapse_lite.http.proxies import NONE, Proxies, Proxy, ProxyError, TunnelEndpoint

CONNECT_SECONDS = 10.0
CONNECTING = 100
"""So many connections are being made at the same time; what is more waits for its turn."""


class RequestError(SynapseLiteError):
    """No answer, or none that can be used: the text says why, in words for a log."""


class TookTooLongError(RequestError):
    """The time of the request was over first."""


class AddressDeniedError(RequestError):
    """The policy does not allow the address; nothing was sent to it."""


@frozen
class Route:
    """Where a request goes instead of to the host of its URL: (host, port), tried in this order.

    The certificate is still to be for the host of the URL.
    """

    targets: tuple[tuple[str, int], ...]


@frozen
class Origin:
    """Whom a connection is to, and where it leads: what was connected for one is used for no other."""

    scheme: str
    host: str
    port: int
    route: Route

    def __str__(self) -> str:
        host, port = self.route.targets[-1]
        return f"{self.scheme}://[{host}]:{port}" if ":" in host else f"{self.scheme}://{host}:{port}"


@implementer(IReactorTCP, IReactorTime, IReactorPluggableNameResolver)
class GuardedReactor:
    """What an endpoint uses of a reactor; connects to permitted literal addresses only."""

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


class Connector:
    """Connects, over TLS where the scheme says so, and by a proxy where there is one.

    A proxy finds out by itself where names lead: only addresses are checked here.
    """

    def __init__(
        self, reactor: Any, policy: AddressPolicy, tls: IPolicyForHTTPS, proxies: Proxies = NONE
    ) -> None:
        self._reactor = reactor
        self._guarded = GuardedReactor(reactor, policy)
        self._policy = policy
        self._tls = tls
        self._proxies = proxies
        self._turns = DeferredSemaphore(CONNECTING)

    async def connect(self, origin: Origin, factory: "Factory[Any]") -> Any:
        """A protocol of the factory. Raises what Twisted raises of the last target, and `RequestError`."""
        await self._turns.acquire()
        try:
            *others, last = origin.route.targets
            for target in others:
                try:
                    return await self._connect(origin, target, factory)
                except (ConnectError, DNSLookupError, ProxyError, RequestError):
                    continue
            return await self._connect(origin, last, factory)
        finally:
            self._turns.release()

    async def _connect(self, origin: Origin, target: tuple[str, int], factory: "Factory[Any]") -> Any:
        host, port = target
        proxy = self._proxies.of(origin.scheme, origin.host)
        if proxy is None:
            endpoint: Any = HostnameEndpoint(self._guarded, host.encode("ascii"), port, CONNECT_SECONDS)
        else:
            endpoint = self._by_proxy(proxy, origin, host, port)
        if origin.scheme == "https":
            creator: Any = cast("Any", self._tls).creatorForNetloc(origin.host.encode("ascii"), origin.port)
            endpoint = wrapClientTLS(creator, endpoint)
        return await endpoint.connect(factory)

    def proxy_asked(self, origin: Origin) -> Proxy | None:
        """The one that is asked itself, by the whole URL: what is not encrypted needs no tunnel."""
        return self._proxies.of(origin.scheme, origin.host) if origin.scheme == "http" else None

    def _by_proxy(self, proxy: Proxy, origin: Origin, host: str, port: int) -> Any:
        if _is_address(host) and not self._policy.permits(host):
            raise AddressDeniedError(f"the address {host} is not allowed")
        endpoint = HostnameEndpoint(self._reactor, proxy.host.encode("ascii"), proxy.port, CONNECT_SECONDS)
        return TunnelEndpoint(endpoint, proxy, host, port) if origin.scheme == "https" else endpoint


def _is_address(host: str) -> bool:
    """In whatever spelling: no name of the DNS ends in a number, and some proxies take dots behind it off."""
    last = host.rstrip(".").rpartition(".")[2].lower()
    return ":" in host or last.isdigit() or last.startswith("0x")
