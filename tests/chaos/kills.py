"""Workers killed at random moments, while they are in the middle of steps of tasks of every kind.

All kinds run side by side, many in each worker: starting one takes longer than what it is killed in. A kill strikes
every kind of which the worker was running a step; it is repeated, with new subjects, for those that were not struck
often enough, because their task was over.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
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
CONCURRENCY = 6  # steps of a worker at the same time
SOON = 0.1  # seconds before the first kill of a round
PAUSE = (0.0, 0.4)  # seconds from one kill to the next
LONGEST = 0.05  # seconds between the sight of a step and the kill
POLL = 0.01
PATIENCE = 600.0  # seconds without a kill
MOST_ROUNDS = 30
MOST_SUBJECTS = 6  # of a kind, in a round
IN_A_ROW = 3
"""Attempts without progress after which a worker is spared; ten, and the engine gives a task up."""
NEARLY_GIVEN_UP = 7
"""Attempts after which everybody is spared: whoever takes the task may do so between the look and the kill."""

_ACTIVE = """
WITH RECURSIVE tree AS (
    SELECT id, id AS root FROM scheduled_tasks WHERE id = ANY(%s)
    UNION ALL SELECT t.id, tree.root FROM scheduled_tasks t JOIN tree ON t.parent_id = tree.id)
SELECT tree.root, t.owner, t.attempt, EXISTS (SELECT FROM pg_stat_activity a
    WHERE a.application_name = 'task ' || t.id AND a.datname = current_database())
FROM tree JOIN scheduled_tasks t USING (id) WHERE t.status = 'active'
"""
_STATUS = "SELECT id, status, error FROM scheduled_tasks WHERE id = ANY(%s) AND status <> 'complete'"


@frozen
class Held:
    """A part of the task `root` that a worker has claimed.

    `attempt` starts again with each checkpoint. `in_step`: not between two steps.
    """

    root: str
    owner: str
    attempt: int
    in_step: bool


@define
class Kills:
    """`struck` and `seeded` count by action. The scene has `WORKERS`, each of which runs `CONCURRENCY` steps.

    `tell` is told of each round.
    """

    scene: Scene
    stage: Stage
    seed: int
    tell: Callable[[str], None]
    struck: Counter[str] = field(factory=Counter)
    seeded: Counter[str] = field(factory=Counter)
    kills: int = 0
    _random: Random = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._random = Random(self.seed)

    def run(self, kinds: Sequence[Kind], count: int) -> str:
        """A summary. AssertionError unless each kind was struck so often and every outcome is exact."""
        rounds, began = 0, time.monotonic()
        while missing := [kind for kind in kinds if self.struck[kind.action] < count]:
            rounds += 1
            assert rounds <= MOST_ROUNDS, f"too fast to be struck: {[kind.action for kind in missing]}"
            self._round(missing, count)
            exact = f"{self.seeded.total()} outcomes exact after {self.kills} kills"
            self.tell(
                f"{time.monotonic() - began:5.0f} s  round {rounds}: {exact}; struck {dict(self.struck)}"
            )
        struck = ", ".join(f"{number} {action}" for action, number in self.struck.items())
        return f"{self.seeded.total()} outcomes exact after {self.kills} kills in {rounds} rounds; struck: {struck}"

    def _round(self, kinds: Sequence[Kind], count: int) -> None:
        chosen = [kind for kind in kinds for _ in range(self._subjects(kind, count))]
        subjects = [(kind.action, kind.seed(self.stage)) for kind in chosen]
        self.seeded.update(kind.action for kind in chosen)
        asked = {self._ask(subject): (action, subject) for action, subject in subjects}
        tasks = {task_id: action for task_id, (action, _) in asked.items()}
        next_kill = time.monotonic() + self._random.uniform(0, SOON)
        while self._pending(tasks):
            assert time.monotonic() < next_kill + PATIENCE, (
                f"still pending, after {self.kills} kills: {tasks}"
            )
            self._tend()
            if time.monotonic() >= next_kill and self._kill(tasks, count):
                next_kill = time.monotonic() + self._random.uniform(*PAUSE)
            time.sleep(POLL)
        for task_id, (action, subject) in asked.items():
            self._check(task_id, action, subject)

    def _subjects(self, kind: Kind, count: int) -> int:
        """As many as promise the strikes that are missing, as those before them were struck."""
        if kind.of_server or not self.seeded[kind.action]:
            return 1
        missing, each = count - self.struck[kind.action], self.struck[kind.action] / self.seeded[kind.action]
        return min(MOST_SUBJECTS, math.ceil(missing / max(1, each)))

    def _ask(self, subject: Subject) -> str:
        admin = self.scene.admin.user_id
        task = new_task(subject.spec, subject.params, requester=admin, endpoint="chaos")
        self.stage.do(store.enqueue, task)
        self.stage.do(notify, CHANNEL, [f"driver {TOPIC} "])
        return task.id

    def _kill(self, tasks: dict[str, str], count: int) -> bool:
        """One worker with a step of a kind that needs it most, unless its steps do not get on as it is."""
        parts = self._parts(tasks)
        if any(part.attempt >= NEARLY_GIVEN_UP for part in parts):
            return False
        living = [part for part in parts if self._runs(part.owner)]
        tired = {part.owner for part in living if part.attempt >= IN_A_ROW}
        choice = [
            part
            for part in living
            if part.in_step and part.owner not in tired and self.struck[tasks[part.root]] < count
        ]
        if not choice:
            return False
        self._random.shuffle(choice)
        victim = min(choice, key=lambda part: self.struck[tasks[part.root]]).owner
        time.sleep(self._random.uniform(0, LONGEST))
        self.scene.site.processes[victim.partition("#")[0]].kill()
        self.kills += 1
        self.struck.update({tasks[part.root] for part in living if part.in_step and part.owner == victim})
        return True

    def _parts(self, tasks: dict[str, str]) -> list[Held]:
        """Also of workers that were killed, until somebody else takes them."""
        return [Held(*row) for row in self.stage.session.read(lambda txn: txn.rows(_ACTIVE, (list(tasks),)))]

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
        """How many have not ended; AssertionError when one has failed."""
        found = self.stage.session.read(lambda txn: txn.rows(_STATUS, (list(tasks),)))
        for task_id, status, error in found:
            assert status in {"scheduled", "active"}, (
                f"{tasks[task_id]} {status}, after {self.kills} kills: {error}"
            )
        return len(found)

    def _check(self, task_id: str, action: str, subject: Subject) -> None:
        task = self.stage.do(store.read_task, task_id)
        assert task is not None
        assert (task.status, task.error) == (store.Status.COMPLETE, None), f"{action}: {task}"
        if subject.result is not None:
            assert task.result == subject.result, action
        found = self.stage.session.read(subject.read)
        assert found == subject.expected, f"{action}: {found} instead of {subject.expected}"
