"""Statements of followers: claim one, advance it as long as it is ours, watch and pause them.

As with tasks every write after the claim names the epoch that the claim gave: whoever lost the follower in
between gets `LeaseLostError`, and with it a rollback of all that the transaction did.
"""

from collections.abc import Collection, Mapping

from attrs import astuple

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Position
from synapse_lite.storage.tasks.leases import LeaseLostError
from synapse_lite.storage.tasks.rows import FencedFollower, FollowerKey, FollowerLease, FollowerState

_REGISTER = """
INSERT INTO followers (name, shard, position, seen_at, updated_at) VALUES %s
ON CONFLICT (name, shard) DO UPDATE SET seen_at = excluded.seen_at
"""

# A follower that this runner owns but does not run is one whose claim was answered by a broken connection.
_CLAIM = """
UPDATE followers SET owner = %(runner)s, epoch = epoch + 1, updated_at = now_ms()
WHERE (name, shard) = (
    SELECT f.name, f.shard FROM followers f
    WHERE (f.name, f.shard) IN %(keys)s AND NOT f.paused AND f.run_at <= (SELECT now_ms())
      AND (f.owner IS NULL OR f.owner = %(runner)s
          OR NOT EXISTS (SELECT FROM task_runners r WHERE r.runner = f.owner AND r.expires_at > (SELECT now_ms())))
      AND EXISTS (SELECT FROM task_runners me WHERE me.runner = %(runner)s AND me.expires_at > (SELECT now_ms()))
    ORDER BY f.position LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING name, shard, epoch, attempt
"""

_FENCE = """
SELECT set_config('application_name', 'follower ' || name || '/' || shard, true), f.position, f.delivering,
    f.attempt, f.paused, s.position
FROM followers f, stream_position s
WHERE f.name = %s AND f.shard = %s AND f.epoch = %s AND f.owner = %s FOR NO KEY UPDATE OF f
"""

_FENCE_ALL = """
SELECT f.name, f.shard, f.epoch, f.owner, f.position, f.delivering, f.attempt, f.paused, s.position
FROM followers f, stream_position s
WHERE (f.name, f.shard, f.epoch, f.owner) IN %s ORDER BY f.name, f.shard FOR NO KEY UPDATE OF f
"""

_ADVANCED = "position = %(position)s, delivering = NULL, attempt = 0, error = NULL"

_FOLLOWERS = """
SELECT f.name, f.shard, f.position, s.position - f.position, f.position = min(f.position) OVER (),
    f.owner, r.expires_at > (SELECT now_ms()), f.attempt, f.error, f.paused, f.updated_at
FROM followers f CROSS JOIN stream_position s LEFT JOIN task_runners r ON r.runner = f.owner
ORDER BY f.name, f.shard
"""


def register_followers(txn: Transaction, followers: Mapping[FollowerKey, bool]) -> None:
    """Those that a process is able to run; new ones begin at the start of the stream, or (True) at its end."""
    txn.insert(
        _REGISTER,
        sorted((name, shard, from_now) for (name, shard), from_now in followers.items()),
        "(%s, %s, CASE WHEN %s THEN (SELECT position FROM stream_position) ELSE 0 END, now_ms(), now_ms())",
    )


def claim_follower(txn: Transaction, runner: str, keys: Collection[FollowerKey]) -> FollowerLease | None:
    """Take the one furthest behind that nobody runs, or whose owner is dead, among `keys`."""
    if not keys:
        return None
    row = txn.row(_CLAIM, {"runner": runner, "keys": tuple(keys)})
    return None if row is None else FollowerLease(row[0], row[1], row[2], runner)


def fence_follower(txn: Transaction, lease: FollowerLease) -> FencedFollower:
    """The follower, protected from others until the transaction ends."""
    row = txn.row(_FENCE, (lease.name, lease.shard, lease.epoch, lease.runner))
    if row is None:
        raise LeaseLostError(f"follower {lease.name}/{lease.shard} is no longer ours")
    return FencedFollower(*row[1:])


def fence_followers(
    txn: Transaction, leases: Collection[FollowerLease]
) -> Mapping[FollowerLease, FencedFollower]:
    """As `fence_follower`, all at once; those that are no longer ours are missing."""
    names = ", ".join(sorted({lease.name for lease in leases}))
    txn.later("SELECT set_config('application_name', %s, true)", (f"followers {names}",))
    rows = txn.rows(_FENCE_ALL, (tuple(map(astuple, leases)),))
    return {FollowerLease(*row[:4]): FencedFollower(*row[4:]) for row in rows}


