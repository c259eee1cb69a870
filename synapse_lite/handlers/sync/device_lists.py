"""Whose devices changed, in /sync."""

from collections.abc import Sequence

from attrs import frozen

from synapse_lite.handlers.device_lists import ListChanges, Span, read_list_changes
from synapse_lite.handlers.sync.joined import JoinedRoomsReader
from synapse_lite.handlers.sync.sections import UNKNOWN, Preparing, SyncSection, Unknown
from synapse_lite.handlers.sync.values import Part, Reading, SyncRequest
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.stream import Change, Kind

Membership = tuple[str, int]  # user id, room nid


@frozen
class DeviceListsSection(SyncSection):
    """Changes of those who share a room, and who has begun or ceased to."""

    joined: JoinedRoomsReader
    events: EventStore

    key = "device_lists"
    kinds = frozenset({Kind.DEVICE_LIST, Kind.USER_SIGNATURES, Kind.EVENT, Kind.STATE})

    def initial(self, reading: Reading) -> Part | None:  # noqa: ARG002
        """A client that knows nothing asks for everything."""
        return None

    def since(self, reading: Reading, changes: Sequence[Change]) -> Part | None:  # noqa: ARG002
        stayed = set(reading.joined) - set(reading.newly_joined)
        found = read_list_changes(
            reading.txn,
            Span(
                reading.request.user_id,
                reading.since,
                reading.position,
                stayed | set(reading.left),
                reading.joined,
                reading.touched,
            ),
        )
        return found.answer() if found else None

    def prepare(self, request: SyncRequest, changes: Sequence[Change]) -> Preparing | None:
        users = {change.user_id for change in changes if _is_membership(change, request)}
        return self.joined.prepare(users) if users else None

    def live(self, request: SyncRequest, changes: Sequence[Change]) -> Part | Unknown | None:
        if any(change.kind in {Kind.USER_SIGNATURES, Kind.STATE} for change in changes):
            return UNKNOWN
        changed = {change.user_id for change in changes if change.kind is Kind.DEVICE_LIST}
        began = self._began([change for change in changes if _is_membership(change, request)])
        mine = self.joined.known(request.user_id)
        if began is None or mine is None:
            return UNKNOWN
        left = set()
        for user_id in {user_id for user_id, _ in began}:
            theirs = self.joined.known(user_id)
            if theirs is None:
                return UNKNOWN
            shared_now = theirs.rooms.keys() & mine.rooms.keys()
            shared_then = {nid for nid in shared_now if (user_id, nid) not in began}
            shared_then |= {nid for (user, nid), was_in in began.items() if user == user_id and was_in}
            if shared_now and not shared_then:
                changed.add(user_id)
            elif shared_then and not shared_now:
                left.add(user_id)
        found = ListChanges({user_id for user_id in changed - left if user_id is not None}, left)
        return found.answer() if found else None

    def _began(self, changes: Sequence[Change]) -> dict[Membership, bool] | None:
        """Whose membership changed, and whether they were joined before; None when memory cannot tell."""
        began: dict[Membership, bool] = {}
        stored = self.events.cached([change.event_nid for change in changes if change.event_nid is not None])
        nids = [event.replaces_nid for event in stored.values() if event.replaces_nid is not None]
        replaced = self.events.cached(nids)
        for change in changes:
            event = stored.get(change.event_nid or 0)
            if event is None or change.user_id is None:
                return None
            before = None if event.replaces_nid is None else replaced.get(event.replaces_nid)
            if before is None and event.replaces_nid is not None:
                return None
            was_joined = before is not None and before.event.membership == "join"
            began.setdefault((change.user_id, event.room_nid), was_joined)
        return began


def _is_membership(change: Change, request: SyncRequest) -> bool:
    """Of somebody else: the answer from memory serves nobody whose own memberships changed."""
    return change.kind is Kind.EVENT and change.user_id not in {None, request.user_id}
