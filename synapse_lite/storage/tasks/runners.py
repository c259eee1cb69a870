"""Statements of runners: who is alive, and able to run what."""

from collections.abc import Collection

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks.rows import Capability, Runner

_RUNNERS = """
SELECT r.runner, r.name, r.started_at, r.expires_at, r.expires_at > (SELECT now_ms()),
    (SELECT count(*) FROM scheduled_tasks t WHERE t.status = 'active' AND t.owner = r.runner),
    (SELECT coalesce(json_agg(json_build_array(a.action, a.version) ORDER BY a.action, a.version), '[]')
     FROM task_runner_actions a WHERE a.runner = r.runner)
FROM task_runners r ORDER BY r.name, r.started_at
"""


def tick(txn: Transaction) -> None:
    """Look after the clock of the engine: stepping the database's clock back must not stop leases from ending."""
    txn.execute("UPDATE task_clock SET wall = wall_ms(), ahead = now_ms() - wall_ms()")


def register_runner(
    txn: Transaction, runner: str, name: str, capabilities: Collection[Capability], ttl_ms: int
) -> None:
    """A new incarnation, alive for `ttl_ms`."""
    tick(txn)
    txn.execute(
        "INSERT INTO task_runners (runner, name, started_at, expires_at)"
        " VALUES (%s, %s, now_ms(), now_ms() + %s)",
        (runner, name, ttl_ms),
    )
    txn.insert(
        "INSERT INTO task_runner_actions (runner, action, version) VALUES %s",
        [(runner, action, version) for action, version in capabilities],
    )
    mark_seen(txn, runner)


def beat(txn: Transaction, runner: str, ttl_ms: int) -> bool:
    """Stay alive for `ttl_ms` from now. False: too late, this incarnation is dead."""
    tick(txn)
    return (
        txn.execute(
            "UPDATE task_runners SET expires_at = now_ms() + %s WHERE runner = %s AND expires_at > (SELECT now_ms())",
            (ttl_ms, runner),
        )
        == 1
    )


def mark_seen(txn: Transaction, runner: str) -> None:
    """Remember that a runner of this name is able to run what it registered."""
    txn.execute(
        "INSERT INTO task_actions_seen (action, version, name, last_seen_at)"
        " SELECT action, version, name, now_ms() FROM task_runner_actions JOIN task_runners USING (runner)"
        " WHERE runner = %s ORDER BY action, version"
        " ON CONFLICT (action, version, name) DO UPDATE SET last_seen_at = excluded.last_seen_at",
        (runner,),
    )


def remove_runner(txn: Transaction, runner: str) -> None:
    mark_seen(txn, runner)
    txn.execute("DELETE FROM task_runners WHERE runner = %s", (runner,))


def read_runners(txn: Transaction) -> list[Runner]:
    """By name; the dead ones too, for an hour."""
    return [Runner(*row) for row in txn.rows(_RUNNERS)]
