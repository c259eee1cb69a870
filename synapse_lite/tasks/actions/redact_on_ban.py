"""What a ban that redacts (MSC4293) leaves over when its target has sent much, or to be brought back where the ban is rejected."""

from collections.abc import Sequence

from attrs import frozen

from synapse_lite.rooms.redact_on_ban import RedactOnBan
from synapse_lite.rooms.taken_back import TakenBackRedactions
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.partial_rooms import is_rejected
from synapse_lite.storage.redact_targets import Redactable, is_awaited, lock_room
from synapse_lite.storage.rooms import room_by_id
from synapse_lite.storage.stream import END
from synapse_lite.storage.timeline import places_of
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.queue import new_task
from synapse_lite.tasks.specs import TaskSpec, TaskView

MAX_BATCH = 200  # bounds how long the last statement of a step holds the stream
PIECE = 40  # after so many the step looks whether somebody wants to write into the room
ENDPOINT = "ban with redact_events"


class RedactOnBanParams(TaskModel):
    """`ban` is the id of the member event; its state key is whose events are redacted."""

    room_id: str
    ban: str


class RedactOnBanCursor(TaskModel):
    """`before_nid`: events from here on are done."""

    before_nid: int
    redacted: int = 0

    def behind(self, nids: Sequence[int]) -> "RedactOnBanCursor":
        before_nid = nids[-1] if nids else self.before_nid
        return RedactOnBanCursor(before_nid=before_nid, redacted=self.redacted + len(nids))


REDACT_ON_BAN = TaskSpec(
    action="redact_on_ban",
    version=1,
    params=RedactOnBanParams,
    cursor=RedactOnBanCursor,
    resource=lambda params: params.room_id,
    unique=lambda params: params.ban,
    needs_admin=False,
)
"""Asked for by the room: whoever banned had the power to redact when they did."""


def go_on(txn: Transaction, ban: StoredEvent) -> None:
    """In the transaction of the ban."""
    params = RedactOnBanParams(room_id=ban.event.room_id, ban=ban.event_id)
    task = new_task(REDACT_ON_BAN, params, requester=ban.event.sender, endpoint=ENDPOINT)
    store.enqueue(txn, task)


@frozen
class RedactOnBanTask:
    """The step of `REDACT_ON_BAN`: the next events by falling nid, of those that came before the ban."""

    events: EventStore
    redactions: RedactOnBan
    taken_back: TakenBackRedactions

    def step(self, txn: Transaction, task: TaskView[RedactOnBanParams, RedactOnBanCursor]) -> Outcome:
        cursor = task.cursor or RedactOnBanCursor(before_nid=END)
        room = room_by_id(txn, task.params.room_id)
        ban = self.events.by_ids(txn, [task.params.ban]).get(task.params.ban)
        if room is None or ban is None:
            return _done(cursor)  # the room is purged, and all of it
        place = places_of(txn, [ban.nid]).get(ban.nid)  # it has none where this server came in after it
        until = place.position if place else None
        wanted = Redactable(ban.event.state_key or "", everything=True, until=until)
        batch = min(task.batch, MAX_BATCH)
        self.redactions.read_ahead(txn, ban, wanted, cursor.before_nid, batch)
        if lock_room(txn, room.nid) is None:
            return _done(cursor)
        if is_rejected(txn, ban.nid):
            return self._take_back(txn, ban, cursor)
        done = 0
        while True:
            piece = min(PIECE, batch - done)
            nids = self.redactions.redact(txn, ban, wanted, cursor.before_nid, piece)
            done += len(nids)
            cursor = cursor.behind(nids)
            if len(nids) < piece:
                return _done(cursor, done)
            if done == batch or is_awaited(txn):
                return Next(cursor, done=done)

    def _take_back(self, txn: Transaction, ban: StoredEvent, cursor: RedactOnBanCursor) -> Outcome:
        """The next of what it had redacted before it was rejected (decision 62)."""
        taken = self.taken_back.take_back(txn, ban, PIECE)
        return Next(cursor, done=taken) if taken == PIECE else Done({"taken_back": True}, done=taken)


def _done(cursor: RedactOnBanCursor, done: int = 0) -> Done:
    return Done({"redacted": cursor.redacted}, done=done)
