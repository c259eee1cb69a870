"""Uploads, downloads and thumbnails."""

from synapse_lite.config.media import MediaOptions
from synapse_lite.config.rate_limits import RateLimit
from synapse_lite.federation.media import RemoteFiles
from synapse_lite.handlers.media.admin import MediaAdmin
from synapse_lite.handlers.media.downloads import Accesses, Downloads
from synapse_lite.handlers.media.library import Library, missing_counter
from synapse_lite.handlers.media.previews import PreviewRules, Previews
from synapse_lite.handlers.media.remembered import media_rows
from synapse_lite.handlers.media.remote import RemoteLibrary, RemoteRules
from synapse_lite.handlers.media.thumbnails import Size, ThumbnailRules, Thumbnails
from synapse_lite.handlers.media.uploads import Quota, UploadRules, Uploads
from synapse_lite.media.oembed import DEFAULT_PROVIDERS, load_providers
from synapse_lite.rest.admin.media import MediaAdminApi
from synapse_lite.rest.client.media import MediaApi
from synapse_lite.rest.federation.media import FederationMediaApi
from synapse_lite.tasks.waiting import TaskWaiter
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature
from synapse_lite.workers.outbound import build_preview_client
from synapse_lite.workers.roles import Role

PREVIEW_RATE = RateLimit(per_second=1, burst_count=50)
"""Of one user: nobody scans the network by this server."""


def build(core: Core) -> Feature:
    config, parts = core.config, core.media
    library = Library(core.requests, parts.threads, core.clock, missing_counter(core.metrics))
    accesses = Accesses(core.requests, core.clock)
    creating = core.limits.limiter("rc_media_create", config.rc_media_create)
    sessions = core.accounts.access_tokens
    rows = media_rows(core.requests, core.log, config.caches.media_rows)
    uploads = Uploads(library, rows, core.bus, sessions, creating, _upload_rules(core.server_name, config))
    downloads = Downloads(
        library,
        rows,
        core.bus,
        sessions,
        accesses,
        core.server_name,
        _remote(core, library),
        authenticated=config.enable_authenticated_media,
    )
    thumbnails = Thumbnails(
        library,
        downloads,
        parts.store,
        parts.workers,
        parts.incoming,
        _thumbnail_rules(config),
        core.log,
        config.caches.media_rows,
    )
    previews = _previews(core, library) if config.url_preview_enabled else None
    api = MediaApi(uploads, downloads, thumbnails, previews, max_upload_size=config.max_upload_size)
    waiter = TaskWaiter(core.queue, core.bus, core.clock)
    admin = MediaAdmin(core.requests, core.queue, waiter, core.clock, core.server_name)
    admin_api = MediaAdminApi(admin, core.clock, core.server_name)
    served = FederationMediaApi(downloads, thumbnails, core.server_name)
    files = [*api.routes(), *served.routes()] if Role.of(config).serves_media else []
    return Feature(routes=[*files, *admin_api.routes()], lives=(accesses,))


def _remote(core: Core, library: Library) -> RemoteLibrary:
    config = core.config
    rate = RateLimit(
        per_second=config.remote_media_download_per_second,
        burst_count=config.remote_media_download_burst_count,
    )
    rules = RemoteRules(
        denied=frozenset(name.lower() for name in config.prevent_media_downloads_from),
        max_bytes=config.max_upload_size,
        max_burst=rate.burst_count,
        authenticated=config.enable_authenticated_media,
    )
    remote = RemoteFiles(core.federation.peers, config.max_upload_size)
    limiter = core.limits.limiter("remote_media_download", rate)
    return RemoteLibrary(library, remote, core.bus, limiter, rules)


def _previews(core: Core, library: Library) -> Previews:
    config = core.config
    oembed = config.oembed
    rules = PreviewRules(
        server_name=core.server_name,
        max_bytes=config.max_spider_size,
        max_pixels=config.max_image_pixels,
        languages=config.url_preview_accept_language,
        denied_urls=config.url_preview_url_blacklist,
        providers=[
            *(() if oembed.disable_default_providers else DEFAULT_PROVIDERS),
            *load_providers(oembed.additional_providers),
        ],
        authenticated=config.enable_authenticated_media,
    )
    client = build_preview_client(core.reactor, core.clock, config)
    return Previews(library, client, core.media.workers, core.limits.limiter("previews", PREVIEW_RATE), rules)


def _upload_rules(server_name: str, options: MediaOptions) -> UploadRules:
    return UploadRules(
        server_name=server_name,
        max_bytes=options.max_upload_size,
        quotas=[Quota(limit.time_period, limit.max_size) for limit in options.media_upload_limits],
        max_reserved=options.max_pending_media_uploads,
        reserved_ms=options.unused_expiration_time,
        authenticated=options.enable_authenticated_media,
    )


def _thumbnail_rules(options: MediaOptions) -> ThumbnailRules:
    return ThumbnailRules(
        sizes=[Size(size.width, size.height, size.method) for size in options.thumbnail_sizes],
        dynamic=options.dynamic_thumbnails,
        max_pixels=options.max_image_pixels,
    )
