"""Messages of the operator to single users."""

from pydantic import Field

from synapse_lite.config.options import Options


class ServerNotices(Options):
    system_mxid_localpart: str | None = Field(
        default=None, description="Localpart of the user who sends them. Without it there are none."
    )
    system_mxid_display_name: str = Field(default="Notices", description="Their display name.")
    system_mxid_avatar_url: str | None = Field(default=None, description="Their avatar (mxc://).")
    room_name: str = Field(default="Server Notices", description="Name of the room that each user gets.")
    room_avatar_url: str | None = Field(default=None, description="Its avatar (mxc://).")
    room_topic: str | None = Field(default=None, description="Its topic.")
    auto_join: bool = Field(default=False, description="Users are joined instead of invited.")


class ServerNoticeOptions(Options):
    """Server notices"""

    server_notices: ServerNotices = Field(
        default=ServerNotices(), description="Messages of the operator to single users."
    )
