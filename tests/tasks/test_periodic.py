"""Periodic tasks: once a slot, whatever the number of processes; and what the server's own do."""

from typing import Any

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.stream import Kind
from synapse_lite.tasks import periodic
from synapse_lite.tasks.actions.cleanup import (
    Cleanup,
    CleanupCursor,
    CleanupParams,
    periodic_cleanup,
    until_none_left,
)
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.queue import Status, new_task
from synapse_lite.tasks.registry import CATALOGUE, Binding
from synapse_lite.tasks.specs import PERIODIC, TaskView
from tests.http.memory import ManualClock
from tests.tasks.conftest import Engine, Scripted

DAY_MS = periodic.DAY * 1000
PERIOD = 1000 * periodic.DAY  # no test meets the boundary of two slots
PERIOD_MS = PERIOD * 1000
TIDY = periodic_cleanup("tidy", PERIOD)
A_PERIOD_PASSES = (
    "UPDATE scheduled_tasks SET run_at = run_at - %s; UPDATE periodic_tasks SET slot = slot - %s"
)


async def schedule(database: Database, name: str = "") -> bool:
    task = evolve(
        new_task(TIDY, CleanupParams(), requester=PERIODIC, endpoint=PERIODIC), lock_key=f"periodic:{name}"
    )
    return await database.transact(store.schedule_periodic, task, name, PERIOD_MS)


async def value(database: Database, sql: str, *arguments: object) -> Any:
    return await database.read(lambda txn: txn.value(sql, arguments))


async def run(database: Database, cleanup: Cleanup, batch: int = 2) -> Done:
    """All steps of a cleanup, each in a transaction of its own."""

    def step(txn: Transaction, cursor: CleanupCursor | None) -> Outcome:
        return cleanup.step(txn, TaskView("id", CleanupParams(), cursor, 0, None, 0, batch, "periodic"))

    outcome = await database.transact(step, None)
    while isinstance(outcome, Next):
        assert isinstance(outcome.cursor, CleanupCursor)
        outcome = await database.transact(step, outcome.cursor)
    assert isinstance(outcome, Done)
    return outcome


@ensureDeferred
async def test_one_row_for_a_slot(database: Database) -> None:
    """Many processes ask for the next slot at once, and again after its run: it becomes one row."""
    asked = [Deferred.fromCoroutine(schedule(database)) for _ in range(10)]
    assert (await gatherResults(asked)).count(True) == 1
    run_at = await value(database, "SELECT run_at FROM scheduled_tasks")
    now = await value(database, "SELECT now_ms()")
    assert run_at % PERIOD_MS == 0
    assert now < run_at <= now + PERIOD_MS
    await database.transact(
        lambda txn: txn.execute("UPDATE scheduled_tasks SET status = 'complete', finished_at = now_ms()")
    )
    assert not await schedule(database), "the slot was run"
    await database.transact(
        lambda txn: txn.execute("UPDATE periodic_tasks SET slot = slot - %s", (PERIOD_MS,))
    )
    assert await schedule(database)
    assert not await schedule(database)


@ensureDeferred
async def test_schedulers_run_a_periodic_task_once(engine: Engine) -> None:
    """Two processes see to it that there is a next run; one of them runs it, and the next one follows."""
    runs: list[str] = []

    def step(_txn: Transaction, task: TaskView[CleanupParams, CleanupCursor]) -> Outcome:
        runs.append(task.id)
        return Done()

    for name in ("v", "w"):
        await engine.start(TIDY, Scripted(step), name=name)
    (task,) = (await engine.queue.find()).tasks
    assert (task.action, task.requester, task.status) == ("tidy", "periodic", Status.SCHEDULED)
    await engine.database.transact(lambda txn: txn.execute(A_PERIOD_PASSES, (PERIOD_MS, PERIOD_MS)))
    await engine.until_ended(task.id)
    for scheduler in engine.schedulers:
        await scheduler._survey()
    tasks = (await engine.queue.find()).tasks
    assert [task.status for task in tasks] == [Status.COMPLETE, Status.SCHEDULED]
    assert runs == [task.id]


