"""Workers killed at random moments, while they are in the middle of steps of tasks of every kind.

All kinds run side by side. A kill strikes every kind of which the worker was running a step; it is repeated, with new
subjects, for those that were not struck often enough, because their task was over.
"""

import time
from collections import Counter
from collections.abc import Sequence
from random import Random

from attrs import define, field, frozen

from synapse_lite.replication.postgres_bus import CHANNEL
from synapse_lite.storage import tasks as store
from synapse_lite.storage.session import notify
from synapse_lite.tasks.queue import TOPIC, new_task
from tests.chaos.kinds import Kind
from tests.chaos.scene import Scene
from tests.chaos.stage import Stage, Subject

WORKERS = ("a", "b", "c")
SOON = 0.1  # seconds before the first kill of a round
PAUSE = (0.05, 0.8)  # seconds from one kill to the next
LONGEST = 0.05  # seconds between the sight of a step and the kill
POLL = 0.01
PATIENCE = 300.0  # seconds without a kill
MOST_ROUNDS = 30
IN_A_ROW = 5
"""Kills without progress in between: ten, and the engine gives a task up."""

_RUNNING = """
WITH RECURSIVE tree AS (
    SELECT id, id AS root FROM scheduled_tasks WHERE id = ANY(%s)
    UNION ALL SELECT t.id, tree.root FROM scheduled_tasks t JOIN tree ON t.parent_id = tree.id)
SELECT tree.root, t.id, t.owner, t.done || coalesce(t.cursor::text, '')
FROM tree JOIN scheduled_tasks t USING (id) JOIN pg_stat_activity a ON a.application_name = 'task ' || t.id
WHERE t.status = 'active' AND a.datname = current_database()
"""
_PENDING = "SELECT count(*) FROM scheduled_tasks WHERE id = ANY(%s) AND finished_at IS NULL"


@frozen
class Step:
    """A step that runs, of a part of the task `root`; `progress` changes with each checkpoint."""

    root: str
    task_id: str
    owner: str
    progress: str


@define
class Kills:
    """`struck` counts by action. The scene has `WORKERS`."""

    scene: Scene
    stage: Stage
    seed: int
    struck: Counter[str] = field(factory=Counter)
    kills: int = 0
    _in_a_row: dict[str, tuple[str, int]] = field(factory=dict)
    _random: Random = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._random = Random(self.seed)

    def run(self, kinds: Sequence[Kind], count: int) -> str:
        """A summary. AssertionError unless each kind was struck so often and every outcome is exact."""
        rounds = 0
        while missing := [kind for kind in kinds if self.struck[kind.action] < count]:
            rounds += 1
            assert rounds <= MOST_ROUNDS, f"too fast to be struck: {[kind.action for kind in missing]}"
            self._round(missing, count)
        return (
            f"{self.kills} kills in {rounds} rounds; {', '.join(f'{n} {a}' for a, n in self.struck.items())}"
        )

    def _round(self, kinds: Sequence[Kind], count: int) -> None:
        subjects = {kind.action: kind.seed(self.stage) for kind in kinds}
        tasks = {self._ask(subject): action for action, subject in subjects.items()}
        next_kill = time.monotonic() + self._random.uniform(0, SOON)
        while self._pending(tasks):
            assert time.monotonic() < next_kill + PATIENCE, (
                f"still pending, after {self.kills} kills: {tasks}"
            )
            self._tend()
            if time.monotonic() >= next_kill and self._kill(tasks, count):
                next_kill = time.monotonic() + self._random.uniform(*PAUSE)
            time.sleep(POLL)
        for task_id, action in tasks.items():
            self._check(task_id, action, subjects[action])

    def _ask(self, subject: Subject) -> str:
        admin = self.scene.admin.user_id
        task = new_task(subject.spec, subject.params, requester=admin, endpoint="chaos")
        self.stage.do(store.enqueue, task)
        self.stage.do(notify, CHANNEL, [f"driver {TOPIC} "])
        return task.id

    def _kill(self, tasks: dict[str, str], count: int) -> bool:
        """One worker with a step of a kind that needs it most, unless its steps do not get on as it is."""
        steps = self._steps(tasks)
        for step in steps:
            if self._in_a_row.get(step.task_id, ("", 0))[0] != step.progress:
                self._in_a_row[step.task_id] = (step.progress, 0)
        tired = {step.owner for step in steps if self._in_a_row[step.task_id][1] >= IN_A_ROW}
        choice = [step for step in steps if step.owner not in tired and self.struck[tasks[step.root]] < count]
        if not choice:
            return False
        self._random.shuffle(choice)
        victim = min(choice, key=lambda step: self.struck[tasks[step.root]]).owner
        time.sleep(self._random.uniform(0, LONGEST))
        self.scene.site.processes[victim.partition("#")[0]].kill()
        self.kills += 1
        fallen = [step for step in steps if step.owner == victim]
        for step in fallen:
            self._in_a_row[step.task_id] = (step.progress, self._in_a_row[step.task_id][1] + 1)
        self.struck.update({tasks[step.root] for step in fallen})
        return True

    def _steps(self, tasks: dict[str, str]) -> list[Step]:
        """Of workers that run."""
        found = self.stage.session.read(lambda txn: txn.rows(_RUNNING, (list(tasks),)))
        return [step for row in found if self._runs((step := Step(*row)).owner)]

    def _runs(self, owner: str) -> bool:
        """Not a step of a process that was killed, while its connection is open still."""
        name, _, _ = owner.partition("#")
        process = self.scene.site.processes[name]
        return process.running.poll() is None and owner in self._owners(name)

    def _owners(self, name: str) -> set[str]:
        sql = "SELECT runner FROM task_runners WHERE name = %s AND expires_at > now_ms() ORDER BY started_at DESC LIMIT 1"
        return {runner for (runner,) in self.stage.session.read(lambda txn: txn.rows(sql, (name,)))}

    def _tend(self) -> None:
        """What a dead worker had is another's at once, not only when its lease ends."""
        for name in WORKERS:
            if self.scene.site.processes[name].running.poll() is not None:
                self.scene.site.expire(name)
                self.scene.site.launch(name)

    def _pending(self, tasks: dict[str, str]) -> int:
        pending: int = self.stage.session.read(lambda txn: txn.value(_PENDING, (list(tasks),)))
        return pending

    def _check(self, task_id: str, action: str, subject: Subject) -> None:
        task = self.stage.do(store.read_task, task_id)
        assert task is not None
        assert (task.status, task.error) == (store.Status.COMPLETE, None), f"{action}: {task}"
        if subject.result is not None:
            assert task.result == subject.result, action
        found = self.stage.session.read(subject.read)
        assert found == subject.expected, f"{action}: {found} instead of {subject.expected}"
