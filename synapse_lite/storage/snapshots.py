"""To read in a snapshot, and to write because of it, in one hop to a database thread."""

from collections.abc import Callable
from typing import TypeVar

from synapse_lite.storage.database import Transaction

R = TypeVar("R")
W = TypeVar("W")


def snapshot_then(
    txn: Transaction,
    read: Callable[[Transaction], R],
    follow: Callable[[R], Callable[[Transaction], W] | None],
) -> tuple[R, W | None]:
    """For `Database.read`: what is read, and what `follow` has written because of it, if anything.

    Who writes publishes nothing, and begins and ends a transaction of their own, or sends all in one message, which
    is one by itself: it goes with the end of the snapshot.
    """
    txn.later("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    result = read(txn)
    write = follow(result)
    if write is None:
        return result, None
    txn.later("COMMIT")
    return result, write(txn)
