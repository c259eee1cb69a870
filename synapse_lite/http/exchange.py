"""One request and its answer on a connection: reading, limits, handler, sending, recording."""

import logging
from collections.abc import Awaitable
from io import BytesIO
from itertools import count
from tempfile import SpooledTemporaryFile
from time import perf_counter
from typing import Any, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from twisted.web import http

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.http.context import request_id
from synapse_lite.http.metrics import UNMATCHED, HttpMetrics
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response, render_error, render_fault
from synapse_lite.http.router import Router

logger = logging.getLogger(__name__)

MEMORY_BYTES = 256 * 1024
"""Larger bodies wait on disk until they are complete."""

BODY_GRACE_SECONDS = 30.0
BODY_BYTES_PER_SECOND = 16 * 1024
"""A body must arrive within the grace and its length at this rate."""

LINGER_SECONDS = 5.0
"""How long we read and drop what a refused client still sends. Closing at once would reset the
connection, and the client might never see why it was refused."""

CLIENT_CLOSED = 499
_MAX_LOGGED_PATH = 512

_COMMON_HEADERS = (
    (b"Server", b"synapse_lite"),
    (b"Access-Control-Allow-Origin", b"*"),
    (b"Access-Control-Allow-Methods", b"GET, HEAD, POST, PUT, DELETE, OPTIONS"),
    (b"Access-Control-Allow-Headers", b"X-Requested-With, Content-Type, Authorization, Date"),
    (b"Access-Control-Expose-Headers", b"Synapse-Trace-Id, Server"),
)


@attrs.frozen
class Service:
    """What all requests of one listener share. Sizes are bytes."""

    router: Router
    metrics: HttpMetrics
    clock: Clock
    max_body_size: int
    x_forwarded: bool
    numbers: count[int] = attrs.field(factory=lambda: count(1))


class Exchange(http.Request):
    """Replaces Twisted's resource tree: `process` asks the router and awaits the handler."""

    def __init__(self, service: Service, channel: http.HTTPChannel, queued: bool) -> None:
        super().__init__(channel, queued, parsePOSTFormSubmission=False)
        self._service = service
        self._route = UNMATCHED
        self._requester_name: str | None = None
        self._started = perf_counter()
        self._body_length: int | None = 0
        self._received = 0
        self._refused = False
        self._recorded = False
        self._deadline: IDelayedCall | None = None
        self._handling: Deferred[None] | None = None

    # Called by the channel, in this order.

    def gotLength(self, length: int | None) -> None:  # noqa: N802 (Twisted's name)
        """The headers are complete. `length` is None for a chunked body."""
        self._body_length = length
        small = length is not None and length <= MEMORY_BYTES
        self.content = cast("Any", BytesIO() if small else SpooledTemporaryFile(MEMORY_BYTES))  # noqa: SIM115 (Twisted closes it)
        if length is not None and length > self._service.max_body_size:
            self._refuse()
