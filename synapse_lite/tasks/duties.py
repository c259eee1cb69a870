"""What the server does by itself, again and again: tasks with a period, like all others in the catalogue."""

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.storage import expiry, sessions
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.erasure import erase_redacted
from synapse_lite.tasks.actions.forgotten_rooms import ForgottenRooms
from synapse_lite.tasks.actions.sweep import Sweep, duty, until_none_left

HOUR = 3600
DAY = 24 * HOUR

PRUNE_TASKS = duty("prune_tasks", HOUR)
ERASE_REDACTED = duty("erase_redacted_events", 6 * HOUR)
EXPIRE_SESSIONS = duty("expire_sessions", HOUR)
TRIM_STREAM = duty("trim_stream", DAY)
PURGE_FORGOTTEN_ROOMS = duty("purge_forgotten_rooms", HOUR)

TRIED_AGAIN_MS = DAY * 1000  # for so long clients may send again, or finish what they began
FOLLOWED_MS = 7 * DAY * 1000  # for so long a /sync token sees all that happened


@frozen
class Expiry:
    """Deletes by the wall clock."""

    clock: Clock

    def tokens(self, txn: Transaction, limit: int) -> int:
        return sessions.delete_expired_tokens(txn, self.clock.now_ms(), limit)

    def uia_sessions(self, txn: Transaction, limit: int) -> int:
        return expiry.delete_old_uia_sessions(txn, self.clock.now_ms() - TRIED_AGAIN_MS, limit)

    def nonces(self, txn: Transaction, limit: int) -> int:
        return expiry.delete_old_nonces(txn, self.clock.now_ms() - TRIED_AGAIN_MS, limit)

    def transactions(self, txn: Transaction, limit: int) -> int:
        return expiry.delete_old_transactions(txn, self.clock.now_ms() - TRIED_AGAIN_MS, limit)

    def stream(self, txn: Transaction, after: int, limit: int) -> tuple[int, int | None]:
        now_ms = self.clock.now_ms()
        if after == 0:
            expiry.mark_stream(txn, now_ms)
        return expiry.trim_stream(txn, after, expiry.position_before(txn, now_ms - FOLLOWED_MS), limit)


def prune_tasks(retention_ms: int) -> Sweep:
    return Sweep(
        {
            "items": until_none_left(lambda txn, limit: store.prune_items(txn, retention_ms, limit)),
            "tasks": until_none_left(lambda txn, limit: store.prune_tasks(txn, retention_ms, limit)),
            "runners": until_none_left(store.prune_runners),
        }
    )


def erase_redacted_events(clock: Clock, retention_ms: int | None) -> Sweep:
    """`retention_ms` None: they are kept for ever."""
    if retention_ms is None:
        return Sweep({})
    return Sweep(
        {"events": lambda txn, after, limit: erase_redacted(txn, clock.now_ms() - retention_ms, after, limit)}
    )


def expire_sessions(clock: Clock) -> Sweep:
    expired = Expiry(clock)
    return Sweep(
        {
            "access_tokens": until_none_left(expired.tokens),
            "uia_sessions": until_none_left(expired.uia_sessions),
            "registration_nonces": until_none_left(expired.nonces),
            "event_transactions": until_none_left(expired.transactions),
        }
    )


def purge_forgotten_rooms(clock: Clock, server_name: str, retention_ms: int | None) -> Sweep:
    """`retention_ms` None: they are kept for ever."""
    if retention_ms is None:
        return Sweep({})
    return Sweep({"rooms": ForgottenRooms(clock, server_name, retention_ms).schedule_purges})


def trim_stream(clock: Clock) -> Sweep:
    return Sweep({"stream": Expiry(clock).stream})
