"""A server with the admin API of rooms, asked over HTTP without a socket; tasks run when the test says so."""

from collections.abc import Iterable
from typing import Any

from synapse_lite.config.rooms import RoomOptions
from synapse_lite.handlers.auth import LastSeen, Sessions
from synapse_lite.handlers.history import HistoryHandler
from synapse_lite.handlers.history_purge import HistoryPurge
from synapse_lite.handlers.retention import Retention
from synapse_lite.handlers.room_admin import RoomAdmin
from synapse_lite.handlers.room_deletion import RoomDeletion
from synapse_lite.handlers.visibility import Visibility
from synapse_lite.http.router import Route
from synapse_lite.replication.bus import LocalBus
from synapse_lite.rest.admin.purge_history import PurgeHistoryApi
from synapse_lite.rest.admin.room_deletion import RoomDeletionApi
from synapse_lite.rest.admin.rooms import RoomsApi
from synapse_lite.rest.client.history import HistoryApi
from synapse_lite.rest.gate import Gate
from synapse_lite.storage.database import Database
from synapse_lite.tasks.queue import TOPIC, TaskQueue
from synapse_lite.tasks.specs import TaskSpec
from synapse_lite.tasks.waiting import TaskWaiter
from tests.builders import SERVER, World
from tests.rest.rooms_home import RoomsHome
from tests.tasks.steps import Steps

V1 = "/_synapse/admin/v1"
V2 = "/_synapse/admin/v2"


class AdminHome(RoomsHome):
    """`token` is an administrator's."""

    token: str

    def __init__(self, database: Database) -> None:
        self.bus = LocalBus()
        self.steps = Steps(database)
        super().__init__(database)

    async def open(self) -> None:
        await self.steps.open()
        self.token = (await self._sessions.open(f"@admin:{SERVER}")).token

    def _routes(self) -> Iterable[Route]:
        yield from super()._routes()
        database, world = self._database, World()
        queue = TaskQueue(database, self.bus)
        gate = Gate(Sessions(database, self._clock), LastSeen(database, self._clock))
        waiter = TaskWaiter(queue, self.bus, self._clock)
        rooms = RoomAdmin(database, world.events, world.state, self._clock, SERVER)
        visibility = Visibility(world.events, world.state, Retention(None, self._clock))
        history = HistoryHandler(database, world.events, world.state, visibility, self._clock)
        for api in (
            RoomsApi(gate, rooms),
            RoomDeletionApi(gate, RoomDeletion(queue, waiter, RoomOptions(), SERVER)),
            PurgeHistoryApi(gate, HistoryPurge(database, queue)),
            HistoryApi(gate, history),
        ):
            yield from api.routes()

    async def run_task(self, spec: TaskSpec[Any, Any]) -> None:
        """Run the pending one to its end, and say so."""
        await self.steps.go_on(spec)
        self.bus.publish(TOPIC)

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        """The body of an answer that must be 200."""
        return await self.ok(method, path, body, self.token)
