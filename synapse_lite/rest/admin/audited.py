"""What every route that lets an administrator change something, or read what people say, has in common: the audit
trail, and repetition.

A request with an `Idempotency-Key` that is sent again starts no second task: it is told of the first one's.
"""

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from attrs import evolve
from twisted.internet.defer import CancelledError

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import MatrixError, invalid_param
from synapse_lite.handlers.audit import AuditLog
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Handler, Route
from synapse_lite.tasks.context import task_request
from synapse_lite.tasks.queue import TaskRequest

A = TypeVar("A", bound=JsonObject | Response)

KEY_HEADER = "Idempotency-Key"
MAX_KEY_BYTES = 255
CLIENT_CLOSED, FAULT = 499, 500

CONTENT = frozenset(
    f"/_synapse/admin/v1/{path}"
    for path in ("rooms/{room_id}/messages", "rooms/{room_id}/context/{event_id}", "fetch_event/{event_id}")
)
"""What people wrote, also into rooms that the administrator is not in, and what was redacted since."""


def audited(routes: Iterable[Route], log: AuditLog) -> list[Route]:
    """The same routes; those by which administrators change something, or read what people say, are written down."""
    return [
        evolve(route, handler=_audited(route.handler, log)) if _is_written_down(route) else route
        for route in routes
    ]


def _is_written_down(route: Route) -> bool:
    return route.access is Access.ADMIN and (route.method != "GET" or route.pattern in CONTENT)


def _audited(handler: Handler, log: AuditLog) -> Handler:
    async def handle(request: Request, requester: Requester, **params: Any) -> JsonObject | Response:
        task_request.set(_repeatable(request, requester))
        return await write_down(
            log, request, requester.user_id, partial(handler, request, requester, **params)
        )

    return handle


async def write_down(log: AuditLog, request: Request, who: str, change: Callable[[], Awaitable[A]]) -> A:
    """What `change` answers; the trail has it before it is done, and then what came of it."""
    nid = await log.begin(
        who,
        ip=request.client_ip,
        user_agent=request.user_agent,
        method=request.method,
        path=request.path,
        body=request.body,
    )
    try:
        answer = await change()
    except Exception as error:
        await log.end(nid, *_failed(error))
        raise
    if isinstance(answer, Response):
        await log.end(nid, answer.status, None)
    elif request.method == "GET":
        await log.end(nid, 200, None)
    else:
        await log.end(nid, 200, answer)
    return answer


def _failed(error: Exception) -> tuple[int, JsonObject | None]:
    if isinstance(error, MatrixError):
        return error.status, {"errcode": str(error.errcode), "error": str(error)}
    return CLIENT_CLOSED if isinstance(error, CancelledError) else FAULT, None


def _repeatable(request: Request, requester: Requester) -> TaskRequest | None:
    """400 `M_INVALID_PARAM` for a key that cannot be one."""
    key = request.header(KEY_HEADER)
    if not key:
        return None
    if len(key.encode()) > MAX_KEY_BYTES or not key.isprintable():
        raise invalid_param(f"{KEY_HEADER} must be printable and have at most {MAX_KEY_BYTES} bytes")
    digest = hashlib.sha256(f"{request.method} {request.target}\n".encode() + request.body).digest()
    return TaskRequest(requester.user_id, key, digest)
