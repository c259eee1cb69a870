"""What a client wants to see (client-server API, "Filtering")."""

from collections.abc import Callable, Iterable
from typing import Any

from attrs import evolve, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import bad_json
from synapse_lite.ids import is_room_id, is_user_id
from synapse_lite.matrix.event import Event

DEFAULT_LIMIT = 10
NO_LIMIT = -1
MAX_NAMES = 1000
FORMATS = ("client", "federation")
REL_TYPES = ("rel_types", "org.matrix.msc3874.rel_types")
NOT_REL_TYPES = ("not_rel_types", "org.matrix.msc3874.not_rel_types")

Names = tuple[str, ...]


@frozen(cache_hash=True)
class EventFilter:
    """None = no restriction. `*` in a type stands for any text; `limit` counts events, already clamped.

    `rel_types` are those of relations to other events (MSC3874), `related_by_…` of other events to them: what
    only the database knows, `takes` does not look at it. `ignored` are users of whom nothing but
    state is shown. `raw`: events in the format of federation.
    """

    types: Names | None = None
    not_types: Names = ()
    senders: Names | None = None
    not_senders: Names = ()
    rooms: Names | None = None
    not_rooms: Names = ()
    rel_types: Names | None = None
    not_rel_types: Names = ()
    related_by_senders: Names | None = None
    related_by_rel_types: Names | None = None
    contains_url: bool | None = None
    ignored: frozenset[str] = frozenset()
    lazy_load_members: bool = False
    include_redundant_members: bool = False
    unread_thread_notifications: bool = False
    limit: int = DEFAULT_LIMIT
    raw: bool = False

    def hides_in(self, room_id: str) -> bool:
        """Whether it may leave out some state of the room, whatever the limit."""
        return (
            any(only is not None for only in (self.types, self.senders, self.rel_types, self.contains_url))
            or self.asks_who_relates
            or bool(self.not_types or self.not_senders or self.not_rel_types)
            or not self.takes_room(room_id)
        )

    @property
    def asks_who_relates(self) -> bool:
        """Whether what other events say of an event decides."""
        return self.related_by_senders is not None or self.related_by_rel_types is not None

    def takes_type(self, kind: str) -> bool:
        return (self.types is None or _matches(kind, self.types)) and not _matches(kind, self.not_types)

    def takes_sender(self, user_id: str) -> bool:
        return (self.senders is None or user_id in self.senders) and user_id not in self.not_senders

    def takes(self, event: Event) -> bool:
        return (
            self.takes_type(event.type)
            and self.takes_sender(event.sender)
            and (event.is_state or event.sender not in self.ignored)
            and self._takes_relation(event)
            and self.contains_url in {None, isinstance(event.content.get("url"), str)}
        )

    def _takes_relation(self, event: Event) -> bool:
        if self.rel_types is None and not self.not_rel_types:
            return True
        relation = event.content.get("m.relates_to")
        rel_type = relation.get("rel_type") if isinstance(relation, dict) else None
        return (self.rel_types is None or rel_type in self.rel_types) and rel_type not in self.not_rel_types

    def takes_room(self, room_id: str) -> bool:
        return (self.rooms is None or room_id in self.rooms) and room_id not in self.not_rooms

    def takes_in(self, room_id: str, event: Event) -> bool:
        return self.takes_room(room_id) and self.takes(event)


@frozen(cache_hash=True)
class SyncFilter:
    """The parts of a filter that /sync uses."""

    rooms: EventFilter = EventFilter()
    timeline: EventFilter = EventFilter()
    state: EventFilter = EventFilter()
    ephemeral: EventFilter = EventFilter()
    room_account_data: EventFilter = EventFilter()
    account_data: EventFilter = EventFilter()
    presence: EventFilter = EventFilter()
    include_leave: bool = False
    event_fields: Names = ()
    raw: bool = False

    def takes_room(self, room_id: str) -> bool:
        return self.rooms.takes_room(room_id)

    def without_rooms(self, room_ids: Names) -> "SyncFilter":
        """The same, but for these rooms."""
        if not room_ids:
            return self
        return evolve(self, rooms=evolve(self.rooms, not_rooms=(*self.rooms.not_rooms, *room_ids)))


