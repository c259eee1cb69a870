"""What clients ask of sliding sync (MSC4186), in the form that they use today and in that in which it was merged."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from synapse_lite.canonical_json import JsonObject, encode
from synapse_lite.errors import Errcode, MatrixError, bad_json, missing_param
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.sliding_sync.extensions import OF_ROOMS, SECTIONS, THREAD_SUBSCRIPTIONS, TO_DEVICE
from synapse_lite.handlers.sliding_sync.values import (
    ANY,
    LAZY,
    Extension,
    ListFilters,
    Pos,
    RoomConfig,
    RoomList,
    Selection,
    SlidingRequest,
)
from synapse_lite.handlers.tokens import read_to_device_token
from synapse_lite.ids import is_room_id
from synapse_lite.matrix.types import MEMBER
from synapse_lite.rest.body import parameter

MAX_LISTS = 100
MAX_NAME = 64
MAX_CONN_ID = 255
MAX_TIMELINE = 1000
MAX_ITEMS = 1000
MAX_INDEX = 2**31
MAX_RANGES = 200  # of all lists together: a client gets the rooms of each, however they overlap
MAX_PATTERNS = 2000  # of state, of all lists together: they meet in each room
MOST = 100  # messages to the device, thread subscriptions
_POS = re.compile(r"p([0-9]{1,18})_([0-9]{1,18})(?:_([0-9]{1,9}))?")


@frozen
class Form:
    """Where the two forms differ: how lists say their windows and rooms their state, and a name."""

    is_merged: bool
    ranges: Callable[[JsonObject], Sequence[tuple[int, int]] | None]
    required: Callable[[Any], RoomConfig]
    state_type: type
    is_invite: str


def read_request(
    requester: Requester, body: JsonObject, form: Form, pos: str | None, timeout_ms: int
) -> SlidingRequest:
    """400 `M_BAD_JSON` for what does not fit, `M_UNKNOWN_POS` for what is no position of ours."""
    extensions = parameter(body, "extensions", dict, None) or {}
    messages = _enabled(extensions, TO_DEVICE)
    since = parameter(messages, "since", str, None) if messages else None
    return SlidingRequest(
        requester,
        _conn_id(body),
        _pos(pos) if pos else None,
        timeout_ms,
        _lists(body, form),
        _subscriptions(body, form),
        _extensions(extensions),
        read_to_device_token(since) if since else None,
        _limit(messages),
        _limit(_enabled(extensions, THREAD_SUBSCRIPTIONS)),
        _digest(body, extensions, form),
        is_merged=form.is_merged,
    )


def _pos(text: str) -> Pos:
    match = _POS.fullmatch(text)
    if match is None:
        raise MatrixError(400, Errcode.UNKNOWN_POS, "Unknown position")
    return Pos(int(match[1]), int(match[2]), int(match[3] or 0))


def _conn_id(body: JsonObject) -> str:
    conn_id = parameter(body, "conn_id", str, None) or ""
    if len(conn_id) > MAX_CONN_ID or "\0" in conn_id:
        raise bad_json(f"'conn_id' must be a text of at most {MAX_CONN_ID} characters")
    return conn_id


def _digest(body: JsonObject, extensions: JsonObject, form: Form) -> str:
    """Tells requests for different things apart: the tokens of extensions say nothing about that."""
    asked = {name: body.get(name) for name in ("lists", "room_subscriptions")}
    enabled = {name: one for name in extensions if (one := _enabled(extensions, name)) is not None}
    on = {
        name: [one.get("lists"), one.get("rooms")] if name in OF_ROOMS else None
        for name, one in enabled.items()
    }
    return hashlib.sha256(encode({**asked, "extensions": on, "is_merged": form.is_merged})).hexdigest()[:32]


# Lists and rooms


def _lists(body: JsonObject, form: Form) -> dict[str, RoomList]:
    lists = parameter(body, "lists", dict, None) or {}
    if len(lists) > MAX_LISTS or any(not 0 < len(name) <= MAX_NAME for name in lists):
        raise bad_json(f"'lists' must have at most {MAX_LISTS} names of at most {MAX_NAME} characters")
    found = {name: _list(_object(one, f"lists.{name}"), form) for name, one in lists.items()}
    if sum(len(one.ranges or ()) for one in found.values()) > MAX_RANGES:
        raise bad_json(f"'lists' must have at most {MAX_RANGES} ranges in all")
    if sum(one.config.size for one in found.values()) > MAX_PATTERNS:
        raise bad_json(f"'required_state' of all lists must have at most {MAX_PATTERNS} items")
    return found


def _list(one: JsonObject, form: Form) -> RoomList:
    return RoomList(_config(one, form), form.ranges(one), _filters(one, form))


def _ranges(one: JsonObject) -> list[tuple[int, int]] | None:
    ranges = parameter(one, "ranges", list, None)
    if ranges is None or parameter(one, "slow_get_all_rooms", bool, None):
        return None
    return [_range(span) for span in _at_most(ranges, "ranges")]


def _single_range(one: JsonObject) -> list[tuple[int, int]] | None:
    span = parameter(one, "range", list, None)
    return None if span is None else [_range(span)]


def _range(span: Any) -> tuple[int, int]:
    if not isinstance(span, list) or len(span) != 2:  # noqa: PLR2004 (start and end)
        raise bad_json("A range must be a list of its start and its end")
    if any(isinstance(one, bool) or not isinstance(one, int) or not 0 <= one < MAX_INDEX for one in span):
        raise bad_json("The start and the end of a range must be integers from 0")
    if span[0] > span[1]:
        raise bad_json("A range must not end before it starts")
    return span[0], span[1]


def _subscriptions(body: JsonObject, form: Form) -> dict[str, RoomConfig]:
    rooms = parameter(body, "room_subscriptions", dict, None) or {}
    if len(rooms) > MAX_ITEMS or not all(is_room_id(room_id) for room_id in rooms):
        raise bad_json(f"'room_subscriptions' must be by room id, and at most {MAX_ITEMS}")
    return {
        room_id: _config(_object(one, f"room_subscriptions.{room_id}"), form)
        for room_id, one in rooms.items()
    }


def _config(one: JsonObject, form: Form) -> RoomConfig:
    for name in ("required_state", "timeline_limit"):
        if name not in one:
            raise missing_param(name)
    config = form.required(parameter(one, "required_state", form.state_type))
    return evolve(config, timeline_limit=_bounded(one, "timeline_limit", MAX_TIMELINE))


def _pairs(required: Sequence[Any]) -> RoomConfig:
    return RoomConfig(frozenset(map(_pattern, _at_most(required, "required_state"))))


def _pattern(pair: Any) -> tuple[str, str]:
    if not isinstance(pair, list) or len(pair) != 2 or not all(_is_text(one) for one in pair):  # noqa: PLR2004
        raise bad_json("An item of 'required_state' must be a list of a type and a state key")
    return pair[0], pair[1]


def _elements(required: JsonObject) -> RoomConfig:
    found = [parameter(required, name, list, None) for name in ("include", "exclude")]
    include, exclude = (frozenset(map(_element, _at_most(one or (), "required_state"))) for one in found)
    members = {(MEMBER, LAZY)} if parameter(required, "lazy_members", bool, None) else set()
    if exclude:
        return RoomConfig(frozenset(members), selections=frozenset({Selection(include, exclude)}))
    return RoomConfig(include | members)


def _element(one: Any) -> tuple[str, str]:
    """What is left out stands for everything."""
    element = _object(one, "required_state")
    kind, key = (element.get(name, ANY) for name in ("type", "state_key"))
    if not _is_text(kind) or not _is_text(key):
        raise bad_json("'type' and 'state_key' must be strings")
    return kind, key


UNSTABLE = Form(is_merged=False, ranges=_ranges, required=_pairs, state_type=list, is_invite="is_invite")
MERGED = Form(
    is_merged=True, ranges=_single_range, required=_elements, state_type=dict, is_invite="is_invited"
)


# Filters


def _filters(one: JsonObject, form: Form) -> ListFilters:
    filters = parameter(one, "filters", dict, None) or {}
    name = parameter(filters, "room_name_like", str, None)
    return ListFilters(
        is_dm=parameter(filters, "is_dm", bool, None),
        is_encrypted=parameter(filters, "is_encrypted", bool, None),
        is_invite=parameter(filters, form.is_invite, bool, None),
        spaces=_texts(filters, "spaces"),
        room_types=_types(filters, "room_types"),
        not_room_types=_types(filters, "not_room_types") or (),
        room_name_like=name,
        tags=_texts(filters, "tags"),
        not_tags=_texts(filters, "not_tags") or (),
    )


def _texts(body: JsonObject, name: str) -> frozenset[str] | None:
    values = parameter(body, name, list, None)
    if values is None:
        return None
    if not all(_is_text(one) for one in _at_most(values, name)):
        raise bad_json(f"{name!r} must be a list of strings")
    return frozenset(values)


def _types(body: JsonObject, name: str) -> frozenset[str | None] | None:
    """Null stands for rooms without a type."""
    values = parameter(body, name, list, None)
    if values is None:
        return None
    if not all(one is None or _is_text(one) for one in _at_most(values, name)):
        raise bad_json(f"{name!r} must be a list of strings and null")
    return frozenset(values)


# Extensions


def _extensions(extensions: JsonObject) -> dict[str, Extension]:
    """Those that are on; unknown names count for nothing."""
    found: dict[str, Extension] = {}
    for name in {*SECTIONS, *OF_ROOMS}:
        one = _enabled(extensions, name)
        if one is not None:
            found[name] = Extension(*(_places(one, key) for key in ("lists", "rooms")))
            if name not in OF_ROOMS:
                found[name] = Extension((), ())
    return found


def _limit(one: JsonObject | None) -> int:
    return min(max(1, parameter(one or {}, "limit", int, MOST)), MOST)


def _places(one: JsonObject, key: str) -> frozenset[str]:
    found = _texts(one, key)
    return frozenset({"*"}) if found is None else found


def _enabled(extensions: Mapping[str, Any], name: str) -> JsonObject | None:
    one = extensions.get(name)
    if one is None:
        return None
    one = _object(one, f"extensions.{name}")
    return one if parameter(one, "enabled", bool, None) else None


# Pieces


def _object(value: Any, name: str) -> JsonObject:
    if not isinstance(value, dict):
        raise bad_json(f"{name!r} must be an object")
    return value


def _at_most(values: Sequence[Any], name: str) -> Sequence[Any]:
    if len(values) > MAX_ITEMS:
        raise bad_json(f"{name!r} holds more than {MAX_ITEMS} values")
    return values


def _bounded(body: JsonObject, name: str, most: int) -> int:
    number = parameter(body, name, int)
    if not 0 <= number <= most:
        raise bad_json(f"{name!r} must be an integer from 0 to {most}")
    return number


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value
