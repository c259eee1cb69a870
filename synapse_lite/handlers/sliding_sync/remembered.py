"""Rooms as they were shown to users to begin with, for whoever of them starts anew: an app does so each time that it is opened."""

from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.retention import Retention
from synapse_lite.handlers.sliding_sync.extensions import TYPING, RoomExtensions
from synapse_lite.handlers.sliding_sync.recent import Recent
from synapse_lite.handlers.sliding_sync.values import RoomConfig, SlidingRoom
from synapse_lite.handlers.sync.values import Reading
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.stream import Change, Kind

REMEMBERED_EVENTS = 100_000
REMEMBERED_CHANGES = 200_000
KEPT_MS = 600_000  # of what no change tells
_OF_ROOMS = frozenset(
    {
        Kind.EVENT,
        Kind.REDACTED,
        Kind.STATE,
        Kind.ROOM_GONE,
        Kind.KEPT,
        Kind.AMENDED,
        Kind.RECEIPT,
        Kind.TYPING,
    }
)
_OF_USERS = frozenset({Kind.ACCOUNT_DATA, Kind.PRIVATE_RECEIPT})

Key = tuple[str, int, str, frozenset[str]]  # user, room, config, whom they ignore
Subject = int | tuple[str, int]  # a room, or a user in a room


@frozen
class Fresh:
    """A room, with counts of that time, and what extensions tell of it by name, as of a position of the stream."""

    position: int
    read_ts: int
    room: SlidingRoom
    parts: Mapping[str, JsonObject]


class RememberedRooms:
    """Give `on_changes` every change, in order. The other methods run in database threads."""

    def __init__(self, retention: Retention) -> None:
        self._retention = retention
        self._cache: Cache[Key, Fresh] = Cache(REMEMBERED_EVENTS)
        self._changed: dict[Subject, int] = {}
        self._horizon = 0  # of what is older than this it is not known whether it changed
        self._seen = 0

    def on_changes(self, changes: Sequence[Change]) -> None:
        if len(self._changed) > REMEMBERED_CHANGES:
            self._horizon, self._changed = self._seen, {}
        self._changed |= _subjects(changes)
        self._seen = changes[-1].position if changes else self._seen

    def find(
        self, reading: Reading, recent: Recent, configs: Mapping[int, RoomConfig], room_nids: Sequence[int]
    ) -> dict[int, Fresh]:
        """Those of the rooms that are here, and in which nothing has happened since."""
        if self._seen < recent.since:
            return {}
        late = _subjects(recent.changes)
        found = {}
        for nid in room_nids:
            fresh = self._cache.get(_key(reading, nid, configs[nid]))
            if fresh is not None and self._holds(fresh, reading, nid, late):
                found[nid] = fresh
        return found

    def keep(
        self,
        reading: Reading,
        configs: Mapping[int, RoomConfig],
        rooms: Mapping[int, SlidingRoom],
        parts: RoomExtensions,
    ) -> None:
        """Remember what was read just now, unless it may change without a word: messages expire with time."""
        if self._retention.policy is not None:
            return
        for nid, room in rooms.items():
            if nid in parts.get(TYPING, ()):
                continue
            told = {name: by_room[nid] for name, by_room in parts.items() if nid in by_room}
            fresh = Fresh(reading.position, reading.now_ms, evolve(room, num_live=0), told)
            weight = 1 + len(room.timeline) + len(room.required_state)
            self._cache.put(_key(reading, nid, configs[nid]), fresh, weight)

    def _holds(self, fresh: Fresh, reading: Reading, nid: int, late: Mapping[Subject, int]) -> bool:
        at = fresh.position
        subjects: tuple[Subject, ...] = (nid, (reading.request.user_id, nid))
        return (
            self._horizon <= at <= reading.position
            and (reading.since == 0 or reading.since >= at)  # else some of the events are live
            and reading.now_ms < fresh.read_ts + KEPT_MS
            and all(self._changed.get(one, 0) <= at and late.get(one, 0) <= at for one in subjects)
        )


def _subjects(changes: Sequence[Change]) -> dict[Subject, int]:
    """What changed, with the position of its last change."""
    found: dict[Subject, int] = {}
    for change in changes:
        if change.room_nid is not None and change.kind in _OF_ROOMS:
            found[change.room_nid] = change.position
        elif change.room_nid is not None and change.user_id is not None and change.kind in _OF_USERS:
            found[change.user_id, change.room_nid] = change.position
    return found


def _key(reading: Reading, room_nid: int, config: RoomConfig) -> Key:
    return reading.request.user_id, room_nid, config.text, reading.request.ignored
