"""Events of another server that follow each other beside the head of their room: many in one transaction, resolved once.

They come so when a gap is filled. Each is judged as `rooms.receive` does it, by its auth events and by the state before it. Only for
the last check, by the current state, that is not resolved anew at each of them: what the branch changed so far is laid over what
was current when it came. The two can differ only in what the branch and the room say differently of the same, and soft-failing
decides who is shown an event, not what the state is. Whatever decides who has which power is left to `rooms.receive`, as is all
that is not accepted.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from attrs import define, field, frozen

from synapse_lite.clock import Clock
from synapse_lite.matrix.auth_rules.state import CREATE
from synapse_lite.matrix.event import Event, StateKey
from synapse_lite.matrix.policy import POLICY, is_exempt
from synapse_lite.matrix.state_resolution import is_power_event
from synapse_lite.rooms.batch import Batch, BatchStore
from synapse_lite.rooms.heads import Head
from synapse_lite.rooms.judge import Judged, judge_by_auth_events, judge_by_state, needs_of
from synapse_lite.rooms.late_redactions import LateRedactions, state_after
from synapse_lite.rooms.resolution import StateAt, StateResolver
from synapse_lite.rooms.tips import missing_below, tips_left
from synapse_lite.rooms.values import Contributor, StateDelta
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore, NewEvent, Standing, StoredEvent
from synapse_lite.storage.heads import RoomHead, lock_heads, read_head
from synapse_lite.storage.nids import NidSequence
from synapse_lite.storage.redactions import targets_awaited
from synapse_lite.storage.room_gaps import close_gaps, missing_among
from synapse_lite.storage.state import REMOVED, StateStore

State = Mapping[StateKey, int]


@frozen
class _Link:
    """An accepted event of the branch. `auth_nids` in the order of its auth events; `replaces_nid` is what had its key before it."""

    nid: int
    event: Event
    auth_nids: Sequence[int]
    before: StateAt
    replaces_nid: int | None
    was_outlier: bool
    gaps: Sequence[str]

    @property
    def after(self) -> StateAt:
        return self.before.changed({self.event.key: self.nid}) if self.event.is_state else self.before


@define
class _Branch:
    """What is known while it grows: stored events and links by id, events by nid."""

    head: RoomHead
    create: Event
    current: dict[StateKey, int]
    stored: dict[str, StoredEvent]
    links: dict[str, _Link] = field(factory=dict)
    events: dict[int, Event] = field(factory=dict)

    def after(self, event_id: str) -> StateAt | None:
        """The state after an event; None where it is not known."""
        link, stored = self.links.get(event_id), self.stored.get(event_id)
        if link is not None:
            return link.after
        if stored is None or stored.room_nid != self.head.room.nid or stored.after_nid is None:
            return None
        return state_after(stored)

    def judged(self, event_id: str) -> tuple[int, Judged] | None:
        """An event as an auth event, with its nid; None for one that is not known, or was rejected."""
        link, stored = self.links.get(event_id), self.stored.get(event_id)
        if link is not None:
            return link.nid, Judged(link.event)
        if stored is None or stored.standing is Standing.REJECTED:
            return None
        return stored.nid, Judged(stored.event)


@frozen
class _Prepared:
    """What is to be stored, if the room is still at `head`. `changes` are those of the current state, `tips` the extremities beside,
    `ends` those that the branch adds, `followed` those of its events that known ones follow.
    """

    head: RoomHead
    links: Sequence[_Link]
    tips: Sequence[StoredEvent]
    changes: State
    ends: Collection[int]
    followed: Collection[str]


class BranchReceiver:
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
        self._resolver = StateResolver(events, state)
        self._redactions = LateRedactions(events, self._resolver)
        self._store = BatchStore(events, clock, contributors)
        self._nids = NidSequence("event_nids")

    async def receive(self, room_nid: int, events: Sequence[Event], state: State | None = None) -> int:
        """How many of the events, from the first on, are in the room now; the next one needs more than it takes here.

        Their formats, hashes and signatures are checked, causes come first. `state` is the state before the first one, where another
        server had to tell it.
        """
        nids = await self._database.read(self._number, events)
        prepared = await self._database.snapshot(self._prepare, room_nid, nids, events, state)
        if prepared is None or not await self._database.transact(self._commit, prepared):
            return 0
        return len(prepared.links)

    def _number(self, txn: Transaction, events: Sequence[Event]) -> list[int]:
        return [self._nids.next(txn) for _ in events]

    def _prepare(
        self,
        txn: Transaction,
        room_nid: int,
        nids: Sequence[int],
        events: Sequence[Event],
        state: State | None,
    ) -> _Prepared | None:
        head = read_head(txn, room_nid)
        if head is None or head.is_partial:
            return None
        branch = self._begin(txn, head, events)
        if branch is None:
            return None
        for place, (nid, event) in enumerate(zip(nids, events, strict=True)):
            link = self._link(txn, branch, nid, event, state if place == 0 else None)
            if link is None:
                break
            branch.links[event.event_id] = link
            branch.events[link.nid] = event
            if event.is_state:
                branch.current[event.key] = link.nid
        if len(branch.links) <= 1:  # there is nothing to be saved
            return None
        return self._meet(txn, branch)

    def _begin(self, txn: Transaction, head: RoomHead, events: Sequence[Event]) -> _Branch | None:
        named = {one for event in events for one in (event.event_id, *event.prev_events, *event.auth_events)}
        stored = self._events.by_ids(txn, named)
        needed = {key for event in events for key in needs_of(event)} | {CREATE, POLICY}
        current = self._resolver.some(txn, StateAt(head.snapshot_nid), list(needed))
        found = self._events.load(txn, list(current.values()))
        if CREATE not in current or len(found) < len(set(current.values())):
            return None
        known = {nid: one.event for nid, one in found.items()}
        return _Branch(head, known[current[CREATE]], current, stored, {}, known)

    def _link(
        self, txn: Transaction, branch: _Branch, nid: int, event: Event, state: State | None
    ) -> _Link | None:
        """None: it is not accepted, or it needs more."""
        stored = branch.stored.get(event.event_id)
        if stored is not None and (stored.is_placed or stored.room_nid != branch.head.room.nid):
            return None
        if event.redacts is not None or is_power_event(event) or _is_policed(branch, event):
            return None
        before = self._before(txn, branch, event, state)
        auth_events = [branch.judged(one) for one in event.auth_events]
        if before is None or None in auth_events:
            return None
        known = [one for one in auth_events if one is not None]
        keys = [*needs_of(event), *([event.key] if event.is_state else [])]
        nids = self._resolver.some(txn, before, keys)
        if not self._is_allowed(txn, branch, event, [one for _, one in known], nids):
            return None
        return _Link(
            nid if stored is None else stored.nid,
            event,
            [auth_nid for auth_nid, _ in known],
            before,
            nids.get(event.key) if event.is_state else None,
            stored is not None,
            self._gaps(txn, branch, event),
        )

    def _gaps(self, txn: Transaction, branch: _Branch, event: Event) -> list[str]:
        """The previous events that are not known, and those of soft-failed ones below it."""
        missing = {one for one in event.prev_events if branch.after(one) is None}
        stored = [
            branch.stored[one] for one in event.prev_events if one in branch.stored and one not in missing
        ]
        return sorted(missing | missing_below(txn, self._events, stored))

    def _before(self, txn: Transaction, branch: _Branch, event: Event, state: State | None) -> StateAt | None:
        """The state before the event; None where it is not known, or would have to be resolved."""
        if state is not None:
            return self._resolver.near(txn, branch.head.snapshot_nid, state)
        befores = {branch.after(one) for one in event.prev_events}
        return befores.pop() if len(befores) == 1 else None

    def _is_allowed(
        self, txn: Transaction, branch: _Branch, event: Event, auth_events: Sequence[Judged], nids: State
    ) -> bool:
        return (
            judge_by_auth_events(event, auth_events, branch.create) is None
            and judge_by_state(event, self._load(txn, branch, nids)) is None
            and judge_by_state(event, self._load(txn, branch, branch.current)) is None
        )

    def _load(self, txn: Transaction, branch: _Branch, nids: State) -> dict[StateKey, Event]:
        missing = [nid for nid in nids.values() if nid not in branch.events]
        if missing:
            branch.events |= {nid: one.event for nid, one in self._events.load(txn, missing).items()}
        return {key: branch.events[nid] for key, nid in nids.items() if nid in branch.events}

    def _meet(self, txn: Transaction, branch: _Branch) -> _Prepared:
        """What becomes of the room when the branch comes in beside its head."""
        links, head = list(branch.links.values()), branch.head
        previous = {one for link in links for one in link.event.prev_events if one in branch.stored}
        tips = tips_left(txn, self._events, head, [branch.stored[one] for one in previous])
        followed = missing_among(txn, head.room.nid, list(branch.links)) if tips else set()
        ends = [link for link in _ends(links) if link.event.event_id not in followed]
        states = [*(link.after for link in ends), *map(state_after, tips)]
        new = {link.nid: link.event for link in links}
        resolved = self._resolver.resolve(txn, head.room.version, states, new)
        changes = self._resolver.difference(txn, head.snapshot_nid, resolved)
        return _Prepared(head, links, tips, changes, {link.nid for link in ends}, followed)

    # Storing

    def _commit(self, txn: Transaction, prepared: _Prepared) -> bool:
        """False: the room moved on, or some of it came another way."""
        room_nid = prepared.head.room.nid
        locked = lock_heads(txn, [room_nid], even_closed=False)
        there = self._events.by_ids(txn, [link.event.event_id for link in prepared.links])
        outliers = {link.event.event_id for link in prepared.links if link.was_outlier}
        if (
            locked != [prepared.head]
            or there.keys() != outliers
            or any(one.is_placed for one in there.values())
        ):
            return False
        batch = Batch({})
        placed = self._place(txn, room_nid, prepared.links)
        for link, stored in zip(prepared.links, placed, strict=True):
            batch.new.append(NewEvent(stored, link.auth_nids, was_outlier=link.was_outlier))
            if link.gaps:
                batch.gaps[stored.nid] = link.gaps
        self._move_head(txn, batch, prepared, placed)
        self._store.store(txn, batch)
        if prepared.followed:
            close_gaps(txn, room_nid, prepared.followed)
        for link, stored in zip(prepared.links, placed, strict=True):
            if link.was_outlier:
                self._events.promote(txn, stored)
        awaited = targets_awaited(txn, [stored.event_id for stored in placed])
        for stored in placed:
            if stored.event_id in awaited:
                self._redactions.link(txn, stored)
        return True

    def _place(self, txn: Transaction, room_nid: int, links: Sequence[_Link]) -> list[StoredEvent]:
        """The events with the states around them, each stored as what changed since the one before."""
        nids: dict[StateAt, int] = {}
        placed = []
        for link in links:
            if link.before not in nids:
                nids[link.before] = self._resolver.store(txn, room_nid, link.before)
            before_nid = nids[link.before]
            if link.event.is_state:
                after = StateAt(before_nid).changed({link.event.key: link.nid})
                nids[link.after] = self._resolver.store(txn, room_nid, after)
            placed.append(
                StoredEvent(link.nid, room_nid, link.event, before_nid, nids[link.after], link.replaces_nid)
            )
        return placed

    def _move_head(
        self, txn: Transaction, batch: Batch, prepared: _Prepared, placed: Sequence[StoredEvent]
    ) -> None:
        """What an event of the branch brings into force is its own doing; what else changes comes with the last one."""
        head = prepared.head
        own = {stored.nid: stored for stored in placed}
        keys = list(prepared.changes)
        previous_nids = self._resolver.some(txn, StateAt(head.snapshot_nid), keys)
        others = {*prepared.changes.values(), *previous_nids.values()} - own.keys() - {REMOVED}
        events = {**self._events.load(txn, list(others)), **own}
        for key, nid in prepared.changes.items():
            cause = own.get(nid, placed[-1])
            delta = StateDelta(key, events.get(nid), events.get(previous_nids.get(key, REMOVED)), cause)
            batch.deltas.setdefault(cause.nid, []).append(delta)
        tips = [*prepared.tips, *(stored for stored in placed if stored.nid in prepared.ends)]
        depth = max(head.depth, *(stored.event.depth for stored in placed))
        batch.moved[head.room.nid] = Head(
            head.room, tips, depth, self._snapshot(txn, prepared, tips), last_nid=placed[-1].nid
        )

    def _snapshot(self, txn: Transaction, prepared: _Prepared, tips: Sequence[StoredEvent]) -> int:
        """Of the current state; the only end's own where there is one."""
        if len(tips) == 1 and tips[0].after_nid is not None:
            return tips[0].after_nid
        state = StateAt(prepared.head.snapshot_nid).changed(prepared.changes)
        return self._resolver.store(txn, prepared.head.room.nid, state)


def _ends(links: Iterable[_Link]) -> list[_Link]:
    """Those that no other one follows."""
    followed = {one for link in links for one in link.event.prev_events}
    return [link for link in links if link.event.event_id not in followed]


def _is_policed(branch: _Branch, event: Event) -> bool:
    """Whether a policy server may have to be asked, or is named."""
    return event.type == POLICY[0] or (
        POLICY in branch.current and not is_exempt(event.type, event.state_key)
    )
