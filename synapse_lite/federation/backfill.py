"""Fetching the past of a room from other servers (server-server API, "Backfilling and retrieving missing events")."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError
from synapse_lite.federation.fetching import EventFetcher, Unverified, below, causes_first
from synapse_lite.federation.inbound import InboundEvents, UnobtainableError
from synapse_lite.federation.outliers import store_in_slices
from synapse_lite.federation.peers import PeerError
from synapse_lite.matrix.event import Event, StateKey
from synapse_lite.rooms.history import HistoryFiller, Past
from synapse_lite.rooms.receive import EventReceiver
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.partial_rooms import is_partial
from synapse_lite.storage.room_gaps import Gap, gaps_between
from synapse_lite.storage.room_servers import servers_in_room
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.stream import Place

logger = logging.getLogger(__name__)

MAX_SERVERS = 5  # that are asked for the same
MAX_GAPS = 20  # that are filled together
EVENTS = 100  # of one answer
MAX_STATES = 10  # that are fetched for one answer
ANSWER_SECONDS = 15.0
RETRY_SECONDS = 60.0
"""What no server gives is not asked for again, for so long."""
MAX_NOTED = 10_000

States = Mapping[str, Mapping[StateKey, int]]


@frozen
class _Known:
    """Of the events of an answer and those that they name, which are placed already; and those that lack auth events."""

    placed: Mapping[str, StoredEvent]
    lacking_auth: Sequence[Event]


class Backfill:
    """`server_name` is ours."""

    def __init__(
        self,
        database: Database,
        events: EventStore,
        fetcher: EventFetcher,
        inbound: InboundEvents,
        receiver: EventReceiver,
        filler: HistoryFiller,
        clock: Clock,
        server_name: str,
    ) -> None:
        self._database = database
        self._events = events
        self._fetcher = fetcher
        self._inbound = inbound
        self._receiver = receiver
        self._filler = filler
        self._clock = clock
        self._server_name = server_name
        self._failed: dict[tuple[int, str], float] = {}

    async def wanted(self, room: Room, low: Place, high: Place) -> Sequence[Gap]:
        """The newest gaps of that stretch of history: those at one position."""
        gaps = await self._database.read(_gaps, room, low, high)
        return [one for one in gaps if one.position == gaps[0].position]

    async def fill(self, room: Room, gaps: Sequence[Gap]) -> bool:
        """Whether more of the history is known now. `gaps` are at one position."""
        now = self._clock.monotonic()
        missing = [
            one.missing_event_id
            for one in gaps
            if self._failed.get((room.nid, one.missing_event_id), now) <= now
        ]
        if not missing:
            return False
        for server in await self._database.read(servers_in_room, room.nid, MAX_SERVERS):
            if server == self._server_name:
                continue
            try:
                if await self._fill(room, gaps[0].position, missing, server):
                    return True
            except (PeerError, MatrixError) as error:
                logger.info("no history of %s from %s: %s", room.room_id, server, error)
        self._note(room, missing)
        return False

    async def _fill(self, room: Room, position: int, missing: Sequence[str], server: str) -> bool:
        events = await self._fetcher.backfill(server, room, missing, EVENTS, ANSWER_SECONDS)
        if not events:
            return False
        known = await self._database.read(self._know, events)
        for event in events:
            if event.event_id in known.placed:
                await self._receiver.complete(known.placed[event.event_id], event)
        events = causes_first(
            below(missing, {one.event_id: one for one in events if one.event_id not in known.placed})
        )
        for event in known.lacking_auth[:MAX_STATES]:
            chain = await self._fetcher.auth_chain(server, room, event)
            await store_in_slices(self._receiver, room.nid, chain)
        states = await self._states(room, events, known, server)
        placed = await self._filler.fill(Past(room.nid, position, events, states))
        return not set(missing).isdisjoint(placed)

    async def _states(self, room: Room, events: Sequence[Event], known: _Known, server: str) -> States:
        """The states before the events of which not all previous ones are known, as others tell them."""
        placed = set(known.placed)
        states: dict[str, Mapping[StateKey, int]] = {}
        for event in events:
            if event.prev_events and not placed.issuperset(event.prev_events):
                if len(states) == MAX_STATES:
                    continue
                ask = partial(self._state_before, room, event)
                try:
                    states[event.event_id] = await self._inbound.ask_around(room, server, ask)
                except UnobtainableError as error:
                    logger.info("%s is left out: %s", event.event_id, error)
                    continue
            placed.add(event.event_id)
        return states

    async def _state_before(self, room: Room, event: Event, server: str) -> Mapping[StateKey, int]:
        return await self._inbound.state_before(room, event, Unverified.LEFT_OUT, server)

    def _know(self, txn: Transaction, events: Sequence[Event]) -> _Known:
        given = {one.event_id for one in events}
        named = {event_id for one in events for event_id in (*one.prev_events, *one.auth_events)}
        stored = self._events.by_ids(txn, named | given)
        known = stored.keys() | given
        placed = {event_id: one for event_id, one in stored.items() if one.is_placed}
        return _Known(placed, [one for one in events if not known >= set(one.auth_events)])

    def _note(self, room: Room, missing: Sequence[str]) -> None:
        if len(self._failed) >= MAX_NOTED:
            self._failed.clear()
        until = self._clock.monotonic() + RETRY_SECONDS
        self._failed.update(dict.fromkeys([(room.nid, one) for one in missing], until))


def _gaps(txn: Transaction, room: Room, low: Place, high: Place) -> list[Gap]:
    """None of a room that is partial: the state around each event of the past is nearly all that lacks of the present."""
    return [] if is_partial(txn, room.nid) else gaps_between(txn, room.nid, low, high, MAX_GAPS)
