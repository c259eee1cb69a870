"""Which state a room has where branches meet.

What was resolved once is remembered by the set of states: it never changes. Nothing here needs the lock of a
room, nor takes it.
"""

from collections.abc import Collection, Iterable, Mapping

from attrs import frozen

from synapse_lite.matrix.event import Event, StateKey
from synapse_lite.matrix.room_versions import RoomVersion
from synapse_lite.matrix.state_resolution import resolve
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, Standing
from synapse_lite.storage.state import REMOVED, NidMap, StateStore

CACHED_CHANGES = 100_000


@frozen
class StateAt:
    """A state of a room: a snapshot, and what differs from it: event nid by key, `REMOVED` for what is not set."""

    base_nid: int
    changes: tuple[tuple[StateKey, int], ...] = ()

    def changed(self, changes: Mapping[StateKey, int]) -> "StateAt":
        """The state after these changes."""
        return StateAt(self.base_nid, tuple(sorted({**dict(self.changes), **changes}.items())))


class StateResolver:
    """Reads states, and resolves them. The methods run in database threads."""

    def __init__(self, events: EventStore, state: StateStore) -> None:
        self._events = events
        self._state = state
        self._resolved: Cache[frozenset[StateAt], StateAt] = Cache(CACHED_CHANGES)

    def some(self, txn: Transaction, state: StateAt, keys: Collection[StateKey]) -> dict[StateKey, int]:
        """The state events of some keys; what is not set is absent."""
        found = {**self._state.at(txn, state.base_nid, keys), **dict(state.changes)}
        return {key: found[key] for key in keys if found.get(key, REMOVED) != REMOVED}

    def resolve(
        self, txn: Transaction, version: RoomVersion, states: Iterable[StateAt], new: Mapping[int, Event]
    ) -> StateAt:
        """The one state that several states lead to; they are of one room, and at least one.

        `new` are events, by nid, that are in the states, but not stored yet.
        """
        together = frozenset(states)
        if len(together) == 1:
            return next(iter(together))
        known = self._resolved.get(together)
        if known is None:
            known = self._compute(txn, version, together, new)
            self._resolved.put(together, known, 1 + len(known.changes))
        return known

    def difference(self, txn: Transaction, snapshot_nid: int, state: StateAt) -> dict[StateKey, int]:
        """What the state changes of the snapshot's."""
        if state.base_nid == snapshot_nid:
            return dict(state.changes)
        return _difference(self._state.whole(txn, snapshot_nid), self._whole(txn, state))

    def near(self, txn: Transaction, snapshot_nid: int, state: Mapping[StateKey, int]) -> StateAt:
        """A whole state, as what differs from a snapshot."""
        return StateAt(snapshot_nid).changed(_difference(self._state.whole(txn, snapshot_nid), dict(state)))

    def store(self, txn: Transaction, room_nid: int, state: StateAt) -> int:
        """The nid of the state's own snapshot."""
        if not state.changes:
            return state.base_nid
        key_nids = self._state.have_keys(txn, [key for key, _ in state.changes])
        return self._state.derive(
            txn, room_nid, state.base_nid, {key_nids[key]: nid for key, nid in state.changes}
        )

    def _whole(self, txn: Transaction, state: StateAt) -> NidMap:
        whole = {**self._state.whole(txn, state.base_nid), **dict(state.changes)}
        return {key: nid for key, nid in whole.items() if nid != REMOVED}

    def _compute(
        self, txn: Transaction, version: RoomVersion, states: frozenset[StateAt], new: Mapping[int, Event]
    ) -> StateAt:
        wholes = {state: self._whole(txn, state) for state in states}
        ids = self._events.ids_of(txn, {nid for whole in wholes.values() for nid in whole.values()})
        ids.update({nid: event.event_id for nid, event in new.items()})
        unsaved = {event.event_id: event for event in new.values()}
        nids = {event_id: nid for nid, event_id in ids.items()}
        rejected: set[str] = set()

        def fetch(event_ids: Collection[str]) -> dict[str, Event]:
            found = self._events.by_ids(txn, event_ids)
            for event_id, stored in found.items():
                nids[event_id] = stored.nid  # it may win without being in any of the states
                if stored.standing is Standing.REJECTED:
                    rejected.add(event_id)
            known = {event_id: stored.event for event_id, stored in found.items()}
            return known | {event_id: unsaved[event_id] for event_id in event_ids if event_id in unsaved}

        sets = [{key: ids[nid] for key, nid in whole.items() if nid in ids} for whole in wholes.values()]
        resolved = {key: nids[event_id] for key, event_id in resolve(version, sets, fetch, rejected).items()}
        nearest = max(states, key=lambda state: state.base_nid)
        return StateAt(nearest.base_nid).changed(
            _difference(self._state.whole(txn, nearest.base_nid), resolved)
        )


def _difference(before: NidMap, after: NidMap) -> dict[StateKey, int]:
    changes = {key: nid for key, nid in after.items() if before.get(key) != nid}
    return changes | dict.fromkeys(before.keys() - after.keys(), REMOVED)
