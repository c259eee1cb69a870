"""What every process has, whatever its role: the database, the stream, the write path, the task queue."""

from collections.abc import Sequence
from typing import Any

from attrs import frozen
from prometheus_client import CollectorRegistry, GCCollector, Histogram, PlatformCollector, ProcessCollector

from synapse_lite.clock import Clock, ReactorClock
from synapse_lite.config.model import Config
from synapse_lite.handlers.sender import EventSender
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.replication.changes import ChangeLog
from synapse_lite.replication.postgres_bus import PostgresBus
from synapse_lite.storage.append import EventAppender
from synapse_lite.storage.database import Database
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.stream import Change
from synapse_lite.tasks.queue import TaskQueue

# A process that is frozen inside a transaction must not keep its locks: that of the stream stops every writer,
# that of a task keeps others from taking it over when the lease ends.
IDLE_IN_TRANSACTION_MS = 10_000
STATEMENT_TIMEOUT = "30s"
STREAM_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)


@frozen
class Core:
    """Built by `build_core`; `start` and `stop` in this order, and the reverse."""

    server_name: str
    clock: Clock
    metrics: CollectorRegistry
    requests: Database
    sending: Database
    tasks: Database
    bus: PostgresBus
    log: ChangeLog
    follows: bool
    events: EventStore
    state: StateStore
    appender: EventAppender
    sender: EventSender
    queue: TaskQueue

    async def start(self) -> None:
        for database in self._databases():
            database.start()
        await self.bus.start()
        if self.follows:
            await self.log.start()

    async def stop(self) -> None:
        self.log.stop()
        await self.bus.stop()
        for database in self._databases():
            database.stop()

    def _databases(self) -> tuple[Database, ...]:
        return (self.requests, self.sending, self.tasks)


def build_core(reactor: Any, config: Config, signing_key: SigningKey, *, follows: bool) -> Core:
    """`follows`: the process serves clients, and has to know what other processes commit."""
    clock = ReactorClock(reactor)
    metrics = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=metrics)
    stream_seconds = Histogram(
        "synapse_lite_stream_lock_seconds",
        "How long a transaction held the stream: from giving out positions to the end of the commit",
        buckets=STREAM_SECONDS,
        registry=metrics,
    )
    arguments = config.database.dsn_kwargs()

    def committed(changes: Sequence[Change]) -> None:
        log.committed(changes)

    def database(name: str, size: int) -> Database:
        settings = {
            "application_name": f"{config.worker_name}_{name}",
            "idle_in_transaction_session_timeout": str(min(IDLE_IN_TRANSACTION_MS, config.tasks.lease)),
            "statement_timeout": STATEMENT_TIMEOUT,
            # Statements are short and many: one core for each, and no compiler.
            "max_parallel_workers_per_gather": "0",
            "jit": "off",
        }
        return Database(
            reactor,
            arguments,
            name=name,
            size=size,
            on_commit=committed,
            on_flushed=stream_seconds.observe,
            settings=settings,
        )

    requests = database("requests", config.database.pool_size)
    sending = database("sending", 1)
    events = EventStore(config.caches.event_bytes)
    state = StateStore(config.caches.state_bytes)
    bus = PostgresBus(reactor, clock, arguments)
    log = ChangeLog(requests, events, bus, clock)
    appender = EventAppender(events, state, signing_key, clock, forget_on_leave=config.forget_rooms_on_leave)
    return Core(
        server_name=config.server_name,
        clock=clock,
        metrics=metrics,
        requests=requests,
        sending=sending,
        tasks=database("tasks", config.tasks.concurrency + 1),
        bus=bus,
        log=log,
        follows=follows,
        events=events,
        state=state,
        appender=appender,
        sender=EventSender(sending, appender),
        queue=TaskQueue(requests, bus),
    )
