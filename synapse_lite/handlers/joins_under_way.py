"""What a room says while somebody of ours joins it through another server: kept, and judged once the room is entered.

The room has the join before its answer is here: a kick, or a message, may be faster, and nobody sends it again. Should the
answer never come, the user is in the room all the same, for all others: a task, written before the join is sent, ends that.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from attrs import define, field, frozen

from synapse_lite.clock import Clock
from synapse_lite.federation.staging import TOPIC
from synapse_lite.ids import random_text
from synapse_lite.matrix.event import Event
from synapse_lite.replication.bus import Bus
from synapse_lite.storage import joins_under_way
from synapse_lite.storage import tasks as task_store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.heads import know_room
from synapse_lite.storage.rooms import Room, membership_in
from synapse_lite.tasks.actions.finish_join import FINISH_JOIN, FIRST_SECONDS, FinishJoinParams, unique_key
from synapse_lite.tasks.queue import new_task


@define
class Attempt:
    """To join one room. `sent` are joins that other servers may have taken, `task_id` is what would finish them."""

    _parts: "JoinsUnderWay"
    _servers: Sequence[str]
    attempt_id: str
    is_announced: bool = False
    sent: set[str] = field(factory=set)
    task_id: str | None = None

    async def announce(self, join: Event) -> None:
        """It is about to be sent: what the room says from now on is kept, by any process."""
        self.is_announced = True
        task_id = await self._parts.database.transact(self._announce, join)
        self.task_id = self.task_id or task_id
        self.sent.add(join.event_id)

    async def take_back(self, join: Event) -> None:
        """It was refused: nothing will come of it."""
        self.sent.discard(join.event_id)

    def _announce(self, txn: Transaction, join: Event) -> str | None:
        """The id of the task, if there was none yet."""
        joins_under_way.put_join(txn, self.attempt_id, join.room_id)
        room = know_room(txn, join.room_id, join.version, self._parts.ms_in(0))
        # Not by the queue: an administrator who repeats a request by its key starts this one anew all the same.
        task = new_task(
            FINISH_JOIN,
            FinishJoinParams(
                room_id=join.room_id,
                user_id=join.sender,
                servers=tuple(self._servers),
                was_nid=_event_nid(txn, room, join.sender),
            ),
            requester=join.sender,
            endpoint="a join that is not answered",
            run_at_ms=self._parts.ms_in(joins_under_way.HELD_SECONDS),
        )
        return task.id if task_store.enqueue(txn, task) == task.id else None


@frozen
class JoinsUnderWay:
    database: Database
    bus: Bus
    clock: Clock

    @asynccontextmanager
    async def attempt(self, servers: Sequence[str]) -> AsyncIterator[Attempt]:
        """Afterwards what was kept goes into the room; it is let go where nobody of ours is in it."""
        attempt = Attempt(self, servers, random_text(12))
        try:
            yield attempt
            attempt.sent.clear()
        finally:
            if attempt.is_announced:
                await self.database.transact(self._end, attempt)
                self.bus.publish(TOPIC)

    def ms_in(self, seconds: float) -> int:
        return self.clock.now_ms() + round(seconds * 1000)

    async def forgo(self, room: Room, user_id: str) -> None:
        """Who leaves, and is in the room for others only, is not brought in, but led out."""
        await self.database.transact(self._forgo, room, user_id)

    def _forgo(self, txn: Transaction, room: Room, user_id: str) -> None:
        member = membership_in(txn, room.nid, user_id)
        key = unique_key(user_id, room.room_id, None if member is None else member.event_nid)
        task_store.amend(txn, FINISH_JOIN.action, key, '{"wanted": false}')
        if member is None or member.membership == "leave":  # else there is a leave to be sent now
            task_store.hasten(txn, FINISH_JOIN.action, key)

    def _end(self, txn: Transaction, attempt: Attempt) -> None:
        joins_under_way.forget_join(txn, attempt.attempt_id)
        if attempt.task_id is None:
            return
        if attempt.sent:
            task_store.bring_forward(txn, attempt.task_id, self.ms_in(FIRST_SECONDS))
        else:
            task_store.withdraw(txn, attempt.task_id)


def _event_nid(txn: Transaction, room: Room, user_id: str) -> int | None:
    """Of the event that says what the user is to the room."""
    member = membership_in(txn, room.nid, user_id)
    return None if member is None else member.event_nid
