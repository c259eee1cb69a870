"""The HTTP clients of a process, each with the addresses that it may reach."""

from pathlib import Path
from typing import Any, cast

from twisted.internet.ssl import Certificate, TLSVersion
from twisted.names.client import Resolver
from twisted.web.iweb import IPolicyForHTTPS

from synapse_lite.clock import Clock
from synapse_lite.config.model import Config
from synapse_lite.errors import ConfigError
from synapse_lite.federation.discovery import Discovery
from synapse_lite.federation.services import DnsServices
from synapse_lite.federation.well_known import WellKnown
from synapse_lite.handlers.push import AT_ONCE
from synapse_lite.http.addresses import AddressPolicy
from synapse_lite.http.client import HttpClient
from synapse_lite.http.proxies import Proxies, Proxy
from synapse_lite.http.tls import Certificates
from synapse_lite.matrix.globs import compile_glob

USER_AGENT = "synapse_lite"
PREVIEW_USER_AGENT = "synapse_lite (bot for link previews)"
"""Without a version: who is asked need not know which faults we have."""
RESOLV_CONF = "/etc/resolv.conf"
_CERTIFICATE_END = b"-----END CERTIFICATE-----"


def build_http_client(reactor: Any, clock: Clock, config: Config) -> HttpClient:
    """For push gateways and identity servers. All users of an app have one gateway, which gets all pushes of a moment."""
    policy = AddressPolicy(config.ip_range_blacklist, config.ip_range_whitelist)
    return HttpClient(
        reactor,
        clock,
        policy,
        user_agent=_user_agent(config),
        persistent=True,
        kept=AT_ONCE,
        proxies=_proxies(config),
    )


def build_app_service_client(reactor: Any, clock: Clock, config: Config) -> HttpClient:
    """For application services, which the operator names: wherever they are, and through no proxy."""
    return HttpClient(reactor, clock, AddressPolicy(()), user_agent=_user_agent(config), persistent=True)


def build_preview_client(reactor: Any, clock: Clock, config: Config) -> HttpClient:
    """For pages that users name: within the ranges of previews, and no connection is kept."""
    policy = AddressPolicy(config.url_preview_ip_range_blacklist or (), config.url_preview_ip_range_whitelist)
    return HttpClient(
        reactor, clock, policy, user_agent=_user_agent(config, PREVIEW_USER_AGENT), proxies=_proxies(config)
    )


def build_federation_client(reactor: Any, clock: Clock, config: Config) -> HttpClient:
    """For other homeservers."""
    denied = config.federation_ip_range_blacklist
    policy = AddressPolicy(config.ip_range_blacklist if denied is None else denied, config.ip_range_whitelist)
    return HttpClient(
        reactor,
        clock,
        policy,
        user_agent=_user_agent(config),
        persistent=True,
        tls=cast("IPolicyForHTTPS", _federation_certificates(config)),
        proxies=_proxies(config),
    )


def build_discovery(reactor: Any, clock: Clock, http: HttpClient) -> Discovery:
    return Discovery(WellKnown(http, clock), DnsServices(Resolver(RESOLV_CONF, reactor=reactor)), clock)


def _user_agent(config: Config, name: str = USER_AGENT) -> str:
    return f"{name} {config.user_agent_suffix}" if config.user_agent_suffix else name


def _proxies(config: Config) -> Proxies:
    http, https = config.http_proxy, config.https_proxy
    return Proxies(
        Proxy.parse(http) if http else None, Proxy.parse(https) if https else None, config.no_proxy_hosts
    )


def _federation_certificates(config: Config) -> Certificates:
    unchecked = [compile_glob(host) for host in config.federation_certificate_verification_whitelist]
    return Certificates(
        [one for path in config.federation_custom_ca_list for one in _authorities(path)],
        verifies=lambda host: (
            config.federation_verify_certificates and not any(glob.matches(host) for glob in unchecked)
        ),
        minimum=TLSVersion.TLSv1_3
        if config.federation_client_minimum_tls_version == "1.3"
        else TLSVersion.TLSv1_2,
    )


def _authorities(path: Path) -> list[Certificate]:
    try:
        *parts, _ = path.read_bytes().split(_CERTIFICATE_END)
        return [Certificate.loadPEM(part + _CERTIFICATE_END) for part in parts]
    except Exception as error:  # noqa: BLE001 (whatever OpenSSL has against it)
        raise ConfigError(f"federation_custom_ca_list: {path}: {error}") from None
