"""Whose certificates are believed when this server asks others."""

# mypy: disable-error-code="call-arg"
# Twisted has its interfaces without `self`.

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, cast

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, ServiceID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.python.failure import Failure
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

_REQUIRED = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT


def verify_all(_host: str) -> bool:
    return True


@implementer(IPolicyForHTTPS)
class Certificates:
    """The authorities of the system are read once, not for each connection.

    `authorities` are believed instead of them. `verifies` says of a host whether its certificate matters.
    """

    def __init__(
        self,
        authorities: Sequence[Certificate] = (),
        *,
        verifies: Callable[[str], bool] = verify_all,
        minimum: Any = TLSVersion.TLSv1_2,
    ) -> None:
        self._authorities = authorities
        self._verifies = verifies
        self._minimum = minimum

    def creatorForNetloc(self, hostname: bytes, _port: int) -> IOpenSSLClientConnectionCreator:  # noqa: N802
        host = hostname.decode("ascii")
        verifies = self._verifies(host)
        context = self._verifying if verifies else self._believing
        return cast("IOpenSSLClientConnectionCreator", _Connections(host, context, verifies=verifies))

    @cached_property
    def _verifying(self) -> SSL.Context:
        root = trustRootFromCertificates(self._authorities) if self._authorities else platformTrust()
        return CertificateOptions(trustRoot=root, raiseMinimumTo=self._minimum).getContext()

    @cached_property
    def _believing(self) -> SSL.Context:
        return CertificateOptions(verify=False, raiseMinimumTo=self._minimum).getContext()


@implementer(IOpenSSLClientConnectionCreator)
class _Connections:
    """Connections to one host: it is named in the handshake, and its certificate has to name it."""

    def __init__(self, host: str, context: SSL.Context, *, verifies: bool) -> None:
        self._host = host
        self._context = context
        self._is_address = isIPAddress(host) or isIPv6Address(host)
        self._verifies = verifies

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:  # noqa: N802, N803
        connection = SSL.Connection(self._context, None)
        if not self._is_address:  # an address is no server name (RFC 6066, section 3)
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        if self._verifies:
            connection.set_verify(_REQUIRED, self._verifier(tlsProtocol))
        return connection

    def _verifier(self, protocol: Any) -> Callable[..., bool]:
        identity: ServiceID = IPAddress_ID(self._host) if self._is_address else DNS_ID(self._host)

        def verify(_connection: Any, certificate: Any, _error: int, depth: int, is_trusted: bool) -> bool:
            if depth > 0 or not is_trusted:
                return is_trusted
            try:
                verify_service_identity(extract_patterns(certificate), [identity], [])
            except (VerificationError, CertificateError):
                protocol.failVerification(Failure(SSL.Error(f"the certificate is not for {self._host}")))
                return False
            return True

        return verify
