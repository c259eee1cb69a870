"""What PostgreSQL's planner is told."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from synapse_lite.storage.database import Transaction

P = ParamSpec("P")
R = TypeVar("R")
_WALKS = ("enable_indexscan", "enable_indexonlyscan")


def keeping_to_indexes(
    function: Callable[Concatenate[Transaction, P], R],
) -> Callable[Concatenate[Transaction, P], R]:
    """A storage function all of whose statements are as `Transaction.on_indexes` says."""

    @wraps(function)
    def keep(txn: Transaction, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with txn.on_indexes():
            return function(txn, *args, **kwargs)

    return keep


@contextmanager
def planned_once(txn: Transaction) -> Iterator[None]:
    """For a prepared statement that looks rows up in an index, of which the planner does not know how many there are.

    It would plan each time anew, as it believes that what it knows of the values helps.
    """
    txn.later("SET LOCAL plan_cache_mode = force_generic_plan")
    txn.later("SET LOCAL enable_seqscan = off")
    yield
    txn.later("SET LOCAL plan_cache_mode TO DEFAULT")
    txn.later("SET LOCAL enable_seqscan TO DEFAULT")


@contextmanager
def sorting(txn: Transaction) -> Iterator[None]:
    """Who wants the first of few rows finds and sorts them, rather than to look for them in the order of an index.

    The planner takes what its statistics do not know for more frequent than it is.
    """
    for way in _WALKS:
        txn.later(f"SET LOCAL {way} = off")
    yield
    for way in _WALKS:
        txn.later(f"SET LOCAL {way} TO DEFAULT")
