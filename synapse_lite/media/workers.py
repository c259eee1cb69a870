"""The pool of child processes that look into strangers' bytes: `worker.py`, from the side of the server."""

# mypy: allow-untyped-calls
# Twisted types its processes in part only, and its interfaces without `self`.

import json
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.errors import SynapseLiteError

logger = logging.getLogger(__name__)

MAX_QUEUED = 1000
MEMORY_BYTES = 1024 * 1024 * 1024
CPU_SECONDS = 20
"""Of a job: as many on a machine that is busy."""
SECONDS = 60.0
"""Then whoever waits for a job is told to come again, as the machine has no time."""
JOBS_PER_PROCESS = 500
"""Then a new process takes its place: what decoders leak does not add up."""

_OF_THE_JOB = frozenset(
    (signal.SIGXCPU, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)
)
"""How a process ends whose job takes too long, or whose decoder breaks. How others end, as by whoever stops the server, says nothing
of the bytes.
"""

_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG")


class JobFailedError(SynapseLiteError):
    """The process died of the job: the bytes are to blame, and would be another time."""


class PoolBusyError(SynapseLiteError):
    """The queue is full, or the process was ended, or had no time: another time there may be an answer."""


@define
class _Job:
    line: bytes
    answer: Deferred[Mapping[str, Any]] = field(factory=Deferred)


class MediaWorkers:
    """At most `size` processes, started when they are needed. One job a process at a time, others wait."""

    def __init__(
        self,
        reactor: Any,
        clock: Clock,
        size: int,
        *,
        seconds: float = SECONDS,
        cpu_seconds: int = CPU_SECONDS,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._size = size
        self._seconds = seconds
        self._cpu_seconds = cpu_seconds
        self._queue: deque[_Job] = deque()
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._stopped = False

    def start(self) -> None:
        self._stopped = False

    def stop(self) -> None:
        """End the processes; what waits fails."""
        self._stopped = True
        for worker in tuple(self._all):
            worker.end()
        while self._queue:
            self._queue.popleft().answer.errback(PoolBusyError("the server stops"))

    async def run(self, job: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer of a worker. `PoolBusyError`, `JobFailedError`."""
        if self._stopped or len(self._queue) >= MAX_QUEUED:
            raise PoolBusyError("too many pictures at once")
        one = _Job(json.dumps(job).encode() + b"\n")
        self._queue.append(one)
        self._feed()
        return await one.answer

    def _feed(self) -> None:
        while self._queue and not self._stopped:
            worker = self._idle.pop() if self._idle else self._start_worker()
            if worker is None:
                return
            worker.work(self._queue.popleft())

    def _start_worker(self) -> "_Worker | None":
        if len(self._all) >= self._size:
            return None
        worker = _Worker(self, self._clock, self._seconds)
        limits = [str(MEMORY_BYTES), str(self._cpu_seconds)]
        command = [sys.executable, "-m", "synapse_lite.media.worker", *limits]
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        self._reactor.spawnProcess(worker, sys.executable, command, environment)
        self._all.add(worker)
        return worker

    def done(self, worker: "_Worker") -> None:
        if worker.jobs < JOBS_PER_PROCESS:
            self._idle.append(worker)
        else:
            worker.end()
        self._feed()

    def ended(self, worker: "_Worker") -> None:
        self._all.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        self._feed()


class _Worker(ProcessProtocol):
    transport: Any

    def __init__(self, pool: MediaWorkers, clock: Clock, seconds: float) -> None:
        self._pool = pool
        self._clock = clock
        self._seconds = seconds
        self._received = b""
        self._said = b""
        self._job: _Job | None = None
        self._deadline: DelayedCall | None = None
        self.jobs = 0

    def work(self, job: _Job) -> None:
        self.jobs += 1
        self._job = job
        self._deadline = self._clock.call_later(self._seconds, self._kill)
        self.transport.write(job.line)

    def end(self) -> None:
        """At the end of its job, or at once when it has none: it reads the end of its input."""
        if self.transport is not None:
            self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        self._received += data
        if not self._received.endswith(b"\n") or self._job is None:
            return
        answer, self._received = json.loads(self._received), b""
        job = self._finish()
        if job is not None:
            self._pool.done(self)
            job.answer.callback(answer)

    def errReceived(self, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        self._said = (self._said + data)[-2000:]

    def processEnded(self, reason: Failure) -> None:  # noqa: N802 (Twisted's name)
        job = self._finish()
        if job is not None:
            logger.warning("a media worker died: %s %s", reason.value, self._said.decode("utf-8", "replace"))
            job.answer.errback(_failure(reason.value))
        self._pool.ended(self)

    def _finish(self) -> _Job | None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        job, self._job = self._job, None
        return job

    def _kill(self) -> None:
        if self.transport is not None:
            self.transport.signalProcess("KILL")


def _failure(end: Any) -> SynapseLiteError:
    """What the end of a process means for its job."""
    if getattr(end, "signal", None) in _OF_THE_JOB:
        return JobFailedError("decoding it takes too much time or memory")
    return PoolBusyError("the media worker was ended")
