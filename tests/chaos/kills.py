"""Workers killed at random moments, while they are in the middle of steps of tasks of every kind.

All kinds run side by side, many in each worker: starting one takes longer than what it is killed in. A kill strikes
every kind of which the worker was running a step. When a task is over, its outcome is compared, and there is a new subject
as long as its kind was not struck often enough.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
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
CONCURRENCY = 12  # steps of a worker at the same time: a kill costs a start of a process, whatever it strikes
PAUSE = (0.0, 0.4)  # seconds from one kill to the next
LONGEST = 1.0  # seconds between the sight of a step and the kill: a worker that has just started claims more meanwhile
MOSTLY_SHORT = 3  # the power of the random share of it: some tasks are over within a tenth of a second
POLL = 0.01
PATIENCE = 600.0  # seconds without a kill, and without the end of a task
REPORT_SECONDS = 30
MOST_A_STRIKE = 30  # subjects of a kind
MOST_SUBJECTS = 6  # of a kind, at the same time
SLOTS = len(WORKERS) * CONCURRENCY
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
_FOLLOWER = "SELECT owner FROM followers WHERE name = %s AND owner IS NOT NULL"
_STATUS = "SELECT id, status, error FROM scheduled_tasks WHERE id = ANY(%s)"


@frozen
class Held:
    """A part of the task `root` that a worker has claimed.

    `attempt` starts again with each checkpoint. `in_step`: not between two steps.
    """

    root: str
    owner: str
    attempt: int
    in_step: bool


@frozen
class Asked:
    """A task that was asked for, and what it is about."""

    kind: Kind
    subject: Subject


@define
class Kills:
    """`struck` and `seeded` count by action, `exact` the outcomes. The scene has `WORKERS`, each of which runs `CONCURRENCY` steps.

    `tell` is told now and then how far it is. `stage` is for another thread, which makes subjects meanwhile.
    """

    scene: Scene
    stage: Stage
    seed: int
    tell: Callable[[str], None]
    struck: Counter[str] = field(factory=Counter)
    seeded: Counter[str] = field(factory=Counter)
    exact: int = 0
    kills: int = 0
    _random: Random = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._random = Random(self.seed)

    def run(self, kinds: Sequence[Kind], count: int) -> str:
        """A summary. AssertionError unless each kind was struck so often and every outcome is exact."""
        began = time.monotonic()
        first = [self._make(kind) for kind in kinds]
        pending = {self._ask(asked.subject): asked for asked in first}
        told = moved = next_kill = time.monotonic()
        with ThreadPoolExecutor(1) as seeding:
            coming: Future[Asked] | None = None
            while (missing := self._missing(kinds, count)) or pending or coming:
                if (
                    coming is None
                    and len(pending) < SLOTS
                    and (kind := self._next_kind(missing, pending, count))
                ):
                    coming = seeding.submit(self._make, kind)
                if coming is not None and coming.done():
                    asked, coming = coming.result(), None
                    pending[self._ask(asked.subject)] = asked
                self._tend()
                now = time.monotonic()
                if self._compare_ended(pending):
                    moved = now
                if now >= next_kill and self._kill(pending, count):
                    moved, next_kill = now, now + self._random.uniform(*PAUSE)
                if now >= told + REPORT_SECONDS:
                    told = now
                    self.tell(f"{now - began:5.0f} s  {self}")
                assert now < moved + PATIENCE, f"still pending, after {self.kills} kills: {pending}"
                time.sleep(POLL)
        return f"{time.monotonic() - began:.0f} s: {self}"

    def _make(self, kind: Kind) -> Asked:
        self.seeded[kind.action] += 1
        return Asked(kind, kind.seed(self.stage))

    def __str__(self) -> str:
        struck = ", ".join(f"{number} {action}" for action, number in self.struck.items())
        return f"{self.exact} outcomes exact after {self.kills} kills; struck: {struck}"

    def _missing(self, kinds: Sequence[Kind], count: int) -> list[Kind]:
        missing = [kind for kind in kinds if self.struck[kind.action] < count]
        for kind in missing:
            assert self.seeded[kind.action] <= MOST_A_STRIKE * count, f"too fast to be struck: {kind.action}"
        return missing

    def _next_kind(self, missing: Sequence[Kind], pending: Mapping[str, Asked], count: int) -> Kind | None:
        """What there is the least of, of those of which there may be more."""
        present = Counter(asked.kind.action for asked in pending.values())
        wanted = [kind for kind in missing if present[kind.action] < self._subjects(kind, count)]
        return min(wanted, key=lambda kind: present[kind.action], default=None)

    def _subjects(self, kind: Kind, count: int) -> int:
        """As many as promise the strikes that are missing, as those before them were struck."""
        if kind.of_server or not self.seeded[kind.action]:
            return 1
        missing, each = count - self.struck[kind.action], self.struck[kind.action] / self.seeded[kind.action]
        return min(MOST_SUBJECTS, math.ceil(missing / max(1, each)))

    def _ask(self, subject: Subject) -> str:
        admin = self.scene.admin.user_id
        task = new_task(subject.spec, subject.params, requester=admin, endpoint="chaos")
        enqueued = self.scene.session.transact(partial(store.enqueue, task=task))
        assert enqueued == task.id, f"{task.action} for something else's subject"
        self.scene.session.transact(partial(notify, channel=CHANNEL, payloads=[f"driver {TOPIC} "]))
        return task.id

    def _kill(self, pending: Mapping[str, Asked], count: int) -> bool:
        """One worker with a step of a kind that needs it most, unless its steps do not get on as it is."""
        actions = {task_id: asked.kind.action for task_id, asked in pending.items()}
        parts = self._parts(pending)
        if any(part.attempt >= NEARLY_GIVEN_UP for part in parts):
            return False
        living = [part for part in parts if self._runs(part.owner)]
        tired = {part.owner for part in living if part.attempt >= IN_A_ROW}
        choice = [
            part
            for part in living
            if part.in_step and part.owner not in tired and self.struck[actions[part.root]] < count
        ]
        if not choice:
            return False
        self._random.shuffle(choice)
        victim = min(choice, key=lambda part: self.struck[actions[part.root]]).owner
        time.sleep(LONGEST * self._random.random() ** MOSTLY_SHORT)
        in_step = [part for part in self._parts(pending) if part.in_step and part.owner == victim]
        if not in_step:
            return False
        self.scene.site.processes[victim.partition("#")[0]].kill()
        self.kills += 1
        self.struck.update({actions[part.root] for part in in_step})
        return True

    def _parts(self, pending: Mapping[str, Asked]) -> list[Held]:
        """Also of workers that were killed, until somebody else takes them."""
        read = self.scene.session.read
        parts = [Held(*row) for row in read(lambda txn: txn.rows(_ACTIVE, (list(pending),)))]
        for task_id, asked in pending.items():
            if follower := asked.kind.follower:
                for (owner,) in read(lambda txn, name=follower: txn.rows(_FOLLOWER, (name,))):
                    parts.append(Held(task_id, owner, 0, in_step=True))
        return parts

    def _runs(self, owner: str) -> bool:
        """Not a step of a process that was killed, while its connection is open still."""
        name, _, _ = owner.partition("#")
        process = self.scene.site.processes[name]
        return process.running.poll() is None and owner in self._owners(name)

    def _owners(self, name: str) -> set[str]:
        sql = "SELECT runner FROM task_runners WHERE name = %s AND expires_at > now_ms() ORDER BY started_at DESC LIMIT 1"
        return {runner for (runner,) in self.scene.session.read(lambda txn: txn.rows(sql, (name,)))}

    def _tend(self) -> None:
        """What a dead worker had is another's at once, not only when its lease ends."""
        for name in WORKERS:
            if self.scene.site.processes[name].running.poll() is not None:
                self.scene.site.expire(name)
                self.scene.site.launch(name)

    def _compare_ended(self, pending: dict[str, Asked]) -> bool:
        """Whether any have ended; they are pending no longer. AssertionError when one has failed."""
        found = self.scene.session.read(lambda txn: txn.rows(_STATUS, (list(pending),)))
        assert {task_id for task_id, _, _ in found} == pending.keys()
        ended = [task_id for task_id, status, _ in found if status == "complete"]
        for task_id, status, error in found:
            assert status in {"scheduled", "active", "complete"}, (
                f"{pending[task_id].kind.action} {status}, after {self.kills} kills: {error}"
            )
        for task_id in ended:
            asked = pending.pop(task_id)
            self._check(task_id, asked.kind.action, asked.subject)
            self.exact += 1
        return bool(ended)

    def _check(self, task_id: str, action: str, subject: Subject) -> None:
        task = self.scene.session.read(lambda txn: store.read_task(txn, task_id))
        assert task is not None
        assert (task.status, task.error) == (store.Status.COMPLETE, None), f"{action}: {task}"
        if subject.result is not None:
            assert task.result == subject.result, action
        found = self.scene.session.read(subject.read)
        assert found == subject.expected, f"{action}: {found} instead of {subject.expected}"
