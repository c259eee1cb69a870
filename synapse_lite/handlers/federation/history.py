"""Events, states and auth chains for other servers (server-server API, "Retrieving events", "Backfilling")."""

from collections.abc import Callable, Collection, Sequence

import orjson

from synapse_lite.canonical_json import JsonObject, dump
from synapse_lite.clock import Clock
from synapse_lite.errors import not_found
from synapse_lite.handlers.federation.rooms import RoomGate, ServedRoom
from synapse_lite.storage.auth_chain import auth_chain
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import Standing, StoredEvent
from synapse_lite.storage.stream import END
from synapse_lite.storage.timeline import Moment, page_by_time

MAX_BACKFILL = 100
MAX_MISSING = 50
MAX_NAMED = 20  # events from which a walk begins, or at which it ends
MAX_PAGES = 10  # that are looked at for an event near a time
_WALKED = 10  # events that are looked at, for each that is given

Encoded = bytes
"""JSON, made in a database thread: the state of a large room takes its time."""


class ServedHistory:
    def __init__(self, database: Database, gate: RoomGate, clock: Clock, server_name: str) -> None:
        self._database = database
        self._gate = gate
        self._clock = clock
        self._server_name = server_name

    async def event(self, origin: str, event_id: str) -> Encoded:
        """One event; 404 `M_NOT_FOUND` also for one that the server may not see."""
        return await self._database.snapshot(self._event, origin, event_id)

    async def state(self, origin: str, room_id: str, event_id: str) -> Encoded:
        """The state before an event, and its auth chains."""
        return await self._database.snapshot(self._state, origin, room_id, event_id)

    async def state_ids(self, origin: str, room_id: str, event_id: str) -> Encoded:
        return await self._database.snapshot(self._state_ids, origin, room_id, event_id)

    async def event_auth(self, origin: str, room_id: str, event_id: str) -> Encoded:
        return await self._database.snapshot(self._event_auth, origin, room_id, event_id)

    async def backfill(self, origin: str, room_id: str, event_ids: Sequence[str], limit: int) -> Encoded:
        """Events at and before these, the newest first."""
        return await self._database.snapshot(self._backfill, origin, room_id, event_ids, limit)

    async def missing(
        self, origin: str, room_id: str, earliest: Sequence[str], latest: Sequence[str], limit: int, min_depth: int
    ) -> Encoded:  # fmt: skip
        """Events before the latest ones and not before the earliest, the oldest first."""
        return await self._database.snapshot(
            self._missing, origin, room_id, earliest, latest, limit, min_depth
        )

    async def near(self, origin: str, room_id: str, ts: int, *, backwards: bool) -> JsonObject:
        """The event sent at a time (ms) or next to it that the server may see; 404 `M_NOT_FOUND` when there is none."""
        event = await self._database.snapshot(self._near, origin, room_id, ts, backwards)
        return {"event_id": event.event_id, "origin_server_ts": event.event.origin_server_ts}

    # In a database thread

    def _near(self, txn: Transaction, origin: str, room_id: str, ts: int, backwards: bool) -> StoredEvent:
        served = self._gate.enter(txn, origin, room_id)
        moment = Moment(ts, END if backwards else 0)
        for _ in range(MAX_PAGES):
            found = page_by_time(txn, served.room.nid, moment, MAX_BACKFILL, backwards=backwards)
            events = self._gate.events.load(txn, [one.event_nid for one, _ in found])
            hidden = self._gate.hidden(txn, served, list(events.values()))
            for one, _ in found:
                if one.event_nid in events and one.event_nid not in hidden:
                    return events[one.event_nid]
            if len(found) < MAX_BACKFILL:
                break
            moment = found[-1][0]
        raise not_found(f"Unable to find event from {ts} in direction {'b' if backwards else 'f'}")

    def _event(self, txn: Transaction, origin: str, event_id: str) -> Encoded:
        found = self._gate.events.by_ids(txn, [event_id]).get(event_id)
        if found is None or found.standing is Standing.REJECTED:
            raise not_found("Event not found.")
        served = self._gate.enter(txn, origin, found.event.room_id, [event_id])
        if self._gate.hidden(txn, served, [found]):
            raise not_found("Event not found.")
        return self._transaction(self._gate.pdus(txn, served, [found]))

    def _state(self, txn: Transaction, origin: str, room_id: str, event_id: str) -> Encoded:
        state, chain = self._state_nids(txn, origin, room_id, event_id)
        pdus, chain_pdus = (self._gate.state_pdus(txn, nids) for nids in (state, chain))
        return dump({"pdus": pdus, "auth_chain": chain_pdus})

    def _state_ids(self, txn: Transaction, origin: str, room_id: str, event_id: str) -> Encoded:
        state, chain = self._state_nids(txn, origin, room_id, event_id)
        ids = self._gate.events.ids_of(txn, [*state, *chain])
        return orjson.dumps(
            {
                "pdu_ids": [ids[nid] for nid in state if nid in ids],
                "auth_chain_ids": [ids[nid] for nid in chain if nid in ids],
            }
        )

    def _state_nids(
        self, txn: Transaction, origin: str, room_id: str, event_id: str
    ) -> tuple[list[int], list[int]]:
        served = self._gate.enter(txn, origin, room_id, [event_id])
        self._gate.check_whole(txn, served)
        stored = self._gate.event(txn, served, event_id)
        # Of a redaction that hangs on the past, the state there.
        before = stored.before_nid if stored.point_nid is None else stored.point_nid
        if before is None:
            raise not_found(f"The state at {event_id} is not known")
        state = list(self._gate.state.whole(txn, before).values())
        return state, auth_chain(txn, state)

    def _event_auth(self, txn: Transaction, origin: str, room_id: str, event_id: str) -> Encoded:
        served = self._gate.enter(txn, origin, room_id, [event_id])
        found = self._gate.events.by_ids(txn, [event_id]).get(event_id)
        if found is None or found.room_nid != served.room.nid:
            raise not_found("Event not found.")
        return dump({"auth_chain": self._gate.state_pdus(txn, auth_chain(txn, [found.nid]))})

    def _backfill(
        self, txn: Transaction, origin: str, room_id: str, event_ids: Sequence[str], limit: int
    ) -> Encoded:
        served = self._gate.enter(txn, origin, room_id, event_ids)
        limit = min(limit, MAX_BACKFILL)
        events = self._walk(txn, served, event_ids, limit, lambda _: True)
        return self._transaction(self._gate.pdus(txn, served, events))

    def _missing(
        self, txn: Transaction, origin: str, room_id: str, earliest: Collection[str], latest: Sequence[str],
        limit: int, min_depth: int,
    ) -> Encoded:  # fmt: skip
        served = self._gate.enter(txn, origin, room_id, latest)
        limit = min(limit, MAX_MISSING)
        ends = frozenset(earliest)
        known = self._gate.events.by_ids(txn, latest)
        begin = [
            event_id
            for one in known.values()
            if one.room_nid == served.room.nid
            for event_id in one.event.prev_events
        ]
        events = self._walk(
            txn,
            served,
            [event_id for event_id in begin if event_id not in latest],
            limit,
            lambda one: one.event_id not in ends and one.event.depth >= min_depth,
        )
        return dump({"events": self._gate.pdus(txn, served, events[::-1])})

    def _walk(
        self, txn: Transaction, served: ServedRoom, begin: Sequence[str], limit: int,
        wanted: Callable[[StoredEvent], bool],
    ) -> list[StoredEvent]:  # fmt: skip
        """Backwards along the edges of the graph, the deepest events first; `limit` at most."""
        seen: set[str] = set()
        found: list[StoredEvent] = []
        frontier = list(dict.fromkeys(begin))
        while frontier and len(found) < limit and len(seen) < limit * _WALKED:
            seen.update(frontier)
            events = [
                one
                for one in self._gate.events.by_ids(txn, frontier).values()
                if one.room_nid == served.room.nid and _is_walked(one) and wanted(one)
            ]
            events.sort(key=lambda one: (-one.event.depth, -one.nid))
            found += events
            below = dict.fromkeys(event_id for one in events for event_id in one.event.prev_events)
            frontier = [event_id for event_id in below if event_id not in seen]
        return found[:limit]

    def _transaction(self, pdus: Sequence[JsonObject]) -> Encoded:
        return dump(
            {"origin": self._server_name, "origin_server_ts": self._clock.now_ms(), "pdus": list(pdus)}
        )


def _is_walked(stored: StoredEvent) -> bool:
    return stored.after_nid is not None and stored.standing is not Standing.REJECTED
