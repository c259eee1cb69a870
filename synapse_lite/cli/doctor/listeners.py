"""Checks of the ports and sockets of a process: does it answer there?"""

import socket
import ssl
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPException

from synapse_lite.cli.doctor.findings import Finding, error, ok, warning
from synapse_lite.config.listeners import Listener

_TIMEOUT = 5.0
_OK = 200
_EVERYWHERE = frozenset(("::", "0.0.0.0", ""))  # noqa: S104 (to recognise, not to listen)


def check_listeners(process: str, listeners: Sequence[Listener]) -> Iterator[Finding]:
    served = [listener for listener in listeners if listener.type != "manhole"]
    if not served:
        yield warning(
            "listeners", f"{process} listens nowhere", "give it an http listener, unless on purpose"
        )
    for listener in served:
        where = _describe(listener)
        problem = probe(listener)
        if problem is None:
            yield ok("listeners", f"{process} answers on {where}")
        else:
            yield error(
                "listeners",
                f"{process} does not answer on {where}: {problem}",
                f"start {process}, or look into its log",
            )


def probe(listener: Listener) -> str | None:
    """What is wrong with /health there, or None. The certificate is not looked at: only who answers."""
    try:
        with _connect(listener) as connected:
            connection = HTTPConnection("localhost")
            connection.sock = connected
            connection.request("GET", "/health")
            status = connection.getresponse().status
    except (OSError, HTTPException) as problem:
        return str(problem) or type(problem).__name__
    return None if status == _OK else f"status {status}"


def _connect(listener: Listener) -> socket.socket:
    if listener.path is not None:
        unix = socket.socket(socket.AF_UNIX)
        unix.settimeout(_TIMEOUT)
        try:
            unix.connect(str(listener.path))
        except OSError:
            unix.close()
            raise
        return unix
    plain = socket.create_connection((_host(listener), listener.port or 0), _TIMEOUT)
    if not listener.tls:
        return plain
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        return context.wrap_socket(plain)
    except OSError:
        plain.close()
        raise


def _host(listener: Listener) -> str:
    own = [address for address in listener.bind_addresses if address not in _EVERYWHERE]
    return own[0] if len(own) == len(listener.bind_addresses) else "localhost"


def _describe(listener: Listener) -> str:
    return str(listener.path) if listener.path is not None else f"{_host(listener)}:{listener.port}"
