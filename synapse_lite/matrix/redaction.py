"""What remains of a redacted event ("Redactions" of each room version)."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.room_versions import RoomVersion


def redact(pdu: JsonObject, version: RoomVersion) -> JsonObject:
    """A new object with the protected keys only; shares nested values with `pdu`.

    `unsigned` is dropped: it is outside the algorithm.
    """
    rules = version.redaction
    redacted = {key: value for key, value in pdu.items() if key in rules.top_level}
    event_type = pdu["type"]
    if event_type in rules.whole_content:
        return redacted
    content = pdu["content"]
    kept_keys = rules.content.get(event_type)
    kept = {} if kept_keys is None else {key: value for key, value in content.items() if key in kept_keys}
    for key, inner_keys in rules.nested.get(event_type, {}).items():
        inner = content.get(key)
        if isinstance(inner, dict):
            kept[key] = {name: value for name, value in inner.items() if name in inner_keys}
    redacted["content"] = kept
    return redacted
