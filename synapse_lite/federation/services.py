"""Services of a name, by DNS (RFC 2782)."""

import random
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import TimeoutError as TimedOutError
from twisted.names import dns
from twisted.names.error import AuthoritativeDomainError, DNSNameError, DomainError, ResolverError

from synapse_lite.http.connections import RequestError

TIMEOUTS = (2, 4)
"""Seconds that each server of the resolver configuration is given, one attempt after the other."""
MAX_SERVICES = 16


class ServicesUnknownError(Exception):
    """The name servers do not tell."""


class NoServiceError(RequestError):
    """The name says that it does not offer the service."""


@frozen
class Service:
    """`seconds` is how long the answer is good. A `host` of "" means that there is decidedly no such service."""

    host: str
    port: int
    priority: int
    weight: int
    seconds: int


class ServiceLookup(Protocol):
    async def find(self, name: str) -> list[Service]:
        """None where the name does not exist, or has no services. Raises `ServicesUnknownError`."""


class DnsServices:
    """`resolver` is one of `twisted.names`."""

    def __init__(self, resolver: Any) -> None:
        self._resolver = resolver

    async def find(self, name: str) -> list[Service]:
        try:
            answers, _, _ = await self._resolver.lookupService(name, TIMEOUTS)
        except DNSNameError:
            return []
        except (DomainError, AuthoritativeDomainError, ResolverError, TimedOutError, OSError) as error:
            raise ServicesUnknownError(str(error) or type(error).__name__) from None
        return [
            _service(record)
            for record in answers[:MAX_SERVICES]
            if isinstance(record.payload, dns.Record_SRV)
        ]


def _service(record: Any) -> Service:
    payload = record.payload
    host = payload.target.name.decode("ascii", "replace").rstrip(".")  # the root means: none
    return Service(host, payload.port, payload.priority, payload.weight, record.ttl)


def in_order(services: Sequence[Service], chance: random.Random | None = None) -> list[Service]:
    """In which to try them: the lowest priority first, within one by the dice, heavy ones more likely early."""
    dice = chance or random.SystemRandom()
    ordered: list[Service] = []
    for priority in sorted({service.priority for service in services}):
        group = [service for service in services if service.priority == priority and service.host]
        ordered += _by_weight(group, dice)
    return ordered


def _by_weight(group: Iterable[Service], dice: random.Random) -> list[Service]:
    left = sorted(group, key=lambda service: service.weight)  # those without weight have a small chance
    ordered = []
    while left:
        mark = dice.randint(0, sum(service.weight for service in left))
        for service in left:
            mark -= service.weight
            if mark <= 0:
                break
        left.remove(service)
        ordered.append(service)
    return ordered
