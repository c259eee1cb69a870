"""The conditions of push rules ("Conditions for push rules"), made into functions of an event."""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.globs import compile_glob, compile_literal
from synapse_lite.matrix.property_paths import MISSING, Path, find, split_path

BODY: Path = ("content", "body")
_COUNT = re.compile(r"(==|<=|>=|<|>)?([0-9]{1,15})")
_COMPARE: Mapping[str | None, Callable[[int, int], bool]] = {
    None: operator.eq,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
MSC4306 = "io.element.msc4306"
THREAD_SUBSCRIPTION = f"{MSC4306}.thread_subscription"
MAX_TEXT_BYTES = 255
"""Of keys and patterns: the time that a search takes grows with them."""


@attrs.frozen
class Context:
    """What rules ask beside the event: all of it at the time of the event.

    `member_count`: joined members; `may_notify`: whether the sender's level suffices for that key of
    `notifications` in the power levels; `display_name`: of the user whose rules they are, in the room;
    `follows`: whether that user follows the thread that the event is in, None for an event in no thread.
    """

    member_count: int
    may_notify: Callable[[str], bool]
    display_name: str | None = None
    follows: Callable[[], bool | None] = lambda: None


class Subject:
    """An event as conditions look at it; what several of them read is read once."""

    def __init__(self, event: Event) -> None:
        self._fields: JsonObject = {
            "content": event.content,
            "event_id": event.event_id,
            "origin_server_ts": event.origin_server_ts,
            "room_id": event.room_id,
            "sender": event.sender,
            "type": event.type,
        }
        if event.state_key is not None:
            self._fields["state_key"] = event.state_key
        self._lowered: dict[Path, str | None] = {}

    def value(self, path: Path) -> Any:
        """What stands there, or `MISSING`."""
        return find(self._fields, path)

    def lowered(self, path: Path) -> str | None:
        """The text that stands there, in lower case; None when there is no text."""
        if path not in self._lowered:
            value = find(self._fields, path)
            self._lowered[path] = value.lower() if isinstance(value, str) else None
        return self._lowered[path]


Condition = Callable[[Subject, Context], bool]


def compile_condition(condition: Any) -> Condition | None:
    """None for a condition that is malformed, or of a kind that we do not know: it is never fulfilled."""
    kind = condition.get("kind") if isinstance(condition, dict) else None
    maker = _KINDS.get(kind) if isinstance(kind, str) else None
    return None if maker is None else maker(condition)


def is_condition(condition: Any) -> bool:
    """Whether it may be stored: one of a known kind must be well-formed."""
    if not isinstance(condition, dict) or not isinstance(condition.get("kind"), str):
        return False
    return condition["kind"] not in _KINDS or compile_condition(condition) is not None


def equals(path: Path, pattern: str) -> Condition:
    """The glob pattern fits the whole text at the path, or, in the body, some words of it."""
    glob = compile_glob(pattern)
    fits = glob.occurs_in if path == BODY else glob.matches

    def check(subject: Subject, _context: Context) -> bool:
        text = subject.lowered(path)
        return text is not None and fits(text)

    return check


def is_exact(pattern: str) -> bool:
    """Whether the pattern fits one text only."""
    return "*" not in pattern and "?" not in pattern


def _event_match(condition: JsonObject) -> Condition | None:
    key, pattern = condition.get("key"), condition.get("pattern")
    if not isinstance(key, str) or not isinstance(pattern, str):
        return None
    if len(key.encode()) > MAX_TEXT_BYTES or len(pattern.encode()) > MAX_TEXT_BYTES:
        return None
    path = split_path(key)
    if path == BODY or not is_exact(pattern):
        return equals(path, pattern)
    lowered = pattern.lower()
    return lambda subject, _context: subject.lowered(path) == lowered


def _event_property_is(condition: JsonObject) -> Condition | None:
    read = _property(condition)
    if read is None:
        return None
    path, value = read
    return lambda subject, _context: _is_same(subject.value(path), value)


def _event_property_contains(condition: JsonObject) -> Condition | None:
    read = _property(condition)
    if read is None:
        return None
    path, value = read

    def check(subject: Subject, _context: Context) -> bool:
        found = subject.value(path)
        return isinstance(found, list) and any(_is_same(item, value) for item in found)

    return check


def _property(condition: JsonObject) -> tuple[Path, Any] | None:
    key, value = condition.get("key"), condition.get("value", MISSING)
    is_scalar = value is None or isinstance(value, str | int)
    if not isinstance(key, str) or len(key.encode()) > MAX_TEXT_BYTES or not is_scalar:
        return None
    return split_path(key), value


def _is_same(found: Any, value: Any) -> bool:
    """Equal as JSON: in Python, true is 1."""
    return type(found) is type(value) and found == value


def _room_member_count(condition: JsonObject) -> Condition | None:
    text = condition.get("is")
    found = _COUNT.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    compare, count = _COMPARE[found[1]], int(found[2])
    return lambda _subject, context: compare(context.member_count, count)


def _sender_notification_permission(condition: JsonObject) -> Condition | None:
    key = condition.get("key")
    if not isinstance(key, str):
        return None
    return lambda _subject, context: context.may_notify(key)


def _contains_display_name(_condition: JsonObject) -> Condition:
    def check(subject: Subject, context: Context) -> bool:
        body = subject.lowered(BODY)
        return bool(body and context.display_name) and compile_literal(context.display_name).occurs_in(body)  # type: ignore[arg-type]  # neither is None here

    return check


def _thread_subscription(condition: JsonObject) -> Condition | None:
    subscribed = condition.get("subscribed")
    if not isinstance(subscribed, bool):
        return None
    return lambda _subject, context: context.follows() is subscribed


_KINDS: Mapping[str, Callable[[JsonObject], Condition | None]] = {
    "contains_display_name": _contains_display_name,
    "event_match": _event_match,
    "event_property_contains": _event_property_contains,
    "event_property_is": _event_property_is,
    "room_member_count": _room_member_count,
    "sender_notification_permission": _sender_notification_permission,
    THREAD_SUBSCRIPTION: _thread_subscription,
}
