"""What a step reads and builds before it locks a room: others wait for that lock.

It holds under the lock where the head of the room is the same, and what is to be redacted there; else it is done again.
"""

from collections.abc import Collection, Sequence

from attrs import evolve, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.ids import is_local
from synapse_lite.matrix.event import MAX_PREV_EVENTS, Draft
from synapse_lite.matrix.types import REDACTION
from synapse_lite.rooms.append import Built, EventAppender
from synapse_lite.rooms.heads import Heads
from synapse_lite.rooms.values import Point, Write
from synapse_lite.storage import redact_targets
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.heads import RoomHead, read_head
from synapse_lite.tasks.actions.redact_all_events.issuers import Issuer, Issuers
from synapse_lite.tasks.actions.redact_all_events.spec import Place, RedactParams, RedactTask, RoomCursor

PIECE = 40  # after so many the step looks whether somebody wants to write into the room
EXCESS = 5  # a fifth

Targets = Sequence[tuple[int, str]]
Found = tuple[Targets, bool]
"""What there is to redact, and whether that is all in the room."""


@frozen
class Visit:
    """What a step has still to do in a room: `targets`, and whether that `is_all` there.

    `place` is where its redactions hang, the first one's; `heads` where the room has come to. `may_soft_fail`: other
    servers in the room may keep these redactions from their clients.
    """

    targets: Targets
    is_all: bool
    place: Place | None
    may_soft_fail: bool
    heads: Heads | None = None


@frozen
class Piece:
    """The redactions of the next events of a visit, which are not stored yet, and where the room comes to by them."""

    built: Built
    heads: Heads


@frozen
class Opening:
    """A visit that has not begun, in a room as it was at `head`.

    `joined`: who of the possible issuers is, where that was asked. `first`: the first piece, where it is built.
    """

    head: RoomHead
    joined: Collection[str] | None
    room: RoomCursor
    visit: Visit
    first: Piece | None = None


@frozen
class Opener:
    """`server_name` is ours."""

    appender: EventAppender
    events: EventStore
    issuers: Issuers
    clock: Clock
    server_name: str

    def ahead(
        self, txn: Transaction, task: RedactTask, room_nid: int, room: RoomCursor | None, budget: int
    ) -> Opening | None:
        """Without the lock of the room. None when it is being purged, or is gone."""
        head = read_head(txn, room_nid)
        if head is None:
            return None
        found = _look(txn, task, room_nid, room, budget)
        joined = self.issuers.read_ahead(txn, task, head, [nid for nid, _ in found[0]])
        opening = self._open(txn, task, head, room, budget, joined, found)
        if not opening.visit.targets or len(head.extremities) > MAX_PREV_EVENTS:
            return opening
        return evolve(opening, first=self.build(txn, task, head, opening.room, opening.visit))

    def under_lock(
        self,
        txn: Transaction,
        task: RedactTask,
        head: RoomHead,
        room: RoomCursor | None,
        budget: int,
        before: Opening | None,
    ) -> Opening:
        """What was opened `before`, as far as it still holds."""
        if before is None or before.head != head:
            return self._open(txn, task, head, room, budget, before.joined if before else None)
        targets, is_all = _look(txn, task, head.room.nid, before.room, budget)
        visit = evolve(before.visit, targets=targets, is_all=is_all)
        return before if visit == before.visit else evolve(before, visit=visit, first=None)

    def build(
        self, txn: Transaction, task: RedactTask, head: RoomHead, room: RoomCursor, visit: Visit
    ) -> Piece:
        targets = visit.targets[:PIECE]
        writes = [self._write(task.params, room, visit.place, event_id) for _, event_id in targets]
        heads = visit.heads or self.appender.heads.read(txn, writes, [head])
        known = self.events.load(txn, [nid for nid, _ in targets])
        return Piece(self.appender.build_redactions(txn, heads, writes, list(known.values())), heads)

    def _open(
        self,
        txn: Transaction,
        task: RedactTask,
        head: RoomHead,
        room: RoomCursor | None,
        budget: int,
        joined: Collection[str] | None,
        found: Found | None = None,
    ) -> Opening:
        issuer = self.issuers.find(txn, task, head, joined)
        opened = _continue(txn, room, issuer) if room else _begin(txn, task, head, issuer)
        if found is None or opened.since != (room and room.since):
            found = _look(txn, task, head.room.nid, opened, budget)
        soft = opened.place is not None and redact_targets.has_remote_members(
            txn, head.room.nid, self.server_name
        )
        return Opening(head, joined, opened, Visit(*found, opened.place, soft))

    def _write(self, params: RedactParams, room: RoomCursor, place: Place | None, event_id: str) -> Write:
        content: JsonObject = {} if params.reason is None else {"reason": params.reason}
        return Write(
            room.room_nid,
            Draft(REDACTION, room.issuer, content, self.clock.now_ms(), redacts=event_id),
            point=Point((place.event_nid,), place.snapshot_nid) if place else None,
            privileged=is_local(params.user_id, self.server_name),
        )


def _begin(txn: Transaction, task: RedactTask, head: RoomHead, issuer: Issuer) -> RoomCursor:
    wanted, limit = task.params.wanted(), task.params.limit
    return RoomCursor(
        room_nid=head.room.nid,
        room_id=head.room.room_id,
        issuer=issuer.user_id,
        place=issuer.place,
        since=limit and redact_targets.newest_since(txn, wanted, head.room.nid, limit),
    )


def _continue(txn: Transaction, room: RoomCursor, issuer: Issuer) -> RoomCursor:
    """Who redacts may have changed since the last step, and what the redactions hang on may be purged."""
    place = issuer.place
    if place is not None and room.place is not None and redact_targets.exists(txn, room.place.event_nid):
        place = room.place
    return room.model_copy(update={"issuer": issuer.user_id, "place": place})


def _look(txn: Transaction, task: RedactTask, room_nid: int, room: RoomCursor | None, budget: int) -> Found:
    """A step does a few events more where that brings it to the end of the room: a step for them alone costs more."""
    full = budget + budget // EXCESS
    limit, done = task.params.limit, room.redacted + room.failed if room else 0
    most = full if limit is None else min(full, limit - done)
    since, before_nid = (room.since, room.before_nid) if room else (None, None)
    wanted = evolve(task.params.wanted(), since=since)
    found = redact_targets.to_redact(txn, wanted, room_nid, before_nid, most)
    is_all = len(found) < full
    return found if is_all else found[:budget], is_all
