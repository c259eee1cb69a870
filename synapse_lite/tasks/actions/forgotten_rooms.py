"""Rooms that all of this server's users have forgotten are purged after a while."""

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.room_admin import forgotten_rooms
from synapse_lite.tasks.actions.purge_room import PURGE_ROOM, PurgeRoomParams
from synapse_lite.tasks.queue import new_task
from synapse_lite.tasks.specs import PERIODIC


@frozen
class ForgottenRooms:
    """`retention_ms` counts from when the room is found forgotten; the purge looks again."""

    clock: Clock
    server_name: str
    retention_ms: int

    def schedule_purges(self, txn: Transaction, after: int, limit: int) -> tuple[int, int | None]:
        """A part of a cleanup: looks at `limit` rooms. A room whose purge is pending gets no second one."""
        room_ids, last = forgotten_rooms(txn, self.server_name, after, limit)
        for room_id in room_ids:
            task = new_task(
                PURGE_ROOM,
                PurgeRoomParams(room_id=room_id, only_if_forgotten=True),
                requester=self.server_name,
                endpoint=PERIODIC,
                run_at_ms=self.clock.now_ms() + self.retention_ms,
            )
            store.enqueue(txn, task)
        return len(room_ids), last
