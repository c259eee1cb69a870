"""The links from a space to the rooms in it, stripped as clients and servers are shown them."""

import re
from collections.abc import Mapping
from typing import Any

from synapse_lite.canonical_json import JsonObject, check_canonical
from synapse_lite.errors import MatrixError
from synapse_lite.ids import is_room_id, is_server_name
from synapse_lite.matrix.event import Event

CHILD = "m.space.child"
SPACE = "m.space"
_ORDER = re.compile(r"[\x20-\x7e]{1,50}")
_FIELDS: Mapping[str, type] = {
    "type": str,
    "state_key": str,
    "content": dict,
    "sender": str,
    "origin_server_ts": int,
}


def stripped(event: Event) -> JsonObject:
    return {name: getattr(event, name) for name in _FIELDS}


def read_child(told: Any) -> JsonObject | None:
    """The link that another server tells; None when it is malformed."""
    if not isinstance(told, dict) or not all(type(told.get(name)) is kind for name, kind in _FIELDS.items()):
        return None
    child = {name: told[name] for name in _FIELDS}
    try:
        check_canonical(child)
    except MatrixError:
        return None
    return child if child["type"] == CHILD and is_child(child) else None


def is_child(child: JsonObject) -> bool:
    """Whether it leads to a room; without servers it is taken back."""
    via = child["content"].get("via")
    is_named = isinstance(via, list) and any(isinstance(server, str) for server in via)
    return is_named and is_room_id(child["state_key"] or "")


def is_suggested(child: JsonObject) -> bool:
    return child["content"].get("suggested") is True


def servers_of(child: JsonObject) -> list[str]:
    """That may know the room."""
    return [one for one in child["content"]["via"] if isinstance(one, str) and is_server_name(one)]


def place(child: JsonObject) -> tuple[Any, ...]:
    """Client-server API, "Ordering of children within a space"."""
    order = child["content"].get("order")
    is_ordered = isinstance(order, str) and _ORDER.fullmatch(order) is not None
    return (not is_ordered, order if is_ordered else "", child["origin_server_ts"], child["state_key"])