@ensureDeferred
async def test_periodic_tasks_of_one_action_do_not_wait_for_each_other(database: Database) -> None:
    """Each name has slots of its own, with one row for each, and runs of its own to be remembered."""
    assert [await schedule(database, name) for name in ("a", "b", "a", "b")] == [True, True, False, False]
    await database.transact(
        lambda txn: txn.execute(
            "UPDATE scheduled_tasks SET status = 'complete', finished_at = now_ms() WHERE lock_key = 'periodic:a';"
            "UPDATE periodic_tasks SET slot = 1"
        )
    )
    assert [await schedule(database, name) for name in ("a", "b")] == [True, False]


@ensureDeferred
async def test_few_runs_are_remembered(database: Database) -> None:
    """Of a periodic task the last runs are listed, whatever the retention of tasks."""
    for _ in range(store.KEPT_RUNS + 3):
        await database.transact(
            lambda txn: txn.execute(
                "UPDATE periodic_tasks SET slot = 1; UPDATE scheduled_tasks SET status = 'complete',"
                " finished_at = coalesce(finished_at, now_ms())"
            )
        )
        await schedule(database)
    statuses = "SELECT count(*) FROM scheduled_tasks WHERE status = %s"
    assert await value(database, statuses, "complete") == store.KEPT_RUNS
    assert await value(database, statuses, "scheduled") == 1


def test_all_periodic_tasks_are_in_the_catalogue() -> None:
    """Every periodic task that the module defines has a binding."""
    specs = {
        binding.spec.action
        for binding in CATALOGUE
        if isinstance(binding, Binding) and binding.spec.every_seconds
    }
    assert specs == {
        "prune_tasks",
        "erase_redacted_events",
        "expire_sessions",
        "delete_stale_devices",
        "forget_addresses",
        "purge_forgotten_rooms",
        "expire_audit_log",
        "trim_stream",
        "clean_media",
        "audit_media",
        "expire_media",
        "evict_media",
    }


@ensureDeferred
async def test_a_cleanup_goes_part_by_part(database: Database) -> None:
    """Each part until nothing is left; the result counts its rows."""
    left = {"a": 5, "b": 0}

    def delete(name: str) -> Any:
        def some(_txn: Transaction, limit: int) -> int:
            rows = min(limit, left[name])
            left[name] -= rows
            return rows

        return until_none_left(some)

    done = await run(database, Cleanup({name: delete(name) for name in left}))
    assert done.result == {"a": 5, "b": 0}
    assert left == {"a": 0, "b": 0}


@ensureDeferred
async def test_finished_tasks_are_pruned(database: Database) -> None:
    """With their items, when they ended longer ago than the retention; pending ones stay for ever."""

    def fill(txn: Transaction) -> None:
        txn.execute(
            "INSERT INTO scheduled_tasks (id, action, version, status, requester, endpoint, priority, run_at,"
            " params, max_attempts, created_at, updated_at, finished_at)"
            " SELECT 'old' || n, 'x', 1, 'failed', '@a:x', 'e', 0, 1, '{}'::json, 3, 1, 1, 1 FROM generate_series(1, 5) n"
            " UNION ALL SELECT 'new', 'x', 1, 'failed', '@a:x', 'e', 0, 1, '{}'::json, 3, 1, 1, now_ms() - 1000"
            " UNION ALL SELECT 'pending', 'x', 1, 'scheduled', '@a:x', 'e', 0, 1, '{}'::json, 3, 1, 1, NULL"
        )
        txn.execute("INSERT INTO task_items SELECT 'old1', n::text, 'done' FROM generate_series(1, 7) n")
        txn.execute("INSERT INTO task_items VALUES ('new', 'a', 'done')")
        txn.execute("INSERT INTO task_runners VALUES ('dead#1', 'dead', 1, 1)")
        txn.execute("INSERT INTO followers (name, shard, seen_at, updated_at) VALUES ('old', 0, 1, 1)")
        txn.execute("INSERT INTO followers (name, shard, seen_at, updated_at) VALUES ('new', 0, now_ms(), 1)")

    await database.transact(fill)
    done = await run(database, periodic.prune_tasks(60_000))
    assert done.result == {"items": 7, "tasks": 5, "runners": 1, "followers": 1}
    ids = await database.read(lambda txn: txn.rows("SELECT id FROM scheduled_tasks ORDER BY id"))
    assert ids == [("new",), ("pending",)]
    assert await value(database, "SELECT count(*) FROM task_items") == 1


