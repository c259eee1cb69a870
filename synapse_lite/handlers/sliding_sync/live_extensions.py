"""The extensions of sliding sync from memory: what None is returned for, the database tells."""

from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.sliding_sync.extensions import (
    OF_ROOMS,
    TO_DEVICE,
    Extensions,
    RoomExtensions,
    write_user_extensions,
)
from synapse_lite.handlers.sliding_sync.values import RoomConfig, SlidingRequest
from synapse_lite.handlers.sync.live_news import News
from synapse_lite.handlers.sync.sections import RoomSection, Unknown, UserParts, by_section, prepare
from synapse_lite.handlers.sync.values import RoomIds, SyncRequest
from synapse_lite.storage.stream import Change

Configs = Mapping[int, RoomConfig]  # by room nid


@frozen
class LiveExtensions:
    """For clients that had the same extensions before. `news.rooms` are the rooms in their windows."""

    extensions: Extensions

    async def prepare(self, request: SlidingRequest, v3: SyncRequest, news: News, configs: Configs) -> None:
        sections = [section for name in request.extensions for section in self.extensions.of(name)]
        await prepare(sections, v3, news.changes)
        for _, room_section, rooms, changes in self._touched(news, configs):
            await room_section.prepare(v3, rooms, changes)
        for room_section, changes in self._counting(news):
            await room_section.prepare(v3, news.rooms, changes)

    def of_user(
        self, request: SlidingRequest, v3: SyncRequest, news: News, position: int
    ) -> tuple[JsonObject, bool] | None:
        """As `Extensions.of_user`."""
        found: dict[str, UserParts] = {}
        for name in request.extensions:
            part = UserParts.live(self.extensions.of(name), v3, news.changes, position)
            if isinstance(part, Unknown):
                return None
            found[name] = part
        if TO_DEVICE in found:
            messages = found[TO_DEVICE].parts.get("to_device")
            number = len(messages["events"]) if isinstance(messages, dict) else 0
            if request.to_device_since is None or number > request.to_device_limit:
                return None
        return write_user_extensions(found, position)

    def of_rooms(self, v3: SyncRequest, news: News, configs: Configs) -> RoomExtensions | None:
        found: RoomExtensions = {}
        for name, section, rooms, changes in self._touched(news, configs):
            part = section.live(v3, rooms, changes)
            if isinstance(part, Unknown):
                return None
            found.setdefault(name, {}).update(part)
        return found

    def counts(self, v3: SyncRequest, news: News) -> dict[int, JsonObject] | None:
        """The unread counts of rooms in which they may have changed."""
        found: dict[int, JsonObject] = {}
        for section, changes in self._counting(news):
            part = section.live(v3, news.rooms, changes)
            if isinstance(part, Unknown):
                return None
            found |= part
        return found

    def _touched(
        self, news: News, configs: Configs
    ) -> Iterator[tuple[str, RoomSection, RoomIds, Sequence[Change]]]:
        """The sections of rooms that the changes concern, by extension, with their rooms and changes."""
        for name in OF_ROOMS:
            rooms = {nid: room_id for nid, room_id in news.rooms.items() if name in configs[nid].extensions}
            sections = self.extensions.room_sections(name) if rooms else ()
            for section, changes in by_section(sections, news.changes):
                if changes:
                    yield name, section, rooms, changes

    def _counting(self, news: News) -> Iterator[tuple[RoomSection, Sequence[Change]]]:
        found = by_section(self.extensions.count_sections, news.changes)
        return ((section, changes) for section, changes in found if changes)
