"""How events relate to each other ("Forming relationships between events")."""

from attrs import frozen

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import invalid_param

RELATES_TO = "m.relates_to"
ANNOTATION = "m.annotation"
REFERENCE = "m.reference"
REPLACE = "m.replace"
THREAD = "m.thread"
MAX_KEY_BYTES = 500


@frozen
class Relation:
    """`parent_id`: the event that is related to; `key`: of an annotation, what it says of the parent."""

    rel_type: str
    parent_id: str
    key: str | None = None


def relation_of(content: JsonObject) -> Relation | None:
    """The relation that a content declares; None where there is none, or what is there is none."""
    relates_to = content.get(RELATES_TO)
    if not isinstance(relates_to, dict):
        return None
    rel_type, parent_id, key = (relates_to.get(name) for name in ("rel_type", "event_id", "key"))
    if not isinstance(rel_type, str) or not isinstance(parent_id, str):
        return None
    if not _is_text(rel_type, ids.MAX_ID_BYTES) or not ids.is_event_id(parent_id):
        return None
    if rel_type != ANNOTATION:
        return Relation(rel_type, parent_id)
    return Relation(rel_type, parent_id, key) if _is_text(key, MAX_KEY_BYTES) else None


def check_relation(content: JsonObject) -> Relation | None:
    """As `relation_of`, for what our users send: 400 when an annotation has no key, or too long a one."""
    relates_to = content.get(RELATES_TO)
    if isinstance(relates_to, dict) and relates_to.get("rel_type") == ANNOTATION:
        key = relates_to.get("key")
        if not _is_text(key, MAX_KEY_BYTES):
            raise invalid_param(f"An annotation needs a 'key' of 1 to {MAX_KEY_BYTES} bytes")
    return relation_of(content)


def _is_text(value: object, most: int) -> bool:
    return isinstance(value, str) and 0 < len(value.encode()) <= most and "\0" not in value
