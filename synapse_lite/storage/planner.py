"""What PostgreSQL's planner is told."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from synapse_lite.storage.database import Transaction

P = ParamSpec("P")
R = TypeVar("R")


def keeping_to_indexes(
    function: Callable[Concatenate[Transaction, P], R],
) -> Callable[Concatenate[Transaction, P], R]:
    """A storage function all of whose statements are as `Transaction.on_indexes` says."""

    @wraps(function)
    def keep(txn: Transaction, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with txn.on_indexes():
            return function(txn, *args, **kwargs)

    return keep
