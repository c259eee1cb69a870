"""Which member events a lazy client has been told ("Lazy-loading room members"): they are not sent again.

What an answer told is known to have arrived when its token comes back, and only then. Whoever asks again from
an older token, or after a restart of the process, is told everything once more.
"""

from collections.abc import Iterable, Mapping

from attrs import evolve, frozen

from synapse_lite.handlers.filters import SyncFilter
from synapse_lite.handlers.sync.values import RoomDelta, SyncRequest, SyncResult
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.events import View

SESSIONS = 10_000
MAX_MEMBERS = 1_000  # of a session
MEMBER = "m.room.member"

Members = Mapping[tuple[int, str], int]  # room nid and user id to the nid of the member event
NOBODY: Members = {}


@frozen
class _Told:
    position: int
    members: Members


class ToldMembers:
    """Remembers by session and filter. For the reactor."""

    def __init__(self) -> None:
        self._known: Cache[tuple[str, SyncFilter], _Told] = Cache(SESSIONS)

    def of(self, request: SyncRequest) -> Members:
        """Whom the client knows, by the token that it shows."""
        known = (
            self._known.get((request.requester.session, request.filter)) if _may_leave_out(request) else None
        )
        return known.members if known is not None and known.position == request.since else NOBODY

    def keep(self, request: SyncRequest, position: int, members: Members) -> None:
        """An answer with this position goes out, after which the client knows these."""
        if _may_leave_out(request):
            known = members if len(members) <= MAX_MEMBERS else NOBODY
            self._known.put((request.requester.session, request.filter), _Told(position, known))


def leave_out_told(request: SyncRequest, result: SyncResult, told: Members) -> tuple[SyncResult, Members]:
    """The result without what the client knows already, and what it knows with it.

    After a gap nothing is left out: clients forget members then.
    """
    if not _may_leave_out(request):
        return result, NOBODY
    if told:
        result = evolve(result, joined=[_without(delta, told) for delta in result.joined])
    fresh = {
        (view.stored.room_nid, view.stored.event.state_key or ""): view.stored.nid
        for delta in result.joined
        for view in _members((*delta.state, *delta.timeline))
    }
    return result, {**told, **fresh} if fresh else told


def _may_leave_out(request: SyncRequest) -> bool:
    return request.is_lazy and not request.filter.state.include_redundant_members


def _without(delta: RoomDelta, told: Members) -> RoomDelta:
    if delta.limited:
        return delta
    known = {view.stored.nid for view in _members(delta.state) if _is_told(view, told)}
    if not known:
        return delta
    return evolve(delta, state=[view for view in delta.state if view.stored.nid not in known])


def _is_told(view: View, told: Members) -> bool:
    return told.get((view.stored.room_nid, view.stored.event.state_key or "")) == view.stored.nid


def _members(views: Iterable[View]) -> Iterable[View]:
    return (view for view in views if view.stored.event.is_state and view.stored.event.type == MEMBER)
