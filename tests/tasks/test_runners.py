"""Signs of life: who beats, who does not, and what becomes of the expired."""

import logging
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred

from synapse_lite.clock import Clock, ReactorClock
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Database
from synapse_lite.storage.tasks import Runner
from synapse_lite.tasks.runners import Heartbeat
from tests.tasks.conftest import beat_often

LEASE_SECONDS = 600.0


def heartbeat(arguments: dict[str, Any], clock: Clock) -> Heartbeat:
    """It beats much more often than the lease asks for."""
    beats = Heartbeat(
        reactor,
        clock,
        arguments,
        name="w",
        capabilities=[("noop", 1)],
        lease_seconds=LEASE_SECONDS,
    )
    beat_often(beats)
    return beats


async def read_runners(database: Database) -> list[Runner]:
    return await database.read(store.read_runners)


@ensureDeferred
async def test_a_beating_runner_stays_alive(database: Database, database_arguments: dict[str, Any]) -> None:
    """The lease is prolonged, again and again, for one incarnation of the name."""
    runners: list[str] = []
    beats = heartbeat(database_arguments, ReactorClock(reactor))
    await beats.start(runners.append)
    (first,) = await read_runners(database)
    while (await read_runners(database))[0].expires_at_ms < first.expires_at_ms + 200:
        await ReactorClock(reactor).sleep(0.02)
    await beats.stop()
    assert runners == [first.id]
    assert first.id.startswith("w#")
    assert first.capabilities == [("noop", 1)]


@ensureDeferred
async def test_a_process_whose_reactor_hangs_expires(
    database: Database, database_arguments: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Without ticks of the reactor there are no beats; when it goes on, a new incarnation begins."""
    hanging = task.Clock()
    caplog.set_level(logging.WARNING)
    runners: list[str] = []
    successor: Deferred[None] = Deferred()

    def adopt(runner: str) -> None:
        runners.append(runner)
        if len(runners) == 2:
            successor.callback(None)

    beats = heartbeat(database_arguments, ReactorClock(hanging))
    await beats.start(adopt)
    (before,) = await read_runners(database)
    while caplog.text.count("the reactor hangs") < 3:
        await ReactorClock(reactor).sleep(0.02)
    assert await read_runners(database) == [before], "no beat was sent"
    await database.transact(lambda txn: txn.execute("UPDATE task_runners SET expires_at = now_ms() - 1"))
    hanging.advance(LEASE_SECONDS)
    await successor
    await beats.stop()
    assert {runner.id: runner.alive for runner in await read_runners(database)} == {
        runners[0]: False,
        runners[1]: True,
    }


@ensureDeferred
async def test_a_lost_connection_is_opened_again(
    database: Database, database_arguments: dict[str, Any]
) -> None:
    """The incarnation survives when the next beat comes in time."""
    runners: list[str] = []
    beats = heartbeat(database_arguments, ReactorClock(reactor))
    await beats.start(runners.append)
    (before,) = await read_runners(database)
    await database.read(
        lambda txn: txn.rows(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'synapse_lite_heartbeat' AND datname = current_database()"
        )
    )
    while (await read_runners(database))[-1].expires_at_ms <= before.expires_at_ms + 100:
        await ReactorClock(reactor).sleep(0.02)
    await beats.stop()
    assert runners[0] == before.id
