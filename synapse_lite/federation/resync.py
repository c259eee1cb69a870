"""What a server left out when we joined a room through it (server-server API, `send_join` with `omit_members`).

Everything that is found out is stored at once, so that it makes no difference who goes on from there, or how often it is begun.
"""

import logging
from collections.abc import Collection, Mapping, Sequence

from attrs import frozen

from synapse_lite.federation.fetching import EventFetcher, Unverified, UnverifiedError
from synapse_lite.federation.keyring import Keyring
from synapse_lite.federation.outliers import store_in_slices
from synapse_lite.federation.peers import PeerError, TooLargeError
from synapse_lite.matrix.auth_rules.state import CREATE
from synapse_lite.matrix.event import Event
from synapse_lite.replication.bus import Bus
from synapse_lite.rooms.partial import RoomFiller
from synapse_lite.rooms.receive import EventReceiver
from synapse_lite.storage import partial_rooms
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.partial_rooms import PartialRoom
from synapse_lite.storage.room_servers import servers_in_room
from synapse_lite.storage.rooms import Room, room_by_id
from synapse_lite.storage.state import StateStore

logger = logging.getLogger(__name__)

TOPIC = "whole_rooms"
"""On the bus: all members of some room are known now."""

SLICE = 500  # events of one commit
SLICES = 10  # that are filled in before it is written down how far it is
FEW = 200  # events that are fetched while the user who joins waits for it
FEW_BYTES = 64 * 1024  # of the ids of a state that may lack only few events: a longer list is not read
TOLERATED = 20
"""Of so many events one need not be given: a server may have lost some."""
MAX_SERVERS = 5  # that are asked, one after the other, before it is tried again later


class TooManyError(PeerError):
    """More is lacking than may be fetched now."""


@frozen
class _Stay:
    """The room, and how this server came into it."""

    room: Room
    partial: PartialRoom
    join_id: str
    servers: Sequence[str]


