"""Unread counts in /sync."""

from collections.abc import Iterable, Mapping, Sequence

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.ignored_users import TYPE as IGNORED
from synapse_lite.handlers.push_rules import PUSH_RULES
from synapse_lite.handlers.sync.sections import UNKNOWN, RoomSection, Unknown
from synapse_lite.handlers.sync.values import Reading, RoomIds, SyncRequest
from synapse_lite.handlers.unread import RoomCounts, UnreadCounts
from synapse_lite.handlers.unread.counts import RECEIPTS
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.notices import Count
from synapse_lite.storage.relations import MAIN_THREAD
from synapse_lite.storage.stream import Change, Kind

_OF_ALL = frozenset({Kind.EVENT, Kind.REDACTED, Kind.PURGED})
_OF_USER = frozenset({*RECEIPTS, Kind.THREAD_SUBSCRIPTION})
KINDS = frozenset({*_OF_ALL, Kind.ACCOUNT_DATA, *_OF_USER})


class UnreadNotifications(RoomSection):
    """Of rooms where something is shown, or the user read: with threads apart, when the filter asks, or all together.

    Of all rooms, when the user changed their push rules or whom they ignore.
    """

    key = "unread_notifications"
    kinds = KINDS

    def __init__(self, counts: UnreadCounts, events: EventStore) -> None:
        self._counts = counts
        self._events = events

    def read(
        self, reading: Reading, rooms: RoomIds, changes: Sequence[Change] | None
    ) -> Mapping[int, JsonObject]:
        wanted = rooms if changes is None else _touched(reading.request, rooms, changes)
        if not wanted:
            return {}
        user_id = reading.request.user_id
        counts = self._counts.read(reading.txn, user_id, wanted, reading.position)
        others = [change for change in changes or () if not is_about_all(user_id, change)]
        if changes is not None and len(others) < len(changes):
            shown = self._counts.with_notices(reading.txn, user_id, wanted, reading.position)
            shown |= _touched(reading.request, rooms, others).keys()
            counts = {nid: one for nid, one in counts.items() if one.threads or nid in shown}
        return self._shown(reading.request, counts)

    async def prepare(self, request: SyncRequest, rooms: RoomIds, changes: Sequence[Change]) -> None:
        touched = _touched(request, rooms, self._of_shown(request, rooms, changes))
        if touched:
            await self._counts.prepare(request.user_id, touched)

    def live(
        self, request: SyncRequest, rooms: RoomIds, changes: Sequence[Change]
    ) -> Mapping[int, JsonObject] | Unknown:
        if any(is_about_all(request.user_id, change) for change in changes):
            return UNKNOWN
        touched = _touched(request, rooms, self._of_shown(request, rooms, changes))
        known = self._counts.known(request.user_id, touched, self._counts.seen) if touched else {}
        return UNKNOWN if len(known) < len(touched) else self._shown(request, known)

    def _of_shown(self, request: SyncRequest, rooms: RoomIds, changes: Sequence[Change]) -> list[Change]:
        """Without events that the filter does not take."""
        stored = self._events.cached([one.event_nid for one in changes if one.event_nid is not None])
        shown = []
        for change in changes:
            event = stored.get(change.event_nid or 0)
            room_id = rooms.get(change.room_nid or 0)
            if event is not None and room_id is not None:
                wanted = request.filter.state if event.event.is_state else request.filter.timeline
                if not wanted.takes_in(room_id, event.event) and not request.filter.timeline.takes_in(
                    room_id, event.event
                ):
                    continue
            shown.append(change)
        return shown

    def _shown(self, request: SyncRequest, counts: Mapping[int, RoomCounts]) -> dict[int, JsonObject]:
        is_apart = request.filter.timeline.unread_thread_notifications
        return {nid: _written(one.main if is_apart else one.total) for nid, one in counts.items()}


class UnreadThreadNotifications(UnreadNotifications):
    """The counts of the threads, when the filter asks for them."""

    key = "unread_thread_notifications"

    def read(
        self, reading: Reading, rooms: RoomIds, changes: Sequence[Change] | None
    ) -> Mapping[int, JsonObject]:
        if not reading.request.filter.timeline.unread_thread_notifications:
            return {}
        return super().read(reading, rooms, changes)

    async def prepare(self, request: SyncRequest, rooms: RoomIds, changes: Sequence[Change]) -> None:
        """The other section has done it."""

    def live(
        self, request: SyncRequest, rooms: RoomIds, changes: Sequence[Change]
    ) -> Mapping[int, JsonObject] | Unknown:
        if not request.filter.timeline.unread_thread_notifications:
            return {}
        return super().live(request, rooms, changes)

    def _shown(self, request: SyncRequest, counts: Mapping[int, RoomCounts]) -> dict[int, JsonObject]:  # noqa: ARG002
        return {
            nid: {
                thread_id: _written(count)
                for thread_id, count in one.threads.items()
                if thread_id != MAIN_THREAD
            }
            for nid, one in counts.items()
        }


def _touched(request: SyncRequest, rooms: RoomIds, changes: Iterable[Change]) -> dict[int, str]:
    """The rooms whose counts may have changed."""
    nids = set()
    for change in changes:
        if is_about_all(request.user_id, change):
            return dict(rooms)
        if change.kind in _OF_ALL or (change.kind in _OF_USER and change.user_id == request.user_id):
            nids.add(change.room_nid)
    return {nid: room_id for nid, room_id in rooms.items() if nid in nids}


def is_about_all(user_id: str, change: Change) -> bool:
    """Whether it may change the counts of all rooms of the user."""
    return (
        change.kind is Kind.ACCOUNT_DATA and change.user_id == user_id and change.key in {PUSH_RULES, IGNORED}
    )


def _written(count: Count) -> JsonObject:
    return {"notification_count": count.notifications, "highlight_count": count.highlights}
