"""Bringing an event of another server into its room, with what it leans on (server-server API, "Receiving PDUs")."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError

from synapse_lite.errors import MatrixError, UnavailableError
from synapse_lite.federation.fetching import EventFetcher, Unverified, below
from synapse_lite.federation.outliers import store_in_slices
from synapse_lite.federation.peers import PeerError
from synapse_lite.federation.policy import PolicyServers
from synapse_lite.federation.trust import Trust
from synapse_lite.matrix.auth_rules.state import CREATE
from synapse_lite.matrix.event import Event, StateKey
from synapse_lite.rooms.branches import BranchReceiver
from synapse_lite.rooms.judge import MissingEventsError
from synapse_lite.rooms.partial import RoomFiller, UnknownMembersError
from synapse_lite.rooms.policy import UnsignedError
from synapse_lite.rooms.receive import EventReceiver, Received
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore, Standing, StoredEvent
from synapse_lite.storage.heads import read_head
from synapse_lite.storage.outlines import Outline, read_outlines
from synapse_lite.storage.partial_rooms import known_event_ids
from synapse_lite.storage.room_gaps import below_joins, purged_depth
from synapse_lite.storage.room_servers import servers_in_room
from synapse_lite.storage.rooms import Room

T = TypeVar("T")

logger = logging.getLogger(__name__)

MAX_ROUNDS = 10  # of asking for what lies between
MAX_SERVERS = 4  # that are asked for the same
MIN_DEPTH_BELOW = 50


class UnobtainableError(PeerError):
    """What an event leans on is not to be had anywhere now."""


class UnaskedError(UnobtainableError):
    """Nobody was asked: its server led nowhere too often of late."""


@frozen
class _Known:
    """Where a room stands: the events at its end, and their depth."""

    extremities: Sequence[str]
    depth: int


class InboundEvents:
    def __init__(
        self,
        database: Database,
        events: EventStore,
        receiver: EventReceiver,
        branches: BranchReceiver,
        fetcher: EventFetcher,
        filler: RoomFiller,
        policies: PolicyServers,
        trust: Trust,
        server_name: str,
    ) -> None:
        self._database = database
        self._events = events
        self._receiver = receiver
        self._branches = branches
        self._fetcher = fetcher
        self._filler = filler
        self._policies = policies
        self._trust = trust
        self._server_name = server_name

    async def receive(self, room: Room, event: Event, origin: str) -> StoredEvent:
        """The event as stored. Raises `UnobtainableError`, and `MatrixError` for a room that is gone."""
        try:
            return await self._receive_after_others(room, event, origin)
        except UnaskedError:
            raise
        except UnobtainableError:
            self._trust.note_failure(origin)
            raise

    async def _receive_after_others(self, room: Room, event: Event, origin: str) -> StoredEvent:
        for _ in range(MAX_ROUNDS):
            try:
                return await self._receive(room, event, origin)
            except MissingEventsError as missing:
                before = missing.event_ids
                self._check_trust(event, origin)
                await self._fill_gap(room, event, origin, missing.event_ids & set(event.prev_events))
            if not before & set(event.prev_events):
                break
        return await self._receive_or_give_up(room, event, origin)

    async def groundless(self, events: Sequence[Event], origins: Sequence[str]) -> frozenset[str]:
        """Those that lean on what is neither here nor among those before them, of servers that led nowhere too often of late."""
        spent = {origin for origin in set(origins) if self._trust.is_spent(origin)}
        if not spent:
            return frozenset()
        named = {one for event in events for one in (*event.prev_events, *event.auth_events)}
        known = await self._database.read(known_event_ids, named)
        found = set()
        for event, origin in zip(events, origins, strict=True):
            if origin in spent and not known.issuperset([*event.prev_events, *event.auth_events]):
                found.add(event.event_id)
            else:
                known.add(event.event_id)
        return frozenset(found)

    async def receive_together(
        self, room: Room, events: Sequence[Event], state: Mapping[StateKey, int] | None = None
    ) -> int:
        """How many of the events, from the first on, came into the room at once; 0: they have to be received one by one.

        `state` is the one before the first event, where another server had to tell it.
        """
        try:
            return await self._branches.receive(room.nid, events, state)
        except (UnavailableError, CancelledError):
            raise
        except Exception:  # one by one it shows with which event something is wrong
            logger.exception("%d events of %s are received one by one", len(events), room.room_id)
            return 0

    async def _receive_or_give_up(self, room: Room, event: Event, origin: str) -> StoredEvent:
        try:
            return await self._receive(room, event, origin)
        except MissingEventsError as missing:
            raise UnobtainableError(f"{event.event_id}: {missing}") from None

    async def _receive(
        self, room: Room, event: Event, origin: str, state: Mapping[StateKey, int] | None = None
    ) -> StoredEvent:
        """With the auth events that lack; `MissingEventsError` for previous events, and what nobody gives."""
        try:
            return await self._judged(Received(room.nid, event, state))
        except MissingEventsError as missing:
            if not missing.event_ids & set(event.auth_events):
                raise
        self._check_trust(event, origin)
        await self.ask_around(room, origin, partial(self._store_auth_chain, room, event))
        return await self._judged(Received(room.nid, event, state))

    def _check_trust(self, event: Event, origin: str) -> None:
        if self._trust.is_spent(origin):
            raise UnaskedError(f"{event.event_id}: {origin} sent too many events that lead nowhere")

    async def _judged(self, received: Received) -> StoredEvent:
        """In a room that is partial, with the members filled in of whom the event's auth events speak."""
        try:
            return await self._recommended(received)
        except UnknownMembersError as unknown:
            members = unknown.event_ids
        await self._database.transact(self._filler.learn, received.room_nid, members)
        return await self._recommended(evolve(received, is_filled_in=True))

    async def _recommended(self, received: Received) -> StoredEvent:
        """With the signature of the room's policy server, or as one that is not recommended."""
        try:
            return await self._receiver.receive(received)
        except UnsignedError as unsigned:
            policy = unsigned.policy
        try:
            signed = await self._policies.sign(received.event, policy)
            return await self._receiver.receive(evolve(received, event=signed))
        except (MatrixError, UnsignedError) as error:
            logger.info("%s is not recommended: %s", received.event.event_id, error)
        return await self._receiver.receive(evolve(received, is_discouraged=True))

    async def _store_auth_chain(self, room: Room, event: Event, server: str) -> None:
        """What lacks of it, as far as the server knows it."""
        chain = await self._fetcher.auth_chain(server, room, event)
        if not chain:
            raise PeerError(f"{server} does not know the auth events of {event.event_id}")
        known = await self._database.read(known_event_ids, chain.keys())
        await store_in_slices(
            self._receiver, room.nid, {one: event for one, event in chain.items() if one not in known}
        )

    # Previous events

    async def _fill_gap(self, room: Room, event: Event, origin: str, missing: frozenset[str]) -> None:
        """Receive what lies between; where that does not reach down to what we have, take a state from others."""
        if not missing:
            return
        known = await self._database.read(self._read_known, room.nid)
        between: list[Event] = []
        try:
            between = await self._fetcher.missing_events(
                origin,
                room,
                event,
                known.extremities,
                max(0, min(known.depth, event.depth) - MIN_DEPTH_BELOW),
            )
        except PeerError as error:
            logger.info("%s: %s", room.room_id, error)
        history = await self._database.read(self._history_among, room.nid, between)
        between = [one for one in between if one.event_id not in history]
        given = {one.event_id for one in between}
        waiting = [*between, event]
        while len(waiting) > 1:
            done = await self.receive_together(room, waiting) or await self._place(room, waiting, origin)
            waiting = waiting[done:]
        for event_id in sorted(missing - given - history):
            found = await self.ask_around(room, origin, partial(self._fetch_event, room, event_id))
            if await self._database.read(self._history_among, room.nid, [found]):
                history.add(event_id)
            else:
                await self._place(room, [found], origin)
        if missing & history:  # it branches off below what is known: only others know the state there
            await self._place(room, [event], origin)

    async def _fetch_event(self, room: Room, event_id: str, server: str) -> Event:
        return await self._fetcher.event(server, room, event_id)

    async def _place(self, room: Room, events: Sequence[Event], origin: str) -> int:
        """Receive the first event of a gap, or more: how many. The lowest ones come with the state that others tell of."""
        event = events[0]
        try:
            await self._receive(room, event, origin)
        except MissingEventsError as missing:
            lacking = missing.event_ids & set(event.prev_events)
            if not lacking:
                raise UnobtainableError(f"{event.event_id}: {missing}") from None
            state = await self.ask_around(
                room, origin, partial(self.state_before, room, event, Unverified.REFUSED)
            )
            done = await self.receive_together(room, events, state)
            if done:
                return done
            await self._receive(room, event, origin, state)
        return 1

    async def state_before(
        self, room: Room, event: Event, unverified: Unverified, server: str
    ) -> dict[StateKey, int]:
        """The state before the event as the server tells it, by events that are stored here now."""
        state_ids, chain_ids = await self._fetcher.state_ids(server, room, event.event_id)
        wanted = {*state_ids, *chain_ids}
        lacking = wanted - await self._database.read(known_event_ids, wanted)
        if lacking:
            given = await self._fetcher.state_events(server, room, event.event_id, lacking, unverified)
            new = {one: event for one, event in given.events.items() if one in lacking}
            await store_in_slices(self._receiver, room.nid, new)
        stored = await self._database.read(read_outlines, state_ids)
        return _by_key(room, state_ids, stored)

    # Asking around

    async def ask_around(self, room: Room, origin: str, ask: Callable[[str], Awaitable[T]]) -> T:
        """What the first of a few servers answers; `UnobtainableError` when none does."""
        servers = await self._database.read(servers_in_room, room.nid, MAX_SERVERS)
        failures = []
        for server in dict.fromkeys([origin, *servers]):
            if server == self._server_name:
                continue
            try:
                return await ask(server)
            except (PeerError, MatrixError) as error:
                failures.append(f"{server}: {error}")
        raise UnobtainableError("; ".join(failures) or "no other server is in the room")

    def _history_among(self, txn: Transaction, room_nid: int, events: Sequence[Event]) -> set[str]:
        """Those of the events that are below what this server came into the room with, or were purged: they are fetched when
        somebody scrolls up.
        """
        joins = below_joins(txn, room_nid, self._server_name)
        history = below(joins, {one.event_id: one for one in events})
        purged = purged_depth(txn, room_nid) if events else 0
        past = (one for one in events if not one.prev_events or one.depth < purged)
        return {one.event_id for one in (*history, *past)}

    def _read_known(self, txn: Transaction, room_nid: int) -> _Known:
        head = read_head(txn, room_nid)
        if head is None:
            return _Known((), 0)
        return _Known(list(self._events.ids_of(txn, head.extremities).values()), head.depth)


def _by_key(room: Room, state_ids: Sequence[str], stored: Mapping[str, Outline]) -> dict[StateKey, int]:
    """Raises `PeerError` for a state that cannot be one of this room."""
    state: dict[StateKey, int] = {}
    for event_id in state_ids:
        one = stored.get(event_id)
        if one is None or one.standing is Standing.REJECTED:
            continue
        if one.room_nid != room.nid or one.key is None or one.key in state:
            raise PeerError(f"{event_id} cannot be a part of the state")
        state[one.key] = one.nid
    if CREATE not in state:
        raise PeerError("There is no create event in the state")
    return state
