"""Appending events of this server's users: the one way by which they come into being.

Everything happens inside the caller's transaction, under the lock of the rooms' rows: reading the
heads, checking the rules, signing, storing. The sender's batch and the step of a task use it alike.
"""

from collections.abc import Iterable, Sequence

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, forbidden, not_found
from synapse_lite.matrix.event import MAX_PREV_EVENTS, Draft, Event, build_event
from synapse_lite.matrix.policy import POLICY
from synapse_lite.matrix.relations import relation_of
from synapse_lite.matrix.room_versions import RoomVersion
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.rooms.batch import Batch, BatchStore
from synapse_lite.rooms.build import admits, build_next, unchanged
from synapse_lite.rooms.extend import Extender, KeyNids, redact
from synapse_lite.rooms.heads import Head, HeadReader, Heads, draft_needs
from synapse_lite.rooms.many_tips import ManyTips
from synapse_lite.rooms.policy import PolicedError, is_policed
from synapse_lite.rooms.resolution import StateResolver
from synapse_lite.rooms.values import Busy, Contributor, PurgedEvent, Result, Sent, Write
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.event_transactions import FoundRequests, SentRequest, client_of, find_sent
from synapse_lite.storage.events import EventStore, NewEvent, Standing, StoredEvent
from synapse_lite.storage.heads import RoomHead, insert_room, lock_free_heads_and_find, lock_heads
from synapse_lite.storage.nids import NidSequence
from synapse_lite.storage.relations import Annotation, known_annotations
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.state import EMPTY, StateStore

SentRequests = dict[SentRequest, Sent]


@frozen
class Built:
    """Events that are not stored yet: `results` of the writes, in their order."""

    batch: Batch
    results: list[Result]


