"""Certificates for tests: a root, an authority below it, and a server's own."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@frozen
class Holder:
    """A certificate and the key that belongs to it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def write_key(self, path: Path) -> Path:
        path.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return path


def authority(name: str, issuer: Holder | None = None) -> Holder:
    return _issue(name, issuer, x509.BasicConstraints(ca=True, path_length=None))


def server(host: str, issuer: Holder) -> Holder:
    """For a name or an address."""
    try:
        name: x509.GeneralName = x509.IPAddress(ip_address(host))
    except ValueError:
        name = x509.DNSName(host)
    names = x509.SubjectAlternativeName([name])
    return _issue(host, issuer, x509.BasicConstraints(ca=False, path_length=None), names)


def _issue(name: str, issuer: Holder | None, *extensions: x509.ExtensionType) -> Holder:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_name, issuer_key = (issuer.certificate.subject, issuer.key) if issuer else (subject, key)
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer_name,
        subject,
        key.public_key(),
        x509.random_serial_number(),
        now - timedelta(days=1),
        now + timedelta(days=1),
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return Holder(builder.sign(issuer_key, hashes.SHA256()), key)
