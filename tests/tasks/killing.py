"""Processes that run steps of tasks, and are killed between statements, before a commit, or after one."""

import os
import sys
from random import Random, SystemRandom
from typing import Any

import pytest
from attrs import define, field
from pydantic import BaseModel

from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks import Lease, Task
from synapse_lite.tasks.lease import Cancelled
from synapse_lite.tasks.outcome import Done, Fail, Later
from synapse_lite.tasks.specs import TaskSpec
from tests.tasks.steps import Steps, capabilities, spec_of

IN_A_ROW = 6
"""Ten without progress, and the engine gives a task up."""

MOST_STATEMENTS = 12
ALL = 1000


class Kill(BaseException):
    """The process is gone: nothing catches that."""


@define
class Fuse:
    """Kills at one of the next statements, when it is lit."""

    statements: int | None = None

    def burn(self) -> None:
        if self.statements is None:
            return
        if self.statements == 0:
            self.statements = None
            raise Kill
        self.statements -= 1


def burning(monkeypatch: pytest.MonkeyPatch) -> Fuse:
    """One that every statement burns down."""
    fuse, run = Fuse(), Transaction._run

    def burn(txn: Transaction, *statement: Any) -> None:
        fuse.burn()
        run(txn, *statement)

    monkeypatch.setattr(Transaction, "_run", burn)
    return fuse


@define
class Processes:
    """One after the other: each runs steps until it is killed, as often as `most` says in all; then the last one goes on."""

    steps: Steps
    fuse: Fuse
    random: Random
    most: int
    kills: int = 0
    number: int = 1
    in_a_row: int = field(default=0)

    async def run(self, spec: TaskSpec[Any, Any], params: BaseModel) -> Task:
        """The task, when it and its parts have ended and the kills are used up."""
        task_id = await self.steps.ask(spec, params)
        await self._begin()
        while (await self.steps.task(task_id)).finished_at_ms is None:
            claimed = await self.steps.do(store.claim, self.runner, sorted(capabilities(self.steps)), [])
            if claimed is None:  # parts rest, or the whole does: time passes
                await self.steps.do(lambda txn: txn.execute("UPDATE scheduled_tasks SET run_at = 0"))
            else:
                await self._work(claimed.lease, spec_of(self.steps, claimed.action))
        return await self.steps.task(task_id)

    @property
    def runner(self) -> str:
        return f"w#{self.number}"

    async def _work(self, lease: Lease, spec: TaskSpec[Any, Any]) -> None:
        """Steps of a task until it gives its slot back, or the process dies."""
        while True:
            dies = self.kills < self.most and self.in_a_row < IN_A_ROW and self.random.random() < 0.95
            self.fuse.statements = self.random.randrange(MOST_STATEMENTS) if dies else None
            try:
                few = self.random.randint(1, 3)
                outcome = await self.steps.step(spec, lease, few if self.kills < self.most else ALL)
            except Kill:
                return await self._die()
            survived, self.fuse.statements = self.fuse.statements is not None, None
            self.in_a_row = 0
            if survived:  # it was to die later than that: after the commit
                return await self._die()
            if isinstance(outcome, Done | Later | Fail | Cancelled):
                return None

    async def _die(self) -> None:
        self.kills += 1
        self.in_a_row += 1
        await self.steps.do(
            lambda txn: txn.execute(
                "UPDATE task_runners SET expires_at = 0 WHERE runner = %s", (self.runner,)
            )
        )
        await self._begin()

    async def _begin(self) -> None:
        self.number += 1
        await self.steps.do(store.register_runner, self.runner, "w", capabilities(self.steps), 600_000)


async def start(steps: Steps, fuse: Fuse, most: int) -> Processes:
    """KILL_SEED repeats a run."""
    seed = int(os.environ.get("KILL_SEED") or SystemRandom().randrange(10**6))
    sys.stdout.write(f"KILL_SEED={seed}\n")
    await steps.open()
    await steps.do(lambda txn: txn.execute("UPDATE task_runners SET expires_at = 0"))
    return Processes(steps, fuse, Random(seed), most)
