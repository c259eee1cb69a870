"""The statements of the engine under any interleaving of processes that work, freeze, die and return.

A model knows what must hold; hypothesis looks for an order of operations in which the database differs.
A ledger without any key gets a row for each item of each task: what is applied twice is there twice.
"""

from typing import Any

import psycopg2
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from psycopg2 import extensions

from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction, UniqueViolation
from synapse_lite.storage.tasks import Capability, Claimed, Lease, LeaseLostError, NewTask, Status
from tests.tasks.engine_model import Process, Row

CAPABILITIES: dict[str, list[Capability]] = {
    "all": [("copy", 1), ("copy", 2), ("drop", 1)],
    "old": [("copy", 1)],
    "new": [("copy", 1), ("copy", 2)],
}

ACTIONS = ("copy", "drop")
NOW_AND_THEN = st.sampled_from([False, False, True])
SHAPES = st.tuples(
    st.sampled_from([("copy", 1), ("copy", 2), ("drop", 1), ("unknown", 1)]),
    st.integers(0, 1),
    st.sampled_from([None, None, "k"]),
    st.sampled_from([None, None, "l"]),
    st.sampled_from([True, True, True, False]),
)
"""Action and version, priority, unique key, lock key, whether it may run now."""

Shape = tuple[Capability, int, str | None, str | None, bool]
TTL_MS = 3_600_000
NEVER = 2**50
RESET = """
    DELETE FROM scheduled_tasks; DELETE FROM task_runners; DELETE FROM task_controls; DELETE FROM task_actions_seen;
    DROP TABLE IF EXISTS ledger; CREATE UNLOGGED TABLE ledger (task_id TEXT, item INT);
"""


