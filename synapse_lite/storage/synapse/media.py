"""Media as Synapse's database knows them."""

from collections.abc import Iterator

from attrs import frozen

from synapse_lite.storage.synapse.database import SynapseDatabase, SynapseRow


@frozen
class SynapseMedia:
    """`origin` None: the server's own. `file_id` names the file of a copy. Times are milliseconds since 1970."""

    origin: str | None
    media_id: str
    file_id: str | None
    media_type: str | None
    size: int
    upload_name: str | None
    user_id: str | None
    created_ts: int
    last_access_ts: int | None
    quarantined_by: str | None
    protected: bool
    authenticated: bool


def local_media(database: SynapseDatabase) -> Iterator[SynapseMedia]:
    """The server's own media, without parts of previews and what was never uploaded."""
    for row in database.pages("local_media_repository", ("media_id",)):
        if row["url_cache"] is None and row["media_length"] is not None:
            yield _media(row, None)


def remote_media(database: SynapseDatabase) -> Iterator[SynapseMedia]:
    """Copies of other servers' media."""
    for row in database.pages("remote_media_cache", ("media_origin", "media_id")):
        if row["media_length"] is not None:
            yield _media(row, row["media_origin"])


def _media(row: SynapseRow, origin: str | None) -> SynapseMedia:
    return SynapseMedia(
        origin,
        row["media_id"],
        row.get("filesystem_id"),
        row["media_type"],
        row["media_length"],
        row["upload_name"],
        row.get("user_id"),
        row["created_ts"] or 0,
        row.get("last_access_ts"),
        row.get("quarantined_by"),
        bool(row.get("safe_from_quarantine")),
        bool(row.get("authenticated")),
    )
