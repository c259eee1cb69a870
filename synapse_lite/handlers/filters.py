"""What a client wants to see (client-server API, "Filtering")."""

from collections.abc import Iterable
from typing import Any

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import bad_json
from synapse_lite.matrix.event import Event

DEFAULT_LIMIT = 10
MAX_NAMES = 1000

Names = tuple[str, ...]


@frozen
class EventFilter:
    """None = no restriction. `*` in a type stands for any text; `limit` counts events, already clamped."""

    types: Names | None = None
    not_types: Names = ()
    senders: Names | None = None
    not_senders: Names = ()
    rooms: Names | None = None
    not_rooms: Names = ()
    contains_url: bool | None = None
    lazy_load_members: bool = False
    limit: int = DEFAULT_LIMIT

    def hides_in(self, room_id: str) -> bool:
        """Whether it may leave out some events of the room, whatever the limit."""
        return (
            self.types is not None
            or self.senders is not None
            or self.contains_url is not None
            or bool(self.not_types or self.not_senders)
            or not self.takes_room(room_id)
        )

    def takes_type(self, kind: str) -> bool:
        return (self.types is None or _matches(kind, self.types)) and not _matches(kind, self.not_types)

    def takes(self, event: Event) -> bool:
        return (
            self.takes_type(event.type)
            and (self.senders is None or event.sender in self.senders)
            and event.sender not in self.not_senders
            and self.contains_url in {None, isinstance(event.content.get("url"), str)}
        )

    def takes_room(self, room_id: str) -> bool:
        return (self.rooms is None or room_id in self.rooms) and room_id not in self.not_rooms

    def takes_in(self, room_id: str, event: Event) -> bool:
        return self.takes_room(room_id) and self.takes(event)


@frozen
class SyncFilter:
    """The parts of a filter that /sync uses."""

    rooms: EventFilter = EventFilter()
    timeline: EventFilter = EventFilter()
    state: EventFilter = EventFilter()
    ephemeral: EventFilter = EventFilter()
    room_account_data: EventFilter = EventFilter()
    account_data: EventFilter = EventFilter()
    include_leave: bool = False
    event_fields: Names = ()

    def takes_room(self, room_id: str) -> bool:
        return self.rooms.takes_room(room_id)


def read_event_filter(body: JsonObject, max_limit: int) -> EventFilter:
    """400 `M_BAD_JSON` when a field has the wrong type."""
    limit = body.get("limit", DEFAULT_LIMIT)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
        raise bad_json("filter: 'limit' must be a positive integer")
    contains_url = body.get("contains_url")
    if contains_url is not None and not isinstance(contains_url, bool):
        raise bad_json("filter: 'contains_url' must be a boolean")
    return EventFilter(
        types=_names(body, "types"),
        not_types=_names(body, "not_types") or (),
        senders=_names(body, "senders"),
        not_senders=_names(body, "not_senders") or (),
        rooms=_names(body, "rooms"),
        not_rooms=_names(body, "not_rooms") or (),
        contains_url=contains_url,
        lazy_load_members=body.get("lazy_load_members") is True,
        limit=min(limit, max_limit),
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
        include_leave=room.get("include_leave") is True,
        event_fields=_names(body, "event_fields") or (),
    )


def _part(body: JsonObject, name: str) -> JsonObject:
    part: Any = body.get(name, {})
    if not isinstance(part, dict):
        raise bad_json(f"filter: {name!r} must be an object")
    return part


def _names(body: JsonObject, name: str) -> Names | None:
    names = body.get(name)
    if names is None:
        return None
    if (
        not isinstance(names, list)
        or len(names) > MAX_NAMES
        or not all(isinstance(item, str) for item in names)
    ):
        raise bad_json(f"filter: {name!r} must be a list of at most {MAX_NAMES} strings")
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