def read_event_filter(body: JsonObject, max_limit: int) -> EventFilter:
    """400 `M_BAD_JSON` when a field has the wrong type, or a user or room id is none."""
    return EventFilter(
        types=_names(body, "types"),
        not_types=_names(body, "not_types") or (),
        senders=_names(body, "senders", is_user_id),
        not_senders=_names(body, "not_senders", is_user_id) or (),
        rooms=_names(body, "rooms", is_room_id),
        not_rooms=_names(body, "not_rooms", is_room_id) or (),
        rel_types=_names_of_any(body, REL_TYPES),
        not_rel_types=_names_of_any(body, NOT_REL_TYPES) or (),
        related_by_senders=_names(body, "related_by_senders", is_user_id),
        related_by_rel_types=_names(body, "related_by_rel_types"),
        contains_url=_flag(body, "contains_url"),
        lazy_load_members=_flag(body, "lazy_load_members") or False,
        include_redundant_members=_flag(body, "include_redundant_members") or False,
        unread_thread_notifications=_flag(body, "unread_thread_notifications") or False,
        limit=_limit(body, max_limit),
        raw=_is_raw(body),
    )


def read_sync_filter(body: JsonObject, max_limit: int) -> SyncFilter:
    """`max_limit`: at most so many timeline events, see `filter_timeline_limit`."""
    room = _part(body, "room")
    return SyncFilter(
        rooms=read_event_filter({key: room[key] for key in ("rooms", "not_rooms") if key in room}, max_limit),
        timeline=read_event_filter(_part(room, "timeline"), max_limit),
        state=read_event_filter(_part(room, "state"), max_limit),
        ephemeral=read_event_filter(_part(room, "ephemeral"), max_limit),
        room_account_data=read_event_filter(_part(room, "account_data"), max_limit),
        account_data=read_event_filter(_part(body, "account_data"), max_limit),
        presence=read_event_filter(_part(body, "presence"), max_limit),
        include_leave=_flag(room, "include_leave") or False,
        event_fields=_names(body, "event_fields") or (),
        raw=_is_raw(body),
    )


def _part(body: JsonObject, name: str) -> JsonObject:
    part: Any = body.get(name, {})
    if not isinstance(part, dict):
        raise bad_json(f"filter: {name!r} must be an object")
    return part


def _limit(body: JsonObject, max_limit: int) -> int:
    limit = body.get("limit", DEFAULT_LIMIT)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < NO_LIMIT:
        raise bad_json("filter: 'limit' must be a positive integer")
    return max_limit if limit == NO_LIMIT else min(limit, max_limit)


def _flag(body: JsonObject, name: str) -> bool | None:
    value: Any = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise bad_json(f"filter: {name!r} must be a boolean")
    return value


def _is_raw(body: JsonObject) -> bool:
    name = body.get("event_format", "client")
    if name not in FORMATS:
        raise bad_json(f"filter: 'event_format' must be one of {', '.join(FORMATS)}")
    return bool(name == "federation")


def _is_text(text: str) -> bool:
    return "\0" not in text


def _names_of_any(body: JsonObject, fields: Iterable[str]) -> Names | None:
    """The first of the fields that is there: what became stable is still asked for by its old name."""
    return next((found for field in fields if (found := _names(body, field)) is not None), None)


def _names(body: JsonObject, name: str, is_one: Callable[[str], bool] = _is_text) -> Names | None:
    names = body.get(name)
    if names is None:
        return None
    if not isinstance(names, list) or len(names) > MAX_NAMES:
        raise bad_json(f"filter: {name!r} must be a list of at most {MAX_NAMES} strings")
    if not all(isinstance(item, str) and is_one(item) for item in names):
        raise bad_json(f"filter: {name!r} has an item that does not belong there")
    return tuple(names)


def _matches(kind: str, patterns: Iterable[str]) -> bool:
    return any(kind == pattern or ("*" in pattern and _fits(kind, pattern)) for pattern in patterns)


def _fits(kind: str, pattern: str) -> bool:
    """The parts between the `*` follow each other in the type: each is taken where it comes first."""
    first, *middle, last = pattern.split("*")
    if not kind.startswith(first):
        return False
    end = len(first)
    for part in middle:
        start = kind.find(part, end)
        if start < 0:
            return False
        end = start + len(part)
    return kind.endswith(last) and end + len(last) <= len(kind)
