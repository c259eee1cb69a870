"""What a process stands on, and what a test replaces: time, databases, the bus between processes."""

from typing import Any

from argon2 import PasswordHasher
from attrs import field, frozen
from prometheus_client import CollectorRegistry, GCCollector, Histogram, PlatformCollector, ProcessCollector

from synapse_lite.clock import Clock, ReactorClock
from synapse_lite.config.model import Config
from synapse_lite.federation.peers import Peers
from synapse_lite.handlers import event_writer
from synapse_lite.handlers.passwords import password_hasher
from synapse_lite.replication.bus import Bus
from synapse_lite.replication.postgres_bus import PostgresBus
from synapse_lite.storage import writer
from synapse_lite.storage.database import Database
from synapse_lite.storage.diagnosis import Pool, connection_name
from synapse_lite.storage.outage import Outage
from synapse_lite.workers.feature import Life
from synapse_lite.workers.gc_pauses import GcPauses

# A process that is frozen inside a transaction must not keep its locks: that of the stream stops every writer,
# that of a task keeps others from taking it over when the lease ends.
IDLE_IN_TRANSACTION_MS = 10_000
STATEMENT_TIMEOUT = "30s"
STREAM_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)


@frozen
class Infrastructure:
    """`lives` are started before everything else and stopped after it, in this order and the reverse.

    `peers` are other servers where a test plays them; None: those on the network.
    """

    reactor: Any
    clock: Clock
    metrics: CollectorRegistry
    requests: Database
    sending: Database
    writing: Database
    tasks: Database
    bus: Bus
    lives: tuple[Life, ...]
    password_hasher: PasswordHasher = field(factory=password_hasher)
    peers: Peers | None = None

    @property
    def databases(self) -> tuple[Database, ...]:
        return (self.requests, self.sending, self.writing, self.tasks)


def build_infrastructure(reactor: Any, config: Config) -> Infrastructure:
    """As in production: pools of connections to PostgreSQL, and its notifications as the bus."""
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

    outage = Outage()

    def database(name: Pool, size: int) -> Database:
        settings = {
            "application_name": connection_name(config.worker_name, name),
            "idle_in_transaction_session_timeout": str(min(IDLE_IN_TRANSACTION_MS, config.tasks.lease)),
            "statement_timeout": STATEMENT_TIMEOUT,
            # Statements are short and many: one core for each, and no compiler.
            "max_parallel_workers_per_gather": "0",
            "jit": "off",
        }
        return Database(
            reactor,
            config.database.dsn_kwargs(),
            name=name,
            size=size,
            settings=settings,
            on_published=stream_seconds.observe,
            outage=outage,
        )

    requests = database("requests", config.database.pool_size)
    sending = database("sending", event_writer.CONNECTIONS)
    writing = database("writing", writer.CONNECTIONS)
    tasks = database("tasks", config.tasks.concurrency + 2)
    bus = PostgresBus(reactor, clock, config.database.dsn_kwargs())
    lives = (GcPauses(metrics), requests, sending, writing, tasks, bus)
    return Infrastructure(reactor, clock, metrics, requests, sending, writing, tasks, bus, lives)
