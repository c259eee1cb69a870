"""Requests that are told apart by a key of their sender (`Idempotency-Key`), and the tasks that they started."""

from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks.rows import TaskRequest


def find_request(txn: Transaction, request: TaskRequest, action: str, resource_id: str | None) -> str | None:
    """The task that this request has started already; until the transaction ends nobody else starts one for it.

    422 `M_INVALID_PARAM` when the key stands for another request.
    """
    txn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
        (f"task request {request.requester} {request.key}",),
    )
    row = txn.row(
        "SELECT task_id, digest FROM task_requests"
        " WHERE requester = %s AND key = %s AND action = %s AND resource_id = %s",
        (request.requester, request.key, action, resource_id or ""),
    )
    if row is None:
        return None
    task_id, digest = row
    if bytes(digest) != request.digest:
        raise MatrixError(422, Errcode.INVALID_PARAM, "This Idempotency-Key was used for another request")
    return str(task_id)


def record_request(
    txn: Transaction, request: TaskRequest, action: str, resource_id: str | None, task_id: str
) -> None:
    txn.execute(
        "INSERT INTO task_requests (requester, key, action, resource_id, digest, task_id)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        (request.requester, request.key, action, resource_id or "", request.digest, task_id),
    )