class RoomResync:
    """`server_name` is ours."""

    def __init__(
        self,
        database: Database,
        events: EventStore,
        state: StateStore,
        fetcher: EventFetcher,
        keyring: Keyring,
        receiver: EventReceiver,
        filler: RoomFiller,
        bus: Bus,
        server_name: str,
    ) -> None:
        self._database = database
        self._events = events
        self._state = state
        self._fetcher = fetcher
        self._keyring = keyring
        self._receiver = receiver
        self._filler = filler
        self._bus = bus
        self._server_name = server_name
        self._away: dict[str, Collection[str]] = {}  # servers whose keys a room waits for

    async def advance(self, room_id: str, most: int | None = None) -> int | None:
        """Do a part of what is left to do: how many events lack now; None: the room is known whole, or not here any more.

        Raises `PeerError` when no server tells, `UnverifiedError` when keys may come later, `TooManyError` when more than `most` are to be fetched.
        """
        away = self._away.pop(room_id, ())
        stay = await self._database.read(self._find, room_id)
        if stay is None:
            return None
        if await self._keyring.are_away(away):  # the state, which may be large, need not be fetched for that
            self._away[room_id] = away
            raise UnverifiedError({}, away)
        room_nid = stay.room.nid
        if not stay.partial.is_told:
            await self._learn(stay, most)
        else:
            await self._fill(room_nid)
        return await self._database.read(partial_rooms.count_lacking, room_nid)

    async def finish_few(self, room_id: str) -> bool:
        """All of it, if only few events have to be fetched; False: nothing, as there are more, or nobody tells."""
        try:
            while await self.advance(room_id, FEW) is not None:
                pass
        except PeerError as error:
            logger.info("the members of %s come later: %s", room_id, error)
            return False
        return True

    async def _fill(self, room_nid: int) -> None:
        for _ in range(SLICES):
            if not await self._database.transact(self._filler.fill_next, room_nid, SLICE):
                while await self._database.transact(self._filler.judge_next, room_nid, SLICE):
                    pass
                self._bus.publish(TOPIC)
                return

    async def _learn(self, stay: _Stay, most: int | None) -> None:
        """Ask one server after the other what the state before our join is, and for the events that are not known."""
        failures = []
        for server in stay.servers:
            try:
                return await self._learn_from(server, stay, most)
            except (TooManyError, UnverifiedError):
                raise
            except PeerError as error:
                failures.append(f"{server}: {error}")
        raise PeerError("; ".join(failures) or "no other server is known to be in the room")

    async def _learn_from(self, server: str, stay: _Stay, most: int | None) -> None:
        state_ids, chain_ids = await self._state_ids(server, stay, most)
        wanted = {*state_ids, *chain_ids}
        lacking = wanted - await self._database.read(partial_rooms.known_event_ids, wanted)
        if most is not None and len(lacking) > most:
            raise TooManyError(f"{len(lacking)} events are lacking")
        excused = await self._fetch(server, stay, lacking) if lacking else ()
        known = await self._database.read(partial_rooms.known_event_ids, state_ids)
        missing = set(state_ids).difference(known, excused)
        if len(missing) > len(state_ids) // TOLERATED:
            raise PeerError(
                f"{server} does not give {len(missing)} of the {len(state_ids)} events of the state"
            )
        if not await self._database.transact(self._note, stay, state_ids):
            raise PeerError(f"{server} tells the state of another room")

    async def _fetch(self, server: str, stay: _Stay, lacking: Collection[str]) -> Collection[str]:
        """What was given, and may be left out all the same: what nobody can verify any more, with what leans on that.

        Who cannot be verified yet would be left out for ever; all others are stored, and not fetched again.
        """
        try:
            given = await self._fetcher.state_events(
                server, stay.room, stay.join_id, lacking, Unverified.REFUSED
            )
        except UnverifiedError as error:
            await self._keep(stay, lacking, error.verified)
            self._away[stay.room.room_id] = error.servers
            raise
        await self._keep(stay, lacking, given.events)
        named = {one for event in given.events.values() for one in event.auth_events}.difference(
            given.event_ids
        )
        is_whole = named == await self._database.read(partial_rooms.known_event_ids, named)
        return given.event_ids if is_whole else set(given.event_ids) - given.events.keys()

    async def _keep(self, stay: _Stay, lacking: Collection[str], events: Mapping[str, Event]) -> None:
        new = {one: event for one, event in events.items() if one in lacking}
        await store_in_slices(self._receiver, stay.room.nid, new)

    async def _state_ids(self, server: str, stay: _Stay, most: int | None) -> tuple[list[str], list[str]]:
        if most is None:
            return await self._fetcher.state_ids(server, stay.room, stay.join_id)
        try:
            return await self._fetcher.state_ids(server, stay.room, stay.join_id, FEW_BYTES)
        except TooLargeError as error:
            raise TooManyError(str(error)) from None

    # In a database thread

    def _find(self, txn: Transaction, room_id: str) -> _Stay | None:
        room = room_by_id(txn, room_id)
        partial = None if room is None else partial_rooms.find_partial(txn, room.nid)
        if room is None or partial is None:
            return None
        join_id = self._events.ids_of(txn, [partial.join_nid])[partial.join_nid]
        known = servers_in_room(txn, room.nid, MAX_SERVERS)
        others = [one for one in dict.fromkeys([*known, *partial.servers]) if one != self._server_name]
        return _Stay(room, partial, join_id, others[:MAX_SERVERS])

    def _note(self, txn: Transaction, stay: _Stay, state_ids: Sequence[str]) -> bool:
        """Write down what is to be filled in. False for a state without what is known of it already."""
        nids = partial_rooms.state_event_nids(txn, stay.room.nid, state_ids)
        known = self._state.whole(txn, stay.partial.snapshot_nid)
        if known.get(CREATE) not in nids:
            return False
        there = set(known.values())
        lacking = [nid for nid in nids if nid not in there]
        partial_rooms.set_lacking(txn, stay.room.nid, stay.partial.join_nid, lacking)
        return True
