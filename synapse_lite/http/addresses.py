"""Which addresses a request of ours may reach: an answer about a literal address, never about a name."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from attrs import frozen

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NEVER = tuple(map(ip_network, ("0.0.0.0/8", "255.255.255.255/32", "::/128")))
"""Mean "this host" or "everybody" to a kernel: no operator allows them by mistake."""

_NAT64 = tuple(map(ip_network, ("64:ff9b::/96", "::/96")))
"""The last 32 bits are an IPv4 address: RFC 6052, and the old "IPv4-compatible" form."""


@frozen
class AddressPolicy:
    """`denied` ranges are not contacted, except where `allowed` holds the very same address."""

    denied: tuple[Network, ...] = ()
    allowed: tuple[Network, ...] = ()

    def permits(self, text: str) -> bool:
        """False also for what is no literal address, and for an IPv6 form of a denied IPv4 address."""
        try:
            address = ip_address(text)
        except ValueError:
            return False
        return all(self._permits(one) for one in (address, *_embedded(address)))

    def _permits(self, address: Address) -> bool:
        if _is_in(address, NEVER):
            return False
        return _is_in(address, self.allowed) or not _is_in(address, self.denied)


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _embedded(address: Address) -> Iterable[IPv4Address]:
    """The IPv4 addresses to which a packet for this IPv6 address may be sent on."""
    if isinstance(address, IPv4Address):
        return
    for one in (address.ipv4_mapped, address.sixtofour, *(address.teredo or ())):
        if one is not None:
            yield one
    if _is_in(address, _NAT64) and int(address) > 1:
        yield IPv4Address(int(address) & 0xFFFFFFFF)
