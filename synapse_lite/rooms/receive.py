"""Receiving events of other servers (server-server API, "Checks performed on receipt of a PDU").

What takes long, resolving states, happens before the room is locked. Under the lock only the head is compared:
if it moved meanwhile, the event is prepared again.
"""

from collections.abc import Mapping, Sequence

from attrs import evolve, field, frozen

from synapse_lite.clock import Clock
from synapse_lite.errors import not_found
from synapse_lite.matrix.auth_rules.state import CREATE
from synapse_lite.matrix.event import Event, StateKey
from synapse_lite.matrix.policy import POLICY, is_exempt
from synapse_lite.rooms.batch import Batch, BatchStore
from synapse_lite.rooms.completion import Completion, is_missed
from synapse_lite.rooms.heads import Head
from synapse_lite.rooms.judge import (
    Judged,
    MissingEventsError,
    all_of,
    judge_by_auth_events,
    judge_by_state,
    judge_chain,
    judged_earlier,
    needs_of,
)
from synapse_lite.rooms.late_redactions import LateRedactions, state_after
from synapse_lite.rooms.outliers import new_outliers
from synapse_lite.rooms.partial import check_members_known
from synapse_lite.rooms.policy import UnsignedError, policy_in_force
from synapse_lite.rooms.redact_on_ban import RedactOnBan
from synapse_lite.rooms.resolution import StateAt, StateResolver
from synapse_lite.rooms.tips import fill_gaps, missing_below, tips_left
from synapse_lite.rooms.values import Contributor, StateDelta
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.event_transactions import ClientRequest, client_of, find_sent
from synapse_lite.storage.events import EventStore, NewEvent, Standing, StoredEvent
from synapse_lite.storage.heads import RoomHead, lock_heads, read_head
from synapse_lite.storage.nids import NidSequence
from synapse_lite.storage.room_gaps import missing_among
from synapse_lite.storage.state import REMOVED, StateStore

ATTEMPTS = 3


@frozen
class Received:
    """An event of another server; its format, hashes and signatures are checked already.

    `state` is the state before the event where another server had to tell it, because not all previous events are known: event nids by key.
    `request`: of the client that sent an event of ours. `is_discouraged`: the room's policy server does not recommend it.
    `is_filled_in`: in a room that is partial, what the auth events tell of members is filled in, or not to be had.
    """

    room_nid: int
    event: Event
    state: Mapping[StateKey, int] | None = None
    request: ClientRequest | None = None
    is_discouraged: bool = False
    is_filled_in: bool = False


@frozen
class _Verdict:
    standing: Standing
    reason: str | None = None


@frozen
class _Prepared:
    """What is to be stored, if the room is still at `head`. `before` is the state before the event, by the graph.

    Of an accepted event `tips` are the extremities beside it, `changes` those of the current state; `gaps` are the
    previous events that are not known, and those of soft-failed ones below it. `is_followed`: events that are known
    follow it, so it is no extremity.
    """

    head: RoomHead
    event: Event
    nid: int
    verdict: _Verdict
    auth_nids: Sequence[int]
    before: StateAt
    replaced: StoredEvent | None
    was_outlier: bool
    tips: Sequence[StoredEvent] = ()
    changes: Mapping[StateKey, int] = field(factory=dict)
    gaps: Sequence[str] = ()
    request: ClientRequest | None = None
    is_followed: bool = False


