"""The life of one process: set up, run until a signal, stop in order."""

import logging
import os
import sys
from contextvars import ContextVar
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure

from synapse_lite import __version__
from synapse_lite.config.losses import describe_losses, without_loss
from synapse_lite.config.model import Config
from synapse_lite.config.secret_files import ensure_registration_secret
from synapse_lite.errors import SynapseLiteError
from synapse_lite.http.context import request_id
from synapse_lite.storage.outage import describe_error
from synapse_lite.tasks.context import task_id
from synapse_lite.tasks.registry import CATALOGUE, Catalogue
from synapse_lite.workers import logs
from synapse_lite.workers.allocator import limit_arenas, raise_file_limit, set_imports_aside, settle_heap
from synapse_lite.workers.assembly import Homeserver, assemble
from synapse_lite.workers.keys import load_signing_key
from synapse_lite.workers.lineage import LineageWatch
from synapse_lite.workers.namesakes import Namesakes
from synapse_lite.workers.pid_file import PidFile
from synapse_lite.workers.preparation import check_files_to_write, prepare_database
from synapse_lite.workers.reload import Reload
from synapse_lite.workers.roles import duties_elsewhere
from synapse_lite.workers.service_manager import READY, STOPPING, notify
from synapse_lite.workers.timers import use_monotonic_time

logger = logging.getLogger(__name__)

CONTEXT: dict[str, ContextVar[str]] = {"request_id": request_id, "task_id": task_id}
STOP_SECONDS = 25.0
FAILED = 3


class ProcessRun:
    """Starts the server when the reactor runs, and stops it before the reactor ends."""

    def __init__(self, reactor: Any, homeserver: Homeserver, name: str, pid_file: PidFile) -> None:
        self._pid_file = pid_file
        self._reactor = reactor
        self._homeserver = homeserver
        self._name = name
        self._started: Deferred[None] | None = None
        core = homeserver.core
        self._watch = LineageWatch(core.requests, core.clock, self._end_at_once)
        self._namesakes = Namesakes(core.bus, name)
        self.exit_code = 0

    def run(self) -> int:
        """Until SIGTERM; the exit code."""
        use_monotonic_time(self._reactor)
        self._reactor.callWhenRunning(self._begin)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._end)
        self._reactor.run()
        return self.exit_code

    def _begin(self) -> None:
        self._started = Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        try:
            await self._homeserver.start()
            await self._watch.start()
            self._namesakes.ask()
            self._pid_file.write()
        except Exception as error:  # noqa: BLE001 (told in the log, and by the exit code)
            self._give_in(error)
        else:
            settle_heap()
            logger.info("%s is ready", self._name)
            notify(READY, os.environ)

    def _give_in(self, error: Exception) -> None:
        """What an operator can put right is one line, without the way through the program."""
        trace = None if isinstance(error, SynapseLiteError | OSError) else error
        logger.error("%s cannot start: %s", self._name, describe_error(error), exc_info=trace)
        if not logs.are_on(sys.stderr):
            sys.stderr.write(f"{self._name} cannot start: {describe_error(error)}\n")
        self._end_at_once()

    def _end_at_once(self) -> None:
        """Without a last word to the database."""
        self.exit_code = FAILED
        self._reactor.callLater(0, self._reactor.stop)

    def _end(self) -> "Deferred[None]":
        stopped = Deferred.fromCoroutine(self._stop())
        stopped.addTimeout(STOP_SECONDS, self._reactor)
        stopped.addErrback(self._give_up)
        return stopped

    def _give_up(self, failure: Failure) -> None:
        logger.error("%s did not stop cleanly: %s", self._name, failure)
        self.exit_code = FAILED

    async def _stop(self) -> None:
        if self.exit_code == 0:
            logger.info("%s stops", self._name)
            notify(STOPPING, os.environ)
            if self._started is not None:
                await self._started
            self._watch.stop()
            self._namesakes.stop()
            await self._homeserver.stop()


def run(config: Config, catalogue: Catalogue = CATALOGUE) -> int:
    """Run the process that the configuration describes; its exit code. `ConfigError` before it begins.

    Does not return when the process could not start or stop in order: it ends at once then.
    """
    limit_arenas()
    set_imports_aside()
    log = logs.ProcessLog(
        config.log, config.effective_log_config, process=config.worker_name, context=CONTEXT
    )
    log.set_up()
    logs.bridge_twisted(globalLogBeginner)
    reload = Reload(_reactor, log.set_up)
    reload.listen()
    raise_file_limit(config.soft_file_limit)
    check_files_to_write(config)
    config = ensure_registration_secret(config)
    signing_key = load_signing_key(config.signing_key_path, config.server_name)
    _report(config)
    prepare_database(config, signing_key)
    pid_file = PidFile(config.effective_pid_file)
    try:
        homeserver = assemble(_reactor, config, signing_key, catalogue)
        reload.parts.append(homeserver.listeners.reload)
        exit_code = ProcessRun(_reactor, homeserver, config.worker_name, pid_file).run()
    finally:
        pid_file.remove()
    if exit_code != 0:
        # The threads of what did not start or stop as it should would keep the process for ever.
        logging.shutdown()
        os._exit(exit_code)
    return exit_code


def _report(config: Config) -> None:
    logger.info("synapse_lite %s: %s of %s", __version__, config.worker_name, config.server_name)
    for loss in describe_losses(config):
        logger.warning("an option of Synapse is ignored: %s", loss)
    if others := without_loss(config):
        logger.info("options of Synapse that are not needed here: %s", ", ".join(others))
    if elsewhere := "; ".join(duties_elsewhere(config)):
        logger.info("not done here, but elsewhere: %s", elsewhere)
    if config.unknown:
        logger.warning("options that are unknown: %s", ", ".join(config.unknown))
