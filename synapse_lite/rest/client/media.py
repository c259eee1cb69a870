"""Uploads, downloads and thumbnails, authenticated and as before."""

from collections.abc import Iterable, Mapping

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, missing_param
from synapse_lite.handlers.media.downloads import Content, Downloads, Wanted
from synapse_lite.handlers.media.previews import Previews
from synapse_lite.handlers.media.thumbnails import Thumbnails
from synapse_lite.handlers.media.uploads import Uploads
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.ratelimit import network_of
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import MAX_BODY, Handler, Route
from synapse_lite.matrix.media import Mxc, clean_name, content_disposition, essence
from synapse_lite.rest.files import send_file

AUTHENTICATED = "/_matrix/client/v1/media"
OLD = ("/_matrix/media/r0", "/_matrix/media/v1", "/_matrix/media/v3")
DEFAULT_TYPE = "application/octet-stream"
FORM = "multipart/form-data"
MAX_SIDE = 10_000
CACHE_SECONDS = 24 * 3600

SAFETY: Mapping[str, str] = {
    "Content-Security-Policy": "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf;"
    " style-src 'unsafe-inline'; media-src 'self'; object-src 'self';",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow, noarchive, noimageindex",
}
"""What keeps a file from being more than a file to a browser (client-server API, "Content repository"); with errors
instead of a file, too, as a page that shows it would else be told nothing but that it is not allowed to know.
"""


@frozen
class ThumbnailWish:
    """What the query of a request for a thumbnail says; sides in pixels."""

    width: int
    height: int
    method: str
    animated: bool


