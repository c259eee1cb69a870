"""The end of a redaction: what it says that it has done, and what it asks for to be done next."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.actions.delete_media import DELETE_MEDIA, DeleteMediaParams
from synapse_lite.tasks.actions.redact_all_events.spec import RedactCursor, RedactTask
from synapse_lite.tasks.actions.withdraw_invites import WITHDRAW_INVITES, WithdrawInvitesParams
from synapse_lite.tasks.queue import new_task


def result(cursor: RedactCursor) -> JsonObject:
    return {
        "rooms": cursor.rooms,
        "failed_rooms": cursor.failed_rooms,
        "redacted": cursor.redacted,
        "failed": cursor.failed,
        "remaining": cursor.remaining,
        "truncated": cursor.remaining > 0,
    }


def follow_up(txn: Transaction, task: RedactTask) -> JsonObject:
    """In the transaction that ends the redaction: asked for exactly once."""
    user_id, endpoint = task.params.user_id, f"task {task.id}"
    started: JsonObject = {}
    if task.params.delete_media:
        deletion = new_task(
            DELETE_MEDIA, DeleteMediaParams(user_id=user_id), requester=task.requester, endpoint=endpoint
        )
        started["delete_media_task"] = store.enqueue(txn, deletion)
    if task.params.withdraw_invites:
        withdrawal = new_task(
            WITHDRAW_INVITES,
            WithdrawInvitesParams(user_id=user_id),
            requester=task.requester,
            endpoint=endpoint,
        )
        started["withdraw_invites_task"] = store.enqueue(txn, withdrawal)
    return started
