"""Appending events to rooms: the one way by which events come into being on this server.

Everything happens inside the caller's transaction, under the lock of the rooms' rows: reading the
heads, checking the rules, signing, storing. The sender's batch and the step of a task use it alike.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import orjson
from attrs import define, field

from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError, forbidden, not_found
from synapse_lite.matrix.event import Draft, Event, build_event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS, RoomVersion
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.matrix.state_resolution import resolve
from synapse_lite.storage.branches import Anchor, Branch, Room, Write, draft_needs
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.nids import NidSequence
from synapse_lite.storage.state import REMOVED, StateKey, StateStore
from synapse_lite.storage.stream import Kind

BranchKey = tuple[int, Anchor | None]
Result = StoredEvent | MatrixError


@define
class Batch:
    """What one call of `append` has read and built so far. `key_nids`: of state events, as far as known."""

    branches: dict[BranchKey, Branch]
    key_nids: dict[StateKey, int]
    sent: dict[tuple[str, int, str], StoredEvent]
    targets: dict[str, StoredEvent]
    new: list[StoredEvent] = field(factory=list)
    redacted: dict[int, int] = field(factory=dict)  # redaction nid to target nid, where it applies


class EventAppender:
    """Builds and stores events. `forget_on_leave`: leaving a room forgets it."""

    def __init__(
        self,
        events: EventStore,
        state: StateStore,
        signing_key: SigningKey,
        clock: Clock,
        *,
        forget_on_leave: bool,
    ) -> None:
        self._events = events
        self._state = state
        self._signing_key = signing_key
        self._clock = clock
        self._forget_on_leave = forget_on_leave
        self._nids = NidSequence("event_nids")
        self._auth: Cache[tuple[int, StateKey], int] = Cache(100_000)  # (snapshot, key) to event nid

    def found(self, txn: Transaction, create: Draft, version: RoomVersion, room_id: str | None) -> Room:
        """Store a new room with its create event; `room_id` is None where the version derives it."""
        event = build_event(create, version, room_id, [], [], 1, self._signing_key)
        room_nid = txn.value(
            "INSERT INTO rooms (room_id, version, creator, created_ts) VALUES (%s, %s, %s, %s) RETURNING room_nid",
            (event.room_id, version.identifier, create.sender, create.origin_server_ts),
        )
        room = Room(room_nid, event.room_id, version)
        branch = Branch(room, [], 0, 0)
        batch = Batch({(room_nid, None): branch}, {}, {}, {})
        self._add(txn, batch, branch, event, Write(room_nid, create))
        self._store(txn, batch)
        return room

    def append(self, txn: Transaction, writes: Sequence[Write], *, even_closed: bool = False) -> list[Result]:
        """The event of each write, or why there is none; writes of one room follow each other.

        A room that is being purged is as good as unknown, unless `even_closed`: the purge itself writes
        its last events. Lock order: the rooms by nid, then (at the commit) the stream.
        """
        batch = self._begin(txn, writes, even_closed)
        results = [self._write(txn, batch, write) for write in writes]
        if batch.new:
            self._store(txn, batch)
        return results

    def _write(self, txn: Transaction, batch: Batch, write: Write) -> Result:
        branch = batch.branches.get((write.room_nid, write.anchor))
        if branch is None:
            return not_found("Unknown room")
        if branch.is_blocked and branch.admits(write.draft):
            return forbidden("This room has been blocked on this server")
        request = (write.session, write.room_nid, write.txn_id)
        try:
            known = batch.sent.get(request) or branch.unchanged(write.draft)  # type: ignore[arg-type]
            if known:
                return known
            event = branch.build(write, batch.targets, self._signing_key)
        except MatrixError as error:
            return error
        stored = self._add(txn, batch, branch, event, write)
        if write.session is not None:
            batch.sent[request] = stored  # type: ignore[index]
        return stored

    def _add(self, txn: Transaction, batch: Batch, branch: Branch, event: Event, write: Write) -> StoredEvent:
        nid, before, after, replaces = self._nids.next(txn), branch.snapshot_nid, branch.snapshot_nid, None
        if event.is_state:
            replaced = branch.state.get(event.key)
            replaces = replaced.nid if replaced else None
            if event.key not in batch.key_nids:
                batch.key_nids[event.key] = self._state.number_key(txn, event.key)
            after = self._state.derive(txn, write.room_nid, before, {batch.key_nids[event.key]: nid})
        stored = StoredEvent(nid, write.room_nid, event, before, after, replaces, write.session, write.txn_id)
        target = batch.targets.get(event.redacts) if event.redacts else None
        if target and branch.applies(event, target):
            batch.redacted[nid] = target.nid
        branch.advance(stored)
        batch.new.append(stored)
        return stored

    # What a batch needs to know

    def _begin(self, txn: Transaction, writes: Sequence[Write], even_closed: bool) -> Batch:
        rows = txn.rows(
            "SELECT room_nid, room_id, version, extremities, depth, snapshot_nid,"
            " EXISTS (SELECT FROM blocked_rooms b WHERE b.room_id = rooms.room_id) FROM rooms"
            " WHERE room_nid = ANY(%s) AND (NOT purging OR %s) ORDER BY room_nid FOR NO KEY UPDATE",
            (list({write.room_nid for write in writes}), even_closed),
        )
        rooms = {row[0]: Room(row[0], row[1], ROOM_VERSIONS[row[2]]) for row in rows}
        wanted = _wanted(writes, rooms)
        nids: dict[BranchKey, dict[StateKey, int]] = {
            (room_nid, None): self._current(txn, room_nid, snapshot_nid, wanted.get((room_nid, None), set()))
            for room_nid, _, _, _, _, snapshot_nid, _ in rows
        }
        anchors = [(room_nid, anchor) for room_nid, anchor in wanted if anchor is not None]
        for room_nid, anchor in anchors:
            nids[room_nid, anchor] = self._state.at(txn, anchor.snapshot_nid, wanted[room_nid, anchor])
        tips = {nid for row in rows for nid in row[3]} | {anchor.event_nid for _, anchor in anchors}
        events = self._events.load(txn, {nid for state in nids.values() for nid in state.values()} | tips)

        branches: dict[BranchKey, Branch] = {
            (room_nid, None): Branch(
                rooms[room_nid], [events[nid] for nid in extremities], depth, snapshot_nid, is_blocked
            )
            for room_nid, _, _, extremities, depth, snapshot_nid, is_blocked in rows
        }
        for room_nid, anchor in anchors:
            if anchor.event_nid in events:  # a purge of the history may have taken it
                branches[room_nid, anchor] = Branch(
                    rooms[room_nid], [events[anchor.event_nid]], anchor.depth, anchor.snapshot_nid
                )
        for key, branch in branches.items():
            branch.state = {state_key: events[nid] for state_key, nid in nids[key].items()}
        keys = {(w.draft.type, w.draft.state_key) for w in writes if w.draft.state_key is not None}
        key_nids = self._state.find_keys(txn, keys)
        return Batch(branches, key_nids, self._already_sent(txn, writes), self._targets(txn, writes))

    def _current(
        self, txn: Transaction, room_nid: int, snapshot_nid: int, keys: Collection[StateKey]
    ) -> dict[StateKey, int]:
        """Current state events; the snapshot's nid names the state, so that what was read once is known."""
        known = self._auth.find((snapshot_nid, key) for key in keys)
        missing = [key for key in keys if (snapshot_nid, key) not in known]
        found = {key: nid for (_, key), nid in known.items()}
        if missing:
            read = self._state.current(txn, [(room_nid, key) for key in missing])
            for key in missing:
                found[key] = read.get((room_nid, key), REMOVED)
                self._auth.put((snapshot_nid, key), found[key])
        return {key: nid for key, nid in found.items() if nid != REMOVED}

    def _already_sent(
        self, txn: Transaction, writes: Iterable[Write]
    ) -> dict[tuple[str, int, str], StoredEvent]:
        """The events of earlier requests with the same transaction ids. The rooms' locks keep out racing ones."""
        rows = txn.fetch_values(
            "SELECT t.session, t.room_nid, t.txn_id, t.event_nid FROM (VALUES %s) AS w (session, room_nid, txn_id)"
            " JOIN event_transactions t USING (session, room_nid, txn_id)",
            [(w.session, w.room_nid, w.txn_id) for w in writes if w.session is not None],
        )
        events = self._events.load(txn, [nid for *_, nid in rows]) if rows else {}
        return {(session, room_nid, txn_id): events[nid] for session, room_nid, txn_id, nid in rows}

    def _targets(self, txn: Transaction, writes: Iterable[Write]) -> dict[str, StoredEvent]:
        wanted = [write.draft.redacts for write in writes if write.draft.redacts is not None]
        return self._events.by_ids(txn, wanted) if wanted else {}

    # Storing a batch

    def _store(self, txn: Transaction, batch: Batch) -> None:
        self._insert_events(txn, batch.new)
        self._insert_redactions(txn, batch)
        for (_, anchor), branch in batch.branches.items():
            if anchor is None and branch.changed:
                self._set_current(txn, branch.room.nid, branch.changed)
        self._update_heads(txn, batch)
        for stored in batch.new:
            event = stored.event
            txn.publish(
                Kind.EVENT,
                room_nid=stored.room_nid,
                event_nid=stored.nid,
                user_id=event.state_key if event.membership else None,
                redacts_nid=batch.redacted.get(stored.nid),
            )

    def _insert_events(self, txn: Transaction, new: Sequence[StoredEvent]) -> None:
        now = self._clock.now_ms()
        rows = []
        for stored in new:
            event = stored.event
            json = orjson.dumps(event.pdu).decode()
            self._events.remember(stored, json)
            rows.append(
                (stored.nid, stored.room_nid, event.event_id, event.type, event.state_key, event.membership,
                 event.sender, event.depth, event.origin_server_ts, now,
                 stored.replaces_nid, stored.before_nid, stored.after_nid, json)
            )  # fmt: skip
        txn.insert(
            "INSERT INTO events (event_nid, room_nid, event_id, type, state_key, membership, sender, depth,"
            " origin_server_ts, received_ts, replaces_nid, before_nid, after_nid, json) VALUES %s",
            rows,
        )
        requests = [(s.session, s.room_nid, s.txn_id, s.nid, now) for s in new if s.session is not None]
        if requests:
            txn.insert(
                "INSERT INTO event_transactions (session, room_nid, txn_id, event_nid, created_ts) VALUES %s",
                requests,
            )

    def _insert_redactions(self, txn: Transaction, batch: Batch) -> None:
        rows = []
        for stored in batch.new:
            if stored.event.redacts is not None:
                target = batch.targets.get(stored.event.redacts)
                rows.append(
                    (stored.nid, stored.room_nid, stored.event.redacts, target and target.nid,
                     stored.nid in batch.redacted)
                )  # fmt: skip
        if rows:
            txn.insert(
                "INSERT INTO redactions (event_nid, room_nid, redacts, target_nid, applied) VALUES %s", rows
            )

    def _set_current(self, txn: Transaction, room_nid: int, changed: Mapping[StateKey, StoredEvent]) -> None:
        self._state.set_current(txn, room_nid, {key: stored.nid for key, stored in changed.items()})
        members = [
            (key[1], room_nid, stored.event.membership, stored.event.sender, stored.nid,
             self._forget_on_leave and stored.event.membership in {"leave", "ban"})
            for key, stored in changed.items() if stored.event.membership
        ]  # fmt: skip
        if members:
            txn.insert(
                "INSERT INTO memberships (user_id, room_nid, membership, sender, event_nid, forgotten) VALUES %s"
                " ON CONFLICT (room_nid, user_id) DO UPDATE SET membership = excluded.membership,"
                " sender = excluded.sender, event_nid = excluded.event_nid, forgotten = excluded.forgotten",
                members,
            )

    def _update_heads(self, txn: Transaction, batch: Batch) -> None:
        rows = []
        for (room_nid, anchor), main in batch.branches.items():
            if anchor is not None:
                continue
            side = [
                (point, branch)
                for (nid, point), branch in batch.branches.items()
                if nid == room_nid and point is not None and branch.written
            ]
            if not (main.written or side):
                continue
            followed = {point.event_nid for point, _ in side}
            tips = [tip for tip in main.tips if tip.nid not in followed]
            tips += [tip for _, branch in side for tip in branch.tips]
            snapshot_nid = self._merge(txn, main, side)
            depth = max(main.depth, *(branch.depth for _, branch in side)) if side else main.depth
            rows.append((room_nid, [tip.nid for tip in tips], depth, snapshot_nid))
        if rows:
            txn.insert(
                "UPDATE rooms SET extremities = v.extremities, depth = v.depth, snapshot_nid = v.snapshot_nid"
                " FROM (VALUES %s) AS v (room_nid, extremities, depth, snapshot_nid)"
                " WHERE rooms.room_nid = v.room_nid",
                rows,
                "(%s, %s::bigint[], %s, %s)",
            )

    def _merge(self, txn: Transaction, main: Branch, side: Sequence[tuple[Anchor, Branch]]) -> int:
        """The snapshot of the room's current state: the main branch's, or what all branches resolve to.

        A side branch that goes on from a forward extremity brings no state that is not already merged.
        """
        others = {
            branch.snapshot_nid
            for point, branch in side
            if point.event_nid not in {tip.nid for tip in main.tips}
            and branch.snapshot_nid != main.snapshot_nid
        }
        if not others:
            return main.snapshot_nid
        sets = [self._state.whole(txn, nid) for nid in (main.snapshot_nid, *others)]
        events = self._events.load(txn, {nid for state in sets for nid in state.values()})
        resolved = resolve(
            main.room.version,
            [{key: events[nid].event.event_id for key, nid in state.items()} for state in sets],
            lambda ids: {event_id: s.event for event_id, s in self._events.by_ids(txn, ids).items()},
        )
        by_id = {stored.event.event_id: stored for stored in events.values()}
        changed = {
            key: by_id[event_id]
            for key, event_id in resolved.items()
            if by_id[event_id].nid != sets[0].get(key)
        }
        removed = dict.fromkeys(sets[0].keys() - resolved.keys(), REMOVED)
        if not (changed or removed):
            return main.snapshot_nid
        self._set_current(txn, main.room.nid, changed)
        self._state.unset_current(txn, main.room.nid, removed)
        differences = {key: stored.nid for key, stored in changed.items()} | removed
        key_nids = self._state.find_keys(txn, differences)
        numbered = {key_nids[key]: nid for key, nid in differences.items()}
        return self._state.derive(txn, main.room.nid, main.snapshot_nid, numbered)


def _wanted(writes: Iterable[Write], rooms: Mapping[int, Room]) -> dict[BranchKey, set[StateKey]]:
    """The state by which the writes are judged, by branch."""
    wanted: dict[BranchKey, set[StateKey]] = {}
    for write in writes:
        if write.room_nid in rooms:
            needs = draft_needs(write.draft, rooms[write.room_nid].version)
            wanted.setdefault((write.room_nid, write.anchor), set()).update(needs)
    return wanted
