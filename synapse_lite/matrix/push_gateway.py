"""What push gateways are told (push gateway API, `POST /_matrix/push/v1/notify`)."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import attrs

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.types import ENCRYPTED, MEMBER

PATH = "/_matrix/push/v1/notify"
EVENT_ID_ONLY = "event_id_only"


@attrs.frozen
class Surroundings:
    """What is said of the room of an event: its names, and that of the sender there."""

    room_name: str | None = None
    room_alias: str | None = None
    sender_name: str | None = None


def is_gateway(url: object) -> bool:
    """Whether it is the address of a push gateway."""
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.path == PATH


def device_of(app_id: str, pushkey: str, created_ts: int, data: JsonObject) -> JsonObject:
    """Whom the gateway shall reach. Of what the client gave it hears all but its own address."""
    passed = {key: value for key, value in data.items() if key != "url"}
    return {"app_id": app_id, "pushkey": pushkey, "pushkey_ts": created_ts // 1000, "data": passed}


def notification(
    event: Event,
    user_id: str,
    device: JsonObject,
    tweaks: Mapping[str, Any],
    surroundings: Surroundings,
    unread: int,
    *,
    only_ids: bool,
) -> JsonObject:
    """The body of a push for an event; `only_ids`: nothing of what was said, nor by whom."""
    body: JsonObject = {
        "event_id": event.event_id,
        "room_id": event.room_id,
        "counts": {"unread": unread},
        "prio": "high" if _is_urgent(event, tweaks) else "low",
    }
    if only_ids:
        return {"notification": {**body, "devices": [device]}}
    body |= {
        "type": event.type,
        "sender": event.sender,
        "content": event.content,
        "devices": [{**device, "tweaks": dict(tweaks)}],
    }
    optional = {
        "sender_display_name": surroundings.sender_name,
        "room_name": surroundings.room_name,
        "room_alias": surroundings.room_alias,
        "user_is_target": True if event.type == MEMBER and event.state_key == user_id else None,
    }
    return {"notification": {**body, **{key: value for key, value in optional.items() if value is not None}}}


def badge(device: JsonObject, unread: int) -> JsonObject:
    """The body of a push that only changes the number on the icon."""
    return {"notification": {"counts": {"unread": unread}, "prio": "low", "devices": [device]}}


def rejected_keys(answer: object) -> Sequence[str]:
    """The keys that the gateway will never reach again, as its answer says."""
    keys = answer.get("rejected") if isinstance(answer, dict) else None
    return [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []


def _is_urgent(event: Event, tweaks: Mapping[str, Any]) -> bool:
    return event.type == ENCRYPTED or bool(tweaks.get("highlight")) or bool(tweaks.get("sound"))