class EventReceiver:
    """`contributors` write what else belongs to new events, as for those of this server."""

    def __init__(
        self,
        database: Database,
        events: EventStore,
        state: StateStore,
        clock: Clock,
        contributors: Sequence[Contributor],
    ) -> None:
        self._database = database
        self._events = events
        self._state = state
        self._resolver = StateResolver(events, state)
        self._redactions = LateRedactions(events, self._resolver)
        self._bans = RedactOnBan(events, state)
        self._store = BatchStore(events, clock, contributors)
        self._completion = Completion(events, state, contributors)
        self._nids = NidSequence("event_nids")

    async def receive(self, received: Received) -> StoredEvent:
        """The event as stored; its `standing` tells what was found. Receiving it again changes nothing.

        Raises `MissingEventsError` for what has to be fetched before anything can be said, `UnknownMembersError` for what has to
        be filled in, `UnsignedError` where the room's policy server has to be asked, and 404 for a room that is unknown or being purged.
        """
        nid = await self._database.read(self._nids.next)
        for _ in range(ATTEMPTS):
            prepared = await self._database.snapshot(self._prepare, received, nid)
            if isinstance(prepared, StoredEvent):
                return await self.complete(prepared, received.event)
            stored = await self._database.transact(self._commit, prepared)
            if stored is not None:
                return stored
        return await self._database.transact(self._receive_locked, received, nid)

    async def complete(self, stored: StoredEvent, event: Event) -> StoredEvent:
        """The event as stored, whole from now on if only a redacted copy of it was."""
        if not is_missed(event, stored):
            return stored
        return await self._database.transact(self._completion.complete, stored, event)

    async def store_outliers(self, room_nid: int, events: Sequence[Event]) -> dict[str, int]:
        """Keep events that others name, each judged by its auth events: the nids of all that are known now."""
        return await self._database.transact(self._store_outliers, room_nid, events)

    def _store_outliers(self, txn: Transaction, room_nid: int, events: Sequence[Event]) -> dict[str, int]:
        heads = lock_heads(txn, [room_nid], even_closed=False)
        if not heads:
            raise not_found("Unknown room")
        named = {event.event_id for event in events}.union(*(event.auth_events for event in events))
        known = {
            event_id: stored
            for event_id, stored in self._events.by_ids(txn, named).items()
            if stored.room_nid == room_nid
        }
        create = self._current(txn, heads[0], [CREATE])[CREATE]
        judged = judge_chain(judged_earlier(known), events, create)
        nids = {event_id: stored.nid for event_id, stored in known.items()}
        batch = Batch({}, new_outliers(txn, self._nids, room_nid, list(judged.values()), nids))
        self._store.store(txn, batch)
        return nids | {new.stored.event_id: new.stored.nid for new in batch.new}

    def _receive_locked(self, txn: Transaction, received: Received, nid: int) -> StoredEvent:
        """In a room that moves on all the time: prepare under the lock."""
        lock_heads(txn, [received.room_nid], even_closed=False)
        prepared = self._prepare(txn, received, nid)
        stored = prepared if isinstance(prepared, StoredEvent) else self._commit(txn, prepared)
        if stored is None:
            raise not_found("Unknown room")
        return stored

    def _prepare(self, txn: Transaction, received: Received, nid: int) -> _Prepared | StoredEvent:
        """Everything but writing; the event itself when it is known already."""
        event = received.event
        head = read_head(txn, received.room_nid)
        if head is None or head.room.room_id != event.room_id:
            raise not_found("Unknown room")
        known = self._events.by_ids(txn, {event.event_id, *event.prev_events, *event.auth_events})
        stored = known.pop(event.event_id, None)
        if stored is not None and stored.is_placed:
            return stored
        nid = stored.nid if stored else nid
        create = self._current(txn, head, [CREATE])[CREATE]
        previous = self._previous(event, known, head, complete=received.state is None)
        auth_events = all_of(judged_earlier(known), event.auth_events)
        if received.state is None:
            before = self._state_before(txn, head, previous)
        else:
            before = self._resolver.near(txn, head.snapshot_nid, received.state)
        if head.is_partial and not received.is_filled_in:
            named = [one.event.key for one in auth_events if one.event.is_state]
            check_members_known(auth_events, self._resolver.some(txn, before, named))
        wanted = [*needs_of(event), *([event.key] if event.is_state else [])]
        state = self._load(txn, self._resolver.some(txn, before, wanted))
        verdict = self._judge(txn, head, received, auth_events, create, state)
        replaced = state.get(event.key) if event.is_state else None
        prepared = _Prepared(
            head, event, nid, verdict, [known[one].nid for one in event.auth_events], before, replaced,
            was_outlier=stored is not None,
            gaps=sorted(set(event.prev_events).difference(one.event_id for one in previous)),
            request=received.request,
        )  # fmt: skip
        if verdict.standing is not Standing.ACCEPTED:
            return prepared
        tips = tips_left(txn, self._events, head, previous)
        is_followed = bool(tips) and bool(missing_among(txn, head.room.nid, [event.event_id]))
        gaps = sorted({*prepared.gaps, *missing_below(txn, self._events, previous)})
        prepared = evolve(prepared, tips=tips, is_followed=is_followed, gaps=gaps)
        return evolve(prepared, changes=self._changes(txn, prepared))

    def _commit(self, txn: Transaction, prepared: _Prepared) -> StoredEvent | None:
        """Store what was prepared; None: the room moved on, or another one stored it."""
        event, room_nid = prepared.event, prepared.head.room.nid
        locked = lock_heads(txn, [room_nid], even_closed=False)
        is_stored = event.event_id in self._events.by_ids(txn, [event.event_id])
        if locked != [prepared.head] or is_stored != prepared.was_outlier:
            return None
        if prepared.request is not None:
            sent = find_sent(txn, [(room_nid, prepared.request)])
            for stored in self._events.load(txn, [nid for nid, _ in sent.values()]).values():
                return stored
        batch = Batch(self._events.by_ids(txn, [event.redacts]) if event.redacts else {})
        stored = self._place(txn, prepared)
        self._redact(txn, batch, prepared, stored)
        batch.new.append(
            NewEvent(
                stored,
                prepared.auth_nids,
                prepared.verdict.reason,
                is_shown=stored.standing is Standing.ACCEPTED or stored.nid in batch.redacted,
                was_outlier=prepared.was_outlier,
            )
        )
        if stored.standing is Standing.ACCEPTED:
            batch.gaps[stored.nid] = prepared.gaps
            self._move_head(txn, batch, prepared, stored)
        if prepared.request is not None:
            batch.requests.append(((room_nid, prepared.request), stored.nid))
        self._store.store(txn, batch)
        if prepared.is_followed or stored.standing is not Standing.ACCEPTED:
            fill_gaps(txn, self._events, room_nid, [stored])
        if prepared.was_outlier:
            self._events.promote(txn, stored, prepared.verdict.reason)
        if stored.standing is Standing.SOFT_FAILED and stored.nid not in batch.redacted:
            self._redactions.wait(txn, stored, batch.targets)
        self._redactions.link(txn, stored)
        if stored.standing is Standing.SOFT_FAILED:  # its sender may be banned
            self._bans.redact_late(txn, [stored])
        return stored

    # Judging

    def _judge(
        self, txn: Transaction, head: RoomHead, received: Received, auth_events: Sequence[Judged],
        create: Event, state: Mapping[StateKey, StoredEvent],
    ) -> _Verdict:  # fmt: skip
        event = received.event
        reason = judge_by_auth_events(event, auth_events, create)
        if reason is None:
            reason = judge_by_state(event, {key: stored.event for key, stored in state.items()})
        if reason is not None:
            return _Verdict(Standing.REJECTED, reason)
        current = self._current(txn, head, [*needs_of(event), POLICY])
        reason = judge_by_state(event, current) or self._judge_by_policy(txn, head, received, current)
        return _Verdict(Standing.ACCEPTED) if reason is None else _Verdict(Standing.SOFT_FAILED, reason)

    def _judge_by_policy(
        self, txn: Transaction, head: RoomHead, received: Received, current: Mapping[StateKey, Event]
    ) -> str | None:
        event = received.event
        if POLICY not in current or is_exempt(event.type, event.state_key):
            return None
        policy = policy_in_force(txn, head.room.nid, current[POLICY])
        if policy is None or policy.recommends(event):
            return None
        if not received.is_discouraged:
            raise UnsignedError(policy)
        return f"The policy server {policy.server_name} does not recommend it"

    def _current(self, txn: Transaction, head: RoomHead, keys: Sequence[StateKey]) -> dict[StateKey, Event]:
        nids = self._resolver.some(txn, StateAt(head.snapshot_nid), keys)
        return {key: stored.event for key, stored in self._load(txn, nids).items()}

    def _load(self, txn: Transaction, nids: Mapping[StateKey, int]) -> dict[StateKey, StoredEvent]:
        events = self._events.load(txn, list(nids.values()))
        return {key: events[nid] for key, nid in nids.items() if nid in events}

    # The graph

    def _previous(
        self, event: Event, known: Mapping[str, StoredEvent], head: RoomHead, *, complete: bool
    ) -> list[StoredEvent]:
        """The events that it follows; `MissingEventsError` for those of which no state is known, if all have to be."""
        missing = [
            event_id
            for event_id in event.prev_events
            if event_id not in known
            or known[event_id].room_nid != head.room.nid
            or known[event_id].after_nid is None
        ]
        if complete and (missing or not event.prev_events):
            raise MissingEventsError(missing)
        return [known[event_id] for event_id in event.prev_events if event_id not in missing]

    def _state_before(self, txn: Transaction, head: RoomHead, previous: Sequence[StoredEvent]) -> StateAt:
        if {stored.nid for stored in previous} == set(head.extremities):
            return StateAt(head.snapshot_nid)
        return self._resolver.resolve(txn, head.room.version, map(state_after, previous), {})

    def _changes(self, txn: Transaction, prepared: _Prepared) -> dict[StateKey, int]:
        """How the current state changes when the event becomes an extremity beside the tips, or goes below them."""
        event, head, after = prepared.event, prepared.head, prepared.before
        if event.is_state:
            after = after.changed({event.key: prepared.nid})
        states = [*([] if prepared.is_followed else [after]), *map(state_after, prepared.tips)]
        resolved = self._resolver.resolve(txn, head.room.version, states, {prepared.nid: event})
        return self._resolver.difference(txn, head.snapshot_nid, resolved)

    # Storing

    def _place(self, txn: Transaction, prepared: _Prepared) -> StoredEvent:
        """The event with the state around it; a rejected one changes none."""
        event, nid = prepared.event, prepared.nid
        standing, room_nid = prepared.verdict.standing, prepared.head.room.nid
        before = self._resolver.store(txn, room_nid, prepared.before)
        after = before
        if event.is_state and standing is not Standing.REJECTED:
            after = self._resolver.store(txn, room_nid, StateAt(before).changed({event.key: nid}))
        stored = StoredEvent(
            nid, room_nid, event, before, after,
            prepared.replaced.nid if prepared.replaced else None, None, *client_of(prepared.request),
            standing=standing,
        )  # fmt: skip
        if standing is Standing.SOFT_FAILED and event.redacts is not None:
            now = prepared.head.snapshot_nid  # where readers meet it, if it is shown
            return evolve(stored, before_nid=now, after_nid=now, point_nid=after)
        return stored

    def _redact(self, txn: Transaction, batch: Batch, prepared: _Prepared, stored: StoredEvent) -> None:
        """Also a soft-failed redaction is applied, if it was allowed where it hangs: rather too little is shown."""
        target = batch.targets.get(stored.event.redacts) if stored.event.redacts else None
        if target is None or target.room_nid != stored.room_nid or stored.standing is Standing.REJECTED:
            return
        if self._redactions.applies(txn, stored, prepared.before, target):
            batch.redacted[stored.nid] = target

    def _move_head(self, txn: Transaction, batch: Batch, prepared: _Prepared, stored: StoredEvent) -> None:
        room = prepared.head.room
        state = StateAt(prepared.head.snapshot_nid)
        previous_nids = self._resolver.some(txn, state, list(prepared.changes))
        nids = {nid for nid in prepared.changes.values() if nid not in {REMOVED, stored.nid}}
        events = {**self._events.load(txn, nids | set(previous_nids.values())), stored.nid: stored}
        batch.deltas[stored.nid] = [
            StateDelta(key, events.get(nid), events.get(previous_nids.get(key, REMOVED)), stored)
            for key, nid in prepared.changes.items()
        ]
        snapshot_nid = self._new_snapshot(txn, prepared, stored)
        depth = max(prepared.head.depth, stored.event.depth)
        tips = prepared.tips if prepared.is_followed else [*prepared.tips, stored]
        batch.moved[room.nid] = Head(room, list(tips), depth, snapshot_nid, last_nid=stored.nid)

    def _new_snapshot(self, txn: Transaction, prepared: _Prepared, stored: StoredEvent) -> int:
        """The snapshot of the current state; the event's own where nothing else changes."""
        if not prepared.tips and stored.after_nid is not None:
            return stored.after_nid
        state = StateAt(prepared.head.snapshot_nid).changed(prepared.changes)
        return self._resolver.store(txn, stored.room_nid, state)
