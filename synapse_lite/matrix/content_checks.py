"""What our users may write into the events that servers or all clients interpret.

Events of other servers are not judged by this: what is wrong in them counts as absent where it is
read. A field that is absent is fine, unless the event means nothing without it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from synapse_lite import ids
from synapse_lite.canonical_json import MAX_SAFE_INTEGER, JsonObject
from synapse_lite.errors import bad_json, forbidden, invalid_param
from synapse_lite.matrix import types
from synapse_lite.matrix.event import Draft
from synapse_lite.matrix.server_acl import is_server_allowed

MAX_DISPLAYNAME = 256
MAX_AVATAR_URL = 1000
MAX_LISTED = 1000
"""Entries of one list; what is longer, no client could show."""

Check = Callable[[Any], bool]
"""Whether a value fits."""


def check_draft(draft: Draft) -> None:
    """The limits of ids, and `check_content`. Raises 400 and 413 `M_TOO_LARGE`.

    To be asked before an event gets into line: then nothing in it breaks the others' transaction.
    """
    if draft.type == types.CREATE:
        raise invalid_param("A room is created only once")
    ids.check_length("type", draft.type)
    ids.check_length("state_key", draft.state_key or "")
    if draft.redacts is not None and not ids.is_event_id(draft.redacts):
        raise invalid_param("'redacts' must be an event ID")
    if draft.state_key is None and draft.type in _STATE_ONLY:
        raise bad_json(f"{draft.type} must be a state event")
    check_content(draft.type, draft.content)
    if draft.type == types.SERVER_ACL and draft.state_key == "":
        _check_own_server(draft.content, ids.domain_of(draft.sender))


def check_content(event_type: str, content: JsonObject) -> None:
    """400 `M_BAD_JSON` for a field of the wrong shape."""
    for name, (what, fits) in _COMMON.items():
        _check_field(name, content, what, fits)
    for name, (what, fits) in _FIELDS.get(event_type, {}).items():
        _check_field(name, content, what, fits)
    for name in _REQUIRED.get(event_type, ()):
        if name not in content:
            raise bad_json(f"{name!r} is missing in the content of {event_type}")


def _check_field(name: str, content: JsonObject, what: str, fits: Check) -> None:
    if name in content and not fits(content[name]):
        raise bad_json(f"{name!r} must be {what}")


def _check_own_server(content: JsonObject, server_name: str) -> None:
    if not is_server_allowed(content, server_name):
        raise invalid_param(f"This ACL would shut {server_name}, the sender's own server, out of the room")


def check_redactable(event_type: str) -> None:
    """403 for events without which the room could not go on: create and server ACL."""
    if event_type in {types.CREATE, types.SERVER_ACL}:
        raise forbidden(f"Events of the type {event_type} cannot be redacted")


# Shapes


def _text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _or_null(fits: Check) -> Check:
    return lambda value: value is None or fits(value)


_text_or_null = _or_null(_text)


def _shorter(longest: int) -> Check:
    return _or_null(lambda value: _text(value) and len(value) <= longest)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _integer(value: Any) -> bool:
    return type(value) is int and abs(value) <= MAX_SAFE_INTEGER


def _lifetime(value: Any) -> bool:
    return value is None or (_integer(value) and value >= 0)


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _list_of(fits: Check) -> Check:
    return lambda value: isinstance(value, list) and len(value) <= MAX_LISTED and all(map(fits, value))


def _object_of(fits: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(fits, value.values()))


def _one_of(*words: str) -> Check:
    return lambda value: isinstance(value, str) and value in words


def _room_id(value: Any) -> bool:
    return isinstance(value, str) and ids.is_room_id(value)


def _user_id(value: Any) -> bool:
    return isinstance(value, str) and ids.is_user_id(value)


def _event_id(value: Any) -> bool:
    return isinstance(value, str) and ids.is_event_id(value)


def _server_name(value: Any) -> bool:
    return isinstance(value, str) and ids.is_server_name(value)


def _user_levels(value: Any) -> bool:
    return _object_of(_integer)(value) and all(map(ids.is_user_id, value))


def _allow_condition(value: Any) -> bool:
    """A condition of a kind that we do not know has a shape that we do not know."""
    if not isinstance(value, dict) or not _text(value.get("type")):
        return False
    return value["type"] != "m.room_membership" or _room_id(value.get("room_id"))


def _predecessor(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _room_id(value.get("room_id"))
        and ("event_id" not in value or _event_id(value["event_id"]))
    )


def _mentions(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _list_of(_text)(value.get("user_ids", []))
        and _flag(value.get("room", False))
    )


def _third_party_invite(value: Any) -> bool:
    signed = value.get("signed") if isinstance(value, dict) else None
    token = signed.get("token") if isinstance(signed, dict) else None
    return isinstance(token, str) and "\0" not in token and len(token.encode()) <= ids.MAX_ID_BYTES


_A_TEXT = ("a string", _text)
_AN_INTEGER = ("an integer", _integer)
_A_FLAG = ("a boolean", _flag)
_AN_OBJECT = ("an object", _object)
_LEVELS = ("an object of integers", _object_of(_integer))
_TEXTS = (f"a list of at most {MAX_LISTED} strings", _list_of(_text))
_SERVERS = (f"a list of at most {MAX_LISTED} server names", _list_of(_server_name))

_Fields = Mapping[str, tuple[str, Check]]
"""Name of a field to the words for its shape and the check of it."""

_COMMON: _Fields = {
    "m.mentions": ("an object with a list 'user_ids' and a boolean 'room'", _or_null(_mentions)),
    "m.relates_to": ("an object", _or_null(_object)),
}

_FIELDS: Mapping[str, _Fields] = {
    types.AVATAR: {"url": ("a string", _text_or_null), "info": ("an object", _or_null(_object))},
    types.CREATE: {
        "m.federate": _A_FLAG,
        "predecessor": ("an object with a room ID", _predecessor),
        "room_version": _A_TEXT,
        "type": _A_TEXT,
    },
    types.ENCRYPTION: {
        "algorithm": _A_TEXT,
        "rotation_period_ms": _AN_INTEGER,
        "rotation_period_msgs": _AN_INTEGER,
    },
    types.GUEST_ACCESS: {
        "guest_access": ("'can_join' or 'forbidden'", _one_of("can_join", "forbidden")),
    },
    types.HISTORY_VISIBILITY: {
        "history_visibility": (
            "'invited', 'joined', 'shared' or 'world_readable'",
            _one_of("invited", "joined", "shared", "world_readable"),
        ),
    },
    types.JOIN_RULES: {
        "join_rule": _A_TEXT,
        "allow": (f"a list of at most {MAX_LISTED} conditions", _list_of(_allow_condition)),
    },
    types.MEMBER: {
        "membership": ("a membership", _one_of("ban", "invite", "join", "knock", "leave")),
        "displayname": (f"a string of at most {MAX_DISPLAYNAME} characters", _shorter(MAX_DISPLAYNAME)),
        "avatar_url": (f"a string of at most {MAX_AVATAR_URL} characters", _shorter(MAX_AVATAR_URL)),
        "reason": ("a string", _text_or_null),
        "is_direct": _A_FLAG,
        "join_authorised_via_users_server": ("a user ID", _user_id),
        "third_party_invite": ("an object with 'signed' and its 'token'", _third_party_invite),
    },
    types.MESSAGE: {"msgtype": _A_TEXT, "body": _A_TEXT},
    types.NAME: {"name": _A_TEXT},
    types.PINNED_EVENTS: {"pinned": (f"a list of at most {MAX_LISTED} event IDs", _list_of(_event_id))},
    types.POWER_LEVELS: {
        "ban": _AN_INTEGER,
        "events": _LEVELS,
        "events_default": _AN_INTEGER,
        "invite": _AN_INTEGER,
        "kick": _AN_INTEGER,
        "notifications": _LEVELS,
        "redact": _AN_INTEGER,
        "state_default": _AN_INTEGER,
        "users": ("an object of user IDs and integers", _user_levels),
        "users_default": _AN_INTEGER,
    },
    types.RETENTION: {
        "max_lifetime": ("a positive integer", _lifetime),
        "min_lifetime": ("a positive integer", _lifetime),
    },
    types.SERVER_ACL: {"allow": _TEXTS, "deny": _TEXTS, "allow_ip_literals": _A_FLAG},
    types.SPACE_CHILD: {"via": _SERVERS, "order": _A_TEXT, "suggested": _A_FLAG},
    types.SPACE_PARENT: {"via": _SERVERS, "canonical": _A_FLAG},
    types.THIRD_PARTY_INVITE: {
        "display_name": _A_TEXT,
        "key_validity_url": _A_TEXT,
        "public_key": _A_TEXT,
        "public_keys": (f"a list of at most {MAX_LISTED} objects", _list_of(_object)),
    },
    types.TOMBSTONE: {"body": _A_TEXT, "replacement_room": ("a room ID", _room_id)},
    types.TOPIC: {"topic": _A_TEXT, "m.topic": _AN_OBJECT},
}

_REQUIRED: Mapping[str, tuple[str, ...]] = {
    types.ENCRYPTION: ("algorithm",),
    types.JOIN_RULES: ("join_rule",),
    types.MEMBER: ("membership",),
    types.MESSAGE: ("body", "msgtype"),
    types.TOMBSTONE: ("replacement_room",),
}

_STATE_ONLY = frozenset(
    {
        types.MEMBER,
        types.NAME,
        types.POWER_LEVELS,
        types.RETENTION,
        types.TOMBSTONE,
        types.TOPIC,
    }
)
"""Types that mean nothing as a message, and that a client sends as one by mistake."""
