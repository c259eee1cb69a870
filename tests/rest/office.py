"""An administrator of tasks, over HTTP."""

from typing import Any

from attrs import define

from synapse_lite.storage import tasks as store
from synapse_lite.storage.tasks import Lease
from synapse_lite.tasks.actions.noop import NOOP, NoopParams
from synapse_lite.tasks.queue import TaskQueue
from tests.server import TestServer

ADMIN = "/_synapse/admin/v1"
TASKS = f"{ADMIN}/scheduled_tasks"
NOOP_ACTION = f"{ADMIN}/task_actions/noop"
CAPABILITY = ("noop", 1)
FIELDS = {
    *("id", "action", "status", "timestamp_ms", "resource_id", "result", "error", "version", "progress"),
    *("attempt", "max_attempts", "priority", "runner", "runnable_by", "last_seen_runner", "waiting_reason"),
    *("requester", "endpoint", "parent_id", "cancel_requested", "created_ts", "updated_ts", "finished_ts"),
}


@define
class Office:
    """An admin who asks, and a runner whose claims and checkpoints the test makes itself."""

    server: TestServer
    token: str
    user_token: str

    @property
    def queue(self) -> TaskQueue:
        return self.server.core.queue

    async def ask(self, steps: int = 3) -> str:
        params = NoopParams(steps=steps)
        return (await self.queue.enqueue(NOOP, params, requester="@admin:hs.test", endpoint="POST /noop")).id

    async def do(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return await self.server.database.transact(function, *args, **kwargs)

    async def register(self, runner: str = "w#1") -> None:
        await self.do(store.register_runner, runner, runner.partition("#")[0], [CAPABILITY], 60_000)

    async def claim(self, runner: str = "w#1") -> Lease:
        claimed = await self.do(store.claim, runner, [CAPABILITY], [])
        assert claimed is not None
        return claimed.lease

    async def execute(self, sql: str) -> None:
        await self.do(lambda txn: txn.execute(sql))

    async def get(self, path: str) -> Any:
        return await self.server.ok("GET", path, token=self.token)

    async def show(self, task_id: str) -> Any:
        return await self.get(f"{TASKS}/{task_id}")

    async def post(self, path: str, body: Any = None) -> Any:
        return await self.server.ok("POST", path, {} if body is None else body, self.token)

    async def put(self, body: Any, path: str = NOOP_ACTION) -> Any:
        return await self.server.ok("PUT", path, body, self.token)

    async def refusal(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        return await self.server.refusal(method, path, body, self.token)


async def open_office(server: TestServer) -> Office:
    user_token = await server.register("user")
    token = await server.register("admin")
    await server.make_admin("@admin:hs.test")
    return Office(server, token, user_token)
