"""Listeners with `tls: true`."""

import socket
import ssl
import warnings
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread

from synapse_lite.errors import ConfigError
from synapse_lite.workers.tls import Certificate, TlsFiles
from tests.workers.certificates import Holder, authority, server

HOST = "hs.test"


@pytest.fixture
def root() -> Holder:
    return authority("root")


@pytest.fixture
def files(tmp_path: Path, root: Holder) -> TlsFiles:
    """As Let's Encrypt gives them: the server's certificate, then that of the authority which signed it."""
    between = authority("between", root)
    own = server(HOST, between)
    chain = tmp_path / "fullchain.pem"
    chain.write_text(own.pem + between.pem)
    return TlsFiles(chain, own.write_key(tmp_path / "privkey.pem"))


@ensureDeferred
async def test_the_whole_chain_is_sent(files: TlsFiles, root: Holder) -> None:
    """A client that knows the root alone trusts the server."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "error"
        )  # Twisted's, of a factory that does not say what it is, would be in each log
        factory = Certificate(files)
        port = reactor.listenSSL(0, Factory.forProtocol(Protocol), factory, interface="127.0.0.1")

    def connect() -> str | None:
        trusting = ssl.create_default_context(cadata=root.pem)
        with (
            socket.create_connection(("127.0.0.1", port.getHost().port), 10) as plain,
            trusting.wrap_socket(plain, server_hostname=HOST) as secured,
        ):
            return secured.version()

    assert await deferToThread(connect) in ("TLSv1.2", "TLSv1.3")
    await port.stopListening()


def test_what_does_not_fit_is_named(files: TlsFiles, tmp_path: Path, root: Holder) -> None:
    """A missing option, a file without a certificate, another key: one sentence each."""
    with pytest.raises(ConfigError, match="tls needs tls_certificate_path"):
        TlsFiles(None, files.private_key).options()
    with pytest.raises(ConfigError, match=r"privkey\.pem: "):
        TlsFiles(files.private_key, files.private_key).options()
    with pytest.raises(ConfigError, match=r"nothing\.pem: .*No such file"):
        TlsFiles(tmp_path / "nothing.pem", files.private_key).options()
    with pytest.raises(ConfigError, match="does not belong to tls_certificate_path"):
        TlsFiles(files.certificate, root.write_key(tmp_path / "other.pem")).options()


def test_a_new_certificate_is_read(files: TlsFiles, root: Holder) -> None:
    """One that is no good changes nothing."""
    assert files.certificate is not None
    certificate = Certificate(files)
    before = certificate.getContext()
    files.certificate.write_text("no certificate")
    with pytest.raises(ConfigError):
        certificate.reload()
    assert certificate.getContext() is before
    own = server(HOST, root)
    files.certificate.write_text(own.pem)
    assert files.private_key is not None
    own.write_key(files.private_key)
    certificate.reload()
    assert certificate.getContext() is not before