def begin_delivery(txn: Transaction, lease: FollowerLease, upto: int) -> None:
    """What is delivered next ends here, however often it has to be tried."""
    _write(txn, lease, "delivering = %(upto)s", {"upto": upto})


def advance_follower(txn: Transaction, lease: FollowerLease, position: int) -> None:
    _write(txn, lease, _ADVANCED, {"position": position})


def advance_fenced(txn: Transaction, leases: Collection[FollowerLease], position: int) -> None:
    """As `advance_follower`, of fenced ones: that they are still ours need not be asked again."""
    if leases:
        txn.later(_update(_ADVANCED), _arguments(leases, {"position": position}))


def fail_follower(txn: Transaction, lease: FollowerLease, error: str, delay_ms: int) -> None:
    """Give it back after a failure: whoever is able to run it tries again later."""
    _write(
        txn,
        lease,
        "owner = NULL, attempt = attempt + 1, error = %(error)s, run_at = now_ms() + %(delay_ms)s",
        {"error": error, "delay_ms": delay_ms},
    )


def release_follower(txn: Transaction, lease: FollowerLease) -> None:
    _write(txn, lease, "owner = NULL", {})


def pass_over(txn: Transaction, names: Collection[str], position: Position) -> None:
    """These followers, also such as no process knows yet, go on behind the position: what is before it is none of their concern."""
    for name in names:
        txn.later(
            "INSERT INTO followers (name, shard, position, seen_at, updated_at) VALUES (%s, 0, %s, now_ms(), now_ms())"
            " ON CONFLICT (name, shard) DO UPDATE SET position = greatest(followers.position, excluded.position)",
            (name, position),
        )


def try_follower_again(txn: Transaction, name: str) -> bool:
    """Now, if it waits after a failure; whether it did."""
    tried = txn.execute(
        "UPDATE followers SET run_at = 0 WHERE name = %s AND owner IS NULL AND attempt > 0 AND run_at > (SELECT now_ms())",
        (name,),
    )
    return tried > 0


def pause_follower(txn: Transaction, name: str, *, paused: bool) -> bool:
    """All shards; False when there is no such follower."""
    changed = txn.execute(
        "UPDATE followers SET paused = %s, run_at = least(run_at, now_ms()), updated_at = now_ms() WHERE name = %s",
        (paused, name),
    )
    return changed > 0


def reset_follower(txn: Transaction, name: str) -> int:
    """Let all shards begin at the start of the stream, whoever runs them now; its last position.

    The caller forgets, in the same transaction, what the follower has made so far.
    """
    txn.execute(
        "UPDATE followers SET position = 0, delivering = NULL, owner = NULL, epoch = epoch + 1, attempt = 0,"
        " error = NULL, run_at = 0, updated_at = now_ms() WHERE name = %s",
        (name,),
    )
    return int(txn.value("SELECT position FROM stream_position"))


def follower_position(txn: Transaction, name: str) -> int:
    """Of the shard that is furthest behind; 0 as long as no process knows the follower."""
    return int(txn.value("SELECT coalesce(min(position), 0) FROM followers WHERE name = %s", (name,)))


def read_followers(txn: Transaction) -> list[FollowerState]:
    return [FollowerState(*row) for row in txn.rows(_FOLLOWERS)]


def slowest_follower(txn: Transaction) -> tuple[str, int] | None:
    """Its name and position."""
    row = txn.row("SELECT name, position FROM followers ORDER BY position LIMIT 1")
    return None if row is None else (row[0], row[1])


def prune_followers(txn: Transaction, unseen_ms: int, limit: int) -> int:
    """Forget those that no process has been able to run for so long; how many."""
    return txn.execute(
        "DELETE FROM followers WHERE (name, shard) IN"
        " (SELECT name, shard FROM followers WHERE seen_at < (SELECT now_ms()) - %s LIMIT %s)",
        (unseen_ms, limit),
    )


def _write(txn: Transaction, lease: FollowerLease, assignments: str, arguments: Mapping[str, object]) -> None:
    if txn.execute(_update(assignments), _arguments([lease], arguments)) != 1:
        raise LeaseLostError(f"follower {lease.name}/{lease.shard} is no longer ours")


def _update(assignments: str) -> str:
    return (
        f"UPDATE followers SET {assignments}, updated_at = now_ms()"
        " WHERE (name, shard, epoch, owner) IN %(leases)s"
    )


def _arguments(leases: Collection[FollowerLease], others: Mapping[str, object]) -> dict[str, object]:
    return {**others, "leases": tuple(map(astuple, leases))}
