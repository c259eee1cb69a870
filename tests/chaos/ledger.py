"""The database of the chaos as its driver sees it: tasks asked for, connections cut, the ledger counted."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, TypeVar

import psycopg2
from attrs import field, frozen

from synapse_lite.replication.postgres_bus import CHANNEL
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.session import notify
from synapse_lite.tasks.queue import TOPIC, new_task
from tests.chaos.actions import GATE, NOBODYS, ROOMS, AppendParams, spec

T = TypeVar("T")

_CREATE = "CREATE TABLE ledger (task_id TEXT, item INT, action TEXT, worker TEXT, step XID8 DEFAULT pg_current_xact_id())"

_CUT = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND random() < %s
"""

_AT_GATE = """
SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
WHERE d.datname = current_database() AND locktype = 'advisory' AND NOT granted
"""

_COUNT = """
WITH due AS (
    SELECT t.id AS task_id, item FROM scheduled_tasks t, generate_series(0, (params->>'items')::int - 1) AS item
    WHERE action <> %(nobodys)s),
found AS (SELECT task_id, item, count(*) AS times FROM ledger GROUP BY task_id, item)
SELECT (SELECT count(*) FROM scheduled_tasks),
    (SELECT count(DISTINCT step) FROM ledger),
    count(due), coalesce(sum(times - 1), 0)::int, count(*) FILTER (WHERE times IS NULL), count(*) FILTER (WHERE due IS NULL)
FROM due FULL JOIN found USING (task_id, item)
"""


# What the follower counted, and what it should have.
_MISCOUNTED = """
WITH due AS (
    SELECT room_nid::text AS who, count(*) AS events, sum(octet_length(json)) AS bytes FROM events GROUP BY room_nid
    UNION ALL SELECT sender, count(*), sum(octet_length(json)) FROM events GROUP BY sender),
found AS (
    SELECT room_nid::text AS who, events, bytes FROM room_stats UNION ALL SELECT user_id, events, bytes FROM user_stats)
SELECT who, due.events, found.events FROM due FULL JOIN found USING (who)
WHERE (due.events, due.bytes) IS DISTINCT FROM (found.events, found.bytes)
"""


@frozen
class Verdict:
    """What the ledger says. `steps` are committed transactions; `duplicates` counts each time too many.

    `strangers` are items of no task that anyone could run, `lost` are ids of tasks that are no longer there,
    `unfinished` those that are not complete. `trespasses`: a worker, and an action that it claimed or did
    without being able to. `miscounted`: a room or user, its events, and how many of them a follower counted.
    """

    tasks: int
    steps: int
    items: int
    duplicates: int
    missing: int
    strangers: int
    lost: list[str] = field(factory=list)
    unfinished: list[str] = field(factory=list)
    trespasses: list[tuple[str, str]] = field(factory=list)
    miscounted: list[tuple[str, int, int]] = field(factory=list)

    @property
    def is_clean(self) -> bool:
        return not (
            self.duplicates
            or self.missing
            or self.strangers
            or self.lost
            or self.unfinished
            or self.trespasses
            or self.miscounted
        )

    def __str__(self) -> str:
        return (
            f"{self.tasks} tasks, {self.steps} steps, {self.items} items: {self.duplicates} duplicates,"
            f" {self.missing} missing, {self.strangers} of no task, {len(self.trespasses)} done without the ability,"
            f" {len(self.unfinished)} tasks unfinished, {len(self.lost)} lost, {len(self.miscounted)} miscounted"
        )


