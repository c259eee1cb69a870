"""The state of the rooms in which a search has found something (`include_state`)."""

from collections.abc import Mapping, Sequence

from synapse_lite.handlers.search_pages import HitPage
from synapse_lite.handlers.visibility import Viewer
from synapse_lite.matrix.types import MEMBER
from synapse_lite.storage import rooms
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, View
from synapse_lite.storage.search import Hit
from synapse_lite.storage.state import StateStore

MAX_EVENTS = 5000
MAX_BYTES = 4 * 1024 * 1024
"""Of an answer, in which the state of each room is whole: there are no more results than those. Of a room that alone has
more, the members who sent none of them are left out, and at last whatever is too much.
"""


class FoundStates:
    """Current states, and of rooms that the user has left, those of their leave. The methods run in database threads."""

    def __init__(self, events: EventStore, state: StateStore) -> None:
        self._events = events
        self._state = state

    def fitting(
        self, txn: Transaction, viewers: Mapping[int, Viewer], page: HitPage
    ) -> tuple[HitPage, dict[int, Sequence[int]]]:
        """The first hits, as many as go with the states of their rooms; those, by room nid, as nids of events."""
        hits = [hit for hit, _ in page.hits]
        states: dict[int, Sequence[int]] = {}
        left = MAX_EVENTS
        for nid in dict.fromkeys(hit.room_nid for hit in hits):
            nids = self._whole(txn, nid, viewers[nid])
            if len(nids) > left:
                break
            states[nid] = nids
            left -= len(nids)
        states = self._within_bytes(txn, states)
        if hits and not states:
            first = hits[0].room_nid
            states = {first: self._part(txn, first, viewers[first], hits)}
        count = next((number for number, hit in enumerate(hits) if hit.room_nid not in states), len(hits))
        return page.first(count), states

    def views(self, txn: Transaction, states: Mapping[int, Sequence[int]]) -> dict[int, list[View]]:
        views = self._events.views(txn, [nid for nids in states.values() for nid in nids])
        found: dict[int, list[View]] = {nid: [] for nid in states}
        for view in views:
            found[view.stored.room_nid].append(view)
        return found

    def _within_bytes(
        self, txn: Transaction, states: Mapping[int, Sequence[int]]
    ) -> dict[int, Sequence[int]]:
        """The first of the states."""
        left = self._events.within_bytes(txn, [nid for nids in states.values() for nid in nids], MAX_BYTES)
        found = {}
        for room_nid, nids in states.items():
            left -= len(nids)
            if left < 0:
                break
            found[room_nid] = nids
        return found

    def _whole(self, txn: Transaction, room_nid: int, viewer: Viewer) -> Sequence[int]:
        """Of a joined room no more than it takes to know that they are too many."""
        if viewer.is_joined:
            return rooms.current_event_nids(txn, room_nid, MAX_EVENTS + 1)
        return list(self._state.whole(txn, viewer.left_state).values())

    def _part(self, txn: Transaction, room_nid: int, viewer: Viewer, hits: Sequence[Hit]) -> Sequence[int]:
        events = self._events.load(txn, [hit.event_nid for hit in hits if hit.room_nid == room_nid])
        senders = {stored.event.sender for stored in events.values()}
        if viewer.is_joined:
            state = self._state.current_of_rooms(txn, [room_nid], senders).get(room_nid, {})
        else:
            state = self._state.whole(txn, viewer.left_state)
        nids = [nid for (kind, key), nid in state.items() if kind != MEMBER or key in senders][:MAX_EVENTS]
        return nids[: self._events.within_bytes(txn, nids, MAX_BYTES)]
