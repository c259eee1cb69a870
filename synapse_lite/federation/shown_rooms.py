"""A room as another server shows it to a user who is invited, or knocks (client-server API, "Stripped state"; MSC4311)."""

from typing import Any

from synapse_lite.canonical_json import JsonObject
from synapse_lite.federation.pdus import PduChecker
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.room_versions import RoomVersion

MAX_SHOWN = 100
"""Events of a room."""


async def read_shown(checker: PduChecker, given: Any, version: RoomVersion, room_id: str) -> list[JsonObject]:
    """Stripped state events, as far as they are well-formed.

    Where the id of a room is the hash of its create event (room version 12) whole events must be good ones of the room,
    or they are left out. Servers of old send what is stripped already, of which nothing can be checked.
    """
    events = [one for one in given[:MAX_SHOWN] if isinstance(one, dict)] if isinstance(given, list) else []
    if version.room_id_is_hash:
        whole = [one for one in events if "auth_events" in one]
        checked = iter(await checker.check_all(whole, version, room_id))
        read = [next(checked) if "auth_events" in one else one for one in events]
        events = [one.pdu if isinstance(one, Event) else one for one in read if isinstance(one, Event | dict)]
    return [shown for one in events if (shown := _stripped(one)) is not None]


def _stripped(event: JsonObject) -> JsonObject | None:
    stripped = {key: event.get(key) for key in ("type", "state_key", "sender", "content")}
    texts = (stripped["type"], stripped["state_key"], stripped["sender"])
    if not all(isinstance(text, str) for text in texts) or not isinstance(stripped["content"], dict):
        return None
    return stripped
