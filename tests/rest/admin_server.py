"""A server with an administrator; tasks run when the test says so."""

from typing import Any

from synapse_lite.storage.database import Database
from synapse_lite.tasks.queue import TOPIC
from synapse_lite.tasks.specs import TaskSpec
from tests.builders import SERVER
from tests.server import TestServer
from tests.tasks.steps import Steps

V1 = "/_synapse/admin/v1"
V2 = "/_synapse/admin/v2"


class AdminServer(TestServer):
    """`token` is an administrator's."""

    token: str

    def __init__(self, database: Database, **options: Any) -> None:
        super().__init__(database, **options)
        self.steps = Steps(database)

    async def start(self) -> None:
        await super().start()
        await self.steps.open()
        self.token = (await self.core.accounts.access_tokens.open(f"@admin:{SERVER}")).token

    async def run_task(self, spec: TaskSpec[Any, Any]) -> None:
        """Run the pending one to its end, and say so."""
        await self.steps.go_on(spec)
        self.bus.publish(TOPIC)

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        """The body of an answer that must be 200."""
        return await self.ok(method, path, body, self.token)

    async def admin_made(self, name: str, body: Any) -> Any:
        """A user whom the administrator has made, as the answer shows them."""
        answer = await self.call("PUT", f"{V2}/users/@{name}:{SERVER}", body, self.token)
        assert answer.status == 201, answer.body
        return answer.json()