class Engine(RuleBasedStateMachine):
    """Three processes with different abilities, and one that only asks."""

    tasks: Bundle[str] = Bundle("tasks")

    def __init__(self, arguments: dict[str, Any]) -> None:
        super().__init__()
        self.arguments = arguments
        self.rows: dict[str, Row] = {}
        self.paused: set[str] = set()
        self.most: dict[str, int | None] = {}
        self.ended: dict[str, tuple[Any, ...]] = {}
        self.looking = self._connect()
        self.looking.autocommit = True
        self.asking = Process("asking", [], self._connect())
        self.asking.do(lambda txn: txn.execute(RESET))
        self.processes = [Process(name, list(able), self._connect()) for name, able in CAPABILITIES.items()]
        for process in self.processes:
            self._register(process)

    def _look(self, sql: str) -> list[Any]:
        with self.looking.cursor() as cursor:
            return Transaction(cursor).rows(sql)

    def _connect(self) -> extensions.connection:
        # A statement that has to wait for another process would wait for ever in this one thread.
        return psycopg2.connect(**self.arguments, options="-c lock_timeout=2s -c synchronous_commit=off")

    def _register(self, process: Process) -> None:
        process.incarnations += 1
        process.runner = f"{process.name}#{process.incarnations}"
        process.is_alive = True
        process.do(store.register_runner, process.runner, process.name, process.capabilities, TTL_MS)

    def teardown(self) -> None:
        for connection in (self.looking, *(process.connection for process in (self.asking, *self.processes))):
            connection.close()

    # Those who ask

    @initialize(target=tasks, shapes=st.lists(SHAPES, min_size=4, max_size=8))
    def begin(self, shapes: list[Shape]) -> Any:
        return multiple(*[self._enqueue(shape) for shape in shapes])

    @rule(target=tasks, shape=SHAPES)
    def enqueue(self, shape: Shape) -> str:
        return self._enqueue(shape)

    def _enqueue(self, shape: Shape) -> str:
        (action, version), priority, unique, lock, is_due = shape
        capability = (action, version)
        task_id = f"t{len(self.rows)}"
        task = NewTask(
            task_id,
            action,
            version,
            "{}",
            "@a:x",
            "e",
            None,
            unique,
            lock,
            priority,
            10**6,
            None if is_due else NEVER,
        )
        stored = self.asking.do(store.enqueue, task)
        pending = self._pending_like(action, unique)
        if pending is None:
            assert stored == task_id
            self.rows[task_id] = Row(task_id, capability, priority, unique, lock, is_due)
        else:
            assert stored == pending.id
        return stored

    @rule(task_id=tasks, sure=NOW_AND_THEN)
    def cancel(self, task_id: str, sure: bool) -> None:
        if not sure:
            return
        row = self.rows[task_id]
        self.asking.do(store.request_cancel, task_id)
        if row.is_pending:
            row.cancelled = row.is_due = True
            able = any(p.is_alive and row.capability in p.capabilities for p in self.processes)
            if row.status is Status.SCHEDULED and not (row.has_cursor and able):
                row.status = Status.CANCELLED

    @rule(task_id=tasks)
    def reopen(self, task_id: str) -> None:
        row = self.rows[task_id]
        taken = not row.is_pending and self._pending_like(row.capability[0], row.unique_key) is not None
        try:
            self.asking.do(store.reopen, task_id, requester="@a:x")
        except UniqueViolation:
            assert taken
        else:
            assert not taken
            if not row.is_pending:
                row.status, row.cancelled, row.is_due = Status.SCHEDULED, False, True
                self.ended.pop(task_id, None)

    @rule(action=st.sampled_from(ACTIONS), paused=NOW_AND_THEN, most=st.sampled_from([None, None, 1, 2]))
    def control(self, action: str, paused: bool, most: int | None) -> None:
        self.asking.do(store.write_control, action, paused=paused, max_running=most)
        self.most[action] = most
        (self.paused.add if paused else self.paused.discard)(action)

    # Those who work

    which = st.integers(0, len(CAPABILITIES) - 1)

    @rule(which=which, times=st.integers(1, 6))
    def work_on(self, which: int, times: int) -> None:
        self.work(which, times)

    @rule(which=which, times=st.integers(1, 6))
    def work(self, which: int, times: int) -> None:
        """Claim, fence, commit, fence, commit...: it may stop in the middle of a step."""
        process = self.processes[which]
        for _ in range(times):
            if process.step is not None:
                self._commit_step(process, process.step)
            elif process.running:
                self._begin_step(process, process.running[0])
            else:
                self._claim(process)
                if not process.running:
                    return

    @rule(which=which)
    def claim_more(self, which: int) -> None:
        if self.processes[which].step is None:
            self._claim(self.processes[which])

    def _claim(self, process: Process) -> None:
        running = [lease.task_id for lease in process.running]
        claimed: Claimed | None = process.do(store.claim, process.runner, process.capabilities, running)
        able = [row for row in self.rows.values() if self._may_claim(process, row, running)]
        if claimed is None:
            assert not able, "a task that can run was left"
            return
        row = self.rows[claimed.lease.task_id]
        assert row in able
        assert row.priority == max(row.priority for row in able)
        assert (claimed.action, claimed.version) == row.capability
        assert claimed.rescued_from == row.owner
        row.status, row.owner, row.epoch = Status.ACTIVE, process.runner, row.epoch + 1
        assert claimed.lease == Lease(row.id, row.epoch, process.runner)
        process.running.append(claimed.lease)

    def _begin_step(self, process: Process, lease: Lease) -> None:
        """The fence, and the work: the transaction stays open, as if the process were frozen in it."""
        with process.connection.cursor() as cursor:
            txn = Transaction(cursor)
            try:
                fenced = store.fence(txn, lease)
            except LeaseLostError:
                assert not self._owns(lease)
                process.connection.rollback()
                process.running.remove(lease)
                return
            assert self._owns(lease)
            row = self.rows[lease.task_id]
            assert fenced.cursor == (str(row.items) if row.has_cursor else None)
            assert (fenced.cancel_requested, fenced.paused) == (
                row.cancelled,
                row.capability[0] in self.paused,
            )
            txn.execute("INSERT INTO ledger VALUES (%s, %s)", (row.id, row.items))
        process.step = lease

    def _commit_step(self, process: Process, lease: Lease) -> None:
        row = self.rows[lease.task_id]
        process.do(store.checkpoint, lease, str(row.items + 1), done=1, phase=None, total=None)
        row.items += 1
        row.has_cursor = True
        process.step = None

    @rule(which=which)
    def fail_step(self, which: int) -> None:
        process = self.processes[which]
        if process.step is not None:
            process.connection.rollback()
            process.step = None

    @rule(
        which=which,
        ending=st.sampled_from(["complete", "failed", "cancelled", "release", "retry", "postpone"]),
        is_due=st.booleans(),
    )
    def let_go(self, which: int, ending: str, is_due: bool) -> None:
        """The process writes its last word about a task, if it is still its own."""
        process = self.processes[which]
        if process.step is not None:
            self._commit_step(process, process.step)
        if not process.running:
            self._claim(process)
        if not process.running:
            return
        lease = process.running.pop()
        row, delay_ms = self.rows[lease.task_id], 0 if is_due else NEVER
        try:
            match ending:
                case "release":
                    process.do(store.release, lease)
                case "retry":
                    process.do(store.retry, lease, "x", delay_ms=delay_ms)
                case "postpone":
                    process.do(store.postpone, lease, str(row.items), done=0, delay_ms=delay_ms)
                    row.has_cursor = True
                case status:
                    process.do(store.finish, lease, Status(status))
        except LeaseLostError:
            assert not self._owns(lease)
            return
        assert self._owns(lease)
        row.owner = None
        row.status = Status(ending) if ending in ("complete", "failed", "cancelled") else Status.SCHEDULED
        row.is_due = True if ending == "release" else is_due

    @rule(which=which, sure=NOW_AND_THEN)
    def expire(self, which: int, sure: bool) -> None:
        """Its lease ends; the process does not know yet."""
        process = self.processes[which]
        if not sure:
            return
        sql = "UPDATE task_runners SET expires_at = now_ms() - 1 WHERE runner = %s"
        self.asking.do(lambda txn: txn.execute(sql, (process.runner,)))
        process.is_alive = False

    @rule(which=which, heir=which)
    def take_over(self, which: int, heir: int) -> None:
        """Another process claims all that it can, also what an expired one still believes in."""
        self.expire(which, sure=True)
        if heir != which:
            self.beat(heir)
            for _ in range(4):
                self.claim_more(heir)

    @rule(which=which)
    def beat(self, which: int) -> None:
        """Late for an expired one, which begins anew; its old leases it may still believe in."""
        process = self.processes[which]
        if process.step is not None:
            return
        alive = process.do(store.beat, process.runner, TTL_MS)
        assert alive == process.is_alive
        if not alive:
            self._register(process)

    @rule(which=which)
    def lose_connection(self, which: int) -> None:
        """What was not committed is gone, and so is what the process knew of its tasks."""
        process = self.processes[which]
        process.connection.rollback()
        process.step = None
        process.running.clear()

    # What must hold

    def _owns(self, lease: Lease) -> bool:
        row = self.rows[lease.task_id]
        return row.status is Status.ACTIVE and (row.owner, row.epoch) == (lease.runner, lease.epoch)

    def _pending_like(self, action: str, unique: str | None) -> Row | None:
        same = [
            row
            for row in self.rows.values()
            if row.is_pending and row.unique_key == unique and row.capability[0] == action
        ]
        return same[0] if same and unique is not None else None

    def _active(self, **wanted: Any) -> list[Row]:
        rows = [row for row in self.rows.values() if row.status is Status.ACTIVE]
        return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]

    def _may_claim(self, process: Process, row: Row, running: list[str]) -> bool:
        if not (process.is_alive and row.is_pending and row.capability in process.capabilities):
            return False
        action = row.capability[0]
        if action in self.paused and not row.cancelled:
            return False
        if row.status is Status.ACTIVE:
            living = {other.runner for other in self.processes if other.is_alive}
            under_way = {other.step.task_id for other in self.processes if other.step is not None}
            orphaned = row.owner == process.runner or row.owner not in living
            return orphaned and row.id not in running and row.id not in under_way
        most = self.most.get(action)
        active = [other for other in self._active() if other.capability[0] == action]
        has_lock = row.lock_key is None or not self._active(lock_key=row.lock_key)
        return row.is_due and has_lock and (most is None or len(active) < most)

    @invariant()
    def the_database_agrees(self) -> None:
        sql = "SELECT id, status, owner, epoch, coalesce(cursor::text::int, 0) FROM scheduled_tasks"
        found = {row[0]: row[1:] for row in self._look(sql)}
        expected = {row.id: (str(row.status), row.owner, row.epoch, row.items) for row in self.rows.values()}
        assert found == expected

    @invariant()
    def every_item_once(self) -> None:
        rows = self._look("SELECT task_id, item FROM ledger")
        assert sorted(rows) == sorted(
            (row.id, item) for row in self.rows.values() for item in range(row.items)
        )

    @invariant()
    def what_has_ended_stays(self) -> None:
        sql = "SELECT * FROM scheduled_tasks WHERE finished_at IS NOT NULL"
        now = {str(row[0]): str(row) for row in self._look(sql)}
        for task_id, before in self.ended.items():
            assert now[task_id] == before
        self.ended = now

    @precondition(lambda self: self.rows)
    @invariant()
    def keys_exclude(self) -> None:
        locked = [row.lock_key for row in self._active() if row.lock_key]
        pending = [(row.capability[0], row.unique_key) for row in self.rows.values() if row.is_pending]
        unique = [key for key in pending if key[1]]
        assert len(locked) == len(set(locked))
        assert len(unique) == len(set(unique))
