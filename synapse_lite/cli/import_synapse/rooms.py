"""Rooms: their events, their state, and what users keep of them."""

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import define, frozen
from twisted.internet.task import Clock as Timers

from synapse_lite.canonical_json import JsonObject, decode_object
from synapse_lite.cli.import_synapse.target import UNREADABLE, UNSTORABLE, Import, Progress
from synapse_lite.clock import ReactorClock
from synapse_lite.errors import SynapseLiteError, bad_json
from synapse_lite.handlers.account_data import TAG
from synapse_lite.handlers.auto_accept import AUTO_ACCEPT
from synapse_lite.handlers.federation.sending.follower import FEDERATION
from synapse_lite.handlers.push.follower import PUSH
from synapse_lite.ids import domain_of, is_local
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.event_format import check_shape
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
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.ephemeral import Receipt, put_receipt
from synapse_lite.storage.events import EventStore, Standing
from synapse_lite.storage.imported import parts
from synapse_lite.storage.imported.places import add_places
from synapse_lite.storage.room_closure import block_room
from synapse_lite.storage.rooms import Room, forget, membership_in, set_public
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.stream import begin_beyond, read_position
from synapse_lite.storage.synapse import rooms as synapse
from synapse_lite.storage.synapse.database import SynapseRow, in_batches
from synapse_lite.storage.synapse.rooms import SynapseEvent, SynapseRoom
from synapse_lite.storage.tasks.followers import pass_over
from synapse_lite.tasks.actions.redact_on_ban import go_on

AccountData = tuple[str, str, JsonObject]
CACHE_BYTES = 64 * 1024 * 1024
EVENTS_AT_ONCE = 200
ENTRIES_KEPT = 200_000  # of state groups: four of a room of 50,000 members, or many that are differences
TELLING = (FEDERATION.name, PUSH.name, AUTO_ACCEPT.name)
"""What would tell others of events as if they came now."""


def import_rooms(work: Import) -> None:
    """One room after the other; what is interrupted goes on where it was."""
    with work.transaction() as txn:
        begin_beyond(txn, synapse.newest_position(work.synapse))
    found = synapse.rooms(work.synapse)
    rooms = RoomsPart.build(work, Steps(work.progress, len(found), sum(room.events for room in found)))
    for room in found:
        rooms.steps.rooms += 1
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


@define
class Steps:
    """How far it is, of how many rooms and events."""

    progress: Progress
    all_rooms: int
    all_events: int
    rooms: int = 0
    events: int = 0

    def past(self, events: int) -> None:
        self.events += events
        told = f"room {self.rooms} of {self.all_rooms}, event {self.events} of {self.all_events}"
        self.progress.tell(f"rooms: {told}")


