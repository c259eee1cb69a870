"""Media, as operators see them and dispose of them."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, invalid_param
from synapse_lite.handlers.media.admin import (
    ORDERS,
    USER_ORDERS,
    Asked,
    MediaAdmin,
    Page,
    StatisticsFilter,
)
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Handler, Route
from synapse_lite.ids import check_room_id, is_server_name
from synapse_lite.matrix.media import Mxc
from synapse_lite.rest.admin.times import past_ts
from synapse_lite.rest.paging import admin_limit, goes_backwards
from synapse_lite.tasks.actions.delete_media import DeleteMediaParams
from synapse_lite.tasks.actions.quarantine_media import QuarantineParams

V1 = "/_synapse/admin/v1"


class MediaAdminApi:
    """`server_name` is ours."""

    def __init__(self, media: MediaAdmin, clock: Clock, server_name: str) -> None:
        self._media = media
        self._clock = clock
        self._server_name = server_name

    def routes(self) -> list[Route]:
        one = "{server_name}/{media_id}"
        return [
            _route("GET", f"/media/{one}", self.info),
            _route("DELETE", f"/media/{one}", self.delete),
            _route("POST", "/media/delete", self.delete_many),
            _route("POST", "/media/{server_name}/delete", self.delete_many_of),
            _route("POST", f"/media/quarantine/{one}", self.quarantine),
            _route("POST", f"/media/unquarantine/{one}", self.unquarantine),
            _route("GET", "/media/quarantine_changes", self.changes),
            _route("POST", "/media/protect/{media_id}", self.protect),
            _route("POST", "/media/unprotect/{media_id}", self.unprotect),
            _route("GET", "/users/{user_id}/media", self.of_user),
            _route("DELETE", "/users/{user_id}/media", self.delete_of_user),
            _route("POST", "/user/{user_id}/media/quarantine", self.quarantine_user),
            _route("GET", "/room/{room_id}/media", self.of_room),
            _route("POST", "/room/{room_id}/media/quarantine", self.quarantine_room),
            _route("POST", "/quarantine_media/{room_id}", self.quarantine_room),
            _route("POST", "/server/{server_name}/media/quarantine", self.quarantine_server),
            _route("POST", "/quarantine_media/undo/{task_id}", self.undo_quarantine),
            _route("POST", "/purge_media_cache", self.purge_cache),
            _route("GET", "/statistics/users/media", self.statistics),
        ]

    async def info(
        self, _request: Request, _requester: Requester, server_name: str, media_id: str
    ) -> JsonObject:
        """`GET /_synapse/admin/v1/media/{server_name}/{media_id}`"""
        return {"media_info": await self._media.info(Mxc(server_name, media_id))}

    async def delete(
        self, _request: Request, _requester: Requester, server_name: str, media_id: str
    ) -> JsonObject:
        """`DELETE /_synapse/admin/v1/media/{server_name}/{media_id}`"""
        return await self._media.delete(Mxc(server_name, media_id))

    async def delete_many(self, request: Request, requester: Requester) -> JsonObject:
        """`POST /_synapse/admin/v1/media/delete`, and `dry_run=true`."""
        params = DeleteMediaParams(
            unused_since_ms=self._before(request),
            larger_than=request.query_int("size_gt", 0),
            keep_avatars=request.query_bool("keep_profiles", True),
            dry_run=request.query_bool("dry_run"),
        )
        return await self._media.delete_many(_asked(request, requester), params)

    async def delete_many_of(self, request: Request, requester: Requester, server_name: str) -> JsonObject:
        """`POST /_synapse/admin/v1/media/{server_name}/delete`"""
        if server_name != self._server_name:
            raise MatrixError(400, Errcode.UNKNOWN, "Can only delete local media")
        return await self.delete_many(request, requester)

    async def quarantine(
        self, request: Request, requester: Requester, server_name: str, media_id: str
    ) -> JsonObject:
        """`POST /_synapse/admin/v1/media/quarantine/{server_name}/{media_id}`"""
        await self._media.quarantine(_asked(request, requester), Mxc(server_name, media_id))
        return {}

    async def unquarantine(
        self, request: Request, requester: Requester, server_name: str, media_id: str
    ) -> JsonObject:
        """`POST /_synapse/admin/v1/media/unquarantine/{server_name}/{media_id}`"""
        await self._media.unquarantine(_asked(request, requester), Mxc(server_name, media_id))
        return {}

    async def changes(self, request: Request, _requester: Requester) -> JsonObject:
        """`GET /_synapse/admin/v1/media/quarantine_changes`"""
        return await self._media.quarantine_changes(request.query_int("from", 0))

    async def protect(self, _request: Request, _requester: Requester, media_id: str) -> JsonObject:
        """`POST /_synapse/admin/v1/media/protect/{media_id}`"""
        await self._media.protect(media_id, True)
        return {}

    async def unprotect(self, _request: Request, _requester: Requester, media_id: str) -> JsonObject:
        """`POST /_synapse/admin/v1/media/unprotect/{media_id}`"""
        await self._media.protect(media_id, False)
        return {}

    async def of_user(self, request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/users/{user_id}/media`"""
        return await self._media.of_user(user_id, _page(request))

    async def delete_of_user(self, request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`DELETE /_synapse/admin/v1/users/{user_id}/media`"""
        return await self._media.delete_of_user(user_id, _page(request))

    async def quarantine_user(self, request: Request, requester: Requester, user_id: str) -> JsonObject:
        """`POST /_synapse/admin/v1/user/{user_id}/media/quarantine`"""
        return await self._quarantine(request, requester, user_id=user_id)

    async def of_room(self, _request: Request, _requester: Requester, room_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/room/{room_id}/media`"""
        return await self._media.of_room(check_room_id(room_id))

    async def quarantine_room(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`POST /_synapse/admin/v1/room/{room_id}/media/quarantine`"""
        return await self._quarantine(request, requester, room_id=check_room_id(room_id))

    async def quarantine_server(self, request: Request, requester: Requester, server_name: str) -> JsonObject:
        """`POST /_synapse/admin/v1/server/{server_name}/media/quarantine`: not one of Synapse's."""
        if not is_server_name(server_name):
            raise invalid_param("Invalid server name")
        return await self._quarantine(request, requester, server_name=server_name)

    async def undo_quarantine(self, request: Request, requester: Requester, task_id: str) -> JsonObject:
        """`POST /_synapse/admin/v1/quarantine_media/undo/{task_id}`: shows again what that task has hidden."""
        return await self._quarantine(request, requester, undo_of=task_id)

    async def purge_cache(self, request: Request, requester: Requester) -> JsonObject:
        """`POST /_synapse/admin/v1/purge_media_cache`, and `dry_run=true`."""
        return await self._media.purge_cache(
            _asked(request, requester), self._before(request), dry_run=request.query_bool("dry_run")
        )

    async def statistics(self, request: Request, _requester: Requester) -> JsonObject:
        """`GET /_synapse/admin/v1/statistics/users/media`"""
        wanted = StatisticsFilter(
            request.query_int("from_ts", 0), request.query_int("until_ts", None), request.query("search_term")
        )
        if wanted.until_ms is not None and wanted.until_ms <= wanted.from_ms:
            raise invalid_param("Query parameter 'until_ts' must be later than 'from_ts'")
        if wanted.search_term == "":
            raise invalid_param("Query parameter 'search_term' must not be empty")
        page = Page(
            request.query_choice("order_by", USER_ORDERS, "user_id"),
            goes_backwards(request),
            request.query_int("from", 0),
            admin_limit(request),
        )
        return await self._media.statistics(wanted, page)

    async def _quarantine(self, request: Request, requester: Requester, **target: str) -> JsonObject:
        request.json_object(allow_empty=True)
        params = QuarantineParams(**target, dry_run=request.query_bool("dry_run"))
        return await self._media.quarantine_many(_asked(request, requester), params)

    def _before(self, request: Request) -> int:
        """Milliseconds. Seconds would be a date of 1970, and nothing would be deleted without a word."""
        before = request.query_int("before_ts")
        return past_ts("before_ts", before, self._clock)


def _route(method: str, path: str, handler: Handler) -> Route:
    return Route(method, V1 + path, handler, Access.ADMIN)


def _asked(request: Request, requester: Requester) -> Asked:
    return Asked(requester.user_id, f"{request.method} {request.path}"[:200])


def _page(request: Request) -> Page:
    """The newest first, unless an order is asked for."""
    chosen = request.query("order_by") is not None or request.query("dir") is not None
    return Page(
        request.query_choice("order_by", ORDERS, "created_ts"),
        goes_backwards(request, "f" if chosen else "b"),
        request.query_int("from", 0),
        admin_limit(request),
    )
