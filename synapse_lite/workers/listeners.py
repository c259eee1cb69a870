"""Ports and sockets of a process, and which routes each serves."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from twisted.internet.error import CannotListenError
from twisted.internet.ssl import DefaultOpenSSLContextFactory

from synapse_lite.clock import Clock
from synapse_lite.config.listeners import Listener
from synapse_lite.errors import ConfigError
from synapse_lite.http.metrics import HttpMetrics
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route, Router
from synapse_lite.http.site import build_site
from synapse_lite.replication.changes import ChangeLog

logger = logging.getLogger(__name__)

BACKLOG = 1024


@frozen
class TlsFiles:
    certificate: Path | None
    private_key: Path | None


class Probes:
    """Health, readiness and metrics, for whoever runs the process."""

    def __init__(self, log: ChangeLog, registry: CollectorRegistry) -> None:
        self._log = log
        self._registry = registry

    def health_routes(self) -> list[Route]:
        return [Route("GET", "/health", self.health), Route("GET", "/ready", self.ready)]

    def metrics_routes(self) -> list[Route]:
        return [Route("GET", "/metrics", self.metrics), Route("GET", "/_synapse/metrics", self.metrics)]

    async def health(self, _request: Request) -> Response:
        """`GET /health`: the process answers."""
        return Response(200, b"OK", content_type="text/plain")

    async def ready(self, _request: Request) -> Response:
        """`GET /ready`: the database answers, too; 503 when it does not."""
        if await self._log.is_alive():
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
        probes: Probes,
        *,
        metrics: CollectorRegistry,
        clock: Clock,
        max_body_size: int,
        tls: TlsFiles,
    ) -> None:
        self._reactor = reactor
        self._listeners = listeners
        self._routes = routes
        self._probes = probes
        self._metrics = metrics
        self._clock = clock
        self._max_body_size = max_body_size
        self._tls = tls
        self._ports: list[Any] = []

    def start(self) -> None:
        """`ConfigError` when a port is taken."""
        http = HttpMetrics(self._metrics)
        for listener in self._listeners:
            if listener.type == "manhole":
                continue
            site = build_site(
                Router(self._served(listener)),
                max_body_size=self._max_body_size,
                x_forwarded=listener.x_forwarded,
                clock=self._clock,
                metrics=http,
            )
            self._ports += self._open(listener, site)

    async def stop(self) -> None:
        """Accept no more connections; those that are open end with the process."""
        for port in self._ports:
            await port.stopListening()

    def _served(self, listener: Listener) -> Iterable[Route]:
        routes = self._probes.health_routes()
        if "client" in listener.resource_names:
            routes += self._routes
        if listener.type == "metrics" or "metrics" in listener.resource_names:
            routes += self._probes.metrics_routes()
        return routes

    def _open(self, listener: Listener, site: Any) -> list[Any]:
        if listener.path is not None:
            return [self._reactor.listenUNIX(str(listener.path), site, BACKLOG, listener.mode)]
        opened, failures = [], []
        for address in listener.bind_addresses:
            try:
                opened.append(self._open_port(listener, site, address))
            except CannotListenError as error:  # :: may have taken 0.0.0.0 with it
                failures.append(error)
        if not opened:
            raise ConfigError(f"listeners: {failures[0]}")
        return opened

    def _open_port(self, listener: Listener, site: Any, address: str) -> Any:
        if not listener.tls:
            return self._reactor.listenTCP(listener.port, site, BACKLOG, address)
        if self._tls.certificate is None or self._tls.private_key is None:
            raise ConfigError("listeners: tls needs tls_certificate_path and tls_private_key_path")
        context = DefaultOpenSSLContextFactory(str(self._tls.private_key), str(self._tls.certificate))
        return self._reactor.listenSSL(listener.port, site, context, BACKLOG, address)
