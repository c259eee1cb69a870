"""One process of the chaos: the engine, put together as in `workers/`, with actions of the chaos only."""

import argparse
import logging
import os
import sys
from typing import Any

import orjson
from attrs import define, evolve
from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from synapse_lite.config.model import Config
from synapse_lite.matrix.signing import generate_signing_key
from synapse_lite.replication.bus import Bus, LocalBus
from synapse_lite.replication.postgres_bus import PostgresBus
from synapse_lite.tasks.actions.statistics import STATISTICS, Statistics
from synapse_lite.tasks.actions.user_directory import USER_DIRECTORY, UserDirectory
from synapse_lite.tasks.followers import RegisteredFollower
from synapse_lite.tasks.metrics import TaskMetrics
from synapse_lite.tasks.registry import TaskRegistry
from synapse_lite.tasks.runners import Heartbeat
from synapse_lite.tasks.scheduler import TaskScheduler
from synapse_lite.workers.core import Core, build_core
from synapse_lite.workers.infrastructure import build_infrastructure
from tests.chaos.actions import Append, spec
from tests.chaos.unfenced import remove_fence

SERVER = "chaos.test"
EAGER = [  # two, so that they step together
    evolve(one, batch=3, pause_seconds=0.0, delay_seconds=0.0) for one in (STATISTICS, USER_DIRECTORY)
]
FAILED = 3
STOP_SECONDS = 15.0
logger = logging.getLogger(__name__)


@define
class Worker:
    """A deaf one neither hears of tasks nor tells others: it knows only what it looks up."""

    core: Core
    scheduler: TaskScheduler
    is_deaf: bool
    _started: "Deferred[None] | None" = None

    def run(self) -> None:
        """Until SIGTERM. What does not start or stop as it should ends at once, as in `workers.process`."""
        looped: Any = reactor
        looped.callWhenRunning(self._begin)
        looped.addSystemEventTrigger("before", "shutdown", self._end)
        looped.run()

    @property
    def _bus(self) -> PostgresBus:
        assert isinstance(self.core.bus, PostgresBus)
        return self.core.bus

    def _begin(self) -> None:
        self._started = Deferred.fromCoroutine(self._start())
        self._started.addErrback(_give_up)

    def _end(self) -> "Deferred[None]":
        stopped = Deferred.fromCoroutine(self._stop())
        stopped.addTimeout(STOP_SECONDS, reactor)
        return stopped.addErrback(_give_up)

    async def _start(self) -> None:
        self.core.tasks.start()
        if not self.is_deaf:
            await self._bus.start()
        await self.scheduler.start()
        logger.info("ready")

    async def _stop(self) -> None:
        if self._started is not None:
            await self._started
        await self.scheduler.stop()
        if not self.is_deaf:
            await self._bus.stop()
        self.core.tasks.stop()


def _give_up(failure: Failure) -> None:
    """The database may be away. Threads of what has started would keep the process."""
    logger.error("gives up: %s", failure.getTraceback())
    logging.shutdown()
    os._exit(FAILED)


def build(config: Config, actions: list[str], *, is_deaf: bool) -> Worker:
    core = build_core(
        build_infrastructure(reactor, config), config, generate_signing_key(SERVER), follows=False
    )
    bus: Bus = LocalBus() if is_deaf else core.bus
    registry = TaskRegistry()
    for action in actions:
        registry.register(spec(action), Append(action, config.worker_name))
    for follower, handler in zip(EAGER, (Statistics(), UserDirectory(core.events, SERVER)), strict=True):
        registry.register_follower(RegisteredFollower(follower, handler))
    heartbeat = Heartbeat(
        reactor,
        core.clock,
        config.database.dsn_kwargs(),
        name=config.worker_name,
        capabilities=registry.capabilities(),
        lease_seconds=config.tasks.lease / 1000,
    )
    metrics = TaskMetrics(CollectorRegistry())
    scheduler = TaskScheduler(core.tasks, registry, heartbeat, bus=bus, clock=core.clock, metrics=metrics)
    return Worker(core, scheduler, is_deaf)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--actions", nargs="+", required=True)
    parser.add_argument("--database", type=orjson.loads, required=True, help="connection arguments, as JSON")
    parser.add_argument("--lease", required=True)
    parser.add_argument("--deaf", action="store_true")
    parser.add_argument("--unfenced", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(process)d %(levelname)s %(message)s"
    )
    if options.unfenced:
        remove_fence()
    config = Config.model_validate(
        {
            "server_name": SERVER,
            "signing_key_path": os.devnull,
            "database": {"name": "psycopg2", "args": options.database},
            "worker_app": "synapse_lite",
            "worker_name": options.name,
            "tasks": {"lease": options.lease},
        }
    )
    build(config, options.actions, is_deaf=options.deaf).run()
