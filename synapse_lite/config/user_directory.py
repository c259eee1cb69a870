"""Whom users find in the user directory."""

from pydantic import Field

from synapse_lite.config.options import Options


class Directory(Options):
    enabled: bool = Field(default=True, description="Users can look for others by name.")
    search_all_users: bool = Field(
        default=False,
        description="All users of this server are found, also by those who share no room with them.",
    )
    prefer_local_users: bool = Field(default=False, description="Users of this server come first.")
    exclude_remote_users: bool = Field(default=False, description="Only users of this server are found.")
    show_locked_users: bool = Field(default=False, description="Users who are locked out are found, too.")


class UserDirectoryOptions(Options):
    """User directory"""

    user_directory: Directory = Field(default=Directory(), description="The user directory.")
