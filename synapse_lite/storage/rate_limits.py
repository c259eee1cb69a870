"""Leaky buckets in common: each is the time at which it will be empty."""

from collections.abc import Sequence

from synapse_lite.storage.database import Transaction

_NOW = "(extract(epoch FROM clock_timestamp()) * 1000)"


def beat(txn: Transaction, process: str, lifetime_seconds: float) -> int:
    """Say that the process is there; how many are. Empty buckets and processes that fell silent go."""
    txn.later(
        "INSERT INTO rate_limit_processes VALUES (%s, clock_timestamp())"
        " ON CONFLICT (process) DO UPDATE SET seen_at = EXCLUDED.seen_at",
        (process,),
    )
    txn.later(
        "DELETE FROM rate_limit_processes WHERE seen_at < clock_timestamp() - make_interval(secs => %s)",
        (lifetime_seconds,),
    )
    txn.later(f"DELETE FROM rate_limits WHERE empty_at < {_NOW}")
    count: int = txn.value("SELECT count(*) FROM rate_limit_processes")
    return count


def leave(txn: Transaction, process: str) -> None:
    txn.execute("DELETE FROM rate_limit_processes WHERE process = %s", (process,))


def pour(txn: Transaction, pours: Sequence[tuple[bytes, float, float]]) -> dict[bytes, float]:
    """Pour (key, milliseconds, the most that the bucket holds) into each; what each holds then, in milliseconds."""
    levels = {}
    for key, amount_ms, most_ms in sorted(
        pours
    ):  # in one order, so that no two processes wait for each other
        levels[key] = _pour(txn, key, amount_ms, most_ms)
    return levels


def take(
    txn: Transaction, key: bytes, amount_ms: float, most_ms: float, cost_ms: float
) -> tuple[bool, float]:
    """Pour the amount, then the cost too if it fits: whether it did, and what the bucket holds then."""
    level_ms = _pour(txn, key, amount_ms, most_ms)
    if level_ms + cost_ms > most_ms:
        return False, level_ms
    return True, _pour(txn, key, cost_ms, most_ms)


def _pour(txn: Transaction, key: bytes, amount_ms: float, most_ms: float) -> float:
    """A bucket never holds more than `most_ms`, also after the clock of the server was set back."""
    level: float = txn.value(
        "INSERT INTO rate_limits AS b (key, empty_at)"
        f" VALUES (%(key)s, {_NOW} + greatest(%(amount)s, 0)) ON CONFLICT (key) DO UPDATE SET"
        f" empty_at = greatest(least(b.empty_at, {_NOW} + %(most)s), {_NOW}) + %(amount)s"
        f" RETURNING empty_at - {_NOW}",
        {"key": key, "amount": amount_ms, "most": most_ms},
    )
    return max(level, 0)
