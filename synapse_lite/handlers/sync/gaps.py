"""What sessions were not told of rooms that could not be read, until they are told of them as a whole."""

from collections.abc import Collection, Mapping

from attrs import field, frozen

from synapse_lite.handlers.sync.values import SyncRequest
from synapse_lite.storage.cache import Cache

REMEMBERED_SESSIONS = 10_000


@frozen
class _Gap:
    """Who knows the stream up to a position in here, not the first, may lack something of the room."""

    first: int
    last: int


@frozen
class Gaps:
    """Remembered by the process that left something out. Of any thread."""

    _sessions: Cache[tuple[str, str | None], Mapping[int, _Gap]] = field(
        factory=lambda: Cache(REMEMBERED_SESSIONS)
    )

    def note(self, request: SyncRequest, room_nids: Collection[int], since: int, position: int) -> None:
        """An answer to who knew the stream up to `since` takes them to `position`, without these rooms."""
        if not room_nids:
            return
        known = self._of(request)
        new = {}
        for nid in room_nids:
            gap = known.get(nid) or _Gap(since, position)
            new[nid] = _Gap(min(gap.first, since), max(gap.last, position))
        self._sessions.put(_session(request), {**known, **new})

    def rooms(self, request: SyncRequest, since: int) -> dict[int, int]:
        """Those that have to start anew for who knows the stream up to `since`; where they knew the room whole."""
        return {nid: gap.first for nid, gap in self._of(request).items() if gap.first < since <= gap.last}

    def close(self, request: SyncRequest, room_nids: Collection[int], since: int, position: int) -> None:
        """An answer has the rooms as a whole.

        It may get lost: who asks with `since` again is told again, unless that is where the answer leads.
        """
        if position == since:
            kept = {nid: gap for nid, gap in self._of(request).items() if nid not in room_nids}
            self._sessions.put(_session(request), kept)

    def _of(self, request: SyncRequest) -> Mapping[int, _Gap]:
        return self._sessions.get(_session(request)) or {}


def _session(request: SyncRequest) -> tuple[str, str | None]:
    return request.user_id, request.device_id
