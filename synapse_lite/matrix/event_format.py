"""The shape of events that come from outside (server-server API, "PDU fields")."""

from typing import Any

from synapse_lite import canonical_json, ids
from synapse_lite.canonical_json import MAX_SAFE_INTEGER, JsonObject
from synapse_lite.errors import bad_json
from synapse_lite.matrix.event import check_fields, check_size, encode_event
from synapse_lite.matrix.room_versions import RoomVersion

PAIR = 2
_REQUIRED: dict[str, type] = {
    "auth_events": list,
    "content": dict,
    "depth": int,
    "hashes": dict,
    "origin_server_ts": int,
    "prev_events": list,
    "sender": str,
    "signatures": dict,
    "type": str,
}


def check_format(pdu: JsonObject, version: RoomVersion) -> None:
    """Raises 400 `M_BAD_JSON` or 413 `M_TOO_LARGE` unless `Event.from_pdu` can take `pdu`.

    Hashes, signatures and the authorisation rules are not looked at.
    """
    check_shape(pdu, version)
    if not ids.is_user_id(pdu["sender"]):
        raise bad_json("'sender' must be a user ID")
    if not 0 <= pdu["depth"] <= version.max_depth:
        raise bad_json("'depth' is out of range")
    if not -MAX_SAFE_INTEGER <= pdu["origin_server_ts"] <= MAX_SAFE_INTEGER:
        raise bad_json("'origin_server_ts' is out of range")
    if not version.event_id_is_hash:
        _check_event_id(pdu.get("event_id"))
    if version.strict_canonical_json:
        canonical_json.check_canonical(pdu)
    else:
        canonical_json.check_depth(pdu)
    check_fields(pdu)
    check_size(len(encode_event(pdu, version)))


def check_shape(pdu: JsonObject, version: RoomVersion) -> None:
    """As `check_format`, of the types of its parts alone: what is within the limits is not looked at."""
    for name, kind in _REQUIRED.items():
        _check_type(name, pdu.get(name), kind)
    _check_optional("state_key", pdu)
    if not (version.room_id_is_hash and pdu["type"] == "m.room.create"):
        _check_type("room_id", pdu.get("room_id"), str)
    _check_optional("room_id", pdu)
    _check_optional("event_id", pdu)
    for name in ("prev_events", "auth_events"):
        if not all(_is_reference(item, version) for item in pdu[name]):
            raise bad_json(f"{name!r} must be a list of references to events")


def _is_reference(item: Any, version: RoomVersion) -> bool:
    """An event id; in versions 1 and 2 a pair of it and its hashes."""
    if version.event_id_is_hash:
        return isinstance(item, str) and ids.is_event_id(item)
    return (
        isinstance(item, list)
        and len(item) == PAIR
        and isinstance(item[0], str)
        and ids.is_event_id(item[0])
        and isinstance(item[1], dict)
        and isinstance(item[1].get("sha256", ""), str)
    )


def _check_event_id(event_id: Any) -> None:
    if not isinstance(event_id, str) or not ids.is_given_event_id(event_id):
        raise bad_json("'event_id' must be an event ID of this room version")


def _check_optional(name: str, pdu: JsonObject) -> None:
    if name in pdu:
        _check_type(name, pdu[name], str)


def _check_type(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise bad_json(f"{name!r} is missing or not of the type {kind.__name__}")
