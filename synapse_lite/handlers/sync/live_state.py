"""What the answer to a long poll needs of the rooms' state, read once for all who wait, and kept true."""

from collections.abc import Collection, Sequence

from attrs import frozen

from synapse_lite.handlers.shared_reads import SharedReads
from synapse_lite.matrix.types import MEMBER
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore, View
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.stream import Change, Kind, read_position

REMEMBERED = 50_000

_MEMBERS = frozenset({Kind.EVENT, Kind.STATE})

Member = tuple[int, str]  # room nid, user id


@frozen
class MemberAt:
    """The nid of somebody's member event, None for a stranger, as of a position; and of the one before."""

    position: int
    nid: int | None
    replaces_nid: int | None = None


class LiveState:
    """Give `on_changes` every change, in order, before those who wait wake."""

    def __init__(self, database: Database, events: EventStore, state: StateStore) -> None:
        self._events = events
        self._state = state
        self.members: SharedReads[Member, MemberAt] = SharedReads(database, self._members, REMEMBERED)
        self.views: SharedReads[int, View | None] = SharedReads(database, self._views, REMEMBERED)
        """Events with their redactions, by nid, without what they replaced; None: purged."""

    def on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.kind in _MEMBERS and change.room_nid is not None and change.user_id is not None:
                self.members.forget((change.room_nid, change.user_id))
            if change.redacts_nid is not None:
                self.views.forget(change.redacts_nid)
            if change.kind is Kind.AMENDED and change.key is not None:
                self.views.forget(int(change.key))

    def _members(self, txn: Transaction, keys: Collection[Member]) -> dict[Member, MemberAt]:
        position = read_position(txn)
        current = self._state.current(txn, [(room_nid, (MEMBER, user_id)) for room_nid, user_id in keys])
        events = self._events.load(txn, list(current.values()))
        found = dict.fromkeys(keys, MemberAt(position, None))
        for (room_nid, (_, user_id)), nid in current.items():
            replaces_nid = events[nid].replaces_nid if nid in events else None
            found[room_nid, user_id] = MemberAt(position, nid, replaces_nid)
        return found

    def _views(self, txn: Transaction, nids: Collection[int]) -> dict[int, View | None]:
        events = self._events.load(txn, nids)
        redactions = self._events.redactions(txn, nids)
        return {nid: View(events[nid], redactions.get(nid)) if nid in events else None for nid in nids}