@frozen
class Ledger:
    """`arguments` of `psycopg2.connect`; each call has a connection of its own."""

    arguments: Mapping[str, Any]

    def create(self) -> None:
        self._do(lambda txn: txn.execute(_CREATE))
        self._do(
            lambda txn: txn.insert(
                "INSERT INTO rooms (room_nid, room_id, version, created_ts) OVERRIDING SYSTEM VALUE VALUES %s",
                [(nid, f"!{name}:x", "10", 1) for nid, name in enumerate(ROOMS)],
            )
        )

    def enqueue(self, action: str, params: AppendParams, *, announce: bool) -> str:
        """The id of the task. Unless `announce`, nobody is woken."""
        task = new_task(spec(action), params, requester="@driver:chaos.test", endpoint="chaos")
        self._do(store.enqueue, task)
        if announce:
            self.announce()
        return task.id

    def announce(self) -> None:
        """Whoever listens looks for tasks."""
        self._do(notify, CHANNEL, [f"driver {TOPIC} "])

    def expire(self, worker: str) -> None:
        """Its lease ends now."""
        self._do(
            lambda txn: txn.execute(
                "UPDATE task_runners SET expires_at = now_ms() - 1 WHERE name = %s", (worker,)
            )
        )

    def cut(self, share: float) -> int:
        """End this share of the connections of others; how many there were."""
        cut: int = self._do(lambda txn: txn.value(_CUT, (share,)))
        return cut

    def pending(self) -> int:
        """Tasks that have not ended, without those that nobody can run."""
        pending: int = self._do(
            lambda txn: txn.value(
                "SELECT count(*) FROM scheduled_tasks WHERE status IN ('scheduled', 'active') AND action <> %s",
                (NOBODYS,),
            )
        )
        return pending

    def lag(self) -> int:
        """How far the slowest follower is behind."""
        return max((follower.lag for follower in self._do(store.read_followers)), default=0)

    def has_ended(self, task_id: str) -> bool:
        task = self._do(store.read_task, task_id)
        return task is not None and task.finished_at_ms is not None

    def history(self, task_id: str) -> list[tuple[str, str]]:
        """What happened, and the name of the worker that did it."""
        events = self._do(store.read_history, task_id)
        return [(event.transition.value, (event.runner or "").partition("#")[0]) for event in events]

    def is_alive(self, worker: str) -> bool:
        return any(runner.name == worker and runner.alive for runner in self._do(store.read_runners))

    @contextmanager
    def gate(self) -> Iterator[Callable[[], None]]:
        """Closed, until the function that it gives is called, or the end."""
        with closing(psycopg2.connect(**self.arguments)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_lock(%s)", (GATE,))
            yield connection.close

    def is_at_gate(self) -> bool:
        """A step waits there."""
        return bool(self._do(lambda txn: txn.value(_AT_GATE)))

    def count(self, asked: Sequence[str], abilities: Mapping[str, Sequence[str]]) -> Verdict:
        """`asked`: ids of all tasks that were enqueued. For when nobody writes any more."""
        return self._do(_count, asked, abilities)

    def _do(self, function: Callable[..., T], *args: object) -> T:
        with (
            closing(psycopg2.connect(**self.arguments)) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            txn = Transaction(cursor)
            result = function(txn, *args)
            txn.finish()
            return result


def _count(txn: Transaction, asked: Sequence[str], abilities: Mapping[str, Sequence[str]]) -> Verdict:
    counts = txn.row(_COUNT, {"nobodys": NOBODYS})
    assert counts is not None
    rows = txn.rows("SELECT id, status FROM scheduled_tasks WHERE action <> %s", (NOBODYS,))
    done = txn.rows(
        "SELECT worker, action FROM ledger"
        " UNION SELECT split_part(runner, '#', 1), action FROM task_events JOIN scheduled_tasks t ON t.id = task_id"
        " WHERE kind IN ('claimed', 'rescued')"
    )
    known = {task_id for (task_id,) in txn.rows("SELECT id FROM scheduled_tasks")}
    return Verdict(
        *counts,
        lost=sorted(set(asked) - known),
        unfinished=sorted(task_id for task_id, status in rows if status != "complete"),
        miscounted=txn.rows(_MISCOUNTED),
        trespasses=sorted((worker, action) for worker, action in done if action not in abilities[worker]),
    )