class MediaApi:
    def __init__(
        self,
        uploads: Uploads,
        downloads: Downloads,
        thumbnails: Thumbnails,
        previews: Previews | None,
        *,
        max_upload_size: int,
    ) -> None:
        """`previews` None: they are switched off."""
        self._uploads = uploads
        self._downloads = downloads
        self._thumbnails = thumbnails
        self._previews = previews
        self._max_upload_size = max_upload_size

    def routes(self) -> list[Route]:
        media = "{server_name}/{media_id}"
        return [
            *self._old("POST", "/upload", self.upload, Access.USER, streams=True),
            *self._old("POST", "/create", self.create, Access.USER),
            *self._old("PUT", f"/upload/{media}", self.fill, Access.USER, streams=True),
            *self._old("GET", "/config", self.config, Access.GUEST),
            *_shown(OLD, f"/download/{media}", self.old_download, Access.NONE),
            *_shown(OLD, f"/download/{media}/{{file_name}}", self.old_download, Access.NONE),
            *_shown(OLD, f"/thumbnail/{media}", self.old_thumbnail, Access.NONE),
            *self._old("GET", "/preview_url", self.preview, Access.USER),
            Route("GET", f"{AUTHENTICATED}/preview_url", self.preview, Access.USER),
            Route("GET", f"{AUTHENTICATED}/config", self.config, Access.GUEST),
            *_shown([AUTHENTICATED], f"/download/{media}", self.download, Access.GUEST),
            *_shown([AUTHENTICATED], f"/download/{media}/{{file_name}}", self.download, Access.GUEST),
            *_shown([AUTHENTICATED], f"/thumbnail/{media}", self.thumbnail, Access.GUEST),
        ]

    def _old(
        self, method: str, path: str, handler: Handler, access: Access, *, streams: bool = False
    ) -> list[Route]:
        max_body = self._max_upload_size if streams else MAX_BODY
        return [Route(method, prefix + path, handler, access, max_body, streams) for prefix in OLD]

    async def upload(self, request: Request, requester: Requester) -> JsonObject:
        """`POST /_matrix/media/v3/upload`: 415 `M_UNKNOWN` for a form, which has the file in one of its parts."""
        content_type = request.header("Content-Type") or DEFAULT_TYPE
        if essence(content_type) == FORM:
            raise MatrixError(415, Errcode.UNKNOWN, "The body must be the file itself, not a form")
        mxc = await self._uploads.upload(
            requester,
            request.stream,
            length=request.length,
            content_type=content_type,
            name=request.query("filename"),
        )
        return {"content_uri": str(mxc)}

    async def create(self, _request: Request, requester: Requester) -> JsonObject:
        """`POST /_matrix/media/v1/create`"""
        return await self._uploads.create(requester)

    async def fill(
        self, request: Request, requester: Requester, server_name: str, media_id: str
    ) -> JsonObject:
        """`PUT /_matrix/media/v3/upload/{serverName}/{mediaId}`"""
        await self._uploads.fill(
            requester,
            Mxc(server_name, media_id),
            request.stream,
            length=request.length,
            content_type=request.header("Content-Type") or DEFAULT_TYPE,
            name=request.query("filename"),
        )
        return {}

    async def config(self, _request: Request, _requester: Requester) -> JsonObject:
        """`GET /_matrix/client/v1/media/config`"""
        return {"m.upload.size": self._max_upload_size}

    async def preview(self, request: Request, requester: Requester) -> Response:
        """`GET /_matrix/client/v1/media/preview_url`"""
        if self._previews is None:
            raise MatrixError(404, Errcode.UNRECOGNIZED, "URL previews are switched off on this server")
        url = request.query("url")
        if not url:
            raise missing_param("url")
        return Response(200, await self._previews.preview(requester, url))

    async def download(
        self, request: Request, requester: Requester, server_name: str, media_id: str, file_name: str = ""
    ) -> Response:
        """`GET /_matrix/client/v1/media/download/{serverName}/{mediaId}/{fileName}`"""
        return await self._download(request, requester, Mxc(server_name, media_id), file_name)

    async def old_download(
        self, request: Request, server_name: str, media_id: str, file_name: str = ""
    ) -> Response:
        """`GET /_matrix/media/v3/download/{serverName}/{mediaId}/{fileName}`: only what is public."""
        return await self._download(request, None, Mxc(server_name, media_id), file_name)

    async def thumbnail(
        self, request: Request, requester: Requester, server_name: str, media_id: str
    ) -> Response:
        """`GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}`"""
        return await self._thumbnail(request, requester, Mxc(server_name, media_id))

    async def old_thumbnail(self, request: Request, server_name: str, media_id: str) -> Response:
        """`GET /_matrix/media/v3/thumbnail/{serverName}/{mediaId}`: only of what is public."""
        return await self._thumbnail(request, None, Mxc(server_name, media_id))

    async def _download(
        self, request: Request, requester: Requester | None, mxc: Mxc, file_name: str
    ) -> Response:
        _, content = await self._downloads.find(_wanted(request, requester, mxc))
        return await self._send(request, requester, content, clean_name(file_name) or content.name)

    async def _thumbnail(self, request: Request, requester: Requester | None, mxc: Mxc) -> Response:
        wish = read_wish(request)
        content = await self._thumbnails.find(
            _wanted(request, requester, mxc), wish.width, wish.height, wish.method, animated=wish.animated
        )
        return await self._send(request, requester, content, None)

    async def _send(
        self, request: Request, requester: Requester | None, content: Content, name: str | None
    ) -> Response:
        scope = "public" if requester is None else "private"
        headers = {
            **SAFETY,
            "Accept-Ranges": "bytes",
            "Content-Disposition": content_disposition(content.media_type, name),
            "Cache-Control": f"{scope}, max-age={CACHE_SECONDS}, immutable",
            "ETag": f'"{content.sha256.hex()}"',
        }
        return await send_file(request, content, headers, self._downloads)


def _shown(prefixes: Iterable[str], path: str, handler: Handler, access: Access) -> list[Route]:
    return [Route("GET", prefix + path, handler, access, error_headers=SAFETY) for prefix in prefixes]


def read_wish(request: Request) -> ThumbnailWish:
    return ThumbnailWish(
        _side(request, "width"),
        _side(request, "height"),
        request.query_choice("method", ("crop", "scale"), "scale"),
        request.query_bool("animated"),
    )


def _side(request: Request, name: str) -> int:
    return min(request.query_int(name, minimum=1), MAX_SIDE)


def _wanted(request: Request, requester: Requester | None, mxc: Mxc) -> Wanted:
    insists = request.query_bool("admin_unsafely_bypass_quarantine")
    return Wanted(
        mxc,
        token_given=requester is not None,
        payer=network_of(request.client_ip) if requester is None else requester.user_id,
        requester=requester,
        allow_remote=request.query_bool("allow_remote", True),
        timeout_ms=request.query_int("timeout_ms", 20_000),
        past_quarantine=insists and requester is not None and requester.is_admin,
    )
