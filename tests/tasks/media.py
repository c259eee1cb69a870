"""Media rows and files for the tasks about them, and tasks run step by step."""

import hashlib
from pathlib import Path
from typing import Any

from attrs import define, field, fields_dict
from pydantic import BaseModel

from synapse_lite.media.directory import DirectoryStore
from synapse_lite.media.incoming import Incoming
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.media import blobs, files
from synapse_lite.storage.media.files import NewMedia
from synapse_lite.tasks.outcome import Done, Next
from synapse_lite.tasks.specs import TaskView
from tests.builders import SERVER
from tests.http.memory import ManualClock

ALICE = f"@alice:{SERVER}"
START_MS = 1_700_000_000_000


class FarClock(ManualClock):
    """Years after 1970, as clocks are."""

    def now_ms(self) -> int:
        return START_MS + super().now_ms()


@define
class Shelf:
    """Files in a directory, and their rows."""

    database: Database
    directory: Path
    clock: FarClock = field(factory=FarClock)
    store: DirectoryStore = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.store = DirectoryStore(self.directory / "blobs")

    @property
    def incoming(self) -> Path:
        return self.directory / "incoming"

    def put(self, data: bytes) -> bytes:
        """The bytes alone."""
        incoming = Incoming(self.incoming)
        incoming.write(data)
        received = incoming.finish()
        self.store.put(received.sha256, received.path)
        return received.sha256

    async def add(
        self, media_id: str, data: bytes = b"x", *, origin: str = SERVER, user_id: str | None = ALICE
    ) -> None:
        """As an upload does, or a copy from another server."""
        sha256 = self.put(data)
        new = NewMedia(origin, media_id, user_id, "text/plain", None, self.clock.now_ms(), True)

        def write(txn: Transaction) -> None:
            blobs.hold(txn, sha256, len(data), self.clock.now_ms())
            assert files.add(txn, new, sha256, len(data))

        await self.database.transact(write)

    async def delete(self, *media_ids: str) -> None:
        nids = await self.rows("SELECT media_nid FROM media WHERE media_id = ANY(%s)", list(media_ids))
        await self.database.transact(files.delete, [nid for (nid,) in nids], self.clock.now_ms())

    async def ids(self) -> list[str]:
        return [media_id for (media_id,) in await self.rows("SELECT media_id FROM media ORDER BY media_id")]

    async def rows(self, sql: str, *arguments: object) -> list[Any]:
        return await self.database.read(lambda txn: txn.rows(sql, arguments))

    async def execute(self, sql: str, *arguments: object) -> None:
        await self.database.transact(lambda txn: txn.execute(sql, arguments))

    def has(self, data: bytes) -> bool:
        """Whether the bytes are in the store."""
        name = hashlib.sha256(data).hexdigest()
        return any(path.name == name for path in self.store.directory.rglob("*"))

    async def run(
        self, handler: Any, params: BaseModel | None = None, *, batch: int = 2, task_id: str = "task"
    ) -> Any:
        """The result of a task; each step is a transaction of its own."""
        await self.execute(
            "INSERT INTO scheduled_tasks (id, action, version, status, requester, endpoint, priority, run_at,"
            " params, max_attempts, created_at, updated_at)"
            " VALUES (%s, 'test', 1, 'scheduled', '@admin:x', 'test', 0, 1, '{}', 3, 1, 1) ON CONFLICT DO NOTHING",
            task_id,
        )
        view: TaskView[Any, Any] = TaskView(
            id=task_id,
            params=params,  # type: ignore[arg-type]
            cursor=None,
            done=0,
            total=None,
            attempt=0,
            batch=batch,
            requester="@admin:x",
        )
        while True:
            outcome = await self.database.transact(handler.step, view)
            if isinstance(outcome, Done):
                return outcome.result
            assert isinstance(outcome, Next)
            # As it is stored between two steps.
            cursor = type(outcome.cursor).model_validate_json(outcome.cursor.model_dump_json())
            view = TaskView(**{**_fields(view), "cursor": cursor})


def _fields(view: TaskView[Any, Any]) -> dict[str, Any]:
    return {name: getattr(view, name) for name in fields_dict(TaskView)}