@frozen
class RoomsPart:
    work: Import
    steps: Steps
    importer: RoomImporter
    outside: OutsideStore

    @classmethod
    def build(cls, work: Import, steps: Steps) -> "RoomsPart":
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
        return cls(work, steps, importer, OutsideStore(events, clock, work.server_name, False))

    def take(self, room: SynapseRoom, version: RoomVersion) -> None:
        """Unless it is done: of what is interrupted only the last room is read again."""
        part = f"room {room.room_id}"
        with self.work.transaction() as txn:
            done = parts.is_done(txn, part)
        if done:
            self.steps.past(room.events)
            return
        self._take(room, version)
        with self.work.transaction() as txn:
            parts.note_done(txn, part, self.work.now_ms())

    def _take(self, room: SynapseRoom, version: RoomVersion) -> None:
        arriving = self._begin(room, version)
        self._take_outliers(arriving, version)
        for some in in_batches(synapse.history(self.work.synapse, room.room_id), EVENTS_AT_ONCE):
            self._take_events(arriving, self._given(some, version))
            with self.work.transaction() as txn:
                add_places(txn, arriving.room.nid, [(one.event_id, one.ordering) for one in some])
            self.steps.past(len(some))
        self._take_outliers(arriving, version)
        with self.work.transaction() as txn:
            ends = synapse.forward_extremities(self.work.synapse, room.room_id)
            state = synapse.current_state(self.work.synapse, room.room_id)
            self.importer.finish(txn, arriving, ends, state)
            self._take_names(txn, arriving, room)
        self._take_users(arriving, version)
        for event_id in arriving.left_out:
            self.work.refuse("events", f"{event_id} in {room.room_id}: no state is known there")
        self.work.counts["rooms"] += 1

    def _take_events(self, arriving: Arriving, given: Sequence[GivenEvent]) -> None:
        """Together; where one of them cannot be stored, each half by itself."""
        before = arriving.mark()
        try:
            for read_only in (False, True):  # what is committed is remembered
                with self.work.transaction(read_only=read_only) as txn:
                    self.importer.number_keys(txn, given)
            with self.work.transaction() as txn:
                self.importer.take(txn, arriving, given)
        except UNSTORABLE as error:
            arriving.back_to(before)
            if len(given) == 1:
                self.work.refuse("events", f"{given[0].event.event_id}: {error}")
                return
            middle = len(given) // 2
            for half in (given[:middle], given[middle:]):
                self._take_events(arriving, half)
        else:
            self.work.counts["events"] += len(given)

    def _begin(self, room: SynapseRoom, version: RoomVersion) -> Arriving:
        kept: Cache[int, GivenState] = Cache(ENTRIES_KEPT)

        def state_of(group: int) -> GivenState:
            known = kept.get(group)
            if known is not None:
                return known
            found = synapse.state_group(self.work.synapse, group)
            state = GivenState(found.base, found.event_ids)
            kept.put(group, state, len(found.event_ids) + 1)
            return state

        with self.work.transaction() as txn:
            return self.importer.know(txn, room.room_id, version, state_of)

    def _take_outliers(self, arriving: Arriving, version: RoomVersion) -> None:
        """Before the history, as states lean on them, and after it, as their auth events may be there."""
        outliers = synapse.outliers(self.work.synapse, arriving.room.room_id)
        for some in in_batches(outliers, EVENTS_AT_ONCE):
            with self.work.transaction() as txn:
                self.importer.take_outliers(txn, arriving, self._given(some, version))

    def _given(self, found: Iterable[SynapseEvent], version: RoomVersion) -> list[GivenEvent]:
        given = []
        for one in found:
            try:
                given.append(_read(one, version))
            except (*UNREADABLE, SynapseLiteError) as error:
                self.work.refuse("events", f"{one.event_id}: {error}")
        return given

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

        def read(row: SynapseRow) -> AccountData:
            content = decode_object(row["content"])
            return self.work.own(row["user_id"]), row["account_data_type"], content

        def read_tags(rows: Sequence[SynapseRow]) -> AccountData:
            tags = {row["tag"]: decode_object(row["content"]) for row in rows}
            return self.work.own(rows[0]["user_id"]), TAG, {"tags": tags}

        def add(txn: Transaction, found: Sequence[AccountData]) -> int:
            new = [one for one in found if read_account_data(txn, one[0], room.nid, one[1]) is None]
            for user_id, kind, content in new:
                put_account_data(txn, user_id, room.nid, kind, content)
            return len(new)

        what, source, room_id = "account data of rooms", self.work.synapse, room.room_id
        name = ("user_id", "account_data_type", "room_id")
        self.work.take(what, synapse.room_account_data(source, room_id), name, read, add)
        tags = synapse.room_tags(source, room_id)
        self.work.take_each(what, tags, lambda rows: f"{rows[0]['user_id']} {TAG} {room_id}", read_tags, add)

    def _take_receipts(self, room: Room) -> None:
        def read(row: SynapseRow) -> Receipt:
            """Of all servers' users."""
            ts = decode_object(row["data"]).get("ts", 0)
            thread_id = row.get("thread_id") or ""
            return Receipt(room.nid, row["user_id"], row["receipt_type"], thread_id, row["event_id"], ts)

        def add(txn: Transaction, receipts: Sequence[Receipt]) -> int:
            for one in receipts:
                put_receipt(txn, one)
            return len(receipts)

        found = synapse.receipts(self.work.synapse, room.room_id)
        self.work.take("receipts", found, ("user_id", "receipt_type", "event_id"), read, add)

    def _take_outside(self, txn: Transaction, event_id: str, version: RoomVersion) -> None:
        """An invitation, or the like, to a room in which this server has nobody."""
        found = synapse.outlier(self.work.synapse, event_id)
        given = self._given([found], version) if found else []
        for event in [one.event for one in given if one.event.state_key is not None]:
            stripped = _stripped(found.pdu()) if found else ()
            self.outside.put(txn, OutsideMembership(event, domain_of(event.sender), stripped))


def _read(found: SynapseEvent, version: RoomVersion) -> GivenEvent:
    """Raises what says that it is none, or not that one."""
    pdu = found.pdu()
    pdu.pop("unsigned", None)
    check_shape(pdu, version)
    event = Event.from_pdu(pdu, version)
    if event.event_id != found.event_id:
        raise bad_json(f"by its content it is {event.event_id}")
    if "\0" in f"{event.type} {event.state_key} {event.sender}":
        raise bad_json("its type, state key or sender has a NUL")  # which PostgreSQL cannot hold
    received_ts = found.received_ts or event.origin_server_ts
    return GivenEvent(event, _standing(found), found.rejected, received_ts, found.group)


def _stripped(pdu: JsonObject) -> Sequence[JsonObject]:
    """What may be seen of the room by an invitation, or a knock."""
    unsigned = pdu.get("unsigned")
    if not isinstance(unsigned, dict):
        return ()
    stripped = unsigned.get("invite_room_state") or unsigned.get("knock_room_state")
    return stripped if isinstance(stripped, list) else ()


def _standing(found: SynapseEvent) -> Standing:
    if found.rejected is not None:
        return Standing.REJECTED
    if found.is_outlier:
        return Standing.OUTLIER
    return Standing.SOFT_FAILED if found.is_soft_failed() else Standing.ACCEPTED