@ensureDeferred
async def test_what_logins_leave_behind_expires(database: Database) -> None:
    """Tokens at their time; what clients began or may repeat, and what nobody pushed, after a day."""
    clock = ManualClock()
    now = clock.now_ms()
    old, young = now - DAY_MS - 1, now - DAY_MS + 1

    def fill(txn: Transaction) -> None:
        txn.execute("INSERT INTO users (user_id, created_ts) VALUES ('@u:x', 1)")
        for number, until in enumerate((now, now, now, now + 1, None)):
            txn.execute(
                "INSERT INTO access_tokens (token_hash, user_id, created_ts, valid_until_ts)"
                " VALUES (%s, '@u:x', 1, %s)",
                (bytes([number]), until),
            )
        for number, created in enumerate((old, old, old, young)):
            name = str(number)
            txn.execute("INSERT INTO uia_sessions VALUES (%s, 'x', '{}', %s)", (name, created))
            txn.execute("INSERT INTO registration_nonces VALUES (%s, %s)", (name, created))
            txn.execute(
                "INSERT INTO event_transactions VALUES ('s', 1, 'send', %s, 1, NULL, %s)", (name, created)
            )
            txn.execute("INSERT INTO to_device_transactions VALUES ('s', 'x', %s, %s)", (name, created))
            txn.execute(
                "INSERT INTO push_queue (user_id, position, room_nid, event_nid, thread_id, tweaks, queued_ts)"
                " VALUES ('@u:x', %s, 1, 1, 'main', '[]', %s)",
                (number, created),
            )
        txn.execute("INSERT INTO devices (user_id, device_id, created_ts) VALUES ('@u:x', 'D', 1)")
        for number, until in enumerate((now, now + 1)):
            for table in ("login_tokens", "openid_tokens"):
                txn.execute(f"INSERT INTO {table} VALUES (%s, '@u:x', %s)", (bytes([number]), until))
            txn.execute("INSERT INTO rendezvous_sessions VALUES (%s, '', 'x', 1, %s)", (str(number), until))

    await database.transact(fill)
    done = await run(database, periodic.expire_sessions(clock))
    assert done.result == {
        "access_tokens": 3,
        "login_tokens": 1,
        "openid_tokens": 1,
        "rendezvous_sessions": 1,
        "uia_sessions": 3,
        "registration_nonces": 3,
        "event_transactions": 3,
        "to_device_transactions": 3,
        "key_backups": 0,
        "sliding_connections": 0,
        "push_queue": 3,
        "destinations": 0,
    }
    left = {"access_tokens": 2, **dict.fromkeys(("uia_sessions", "event_transactions"), 1)}
    left |= dict.fromkeys(("to_device_transactions", "push_queue", "login_tokens", "openid_tokens"), 1)
    for table, rows in left.items():
        assert await value(database, f"SELECT count(*) FROM {table}") == rows
    await database.transact(
        lambda txn: txn.execute(
            "DELETE FROM access_tokens; DELETE FROM login_tokens; DELETE FROM openid_tokens;"
            " DELETE FROM devices; DELETE FROM users"
        )
    )


@ensureDeferred
async def test_stale_devices_are_deleted(database: Database) -> None:
    """Those unused for as long as the operator says, with their tokens; without an option none."""
    clock = ManualClock()
    now = clock.now_ms()

    def fill(txn: Transaction) -> None:
        txn.execute("INSERT INTO users (user_id, created_ts) VALUES ('@u:x', 1), ('@v:x', 1)")
        for number, user in enumerate(("@u:x", "@u:x", "@v:x")):
            txn.execute(
                "INSERT INTO devices (user_id, device_id, created_ts) VALUES (%s, %s, %s)",
                (user, f"OLD{number}", now - DAY_MS - 1),
            )
        txn.execute("INSERT INTO devices (user_id, device_id, created_ts) VALUES ('@u:x', 'NEW', %s)", (now,))
        txn.execute(
            "INSERT INTO access_tokens (token_hash, user_id, device_id, created_ts)"
            " SELECT device_id::bytea, user_id, device_id, 1 FROM devices"
        )

    await database.transact(fill)
    assert (await run(database, periodic.delete_stale_devices(clock, None))).result == {}
    assert await value(database, "SELECT count(*) FROM devices") == 4
    assert (await run(database, periodic.delete_stale_devices(clock, DAY_MS))).result == {"devices": 3}
    assert await value(database, "SELECT string_agg(device_id, ' ') FROM devices") == "NEW"
    assert await value(database, "SELECT count(*) FROM access_tokens") == 1
    await database.transact(lambda txn: txn.execute("DELETE FROM devices; DELETE FROM users"))


