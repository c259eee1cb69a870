"""Faults at one task: its worker, its connection, the database's process behind that connection.

A seed decides what is struck, and when: after how many rows, and how long after a step has begun.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import TypeVar

import psycopg2
from attrs import define, field, frozen

from synapse_lite.storage.database import DatabaseError
from synapse_lite.storage.session import Session
from tests.processes.site import ENDED, Site, Task

KINDS = ("workers killed", "connections ended", "backends killed")
LAST = 0.6  # of all rows: whoever strikes later may find that the task has ended
LONGEST = 0.03  # seconds between the sight of a step and the fault
POLL = 0.005
PATIENCE = 300.0

_STANDING = """
SELECT t.status, t.owner, t.phase, t.done, a.pid FROM scheduled_tasks t
LEFT JOIN pg_stat_activity a ON a.application_name = 'task ' || t.id AND a.datname = current_database()
WHERE t.id = %s
"""

T = TypeVar("T")


@frozen
class Standing:
    """`backend`: the process id of the connection on which a step runs."""

    status: str
    owner: str | None
    phase: str | None
    done: int
    backend: int | None

    @property
    def worker(self) -> str:
        return (self.owner or "").partition("#")[0]


@define
class Faults:
    """`done` counts by kind. A task that has ended is struck no more."""

    site: Site
    session: Session
    workers: tuple[str, ...]
    seed: int
    done: Counter[str] = field(factory=Counter)
    _felled: set[object] = field(factory=set)
    _phases: set[str | None] = field(factory=set)
    _random: Random = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._random = Random(self.seed)

    def inject(self, task_id: str, count: int, rows: int) -> None:
        """`count` faults before the task has done `rows`, each kind as often as the others.

        One falls into each phase of the task, the rest anywhere.
        """
        faults = [KINDS[number % len(KINDS)] for number in range(count)]
        self._random.shuffle(faults)
        strikes = dict(zip(KINDS, (self._kill_worker, self._end_connection, self._kill_backend), strict=True))
        for moment in sorted(self._random.uniform(0, LAST * rows) for _ in faults):
            standing = self._wait_for(lambda: self._due(task_id, moment))  # noqa: B023 (called at once)
            if standing.status in ENDED:
                return
            time.sleep(self._random.uniform(0, LONGEST))
            kind = faults.pop()
            strikes[kind](standing)
            self._phases.add(standing.phase)
            self._felled.add(standing.backend)
            self.done[kind] += 1

    def settle(self, task_id: str) -> Task:
        """Let the task run to its end."""
        self._wait_for(lambda: self._ended(task_id))
        return self.site.task(task_id)

    def __str__(self) -> str:
        return ", ".join(f"{count} {kind}" for kind, count in sorted(self.done.items()))

    def _kill_worker(self, standing: Standing) -> None:
        self._felled.add(standing.owner)
        self.site.processes[standing.worker].kill()

    def _end_connection(self, standing: Standing) -> None:
        self._look("SELECT pg_terminate_backend(%s)", standing.backend)

    def _kill_backend(self, standing: Standing) -> None:
        """PostgreSQL ends all other connections then, ours too, and recovers."""
        assert standing.backend is not None
        with suppress(ProcessLookupError):  # its step was over, and so was its worker
            os.kill(standing.backend, signal.SIGKILL)
            self._wait_for(lambda: not self._look("SELECT %s", 1))

    def _due(self, task_id: str, moment: float) -> Standing | None:
        """The task, in a step for which a fault is due, or at its end."""
        for row in self._look(_STANDING, task_id):
            standing = Standing(*row)
            is_due = standing.done >= moment or standing.phase not in self._phases
            works = standing.backend is not None and not {standing.backend, standing.owner} & self._felled
            if standing.status in ENDED or (is_due and works):
                return standing
        return None

    def _ended(self, task_id: str) -> bool:
        return bool(
            self._look("SELECT FROM scheduled_tasks WHERE id = %s AND finished_at IS NOT NULL", task_id)
        )

    def _wait_for(self, condition: Callable[[], T | None]) -> T:
        """Meanwhile workers that were killed, or found no database, are started again; their leases have ended then."""
        deadline = time.monotonic() + PATIENCE
        while not (value := condition()):
            assert time.monotonic() < deadline, f"nothing happens to the task any more, after {self}"
            for name in self.workers:
                if self.site.processes[name].running.poll() is not None:
                    with suppress(psycopg2.Error):  # PostgreSQL recovers
                        self.site.expire(name)
                        self.site.launch(name)
            time.sleep(POLL)
        return value

    def _look(self, sql: str, argument: object) -> list[tuple[object, ...]]:
        """Nothing, while PostgreSQL recovers."""
        try:
            return self.session.read(lambda txn: txn.rows(sql, (argument,)))
        except DatabaseError:
            return []
