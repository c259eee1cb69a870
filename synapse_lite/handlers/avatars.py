"""Which pictures may stand for a user or a room: checked when they are set, so that everybody can show them."""

from collections.abc import Collection

from attrs import frozen

from synapse_lite.errors import forbidden
from synapse_lite.matrix.media import essence, parse_mxc
from synapse_lite.storage.database import Database
from synapse_lite.storage.media import files


@frozen
class Avatars:
    """`max_bytes` and `types` None: any. Where either is set, a picture must be known to this server."""

    database: Database
    max_bytes: int | None
    types: Collection[str] | None

    async def check(self, uri: object) -> None:
        """403 `M_FORBIDDEN` for a picture that is too large, of another type, or not here. No picture is fine."""
        if not uri or (self.max_bytes is None and self.types is None):
            return
        mxc = parse_mxc(uri)
        media = None if mxc is None else await self.database.read(files.read_media, mxc.origin, mxc.media_id)
        if media is None or media.size is None or media.media_type is None:
            raise forbidden("This avatar is not allowed: this server does not have it")
        if self.max_bytes is not None and media.size > self.max_bytes:
            raise forbidden(f"This avatar is not allowed: it is larger than {self.max_bytes} bytes")
        if self.types is not None and essence(media.media_type) not in self.types:
            raise forbidden(f"This avatar is not allowed: it is not one of {', '.join(sorted(self.types))}")
