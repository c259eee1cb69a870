"""Past notifications."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.notifications import MAX_LIMIT, Notifications
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.tokens import read_token
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes

DEFAULT_LIMIT = 50


class NotificationsApi:
    def __init__(self, notifications: Notifications) -> None:
        self._notifications = notifications

    def routes(self) -> list[Route]:
        return [*client_routes("GET", "/notifications", self.page, Access.USER)]

    async def page(self, request: Request, requester: Requester) -> JsonObject:
        """`GET /_matrix/client/v3/notifications`"""
        limit = request.query_int("limit", DEFAULT_LIMIT, minimum=1)
        start, only = request.query("from"), request.query("only")
        return await self._notifications.page(
            requester,
            read_token(start).position if start else None,
            min(limit, MAX_LIMIT),
            only_highlights=only == "highlight",
        )
