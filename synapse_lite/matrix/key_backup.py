"""Backed up room keys, and which copy of one is kept (client-server API, "Server-side key backups")."""

from typing import NamedTuple


class RoomKey(NamedTuple):
    """A key of a session in a room; `session_data` is JSON, encrypted by its owner."""

    room_id: str
    session_id: str
    is_verified: bool
    first_message_index: int
    forwarded_count: int
    session_data: str


def is_better(new: RoomKey, old: RoomKey) -> bool:
    """A verified one; else the one that reads more of the past; else the one that came by a shorter way."""
    return _worth(new) > _worth(old)


def _worth(key: RoomKey) -> tuple[bool, int, int]:
    return key.is_verified, -key.first_message_index, -key.forwarded_count
