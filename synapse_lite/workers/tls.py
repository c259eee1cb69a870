"""The certificate of listeners with `tls: true`."""

from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.ssl import CertificateOptions, TLSVersion
from zope.interface import implementer

from synapse_lite.errors import ConfigError


@implementer(IOpenSSLContextFactory)
class Certificate:
    """A context factory for `listenSSL`, whose files may be read anew: for the connections that come then."""

    def __init__(self, files: "TlsFiles") -> None:
        self._files = files
        self._options = files.options()

    def getContext(self) -> SSL.Context:  # noqa: N802 (Twisted's name)
        return self._options.getContext()

    def reload(self) -> None:
        """Raises ConfigError; what was read before remains then."""
        self._options = self._files.options()


@frozen
class TlsFiles:
    """`certificate`: PEM, the server's own first, then those up to the root, as Let's Encrypt gives them."""

    certificate: Path | None
    private_key: Path | None

    def options(self) -> CertificateOptions:
        """For `listenSSL`; the whole chain is sent. Raises ConfigError."""
        if self.certificate is None or self.private_key is None:
            raise ConfigError("listeners: tls needs tls_certificate_path and tls_private_key_path")
        own: Any  # types that Twisted's annotations do not know yet
        chain: Any
        key: Any
        try:
            own, *chain = x509.load_pem_x509_certificates(self.certificate.read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigError(f"tls_certificate_path: {self.certificate}: {error}") from None
        try:
            key = load_pem_private_key(self.private_key.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"tls_private_key_path: {self.private_key}: {error}") from None
        options = CertificateOptions(
            privateKey=key, certificate=own, extraCertChain=chain, raiseMinimumTo=TLSVersion.TLSv1_2
        )
        try:
            options.getContext()
        except SSL.Error:
            raise ConfigError("tls_private_key_path: does not belong to tls_certificate_path") from None
        return options
