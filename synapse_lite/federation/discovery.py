"""Where a server is (server-server API, "Resolving server names")."""

from typing import Protocol

from attrs import frozen
from twisted.internet.abstract import isIPAddress

from synapse_lite.clock import Clock
from synapse_lite.federation.services import (
    NoServiceError,
    Service,
    ServiceLookup,
    ServicesUnknownError,
    in_order,
)
from synapse_lite.http.flights import Flights
from synapse_lite.ids import split_server_name
from synapse_lite.storage.cache import Cache

DEFAULT_PORT = 8448
SERVICES = ("_matrix-fed._tcp", "_matrix._tcp")  # the second is from before version 1.8 of the specification
KEPT_SECONDS = 300.0
MIN_KEPT, MAX_KEPT = 60.0, 3600.0
MAX_KEPT_SERVERS = 10_000

Target = tuple[str, int]


@frozen
class Location:
    """How to reach a server: one value, so that a cache cannot lose a part of it.

    `targets` are hosts and ports, tried in this order. `tls_name` is whom the certificate has to name, and what
    is asked for in the handshake; `host` is the header.
    """

    targets: tuple[Target, ...]
    tls_name: str
    host: str


class Delegations(Protocol):
    async def delegated(self, host: str) -> str | None:
        """The server name that the host names in its place, if any."""


class Discovery:
    """Locates servers, and remembers where they are for a while."""

    def __init__(self, delegations: Delegations, services: ServiceLookup, clock: Clock) -> None:
        self._delegations = delegations
        self._services = services
        self._clock = clock
        self._kept: Cache[str, tuple[float, Location]] = Cache(MAX_KEPT_SERVERS)
        self._flights: Flights[str, Location] = Flights()

    async def locate(self, server_name: str) -> Location:
        """Raises `NoServiceError` where there is none."""
        host, port = split_server_name(server_name)
        if port is not None or is_literal(host):
            return _at(host, port or DEFAULT_PORT, server_name)
        kept = self._kept.get(server_name)
        if kept is not None and kept[0] > self._clock.monotonic():
            return kept[1]
        return await self._flights.join(server_name, lambda: self._look_up(server_name))

    def forget(self, server_name: str) -> None:
        """It was not there."""
        self._kept.remove(server_name)

    async def _look_up(self, server_name: str) -> Location:
        name = await self._delegations.delegated(server_name) or server_name
        host, port = split_server_name(name)
        if port is not None or is_literal(host):
            location, seconds = _at(host, port or DEFAULT_PORT, name), KEPT_SECONDS
        else:
            location, seconds = await self._by_service(name)
        if seconds:
            self._kept.put(server_name, (self._clock.monotonic() + seconds, location))
        return location

    async def _by_service(self, host: str) -> tuple[Location, float]:
        """And for how many seconds that is good."""
        for service in SERVICES:
            try:
                found = await self._services.find(f"{service}.{host}")
            except ServicesUnknownError:
                return _at(host, DEFAULT_PORT, host), 0
            if found:
                return self._through(host, found)
        return _at(host, DEFAULT_PORT, host), KEPT_SECONDS

    def _through(self, host: str, found: list[Service]) -> tuple[Location, float]:
        targets = tuple((service.host, service.port) for service in in_order(found))
        if not targets:
            raise NoServiceError(f"{host} says that it has no Matrix server")
        seconds = min(service.seconds for service in found)
        return Location(targets, host, host), min(max(seconds, MIN_KEPT), MAX_KEPT)


def is_literal(host: str) -> bool:
    """Whether it is an address, IPv6 in brackets, and not a name."""
    return host.startswith("[") or isIPAddress(host)


def _at(host: str, port: int, header: str) -> Location:
    bare = host.strip("[]")
    return Location(((bare, port),), bare, header)
