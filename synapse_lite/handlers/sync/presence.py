"""Who is there, in /sync (client-server API, "Presence").

What others are ends no wait by itself: the waits of a process end together, at leisure (`ChangeLog.told_at_leisure`). Every answer tells all
that came after the client's last one.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.handlers.sync.joined import JoinedRoomsReader
from synapse_lite.handlers.sync.sections import UNKNOWN, Preparing, Quiet, SyncSection, Unknown
from synapse_lite.handlers.sync.values import Part, Reading, SyncRequest
from synapse_lite.matrix.presence import Presence
from synapse_lite.replication.changes import ChangeLog
from synapse_lite.storage import rooms
from synapse_lite.storage.presence import changed_presence, presence_in, presence_told
from synapse_lite.storage.stream import Change, Kind

MOST = 1_000  # users in an answer

Told = Mapping[str, Presence]  # by user


@frozen
class PresenceSection(SyncSection):
    """`excluded` are ids of rooms in which nobody sees it; `with_offline`: at first of those who are not there, too."""

    joined: JoinedRoomsReader
    log: ChangeLog
    clock: Clock
    excluded: Collection[str]
    with_offline: bool

    key = "presence"
    kinds = frozenset({Kind.PRESENCE})

    def initial(self, reading: Reading) -> Part | None:
        request = reading.request
        if not request.takes_presence:
            return None
        room_nids = self._counting(reading, reading.joined)
        found = presence_in(reading.txn, request.user_id, room_nids, MOST, with_offline=self.with_offline)
        return _part(request, found, reading.now_ms)

    def since(self, reading: Reading, changes: Sequence[Change]) -> Part | Quiet | None:  # noqa: ARG002
        request = reading.request
        if not request.takes_presence:
            return None
        after = reading.since if request.since is None else request.since
        room_nids = self._counting(reading, reading.joined)
        changed = changed_presence(reading.txn, request.user_id, room_nids, after, reading.position, MOST)
        found = {user_id: presence for user_id, presence, _ in changed}
        if reading.newly_joined:
            fresh = self._counting(reading, reading.newly_joined)
            found = presence_in(reading.txn, request.user_id, fresh, MOST, with_offline=False) | found
        due = any(self._is_due(request, user_id, position) for user_id, _, position in changed)
        return self._shown(request, found, reading.now_ms, is_due=due)

    def prepare(self, request: SyncRequest, changes: Sequence[Change]) -> Preparing | None:  # noqa: ARG002
        mine = self.joined.known(request.user_id)
        if mine is not None and not mine.rooms:
            return (
                None  # and nobody else is asked about: on a large server somebody comes or goes all the time
            )
        unknown = {
            change.user_id
            for change in self._changes(request) or ()
            if self.joined.known(change.user_id or "") is None
        }
        return self.joined.prepare(unknown) if unknown else None

    def live(self, request: SyncRequest, changes: Sequence[Change]) -> Part | Quiet | Unknown | None:  # noqa: ARG002
        changed, mine = self._changes(request), self.joined.known(request.user_id)
        if changed is None or mine is None:
            return UNKNOWN
        shared = mine.rooms.keys() - {nid for nid, room_id in mine.rooms.items() if room_id in self.excluded}
        found: dict[str, Presence] = {}
        due = False
        for change in changed:
            if change.user_id != request.user_id:
                if not shared:
                    continue
                theirs = self.joined.known(change.user_id or "")
                if theirs is None:
                    return UNKNOWN
                if theirs.rooms.keys().isdisjoint(shared):
                    continue
                due = due or change.position <= self.log.told_at_leisure
            found[change.user_id or ""] = presence_told(change)
        return self._shown(request, found, self.clock.now_ms(), is_due=due)

    def _changes(self, request: SyncRequest) -> list[Change] | None:
        """Since the client's last answer; None when memory does not tell."""
        if not request.takes_presence or request.since is None:
            return []
        changes = self.log.since(request.since)
        return None if changes is None else [one for one in changes if one.kind is Kind.PRESENCE]

    def _is_due(self, request: SyncRequest, user_id: str | None, position: int) -> bool:
        """One's own is no news: who asks from two devices would otherwise never wait."""
        return user_id != request.user_id and position <= self.log.told_at_leisure

    def _shown(self, request: SyncRequest, found: Told, now_ms: int, *, is_due: bool) -> Part | Quiet | None:
        part = _part(request, found, now_ms)
        return part if part is None or is_due else Quiet(part)

    def _counting(self, reading: Reading, room_nids: Collection[int]) -> list[int]:
        excluded = rooms.nids_of(reading.txn, self.excluded).values() if self.excluded else ()
        return [nid for nid in room_nids if nid not in excluded]


def _part(request: SyncRequest, found: Told, now_ms: int) -> JsonObject | None:
    events = [presence.event(user_id, now_ms) for user_id, presence in _taken(request, found)]
    return {"events": events} if events else None


def _taken(request: SyncRequest, found: Told) -> Iterable[tuple[str, Presence]]:
    wanted = request.filter.presence
    return (
        (user_id, presence)
        for user_id, presence in found.items()
        if user_id not in request.ignored and wanted.takes_sender(user_id)
    )
