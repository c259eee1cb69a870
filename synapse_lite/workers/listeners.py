"""Ports and sockets of a process, and which routes each serves."""

import logging
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOutError
from twisted.internet.error import CannotListenError

from synapse_lite.clock import Clock
from synapse_lite.config.listeners import Listener
from synapse_lite.errors import ConfigError
from synapse_lite.http.access import Access, Authenticator
from synapse_lite.http.metrics import HttpMetrics
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route, Router
from synapse_lite.http.site import build_site
from synapse_lite.storage.database import Database
from synapse_lite.workers.tls import Certificate, TlsFiles

logger = logging.getLogger(__name__)

BACKLOG = 1024
READY_SECONDS = 1.0

# By the beginning of the path; all else is of the client API.
_RESOURCES = {
    "/_matrix/federation/v1/openid/": frozenset({"federation", "openid"}),
    "/_matrix/federation/v1/media/": frozenset({"federation", "media"}),
    "/_matrix/federation/": frozenset({"federation"}),
    "/_matrix/consent": frozenset({"client", "consent"}),
    "/_matrix/key/": frozenset({"federation", "keys"}),
    "/_matrix/media/": frozenset({"client", "federation", "media"}),
    "/_matrix/client/v1/media/": frozenset({"client", "media"}),
    "/.well-known/matrix/server": frozenset({"client", "federation"}),
}

# What Synapse's documentation has a proxy send to its media workers, and ours of the same kind.
_MEDIA_ADMIN = re.compile(
    r"/_synapse/admin/v1/(media/|purge_media_cache$|quarantine_media/|(room|server|user|users)/[^/]+/media\b)"
)


def resources_of(route: Route) -> frozenset[str]:
    """The resources of a listener that a route is a part of."""
    if _MEDIA_ADMIN.match(route.pattern):
        return frozenset({"client", "media"})
    for prefix, names in _RESOURCES.items():
        if route.pattern.startswith(prefix):
            return names
    return frozenset({"client"})


class Probes:
    """Health, readiness and metrics, for whoever runs the process."""

    def __init__(self, reactor: Any, database: Database, registry: CollectorRegistry) -> None:
        self._reactor = reactor
        self._database = database
        self._registry = registry

    def health_routes(self) -> list[Route]:
        return [
            Route("GET", "/health", self.health, Access.NONE, is_probe=True),
            Route("GET", "/ready", self.ready, Access.NONE, is_probe=True),
        ]

    def metrics_routes(self) -> list[Route]:
        return [
            Route("GET", "/metrics", self.metrics, Access.NONE, is_probe=True),
            Route("GET", "/_synapse/metrics", self.metrics, Access.NONE, is_probe=True),
        ]

    async def health(self, _request: Request) -> Response:
        """`GET /health`: the process answers."""
        return Response(200, b"OK", content_type="text/plain")

    async def ready(self, _request: Request) -> Response:
        """`GET /ready`: the database answers within a second, too; 503 when it does not."""
        alive = Deferred.fromCoroutine(self._database.is_alive())
        with suppress(TimedOutError):
            if await alive.addTimeout(READY_SECONDS, self._reactor):
                return Response(200, b"OK", content_type="text/plain")
        return Response(503, b"the database does not answer", content_type="text/plain")

    async def metrics(self, _request: Request) -> Response:
        """`GET /metrics`"""
        return Response(200, generate_latest(self._registry), content_type=CONTENT_TYPE_LATEST)


class Listeners:
    """Opens what the configuration names, and closes it."""

    def __init__(
        self,
        reactor: Any,
        listeners: Sequence[Listener],
        routes: Sequence[Route],
        authenticator: Authenticator,
        probes: Probes,
        *,
        metrics: CollectorRegistry,
        clock: Clock,
        tls: TlsFiles,
        serves_metrics: bool,
    ) -> None:
        self._reactor = reactor
        self._listeners = listeners
        self._routes = routes
        self._authenticator = authenticator
        self._probes = probes
        self._metrics = metrics
        self._clock = clock
        self._tls = tls
        self._serves_metrics = serves_metrics
        self._certificate: Certificate | None = None
        self._ports: list[Any] = []

    def start(self) -> None:
        """`ConfigError` when a port is taken."""
        http = HttpMetrics(self._metrics)
        for listener in self._listeners:
            if listener.type == "manhole":
                continue
            site = build_site(
                Router(self._served(listener)),
                self._authenticator,
                x_forwarded=listener.x_forwarded,
                clock=self._clock,
                metrics=http,
            )
            self._ports += self._open(listener, site)

    def reload(self) -> None:
        """Read the certificate anew. Raises ConfigError; the old one remains then."""
        if self._certificate is not None:
            self._certificate.reload()

    async def stop(self) -> None:
        """Accept no more connections; those that are open end with the process."""
        for port in self._ports:
            await port.stopListening()

    def _served(self, listener: Listener) -> Iterable[Route]:
        routes = self._probes.health_routes()
        routes += [route for route in self._routes if resources_of(route) & listener.resource_names]
        if listener.type == "metrics" or "metrics" in listener.resource_names:
            if self._serves_metrics:
                routes += self._probes.metrics_routes()
            else:
                logger.warning("no metrics on %s: enable_metrics is false", listener.port or listener.path)
        return routes

    def _open(self, listener: Listener, site: Any) -> list[Any]:
        if listener.path is not None:
            return [self._open_socket(listener, site)]
        opened, failures = [], []
        for address in listener.bind_addresses:
            try:
                opened.append(self._open_port(listener, site, address))
            except CannotListenError as error:  # :: may have taken 0.0.0.0 with it
                failures.append(error)
        if not opened:
            raise ConfigError(f"listeners: {failures[0]}")
        return opened

    def _open_socket(self, listener: Listener, site: Any) -> Any:
        try:
            return self._reactor.listenUNIX(str(listener.path), site, BACKLOG, listener.mode)
        except CannotListenError as error:
            raise ConfigError(f"listeners: {error}") from None

    def _open_port(self, listener: Listener, site: Any, address: str) -> Any:
        if not listener.tls:
            return self._reactor.listenTCP(listener.port, site, BACKLOG, address)
        if self._certificate is None:
            self._certificate = Certificate(self._tls)
        return self._reactor.listenSSL(listener.port, site, self._certificate, BACKLOG, address)
