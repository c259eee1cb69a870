"""Ports for servers that tests start: no two runs of the tests on one machine are given the same one.

A port that is only probed may be taken by somebody else before the server binds it. So a process of pytest
reserves a block of ports, by listening on the first of them as long as it lives.
"""

import atexit
import itertools
import os
import socket
import threading
from collections.abc import Iterator

_BLOCK = 100
_BLOCKS = range(20_000, 32_000, _BLOCK)  # below the ports that Linux gives to outgoing connections


def free_port(following: int = 0) -> int:
    """A port of the loopback address for this process alone; so are the `following` ports after it."""
    wanted = following + 1
    while True:
        with _reserving:  # threads of one test may ask at the same time
            ports = list(itertools.islice(_reserved, wanted))
        if ports[-1] - ports[0] == following and all(map(_is_free, ports)):
            return ports[0]


def _reserve() -> Iterator[int]:
    # Runs that begin at the same time start their search at different places.
    start = os.getpid() % len(_BLOCKS)
    for first in (*_BLOCKS[start:], *_BLOCKS[:start]):
        if _guard(first):
            yield from range(first + 1, first + _BLOCK)
    raise RuntimeError(f"all ports from {_BLOCKS.start} to {_BLOCKS.stop} are reserved")


_reserved = _reserve()
_reserving = threading.Lock()


def _guard(port: int) -> bool:
    guard = socket.socket()
    try:
        guard.bind(("127.0.0.1", port))
        guard.listen(1)
    except OSError:
        guard.close()
        return False
    atexit.register(guard.close)
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
