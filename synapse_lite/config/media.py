"""Uploads, thumbnails, previews, and where the bytes are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from synapse_lite.config.options import Options
from synapse_lite.config.outbound import Network
from synapse_lite.config.units import DAY, KIBIBYTE, MEBIBYTE, Duration, Size

S3_MODULE = "s3_storage_provider.S3StorageProviderBackend"


class UploadLimit(Options):
    time_period: Duration = Field(description="Within this time.")
    max_size: Size = Field(description="A user may upload so much.")


class S3Options(Options):
    bucket: str = Field(description="Name of the bucket.")
    region_name: str | None = Field(default=None, description="Its region.")
    endpoint_url: str | None = Field(default=None, description="URL of a server other than Amazon's.")
    access_key_id: str | None = Field(default=None, description="Key; boto3 looks for one when null.")
    secret_access_key: str | None = Field(default=None, description="Secret of the key.")
    session_token: str | None = Field(default=None, description="Token of a temporary key.")
    prefix: str = Field(default="", description="What all names of objects begin with.")

    @property
    def client_arguments(self) -> dict[str, Any]:
        """Those of a boto3 client."""
        named = {
            "region_name": self.region_name,
            "endpoint_url": self.endpoint_url,
            "aws_access_key_id": self.access_key_id,
            "aws_secret_access_key": self.secret_access_key,
            "aws_session_token": self.session_token,
        }
        return {name: value for name, value in named.items() if value is not None}


class StorageProvider(Options):
    module: str = Field(description=f"Only {S3_MODULE} is known.")
    config: S3Options = Field(description="Which bucket, and how to reach it.")

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        """Before its options are looked at: those of another module are other ones."""
        module = values.get("module") if isinstance(values, Mapping) else None
        if module is not None and module != S3_MODULE:
            raise ValueError(f"module {module} is not there: only {S3_MODULE} is, and media_store_path alone")
        return values


class ThumbnailSize(Options):
    width: int = Field(ge=1, le=4096, description="Width in pixels.")
    height: int = Field(ge=1, le=4096, description="Height in pixels.")
    method: Literal["crop", "scale"] = Field(description="crop fills it, scale fits into it.")


def _size(width: int, height: int, method: Literal["crop", "scale"]) -> ThumbnailSize:
    return ThumbnailSize(width=width, height=height, method=method)


class OEmbedOptions(Options):
    disable_default_providers: bool = Field(default=False, description="Forget the built-in sites.")
    additional_providers: tuple[Path, ...] = Field(
        default=(), description="Files with further sites, as oembed.com/providers.json."
    )


class MediaRetention(Options):
    local_media_lifetime: Duration | None = Field(
        default=None, description="Delete our own media this long after their last use; null: never."
    )
    remote_media_lifetime: Duration | None = Field(
        default=None, description="Delete copies of other servers' media this long after their last use."
    )


class MediaOptions(Options):
    """Media"""

    enable_media_repo: bool = Field(
        default=True,
        description="Serve media. false, in the file that all share, leaves it to workers whose worker_app is "
        "synapse.app.media_repository, or whose own file says true.",
    )
    media_store_path: Path = Field(
        default=Path("media_store"),
        description="Directory of uploads; with a storage provider only of those that are under way.",
    )
    media_storage_providers: tuple[StorageProvider, ...] = Field(
        default=(),
        max_length=1,
        description="Object storage that takes the place of the directory: [{module, config}]. It needs the "
        "extra s3. An upload is answered when the object is stored.",
    )
    max_upload_size: Size = Field(
        default=50 * MEBIBYTE, description="Largest upload, and largest file of another server."
    )
    media_upload_limits: tuple[UploadLimit, ...] = Field(
        default=(), description="How much a user may upload in a time: [{time_period, max_size}]."
    )
    max_pending_media_uploads: int = Field(
        default=5, ge=0, description="Names that a user may reserve for later uploads."
    )
    unused_expiration_time: Duration = Field(default=DAY, description="When such a reservation ends.")
    enable_authenticated_media: bool = Field(
        default=True,
        description="Media that are uploaded from now on are served only to who is logged in. What was "
        "uploaded while this was false stays public.",
    )
    prevent_media_downloads_from: tuple[str, ...] = Field(
        default=(),
        description="Servers whose media are not fetched, though they may be asked for everything else.",
    )
    remote_media_download_per_second: Size = Field(
        default=87 * KIBIBYTE,
        gt=0,
        description="How much of other servers' media this server fetches for one user, in a second; files that it "
        "has already do not count.",
    )
    remote_media_download_burst_count: Size = Field(
        default=500 * MEBIBYTE, description="So much it fetches for one user at once."
    )
    max_image_pixels: Size = Field(
        default=32 * MEBIBYTE, description="Largest image to make thumbnails of, in pixels."
    )
    thumbnail_sizes: tuple[ThumbnailSize, ...] = Field(
        default=(
            _size(32, 32, "crop"),
            _size(96, 96, "crop"),
            _size(320, 240, "scale"),
            _size(640, 480, "scale"),
            _size(800, 600, "scale"),
        ),
        min_length=1,
        description="Sizes of thumbnails, each made when it is first asked for: [{width, height, method}].",
    )
    dynamic_thumbnails: bool = Field(
        default=False,
        description="Make thumbnails of other sizes, too: the next of a list of eleven, so that they stay few.",
    )
    media_retention: MediaRetention = Field(
        default=MediaRetention(),
        description="How long media are kept that nobody uses. What is protected, quarantined, or the picture of a "
        "user or a room stays.",
    )
    max_remote_media_cache: Size | None = Field(
        default=None,
        description="How much of other servers' media is kept, in bytes: beyond it those not used for the longest "
        "are deleted, every hour. null: no limit.",
    )
    max_avatar_size: Size | None = Field(
        default=None, description="Largest picture of a user or a room; null: any."
    )
    allowed_avatar_mimetypes: tuple[str, ...] | None = Field(
        default=None, description="Types of pictures of users and rooms, such as image/png; null: any."
    )
    url_preview_enabled: bool = Field(
        default=False,
        description="Make previews of web pages for clients. The server then requests pages that its users name: "
        "url_preview_ip_range_blacklist must be set, too.",
    )
    url_preview_ip_range_blacklist: tuple[Network, ...] | None = Field(
        default=None,
        description="Address ranges that are never asked for a preview, in place of ip_range_blacklist.",
    )
    url_preview_ip_range_whitelist: tuple[Network, ...] = Field(
        default=(), description="Exceptions to url_preview_ip_range_blacklist."
    )
    url_preview_url_blacklist: tuple[dict[str, str], ...] = Field(
        default=(),
        description="URLs that are never previewed: {scheme, netloc, path, ...}, each a glob, or a regular "
        "expression that starts with ^.",
    )
    max_spider_size: Size = Field(default=10 * MEBIBYTE, description="Largest page or picture of a preview.")
    url_preview_accept_language: tuple[str, ...] = Field(
        default=("en",), description="Languages in which pages are asked for, the best first."
    )
    oembed: OEmbedOptions = Field(default=OEmbedOptions(), description="Sites that are asked by oEmbed.")

    @model_validator(mode="after")
    def _previews_have_limits(self) -> Self:
        if self.url_preview_enabled and self.url_preview_ip_range_blacklist is None:
            raise ValueError(
                "url_preview_enabled needs url_preview_ip_range_blacklist: name the ranges, or []"
            )
        return self
