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
    rows = txn.rows(
        "SELECT digest, action, resource_id, task_id FROM task_requests WHERE requester = %s AND key = %s",
        (request.requester, request.key),
    )
    if any(bytes(digest) != request.digest for digest, *_ in rows):
        raise MatrixError(422, Errcode.INVALID_PARAM, "This Idempotency-Key was used for another request")
    started = {(what, of): task_id for _, what, of, task_id in rows}
    return started.get((action, resource_id or ""))


def record_request(
    txn: Transaction, request: TaskRequest, action: str, resource_id: str | None, task_id: str
) -> None:
    txn.execute(
        "INSERT INTO task_requests (requester, key, action, resource_id, digest, task_id)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        (request.requester, request.key, action, resource_id or "", request.digest, task_id),
    )
