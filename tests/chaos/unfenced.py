"""The engine without its fence, for the control run: leases as most task queues write them, by id alone."""

from collections.abc import Mapping

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks import Lease, leases

_OURS = "epoch = %s AND owner = %s AND status = 'active' FOR KEY SHARE OF t"
_ANYBODYS = "(%s, %s) IS NOT NULL"


def remove_fence() -> None:
    """In this process: a step neither checks nor protects its task, and whoever lost it may still write."""
    assert _OURS in leases._FENCE, "the fence has another text by now"
    leases._FENCE = leases._FENCE.replace(_OURS, _ANYBODYS)
    leases._write = _write


def _write(txn: Transaction, lease: Lease, assignments: str, arguments: Mapping[str, object]) -> None:
    txn.execute(
        f"UPDATE scheduled_tasks SET {assignments}, updated_at = now_ms() WHERE id = %(id)s",
        {**arguments, "id": lease.task_id},
    )
