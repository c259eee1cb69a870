"""A room with a spammer, and the task that redacts them: run step by step on a real database."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import orjson
from attrs import define, field

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import MatrixError
from synapse_lite.replication.bus import LocalBus
from synapse_lite.storage import accounts
from synapse_lite.storage import tasks as store
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import StoredEvent, View
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.tasks import Lease, Status, Task, TaskItem
from synapse_lite.tasks.actions.redact_all_events import (
    FAILED,
    REDACT_ALL_EVENTS,
    ROOM,
    RedactAllEvents,
    RedactParams,
)
from synapse_lite.tasks.lease import Cancelled, Paused, run_step
from synapse_lite.tasks.outcome import Next, Outcome
from synapse_lite.tasks.queue import TaskQueue
from synapse_lite.tasks.registry import Registered
from tests.builders import ALICE, MALLORY, SERVER, TickingClock, World, extremities

ADMIN = f"@admin:{SERVER}"
ENDPOINT = "POST /redact"
RUNNER = "w#1"
T = TypeVar("T")


class Crash(Exception):  # noqa: N818 (not a mistake of anybody)
    """The process ends before the commit."""


@define
class Moderation:
    """One server: `world` writes, `redact` runs the task to its end."""

    database: Database
    clock: TickingClock = field(factory=TickingClock)
    world: World = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.world = World(self.clock)

    async def do(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await self.database.transact(function, *args, **kwargs)

    async def open(self) -> None:
        """Make the administrator, and a runner for the steps."""

        def create(txn: Transaction) -> None:
            accounts.create_account(txn, NewAccount(ADMIN, 1, is_admin=True))
            capability = (REDACT_ALL_EVENTS.action, REDACT_ALL_EVENTS.version)
            store.register_runner(txn, RUNNER, "w", [capability], 600_000)

        await self.do(create)

    # What happens in rooms

    async def room(self, *joined: str, version: str = "12", creator: str = ALICE) -> Room:
        return await self.do(self.world.room, creator, *joined, version=version)

    async def say(self, room: Room, count: int = 1, sender: str = MALLORY) -> list[StoredEvent]:
        return await self.do(
            lambda txn: [self.world.message(txn, room, sender, f"spam {n}") for n in range(count)]
        )

    async def send(self, room: Room, kind: str, sender: str, content: JsonObject, **more: Any) -> StoredEvent:
        return await self.do(self.world.send, room, kind, sender, content, **more)

    async def member(self, room: Room, sender: str, target: str, membership: str) -> StoredEvent:
        return await self.do(self.world.member, room, sender, target, membership)

    async def refusal(self, room: Room, sender: str) -> MatrixError:
        result = await self.do(self.world.try_send, room, "m.room.message", sender, {"body": "again"})
        assert isinstance(result, MatrixError)
        return result

    # The task

    async def ask(self, user_id: str = MALLORY, **params: Any) -> str:
        queue = TaskQueue(self.database, LocalBus())
        wanted = RedactParams(user_id=user_id, **params)
        return (await queue.enqueue(REDACT_ALL_EVENTS, wanted, requester=ADMIN, endpoint=ENDPOINT)).id

    async def claim(self, *running: Lease) -> Lease:
        """The next task, besides those that are running."""
        capability = (REDACT_ALL_EVENTS.action, REDACT_ALL_EVENTS.version)
        claimed = await self.do(store.claim, RUNNER, [capability], [lease.task_id for lease in running])
        assert claimed is not None
        return claimed.lease

    async def claim_when_due(self, *running: Lease) -> Lease:
        """As `claim`, at the time until which the task has been put off."""
        await self.do(lambda txn: txn.execute("UPDATE scheduled_tasks SET run_at = 0"))
        return await self.claim(*running)

    async def finish(self, task_id: str, *running: Lease) -> None:
        """Claim a task that has been put off, and run it to its end."""
        lease = await self.claim_when_due(*running)
        assert lease.task_id == task_id
        while isinstance(await self.step(lease), Next):
            pass

    async def step(
        self,
        lease: Lease,
        batch: int = 100,
        *,
        process: World | None = None,
        crash: bool = False,
        before_commit: Callable[[Transaction], object] = lambda _: None,
    ) -> Outcome | Cancelled | Paused:
        """One step, in a process that has just started unless another one is given."""
        process = process or World(self.clock)
        handler = RedactAllEvents(process.appender, process.events, process.state, self.clock, SERVER)

        def run(txn: Transaction) -> Outcome | Cancelled | Paused:
            outcome = run_step(txn, lease, Registered(REDACT_ALL_EVENTS, handler), batch)
            before_commit(txn)
            if crash:
                raise Crash
            return outcome

        return await self.do(run)

    async def redact(self, user_id: str = MALLORY, *, batch: int = 100, **params: Any) -> Task:
        """Ask, run all steps, and return the task."""
        task_id = await self.ask(user_id, **params)
        lease = await self.claim()
        while isinstance(await self.step(lease, batch), Next):
            pass
        return await self.task(task_id)

    # What can be seen afterwards

    async def task(self, task_id: str) -> Task:
        task = await self.do(store.read_task, task_id)
        assert task is not None
        return task

    async def items(self, task: Task, outcome: str) -> list[TaskItem]:
        return await self.do(store.read_items, task.id, outcome=outcome, after=None, limit=1000)

    async def reports(self, task: Task) -> dict[str, JsonObject]:
        return {item.item: orjson.loads(item.detail or "") for item in await self.items(task, ROOM)}

    async def report(self, task: Task, room: Room) -> JsonObject:
        return (await self.reports(task))[room.room_id]

    async def failures(self, task: Task) -> dict[str, str | None]:
        return {item.item: item.detail for item in await self.items(task, FAILED)}

    async def views(self, events: Iterable[StoredEvent]) -> list[View]:
        """As a process sees them that had cached them all."""
        return await self.do(self.world.events.views, [stored.nid for stored in events])

    async def redacted(self, events: Iterable[StoredEvent]) -> list[bool]:
        return [view.redaction is not None for view in await self.views(events)]

    async def redactions(self, *rooms: Room) -> dict[str, int]:
        """How many redactions each event of the rooms has."""
        nids = [room.nid for room in rooms]
        rows = await self.do(
            lambda txn: txn.rows(
                "SELECT redacts, count(*) FROM redactions WHERE room_nid = ANY(%s) GROUP BY redacts", (nids,)
            )
        )
        return dict(rows)

    async def extremities(self, room: Room) -> list[int]:
        return await self.do(extremities, room)

    async def state(self, room: Room) -> dict[tuple[str, str], int]:
        rows = await self.do(
            lambda txn: txn.rows(
                "SELECT type, state_key, event_nid FROM current_state WHERE room_nid = %s", (room.nid,)
            )
        )
        return {(kind, key): nid for kind, key, nid in rows}


def is_complete(task: Task) -> bool:
    return task.status is Status.COMPLETE and task.error is None
