"""What users of this server are to rooms that it is not in: invited, knocking, or out of them again.

Of such a room there is no state that could be judged by: what the members of the room say by an event is kept as it came,
outside the graph, with what may be seen of the room. When the server enters the room, the room's state takes its place.
"""

from collections.abc import Callable, Sequence
from functools import partial

from attrs import field, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.types import MEMBER, OUT
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore, NewEvent, Standing, StoredEvent
from synapse_lite.storage.heads import know_and_lock, know_room
from synapse_lite.storage.memberships import upsert_memberships
from synapse_lite.storage.nids import NidSequence
from synapse_lite.storage.room_servers import is_in_room
from synapse_lite.storage.rooms import Membership, membership_in
from synapse_lite.storage.sent_knocks import forget_sent, put_sent
from synapse_lite.storage.state_deltas import insert_delta
from synapse_lite.storage.stream import Kind, Position, is_told
from synapse_lite.storage.stripped_state import forget_stripped, put_stripped

MAX_STEPS = 10
"""So far is followed what led to what a user is now."""


@frozen
class OutsideMembership:
    """A member event of a user of ours, as `server` told it; `stripped` is what may be seen of the room by it."""

    event: Event
    server: str
    stripped: Sequence[JsonObject] = ()

    @property
    def user_id(self) -> str:
        return str(self.event.state_key)


def _nothing(_txn: Transaction) -> None:
    """Nothing more is written."""


@frozen
class OutsideStore:
    """Within a transaction. `server_name` is ours; `forget_on_leave`: leaving a room forgets it."""

    events: EventStore
    clock: Clock
    server_name: str
    forget_on_leave: bool
    nids: NidSequence = field(factory=lambda: NidSequence("event_nids"))

    def announce(self, txn: Transaction, knock: Event) -> None:
        txn.relax()
        now = self.clock.now_ms()
        room = know_room(txn, knock.room_id, knock.version, now)
        put_sent(txn, knock.event_id, room.nid, knock.sender, now)

    def put(
        self, txn: Transaction, new: OutsideMembership, also: Callable[[Transaction], object] = _nothing
    ) -> bool:
        """As `OutsideMemberships.put`."""
        event = new.event
        if event.membership == "knock":
            forget_sent(txn, event.event_id)
        room = know_and_lock(txn, event.room_id, event.version, self.clock.now_ms()).room
        before = membership_in(txn, room.nid, new.user_id)
        if self._is_over(txn, event, before):
            return True
        if is_in_room(txn, room.nid, self.server_name):
            return False
        event_nid = self._store(txn, room.nid, event)
        is_out = event.membership in OUT
        row = Membership(
            room.nid,
            new.user_id,
            event.membership or "leave",
            event.sender,
            event_nid,
            is_out and self.forget_on_leave,
        )
        upsert_memberships(txn, [row])
        if is_out:
            forget_stripped(txn, room.nid, new.user_id)
        else:
            put_stripped(txn, room.nid, new.user_id, new.server, new.stripped)
        previous_nid = before.event_nid if before else None
        txn.publish(
            Kind.STATE,
            room_nid=room.nid,
            event_nid=event_nid,
            user_id=new.user_id,
            at_position=partial(_record, room.nid, (MEMBER, new.user_id), event_nid, previous_nid),
        )
        also(txn)
        return True

    def _is_over(self, txn: Transaction, event: Event, before: Membership | None) -> bool:
        """Whether it was told, or what is known of the user leans on it: answers and events of others may cross on their way."""
        stored = self.events.by_ids(txn, [event.event_id]).get(event.event_id)
        if stored is not None and is_told(txn, stored.nid):
            return True
        if before is None:
            return False
        known = self.events.load(txn, [before.event_nid])[before.event_nid].event
        return known.event_id == event.event_id or self._leans_on(txn, known, event)

    def _leans_on(self, txn: Transaction, known: Event, event: Event) -> bool:
        """Through what the user was in between, too, as far as that is known: a knock, the invite for it, the end of that."""
        for _ in range(MAX_STEPS):
            causes = {*known.auth_events, *known.prev_events}
            if event.event_id in causes:
                return True
            earlier = [
                one.event for one in self.events.by_ids(txn, causes).values() if one.event.key == event.key
            ]
            if not earlier:
                return False
            known = max(earlier, key=lambda one: one.depth)
        return False

    def _store(self, txn: Transaction, room_nid: int, event: Event) -> int:
        known = self.events.by_ids(txn, [event.event_id]).get(event.event_id)
        if known is not None:
            return known.nid
        stored = StoredEvent(self.nids.next(txn), room_nid, event, None, None, standing=Standing.OUTLIER)
        self.events.insert(txn, [NewEvent(stored, ())], self.clock.now_ms())
        return stored.nid


@frozen
class OutsideMemberships:
    database: Database
    store: OutsideStore

    async def put(
        self, membership: OutsideMembership, also: Callable[[Transaction], object] = _nothing
    ) -> bool:
        """False when the server is in the room: then the event belongs into its graph, unless what the user is there came of it.

        404 for a room that is being purged.
        `also` is written with it.
        """
        return await self.database.transact(self.store.put, membership, also)

    async def announce(self, knock: Event) -> None:
        """It is about to be sent: what ends it may come before the answer, to any process."""
        await self.database.transact(self.store.announce, knock)

    async def take_back(self, knock: Event) -> None:
        """It was refused: nothing will come of it."""
        await self.database.transact(forget_sent, knock.event_id)


def _record(
    room_nid: int,
    key: tuple[str, str],
    event_nid: int,
    previous_nid: int | None,
    txn: Transaction,
    position: Position,
) -> None:
    insert_delta(txn, position, room_nid, key, event_nid, previous_nid)