class EventAppender:
    """Builds and stores events; `contributors` write what else belongs to them."""

    def __init__(
        self,
        events: EventStore,
        state: StateStore,
        signing_key: SigningKey,
        clock: Clock,
        contributors: Sequence[Contributor],
    ) -> None:
        self._events = events
        self._state = state
        self._signing_key = signing_key
        self.heads = HeadReader(events, state)
        self._store = BatchStore(events, clock, contributors)
        self._many_tips = ManyTips(events, StateResolver(events, state))
        self._nids = NidSequence("event_nids")
        self._extender = Extender(state, self._nids)

    def create_room(self, txn: Transaction, create: Draft, version: RoomVersion, room_id: str | None) -> Room:
        """Store a new room with its create event; `room_id` is None where the version derives it."""
        event = build_event(create, version, room_id, [], [], 1, self._signing_key)
        nid = insert_room(txn, event.room_id, version, create.sender, create.origin_server_ts)
        room = Room(nid, event.room_id, version)
        head, batch = Head(room, [], 0, EMPTY), Batch({})
        self._extender.extend(txn, batch, {}, head, event, [])
        self._store.store(txn, batch)
        return room

    def append(self, txn: Transaction, writes: Sequence[Write], *, even_closed: bool = False) -> list[Result]:
        """The event of each write, or why there is none; writes of one room follow each other.

        A room that is being purged is as good as unknown, unless `even_closed`: the purge itself writes
        its last events. Lock order: the rooms by nid, then (at the commit) the stream.
        """
        heads = lock_heads(txn, _rooms_of(writes), even_closed=even_closed)
        return self._append(txn, writes, heads, self._already_sent(txn, writes))

    def build_redactions(
        self, txn: Transaction, heads: Heads, writes: Sequence[Write], targets: Sequence[StoredEvent]
    ) -> Built:
        """Redactions of events that are read already. `heads` move on.

        Without the room's lock, too, where an event may follow all of its ends: nothing is written then. They may be
        stored as long as the room, once it is locked, is found to have the same head.
        """
        sent = self._already_sent(txn, writes)
        return self._build(txn, heads, writes, {target.event_id: target for target in targets}, sent)

    def store(self, txn: Transaction, built: Built) -> list[Result]:
        """In a room that is locked."""
        self._store.store(txn, built.batch)
        return built.results

    def append_where_free(self, txn: Transaction, writes: Sequence[Write]) -> list[Result | Busy]:
        """As `append`, but without waiting for a room that another transaction writes to: `Busy`.

        So is a room that is unknown: to ask which it is would hold up everybody who has to wait.
        When another process is just serving the same request, the transaction ends with `UniqueViolation`.
        """
        rows, found = lock_free_heads_and_find(txn, _rooms_of(writes), _requests_of(writes))
        free = {row.room.nid for row in rows}
        ours = [write for write in writes if write.room_nid in free]
        results = iter(
            self._unless_served(txn, ours, self._append(txn, ours, rows, self._events_of(txn, found)))
        )
        return [next(results) if write.room_nid in free else Busy() for write in writes]

    def _unless_served(
        self, txn: Transaction, writes: Sequence[Write], results: Sequence[Result]
    ) -> Sequence[Result]:
        """Instead of a refusal the event of the same request, which another process may have stored just before the lock:
        a reaction is refused because it is there already.
        """
        refused = [
            one for one, result in zip(writes, results, strict=True) if isinstance(result, MatrixError)
        ]
        sent = self._already_sent(txn, refused)
        return [
            sent.get((write.room_nid, write.request), result)
            if isinstance(result, MatrixError) and write.request is not None
            else result
            for write, result in zip(writes, results, strict=True)
        ]

    def _append(
        self, txn: Transaction, writes: Sequence[Write], rows: Sequence[RoomHead], sent: SentRequests
    ) -> list[Result]:
        heads = self.heads.read(txn, writes, rows)
        return self.store(txn, self._build(txn, heads, writes, self._targets(txn, writes), sent))

    def _build(
        self, txn: Transaction, heads: Heads, writes: Sequence[Write], targets: dict[str, StoredEvent],
        sent: SentRequests,
    ) -> Built:  # fmt: skip
        keys = {(w.draft.type, w.draft.state_key) for w in writes if w.draft.state_key is not None}
        key_nids = self._state.find_keys(txn, keys)
        batch = Batch(targets, annotations=_said(txn, writes))
        return Built(batch, [self._write(txn, batch, heads, sent, key_nids, write) for write in writes])

    def _write(
        self, txn: Transaction, batch: Batch, heads: Heads, sent: SentRequests, key_nids: KeyNids, write: Write
    ) -> Result:  # fmt: skip
        head = heads.of(write)
        if head is None:
            return not_found("Unknown room")
        if head.is_blocked and admits(head, write.draft):
            return forbidden("This room has been blocked on this server")
        request = None if write.request is None else (write.room_nid, write.request)
        try:
            known = (request and sent.get(request)) or unchanged(head, write.draft)
            if known:
                return known
            followed = self._followed(txn, batch, head, write)
            built = build_next(followed, write, batch.targets, self._signing_key)
            _check_new(batch, head, write)
        except MatrixError as error:
            return error
        if write.point is None:
            stored = self._extender.extend(txn, batch, key_nids, followed, *built, client_of(write.request))
            if followed is not head:
                self._many_tips.rejoin(txn, batch, head, followed)
        else:
            stored = self._add_in_the_past(txn, batch, heads, head, built, write)
        if request is not None:
            sent[request] = stored
            batch.requests.append((request, stored.nid))
        return stored

    def _followed(self, txn: Transaction, batch: Batch, head: Head, write: Write) -> Head:
        """The head, or the part of it that one event may follow; `AuthError` when its whole forbids the event."""
        if write.point is not None or len(head.tips) <= MAX_PREV_EVENTS:
            return head
        needs = draft_needs(write.draft, head.room.version)
        build_next(head, write, batch.targets, self._signing_key)
        return self._many_tips.deepest(txn, batch, head, needs)

    def _add_in_the_past(
        self, txn: Transaction, batch: Batch, heads: Heads, head: Head,
        built: tuple[Event, list[StoredEvent]], write: Write,
    ) -> StoredEvent:  # fmt: skip
        """Store a redaction that nothing will follow. Readers meet it in the present state of the room."""
        event, auth_events = built
        if event.redacts is None:
            raise ValueError(f"A {event.type} must not hang on the past of a room")
        now = heads.rooms[write.room_nid].snapshot_nid
        stored = StoredEvent(
            self._nids.next(txn), write.room_nid, event, now, now, None, head.snapshot_nid,
            *client_of(write.request), Standing.SOFT_FAILED,
        )  # fmt: skip
        redact(batch, head, stored)
        head.advance(stored)
        batch.new.append(NewEvent(stored, [auth.nid for auth in auth_events], is_shown=True))
        return stored

    def _already_sent(self, txn: Transaction, writes: Iterable[Write]) -> SentRequests:
        """The events of earlier requests that are made again. The rooms' locks keep out racing ones."""
        return self._events_of(txn, find_sent(txn, _requests_of(writes)))

    def _events_of(self, txn: Transaction, found: FoundRequests) -> SentRequests:
        events = self._events.load(txn, [nid for nid, _ in found.values()]) if found else {}
        sent: SentRequests = {}
        for request, (nid, event_id) in found.items():
            if nid in events:
                sent[request] = events[nid]
            elif event_id is not None:
                sent[request] = PurgedEvent(event_id)
        return sent

    def _targets(self, txn: Transaction, writes: Iterable[Write]) -> dict[str, StoredEvent]:
        wanted = [write.draft.redacts for write in writes if write.draft.redacts is not None]
        return self._events.by_ids(txn, wanted) if wanted else {}


def _rooms_of(writes: Iterable[Write]) -> set[int]:
    return {write.room_nid for write in writes}


def _requests_of(writes: Iterable[Write]) -> list[SentRequest]:
    return [(write.room_nid, write.request) for write in writes if write.request is not None]


def _annotation(draft: Draft) -> Annotation | None:
    relation = relation_of(draft.content)
    if relation is None or relation.key is None:
        return None
    return Annotation(relation.parent_id, draft.sender, draft.type, relation.key)


def _check_new(batch: Batch, head: Head, write: Write) -> None:
    """What speaks against an event that the rules of the room allow."""
    annotation = _annotation(write.draft)
    if annotation in batch.annotations:
        raise MatrixError(400, Errcode.DUPLICATE_ANNOTATION, "Can't send same reaction twice")
    if write.asks_policy and is_policed(write.draft, head.some([POLICY])):
        raise PolicedError
    if annotation is not None:
        batch.annotations.add(annotation)


def _said(txn: Transaction, writes: Iterable[Write]) -> set[Annotation]:
    """Those of the annotations that were made earlier. The rooms' locks keep out racing ones."""
    found = (_annotation(write.draft) for write in writes)
    return known_annotations(txn, {annotation for annotation in found if annotation is not None})


def append_all(txn: Transaction, appender: EventAppender, writes: Sequence[Write]) -> list[Sent]:
    """The events of all writes; the first refusal undoes the transaction."""
    sent: list[Sent] = []
    for result in appender.append(txn, writes):
        if isinstance(result, MatrixError):
            raise result
        sent.append(result)
    return sent
