"""The shape of events that come from outside (server-server API, "PDU fields")."""

from typing import Any

from synapse_lite import canonical_json, ids
from synapse_lite.canonical_json import MAX_SAFE_INTEGER, JsonObject
from synapse_lite.errors import bad_json
from synapse_lite.matrix.event import check_fields, check_size
from synapse_lite.matrix.room_versions import RoomVersion

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
    for name, kind in _REQUIRED.items():
        _check_type(name, pdu.get(name), kind)
    _check_optional("state_key", pdu)
    if not (version.room_id_is_hash and pdu["type"] == "m.room.create"):
        _check_type("room_id", pdu.get("room_id"), str)
    _check_optional("room_id", pdu)
    if not ids.is_user_id(pdu["sender"]):
        raise bad_json("'sender' must be a user ID")
    if not 0 <= pdu["depth"] <= MAX_SAFE_INTEGER:
        raise bad_json("'depth' is out of range")
    for name in ("prev_events", "auth_events"):
        if not all(isinstance(event_id, str) for event_id in pdu[name]):
            raise bad_json(f"{name!r} must be a list of event IDs")
    if version.strict_canonical_json:
        canonical_json.check_canonical(pdu)
    check_fields(pdu)
    check_size(len(canonical_json.encode(pdu)))


def _check_optional(name: str, pdu: JsonObject) -> None:
    if name in pdu:
        _check_type(name, pdu[name], str)


def _check_type(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise bad_json(f"{name!r} is missing or not of the type {kind.__name__}")
