"""Rooms: their events, their state, and what users keep of them."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from attrs import frozen
from twisted.internet.task import Clock as Timers

from synapse_lite.cli.import_synapse.target import Import
from synapse_lite.clock import ReactorClock
from synapse_lite.errors import SynapseLiteError
from synapse_lite.handlers.auto_accept import AUTO_ACCEPT
from synapse_lite.handlers.federation.sending.follower import FEDERATION
from synapse_lite.handlers.push.follower import PUSH
from synapse_lite.ids import domain_of, is_local
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS, RoomVersion
from synapse_lite.matrix.types import OUT
from synapse_lite.rooms.contributors import room_contributors
from synapse_lite.rooms.contributors.notices import NoticesContributor
from synapse_lite.rooms.contributors.pass_over import PassOver
from synapse_lite.rooms.contributors.redact_on_ban import RedactOnBanContributor
from synapse_lite.rooms.importer import Arriving, GivenEvent, GivenState, RoomImporter
from synapse_lite.rooms.outside import OutsideMembership, OutsideStore
from synapse_lite.rooms.redact_on_ban import RedactOnBan
from synapse_lite.rooms.values import Contributor
from synapse_lite.storage.account_data import put_account_data, read_account_data
from synapse_lite.storage.aliases import add_alias, room_of_alias
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.ephemeral import Receipt, put_receipt
from synapse_lite.storage.events import EventStore, Standing
from synapse_lite.storage.room_closure import block_room
from synapse_lite.storage.rooms import Room, forget, membership_in, set_public
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.stream import begin_beyond, read_position
from synapse_lite.storage.synapse import rooms as synapse
from synapse_lite.storage.synapse.database import in_batches
from synapse_lite.storage.synapse.rooms import RoomAccountData, SynapseEvent, SynapseReceipt, SynapseRoom
from synapse_lite.storage.tasks.followers import pass_over
from synapse_lite.tasks.actions.redact_on_ban import go_on

CACHE_BYTES = 64 * 1024 * 1024
EVENTS_AT_ONCE = 200
GROUPS_KEPT = 1000
TELLING = (FEDERATION.name, PUSH.name, AUTO_ACCEPT.name)
"""What would tell others of events as if they came now."""


def import_rooms(work: Import) -> None:
    """One room after the other; what is interrupted goes on where it was."""
    with work.transaction() as txn:
        begin_beyond(txn, synapse.newest_position(work.synapse))
    rooms = RoomsPart.build(work)
    for room in synapse.rooms(work.synapse):
        version = ROOM_VERSIONS.get(room.version)
        if version is None or room.is_partial:
            why = "its members are not all known" if version else f"version {room.version} is unknown"
            work.refuse("rooms", f"{room.room_id}: {why}")
            continue
        rooms.take(room, version)
    for some in in_batches(synapse.blocked_rooms(work.synapse), EVENTS_AT_ONCE):
        with work.transaction() as txn:
            for room_id, user_id in some:
                block_room(txn, room_id, user_id)
    with work.transaction() as txn:
        pass_over(txn, TELLING, read_position(txn))  # also what users keep of the last room


@frozen
class RoomsPart:
    work: Import
    importer: RoomImporter
    outside: OutsideStore
    events: EventStore

    @classmethod
    def build(cls, work: Import) -> "RoomsPart":
        events, state = EventStore(CACHE_BYTES), StateStore(CACHE_BYTES)
        timers: Any = Timers()  # nothing here waits
        clock = ReactorClock(timers)
        contributors: Sequence[Contributor] = (
            *room_contributors(state, work.server_name, forget_on_leave=False),
            NoticesContributor(events, state, work.server_name),
            RedactOnBanContributor(RedactOnBan(events, state), go_on),
            PassOver(TELLING),
        )
        importer = RoomImporter(events, state, clock, contributors)
        return cls(work, importer, OutsideStore(events, clock, work.server_name, False), events)

    def take(self, room: SynapseRoom, version: RoomVersion) -> None:
        arriving = self._begin(room, version)
        self._take_outliers(arriving, version, at_any_rate=False)
        for some in in_batches(synapse.history(self.work.synapse, room.room_id), EVENTS_AT_ONCE):
            with self.work.transaction() as txn:
                self.importer.take(txn, arriving, self._given(some, version))
            self.work.counts["events"] += len(some)
        self._take_outliers(arriving, version, at_any_rate=True)
        with self.work.transaction() as txn:
            ends = synapse.forward_extremities(self.work.synapse, room.room_id)
            state = synapse.current_state(self.work.synapse, room.room_id)
            self.importer.finish(txn, arriving, ends, state)
            self._take_names(txn, arriving, room)
        self._take_users(arriving, version)
        for event_id in arriving.left_out:
            self.work.refuse("events", f"{event_id} in {room.room_id}: no state is known there")
        self.work.counts["rooms"] += 1

    def _begin(self, room: SynapseRoom, version: RoomVersion) -> Arriving:
        @lru_cache(GROUPS_KEPT)
        def state_of(group: int) -> GivenState:
            found = synapse.state_group(self.work.synapse, group)
            return GivenState(found.base, found.event_ids)

        with self.work.transaction() as txn:
            return self.importer.know(txn, room.room_id, version, state_of)

    def _take_outliers(self, arriving: Arriving, version: RoomVersion, *, at_any_rate: bool) -> None:
        outliers = synapse.outliers(self.work.synapse, arriving.room.room_id)
        for some in in_batches(outliers, EVENTS_AT_ONCE):
            with self.work.transaction() as txn:
                given = self._given(some, version)
                self.importer.take_outliers(txn, arriving, given, at_any_rate=at_any_rate)

    def _given(self, found: Iterable[SynapseEvent], version: RoomVersion) -> list[GivenEvent]:
        given = []
        for one in found:
            event = self._read(one, version)
            if event is not None:
                given.append(GivenEvent(event, _standing(one), one.rejected, one.received_ts, one.group))
        return given

    def _read(self, found: SynapseEvent, version: RoomVersion) -> Event | None:
        try:
            event = Event.from_pdu(found.pdu, version)
        except (KeyError, TypeError, ValueError, SynapseLiteError) as error:
            self.work.refuse("events", f"{found.event_id}: {error!r}")
            return None
        if event.event_id != found.event_id:
            self.work.refuse("events", f"{found.event_id}: by its content it is {event.event_id}")
            return None
        if "\0" in f"{event.type} {event.state_key} {event.sender}":  # which PostgreSQL cannot hold
            self.work.refuse("events", f"{found.event_id}: its type, state key or sender has a NUL")
            return None
        return event

    def _take_names(self, txn: Transaction, arriving: Arriving, room: SynapseRoom) -> None:
        if room.is_public:
            set_public(txn, arriving.room.nid, True)
        for alias, creator in synapse.aliases(self.work.synapse, room.room_id).items():
            if is_local(alias, self.work.server_name) and room_of_alias(txn, alias) is None:
                add_alias(txn, alias, arriving.room.nid, creator or "")

    def _take_users(self, arriving: Arriving, version: RoomVersion) -> None:
        """What users are to the room if it is not a part of its history, and what they keep of it."""
        room = arriving.room
        memberships = synapse.local_memberships(self.work.synapse, room.room_id)
        for some in in_batches(memberships.items(), EVENTS_AT_ONCE):
            with self.work.transaction() as txn:
                for user_id, (event_id, is_forgotten) in some:
                    if membership_in(txn, room.nid, user_id) is None:
                        self._take_outside(txn, event_id, version)
                    known = membership_in(txn, room.nid, user_id)
                    if is_forgotten and known is not None and known.membership in OUT:
                        forget(txn, room.nid, user_id)
        self._take_account_data(room)
        self._take_receipts(room)

    def _take_account_data(self, room: Room) -> None:
        """Tags among it."""

        def read(found: RoomAccountData) -> RoomAccountData:
            self.work.own(found.user_id)
            return found

        def add(txn: Transaction, found: Sequence[RoomAccountData]) -> int:
            new = [one for one in found if read_account_data(txn, one.user_id, room.nid, one.type) is None]
            for one in new:
                put_account_data(txn, one.user_id, room.nid, one.type, one.content)
            return len(new)

        found = synapse.room_account_data(self.work.synapse, room.room_id)
        self.work.take_each("account data of rooms", found, _name_of, read, add)

    def _take_receipts(self, room: Room) -> None:
        def read(found: SynapseReceipt) -> Receipt:
            return Receipt(
                room.nid, found.user_id, found.receipt_type, found.thread_id, found.event_id, found.ts
            )

        def add(txn: Transaction, receipts: Sequence[Receipt]) -> int:
            for one in receipts:
                put_receipt(txn, one)
            return len(receipts)

        found = synapse.receipts(self.work.synapse, room.room_id)
        self.work.take_each("receipts", found, _name_of, read, add)

    def _take_outside(self, txn: Transaction, event_id: str, version: RoomVersion) -> None:
        """An invitation, or the like, to a room in which this server has nobody."""
        found = synapse.outlier(self.work.synapse, event_id)
        event = self._read(found, version) if found else None
        if found is not None and event is not None and event.state_key is not None:
            self.outside.put(txn, OutsideMembership(event, domain_of(event.sender), found.stripped))


def _name_of(found: RoomAccountData | SynapseReceipt) -> str:
    return found.user_id


def _standing(found: SynapseEvent) -> Standing:
    if found.rejected is not None:
        return Standing.REJECTED
    if found.is_outlier:
        return Standing.OUTLIER
    return Standing.SOFT_FAILED if found.is_soft_failed else Standing.ACCEPTED
