"""Requests that the server makes to others."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer

from synapse_lite.config.options import Options


def _network(value: Any) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value, strict=False)
    except ValueError:
        raise ValueError("should be an address range such as 10.0.0.0/8 or fc00::/7") from None


Network = Annotated[
    IPv4Network | IPv6Network, BeforeValidator(_network), PlainSerializer(str, when_used="json")
]

_PROXY = re.compile(
    r"(http://)?([^@/?#\s]+@)?([\w.-]+|\[[\da-f:.]+\])(:(?P<port>\d{1,5}))?/?", re.ASCII | re.IGNORECASE
)
_LAST_PORT = 65535


def _proxy(value: Any) -> Any:
    found = _PROXY.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, str) and (found is None or int(found["port"] or 1) > _LAST_PORT):
        raise ValueError("should be http://host:port, with user:password@ before the host if need be")
    return value


ProxyUrl = Annotated[str | None, BeforeValidator(_proxy)]

PRIVATE: tuple[IPv4Network | IPv6Network, ...] = tuple(
    ip_network(text)
    for text in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "169.254.0.0/16",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "192.0.2.0/24",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "::1/128",
        "fe80::/10",
        "fc00::/7",
        "2001:db8::/32",
        "ff00::/8",
        "fec0::/10",
    )
)
"""Private, loopback, link-local, multicast and documentation ranges."""


class OutboundOptions(Options):
    """Requests to other servers"""

    ip_range_blacklist: tuple[Network, ...] = Field(
        default=PRIVATE,
        description="Address ranges that are never contacted, whatever name or redirect leads there: for "
        "push gateways, federation, identity servers and URL previews.",
    )
    ip_range_whitelist: tuple[Network, ...] = Field(
        default=(), description="Exceptions to ip_range_blacklist."
    )
    http_proxy: ProxyUrl = Field(
        default=None,
        repr=False,
        description="Proxy for http:// URLs, as http://user:password@host:port; the environment variable of this "
        "name when absent. It finds out itself where names lead, so it has to know the ranges above, too.",
    )
    https_proxy: ProxyUrl = Field(
        default=None,
        repr=False,
        description="Proxy for https:// URLs in the same way: other homeservers, push gateways, previews.",
    )
    no_proxy_hosts: tuple[str, ...] = Field(
        default=(),
        description="Hosts, domains and address ranges that are reached without a proxy; the environment variable "
        "no_proxy when absent.",
    )
