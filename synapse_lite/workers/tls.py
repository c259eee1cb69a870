"""The certificate of listeners with `tls: true`."""

from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.ssl import CertificateOptions, TLSVersion

from synapse_lite.errors import ConfigError


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
