"""What every route for other servers has in common: each server has its turns (`rc_federation`)."""

from collections.abc import Iterable
from typing import Any

from attrs import evolve

from synapse_lite.canonical_json import JsonObject
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Handler, Route
from synapse_lite.http.throttle import Throttle


def limited(routes: Iterable[Route], throttle: Throttle) -> list[Route]:
    """The same routes; requests of other servers wait for their turn."""
    return [
        evolve(route, handler=_limited(route.handler, throttle)) if route.access is Access.SERVER else route
        for route in routes
    ]


def _limited(handler: Handler, throttle: Throttle) -> Handler:
    async def handle(request: Request, origin: str, **params: Any) -> JsonObject | Response:
        async with throttle.turn(origin):
            return await handler(request, origin, **params)

    return handle
