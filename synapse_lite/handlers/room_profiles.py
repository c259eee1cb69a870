"""Profiles in rooms: what member events show of a user."""

import logging

from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError
from synapse_lite.handlers.at_once import all_at_once
from synapse_lite.handlers.event_writer import Sender
from synapse_lite.rooms.members import profile_writes
from synapse_lite.rooms.values import Write
from synapse_lite.storage import rooms
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.tasks.actions.update_join_states import UPDATE_JOIN_STATES, UpdateJoinStatesParams
from synapse_lite.tasks.queue import TaskQueue

logger = logging.getLogger(__name__)

AT_ONCE = 100
ROUNDS = 4
"""So often a change is looked for that overtook this one on its way into the rooms."""


class RoomProfiles:
    """Carries a changed profile into the user's rooms: into the first ones before the answer, into all by a task."""

    def __init__(
        self, database: Database, events: EventStore, sender: Sender, queue: TaskQueue, clock: Clock
    ) -> None:
        self._database = database
        self._events = events
        self._sender = sender
        self._queue = queue
        self._clock = clock

    def ask(self, txn: Transaction, user_id: str, requester: str, endpoint: str) -> None:
        """In the transaction of the change, so that no crash can keep it from the rooms. Call `show` after the commit."""
        if rooms.joined_after(txn, user_id, 0, 1):
            params = UpdateJoinStatesParams(user_id=user_id)
            self._queue.enqueue_in(txn, UPDATE_JOIN_STATES, params, requester=requester, endpoint=endpoint)

    async def show(self, user_id: str) -> None:
        """In the first rooms at once; one that shows the profile already stays as it is.

        Of several changes at once the rooms may get the last one first: whoever comes last sets that right.
        """
        self._queue.announce()
        refusing: set[int] = set()
        for _ in range(ROUNDS):
            found = await self._database.read(self._writes, user_id)
            writes = [one for one in found if one.room_nid not in refusing]
            if not writes:
                return
            taken = await all_at_once(self._send(one) for one in writes)
            refusing.update(one.room_nid for one, is_taken in zip(writes, taken, strict=True) if not is_taken)

    async def _send(self, write: Write) -> bool:
        """Whether the room takes it."""
        try:
            await self._sender.send(write)
        except MatrixError as error:  # for instance because the user has just left
            logger.info("a room does not take the new profile: %s", error)
            return False
        return True

    def _writes(self, txn: Transaction, user_id: str) -> list[Write]:
        members = rooms.joined_after(txn, user_id, 0, AT_ONCE)
        return profile_writes(txn, self._events, user_id, members, self._clock.now_ms())
