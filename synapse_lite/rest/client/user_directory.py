"""Looking for users."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import invalid_param
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.user_directory import UserDirectoryHandler
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.body import parameter, text

DEFAULT_LIMIT = 10
MAX_TERM = 1000


class UserDirectoryApi:
    def __init__(self, directory: UserDirectoryHandler) -> None:
        self._directory = directory

    def routes(self) -> list[Route]:
        return [*client_routes("POST", "/user_directory/search", self.search, Access.USER)]

    async def search(self, request: Request, requester: Requester) -> JsonObject:
        """`POST /_matrix/client/v3/user_directory/search`"""
        body = request.json_object()
        limit = parameter(body, "limit", int, DEFAULT_LIMIT)
        if limit < 1:
            raise invalid_param("'limit' must be greater than zero")
        return await self._directory.search(requester, text(body, "search_term", MAX_TERM), limit)
