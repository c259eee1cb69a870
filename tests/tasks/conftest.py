"""A task engine in this process, on the real reactor and database."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_twisted
from attrs import define, field
from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from synapse_lite.clock import ReactorClock
from synapse_lite.replication.bus import LocalBus
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.tasks import scheduler as scheduler_module
from synapse_lite.tasks.metrics import TaskMetrics
from synapse_lite.tasks.outcome import Outcome
from synapse_lite.tasks.queue import Status, Task, TaskQueue
from synapse_lite.tasks.registry import TaskRegistry
from synapse_lite.tasks.run import Backoff
from synapse_lite.tasks.runners import Heartbeat
from synapse_lite.tasks.scheduler import TaskScheduler
from synapse_lite.tasks.specs import TaskSpec, TaskView
from tests.databases import execute
from tests.tasks.redacting import Moderation
from tests.tasks.steps import Steps

ADMIN = "@admin:x"
LEASE_SECONDS = 600.0  # a process that a busy machine holds up keeps its tasks; a test ends a lease by hand
ENDED = (Status.COMPLETE, Status.FAILED, Status.CANCELLED)


def beat_often(heartbeat: Heartbeat) -> None:
    """The lease stays as long as it is. To be called before the start."""
    heartbeat._interval = 0.1


@pytest.fixture
def database_arguments(database_arguments: dict[str, Any]) -> dict[str, Any]:
    """An empty database with the administrator who asks for the tasks."""
    execute(
        database_arguments,
        f"INSERT INTO users (user_id, is_admin, created_ts) VALUES ('{ADMIN}', TRUE, 0)",
    )
    return database_arguments


@pytest_twisted.async_yield_fixture
async def steps(database: Database) -> AsyncIterator[Steps]:
    steps = Steps(database)
    await steps.open()
    yield steps


@pytest_twisted.async_yield_fixture
async def moderation(database: Database) -> AsyncIterator[Moderation]:
    moderation = Moderation(database)
    await moderation.open()
    yield moderation


@define
class Scripted:
    """A handler whose step is a function of the test."""

    function: Callable[[Transaction, TaskView[Any, Any]], Outcome]

    def step(self, txn: Transaction, task: TaskView[Any, Any]) -> Outcome:
        return self.function(txn, task)


@define
class Engine:
    """Schedulers of one test, on one bus; all are stopped after it."""

    database: Database
    arguments: dict[str, Any]
    bus: LocalBus = field(factory=LocalBus)
    clock: ReactorClock = field(factory=lambda: ReactorClock(reactor))
    schedulers: list[TaskScheduler] = field(factory=list)
    metrics: CollectorRegistry = field(factory=CollectorRegistry)
    backoff: Backoff = field(factory=lambda: Backoff(first_seconds=0.001))

    @property
    def queue(self) -> TaskQueue:
        return TaskQueue(self.database, self.bus)

    async def start(
        self, spec: TaskSpec[Any, Any], handler: Any, *, name: str = "w", lease_seconds: float = LEASE_SECONDS
    ) -> TaskScheduler:
        registry = TaskRegistry()
        registry.register(spec, handler)
        return await self.start_all(registry, name=name, lease_seconds=lease_seconds)

    async def start_all(
        self, registry: TaskRegistry, *, name: str = "w", lease_seconds: float = LEASE_SECONDS
    ) -> TaskScheduler:
        heartbeat = Heartbeat(
            reactor,
            self.clock,
            self.arguments,
            name=name,
            capabilities=registry.capabilities(),
            lease_seconds=lease_seconds,
        )
        beat_often(heartbeat)
        self.metrics = CollectorRegistry()
        scheduler = TaskScheduler(
            self.database,
            registry,
            heartbeat,
            bus=self.bus,
            clock=self.clock,
            metrics=TaskMetrics(self.metrics),
            backoff=self.backoff,
        )
        await scheduler.start()
        self.schedulers.append(scheduler)
        return scheduler

    def never_poll(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Schedulers that start from now on look for tasks when they are woken, or know that one is due."""
        monkeypatch.setattr(scheduler_module, "POLL_SECONDS", 3600.0)
        monkeypatch.setattr(scheduler_module, "POLLS_PER_LEASE", LEASE_SECONDS / 3600.0)

    async def expire(self) -> None:
        """The leases of all processes end."""
        await self.execute("UPDATE task_runners SET expires_at = now_ms() - 1")

    async def stop(self, scheduler: TaskScheduler) -> None:
        self.schedulers.remove(scheduler)
        await scheduler.stop()

    async def until(self, task_id: str, condition: Callable[[Task], bool]) -> Task:
        """The task as soon as it meets the condition; every change of it is announced on the bus."""
        while True:
            changed: Deferred[None] = Deferred()
            unsubscribe = self.bus.subscribe("tasks", lambda _, changed=changed: fire(changed))
            timer = self.clock.call_later(0.2, fire, changed)
            task = await self.queue.get(task_id)
            assert task is not None
            if not condition(task):
                await changed
            unsubscribe()
            if timer.active():
                timer.cancel()
            if condition(task):
                return task

    async def until_ended(self, task_id: str) -> Task:
        return await self.until(task_id, lambda task: task.status in ENDED)

    async def execute(self, sql: str, *arguments: object) -> None:
        await self.database.transact(lambda txn: txn.execute(sql, arguments))

    def metric(self, name: str, **labels: str) -> Any:
        """A number; None where there is none."""
        return self.metrics.get_sample_value(f"synapse_lite_{name}", labels)


def fire(signal: "Deferred[None]") -> None:
    if not signal.called:
        signal.callback(None)


@pytest.fixture
def engine(database: Database, database_arguments: dict[str, Any]) -> Iterator[Engine]:
    engine = Engine(database, database_arguments)
    yield engine
    for scheduler in engine.schedulers:
        pytest_twisted.blockon(Deferred.fromCoroutine(scheduler.stop()))
