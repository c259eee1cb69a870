"""`users ...`: see users, make, change and erase them."""

from synapse_lite.cli.users.command import users

__all__ = ["users"]