@ensureDeferred
async def test_the_stream_is_trimmed_after_a_week(database: Database) -> None:
    """A run marks how far the stream has come; a run eight days later deletes what is below the mark."""
    clock = ManualClock()

    def fill(txn: Transaction) -> None:
        txn.insert(
            "INSERT INTO stream (position, kind, user_id) VALUES %s",
            [(n, Kind.SESSION, "@a:x") for n in range(1, 6)],
        )
        txn.execute("UPDATE stream_position SET position = 5")

    await database.transact(fill)
    trim = periodic.trim_stream(clock)
    assert (await run(database, trim)).result == {"stream": 0}
    clock.advance(8 * periodic.DAY)
    assert (await run(database, trim)).result == {"stream": 5}


@ensureDeferred
async def test_the_stream_is_kept_for_the_slowest_follower(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """What a follower has not seen stays, and the log names it; when it has come along, the rest goes."""
    clock = ManualClock()

    def fill(txn: Transaction) -> None:
        txn.insert(
            "INSERT INTO stream (position, kind, user_id) VALUES %s",
            [(n, Kind.SESSION, "@a:x") for n in range(1, 6)],
        )
        txn.execute("UPDATE stream_position SET position = 5")
        txn.insert(
            "INSERT INTO followers (name, shard, position, seen_at, updated_at) VALUES %s",
            [("slow", 0, 2, 1, 1), ("fast", 0, 5, 1, 1)],
        )

    await database.transact(fill)
    trim = periodic.trim_stream(clock)
    await run(database, trim)
    clock.advance(8 * periodic.DAY)
    assert (await run(database, trim)).result == {"stream": 2}
    assert "follower slow" in caplog.text
    await database.transact(lambda txn: txn.execute("UPDATE followers SET position = 5"))
    assert (await run(database, trim)).result == {"stream": 3}


@ensureDeferred
async def test_redacted_content_may_be_kept_for_ever(database: Database) -> None:
    """Without a retention period the task does nothing; with one it looks at the redactions."""
    assert (await run(database, periodic.erase_redacted_events(ManualClock(), None))).result == {}
    assert (await run(database, periodic.erase_redacted_events(ManualClock(), 1))).result == {"events": 0}


@ensureDeferred
async def test_addresses_are_forgotten(database: Database) -> None:
    """Of devices that were not used for so long: the device and its day stay, where from it was goes."""
    clock = ManualClock()
    old, young = clock.now_ms() - 2 * DAY_MS, clock.now_ms() - DAY_MS

    def fill(txn: Transaction) -> None:
        txn.execute("INSERT INTO users (user_id, created_ts) VALUES ('@ips:x', 1)")
        for name, seen in (("OLD", old), ("YOUNG", young), ("NEVER", None)):
            txn.execute(
                "INSERT INTO devices (user_id, device_id, created_ts, last_seen_ts, last_seen_ip, last_seen_user_agent)"
                " VALUES ('@ips:x', %s, 1, %s::bigint, CASE WHEN %s::bigint IS NOT NULL THEN '192.0.2.1' END, 'Browser')",
                (name, seen, seen),
            )

    await database.transact(fill)
    assert (await run(database, periodic.forget_addresses(clock, None))).result == {}
    kept_ms = 2 * DAY_MS - 1
    assert (await run(database, periodic.forget_addresses(clock, kept_ms))).result == {"devices": 1}
    left = await database.read(
        lambda txn: txn.rows(
            "SELECT device_id, last_seen_ts, last_seen_ip, last_seen_user_agent FROM devices ORDER BY 1"
        )
    )
    assert left == [
        ("NEVER", None, None, "Browser"),
        ("OLD", old, None, None),
        ("YOUNG", young, "192.0.2.1", "Browser"),
    ]
    await database.transact(lambda txn: txn.execute("DELETE FROM devices; DELETE FROM users"))
