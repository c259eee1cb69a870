"""The extensions of sliding sync: the sections of /sync, written as this one has them. Runs in database threads."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.sliding_sync.values import RoomConfig, SlidingRequest
from synapse_lite.handlers.sync.sections import (
    RoomSection,
    Sections,
    Shown,
    SyncSection,
    UserParts,
    of_kinds,
    prepare,
)
from synapse_lite.handlers.sync.typing import NOBODY_TYPES
from synapse_lite.handlers.sync.values import Reading, RoomIds
from synapse_lite.handlers.tokens import write_token
from synapse_lite.storage.stream import Change, Kind, Place

TO_DEVICE, E2EE, ACCOUNT_DATA, RECEIPTS, TYPING = "to_device", "e2ee", "account_data", "receipts", "typing"
THREAD_SUBSCRIPTIONS = "io.element.msc4308.thread_subscriptions"
OF_ROOMS = (ACCOUNT_DATA, RECEIPTS, TYPING)
SECTIONS = {
    TO_DEVICE: ("to_device",),
    E2EE: ("device_one_time_keys_count", "device_unused_fallback_key_types", "device_lists"),
    ACCOUNT_DATA: ("account_data",),
    THREAD_SUBSCRIPTIONS: ("thread_subscriptions",),
}
"""The keys of the sections of /sync that belong to no room."""

Initial = Callable[[SyncSection], Shown | None]
RoomExtensions = dict[str, dict[int, JsonObject]]  # by name and room nid


@frozen
class Before:
    """What a room was told: up to where, with which extensions on."""

    upto: int
    extensions: frozenset[str]


@frozen
class Extensions:
    """`more` are sections that /sync does not have."""

    sections: Sections
    more: Sequence[SyncSection] = ()

    def of(self, name: str) -> Sequence[SyncSection]:
        return self._by_name.get(name, ())

    @cached_property
    def _by_name(self) -> Mapping[str, Sequence[SyncSection]]:
        sections = (*self.sections.user, *self.more)
        return {name: [one for one in sections if one.key in keys] for name, keys in SECTIONS.items()}

    def kinds(self, names: Iterable[str]) -> frozenset[Kind]:
        """Which changes concern these extensions, as far as they belong to no room."""
        return frozenset[Kind]().union(*(section.kinds for name in names for section in self.of(name)))

    async def prepare(self, request: SlidingRequest) -> None:
        """Bring into memory what clients ask for that begin anew: apps do so again and again."""
        names = [name for name in (TO_DEVICE, E2EE) if name in request.extensions]
        await prepare([one for name in names for one in self.of(name)], request.as_sync(None), ())

    def of_user(
        self, reading: Reading, on: Mapping[str, bool], changes: Sequence[Change], initial: Initial
    ) -> tuple[JsonObject, bool]:
        """What belongs to no room, and whether it is news. `on`: whether the client had the extension before.

        `initial` gives what a section shows to begin with.
        """
        found = {
            name: UserParts.gather(
                [
                    (
                        section,
                        section.since(reading, of_kinds(changes, section.kinds)) if had else initial(section),
                    )
                    for section in self.of(name)
                ],
                reading.position,
            )
            for name, had in on.items()
        }
        return write_user_extensions(found, reading.position)

    def of_rooms(
        self,
        reading: Reading,
        rooms: RoomIds,
        configs: Mapping[int, RoomConfig],
        before: Mapping[int, Before],
        changes: Sequence[Change],
    ) -> RoomExtensions:
        """Of a room that is not in `before`, or did not have the extension then, all that there is."""
        found: RoomExtensions = {}
        for name in OF_ROOMS:
            on = {nid: room_id for nid, room_id in rooms.items() if name in configs[nid].extensions}
            known = {
                nid: room_id
                for nid, room_id in on.items()
                if nid in before and name in before[nid].extensions
            }
            fresh = {nid: room_id for nid, room_id in on.items() if nid not in known}
            for section in self.room_sections(name):
                theirs = of_kinds(changes, section.kinds)
                new = [one for one in theirs if one.room_nid is None or one.room_nid in known]
                parts = {
                    **(_cleared(name, fresh.keys() & before.keys()) if fresh else {}),
                    **(section.read(reading, fresh, None) if fresh else {}),
                    **section.read(reading, known, new),
                }
                found.setdefault(name, {}).update(parts)
        return found

    def counts(
        self, reading: Reading, rooms: RoomIds, changes: Sequence[Change] | None
    ) -> dict[int, JsonObject]:
        """The unread counts of rooms; with `changes`, of those where they may differ by them."""
        found: dict[int, JsonObject] = {}
        for section in self.count_sections if rooms else ():
            found |= section.read(reading, rooms, changes)
        return found

    @property
    def count_sections(self) -> list[RoomSection]:
        return [section for section in self.sections.room if section.key == "unread_notifications"]

    def room_sections(self, name: str) -> list[RoomSection]:
        return [section for section in self.sections.room if section.extension == name]


def _cleared(name: str, room_nids: Collection[int]) -> dict[int, JsonObject]:
    """Nobody types, for who had the extension once, and may have heard then that somebody did."""
    return dict.fromkeys(room_nids, NOBODY_TYPES) if name == TYPING else {}


def write_user_extensions(found: Mapping[str, UserParts], position: int) -> tuple[JsonObject, bool]:
    """By name, as the answer has them, and whether they are news."""
    shown: JsonObject = {}
    for name, user in found.items():
        if name == TO_DEVICE:
            messages = user.parts.get("to_device")
            upto = position if user.delivered is None else user.delivered
            events = messages["events"] if isinstance(messages, dict) else []
            shown[name] = {"next_batch": write_token(Place(upto)), "events": events}
        elif name == E2EE:
            shown[name] = dict(user.parts)
        elif name == THREAD_SUBSCRIPTIONS and user.parts:
            (shown[name],) = user.parts.values()
        elif name == ACCOUNT_DATA and user.parts:
            part = user.parts[ACCOUNT_DATA]
            shown[name] = {"global": part["events"] if isinstance(part, dict) else []}
    return shown, any(user.is_news for user in found.values())


def write_room_extensions(found: RoomExtensions, rooms: RoomIds) -> JsonObject:
    """As the answer has them: account data as a list of events, receipts and typing as one event."""
    shown: JsonObject = {}
    for name, by_room in found.items():
        written = {rooms[nid]: _written(name, part["events"]) for nid, part in by_room.items()}
        if written:
            shown[name] = {"rooms": written}
    return shown


def _written(name: str, events: Sequence[JsonObject]) -> Sequence[JsonObject] | JsonObject:
    if name == ACCOUNT_DATA:
        return events
    first, *more = events
    return first if not more else {**first, "content": _merged([one["content"] for one in events])}


def _merged(contents: Sequence[JsonObject]) -> JsonObject:
    """Receipts by event, type and user. Of a user's receipts on one event, in several threads, the first stays."""
    merged: JsonObject = {}
    for content in contents:
        for event_id, by_type in content.items():
            for receipt_type, users in by_type.items():
                known = merged.setdefault(event_id, {}).setdefault(receipt_type, {})
                known |= {user: data for user, data in users.items() if user not in known}
    return merged


def merged_parts(one: Mapping[str, object], other: Mapping[str, object]) -> dict[str, object]:
    """Both have parts of account data."""
    merged = {**one}
    for name, part in other.items():
        known = merged.get(name)
        merged[name] = {**known, **part} if isinstance(known, dict) and isinstance(part, dict) else part
    return merged
