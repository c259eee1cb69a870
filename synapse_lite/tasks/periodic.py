"""What the server does by itself, again and again: tasks with a period, like all others in the catalogue."""

import logging

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.storage import (
    access_tokens,
    audit,
    destinations,
    devices,
    expiry,
    key_backup,
    openid,
    pushers,
    rendezvous,
    sliding_sync,
    to_device,
)
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.erasure import erase_redacted
from synapse_lite.tasks.actions.cleanup import Cleanup, periodic_cleanup, until_none_left
from synapse_lite.tasks.actions.forgotten_rooms import ForgottenRooms
from synapse_lite.tasks.actions.prune_devices import delete_stale

logger = logging.getLogger(__name__)

HOUR = 3600
DAY = 24 * HOUR

PRUNE_TASKS = periodic_cleanup("prune_tasks", HOUR)
ERASE_REDACTED = periodic_cleanup("erase_redacted_events", 6 * HOUR)
EXPIRE_SESSIONS = periodic_cleanup("expire_sessions", HOUR)
TRIM_STREAM = periodic_cleanup("trim_stream", DAY)
DELETE_STALE_DEVICES = periodic_cleanup("delete_stale_devices", DAY)
FORGET_ADDRESSES = periodic_cleanup("forget_addresses", DAY)
EXPIRE_AUDIT_LOG = periodic_cleanup("expire_audit_log", DAY)
PURGE_FORGOTTEN_ROOMS = periodic_cleanup("purge_forgotten_rooms", HOUR)

TRIED_AGAIN_MS = DAY * 1000  # for so long clients may send again, or finish what they began
CONNECTED_MS = 30 * DAY * 1000  # for so long a client of sliding sync may be away
UNREACHABLE_MS = 7 * DAY * 1000  # for so long is tried to tell a server of the last room shared with it
FOLLOWED_MS = 7 * DAY * 1000  # for so long a /sync token sees all that happened


@frozen
class Expiry:
    """Deletes by the wall clock."""

    clock: Clock

    def tokens(self, txn: Transaction, limit: int) -> int:
        return access_tokens.delete_expired_tokens(txn, self.clock.now_ms(), limit)

    def login_tokens(self, txn: Transaction, limit: int) -> int:
        return access_tokens.delete_expired_login_tokens(txn, self.clock.now_ms(), limit)

    def openid_tokens(self, txn: Transaction, limit: int) -> int:
        return openid.delete_expired_openid_tokens(txn, self.clock.now_ms(), limit)

    def rendezvous_sessions(self, txn: Transaction, limit: int) -> int:
        return rendezvous.delete_expired_sessions(txn, self.clock.now_ms(), limit)

    def to_device_transactions(self, txn: Transaction, limit: int) -> int:
        return to_device.delete_old_transactions(txn, self.clock.now_ms() - TRIED_AGAIN_MS, limit)

    def uia_sessions(self, txn: Transaction, limit: int) -> int:
        return expiry.delete_old_uia_sessions(txn, self.clock.now_ms() - TRIED_AGAIN_MS, limit)

    def nonces(self, txn: Transaction, limit: int) -> int:
        return expiry.delete_old_nonces(txn, self.clock.now_ms() - TRIED_AGAIN_MS, limit)

    def transactions(self, txn: Transaction, limit: int) -> int:
        return expiry.delete_old_transactions(txn, self.clock.now_ms() - TRIED_AGAIN_MS, limit)

    def pushes(self, txn: Transaction, limit: int) -> int:
        return pushers.drop_queued(txn, self.clock.now_ms(), limit)

    def destinations(self, txn: Transaction, limit: int) -> int:
        return destinations.forget_destinations(txn, self.clock.now_ms() - UNREACHABLE_MS, limit)

    def connections(self, txn: Transaction, limit: int) -> int:
        return sliding_sync.delete_unused_connections(txn, self.clock.now_ms() - CONNECTED_MS, limit)

    def stream(self, txn: Transaction, after: int, limit: int) -> tuple[int, int | None]:
        now_ms = self.clock.now_ms()
        if after == 0:
            expiry.mark_stream(txn, now_ms)
        upto = expiry.position_before(txn, now_ms - FOLLOWED_MS)
        slowest = store.slowest_follower(txn)
        if slowest is not None and slowest[1] < upto:
            logger.warning(
                "the stream is trimmed up to %d only: follower %s is there", slowest[1], slowest[0]
            )
            upto = slowest[1]
        return expiry.trim_stream(txn, after, upto, limit)


def prune_tasks(retention_ms: int) -> Cleanup:
    return Cleanup(
        {
            "items": until_none_left(lambda txn, limit: store.prune_items(txn, retention_ms, limit)),
            "tasks": until_none_left(lambda txn, limit: store.prune_tasks(txn, retention_ms, limit)),
            "runners": until_none_left(store.prune_runners),
            "followers": until_none_left(lambda txn, limit: store.prune_followers(txn, FOLLOWED_MS, limit)),
        }
    )


def erase_redacted_events(clock: Clock, retention_ms: int | None) -> Cleanup:
    """`retention_ms` None: they are kept for ever."""
    if retention_ms is None:
        return Cleanup({})
    return Cleanup(
        {"events": lambda txn, after, limit: erase_redacted(txn, clock.now_ms() - retention_ms, after, limit)}
    )


def expire_sessions(clock: Clock) -> Cleanup:
    expired = Expiry(clock)
    return Cleanup(
        {
            "access_tokens": until_none_left(expired.tokens),
            "login_tokens": until_none_left(expired.login_tokens),
            "openid_tokens": until_none_left(expired.openid_tokens),
            "rendezvous_sessions": until_none_left(expired.rendezvous_sessions),
            "uia_sessions": until_none_left(expired.uia_sessions),
            "registration_nonces": until_none_left(expired.nonces),
            "event_transactions": until_none_left(expired.transactions),
            "to_device_transactions": until_none_left(expired.to_device_transactions),
            "sliding_connections": until_none_left(expired.connections),
            "push_queue": until_none_left(expired.pushes),
            "destinations": until_none_left(expired.destinations),
            "key_backups": until_none_left(key_backup.delete_keys_of_deleted),
        }
    )


def forget_addresses(clock: Clock, kept_ms: int | None) -> Cleanup:
    """`kept_ms` None: they are kept for ever."""
    if kept_ms is None:
        return Cleanup({})
    return Cleanup(
        {
            "devices": until_none_left(
                lambda txn, limit: devices.forget_addresses(txn, clock.now_ms() - kept_ms, limit)
            )
        }
    )


def delete_stale_devices(clock: Clock, unused_ms: int | None) -> Cleanup:
    """`unused_ms` None: devices are kept for ever."""
    if unused_ms is None:
        return Cleanup({})

    def delete(txn: Transaction, _after: int, limit: int) -> tuple[int, int | None]:
        deleted = delete_stale(txn, clock.now_ms() - unused_ms, limit)
        return deleted, 0 if deleted else None

    return Cleanup({"devices": delete})


def purge_forgotten_rooms(clock: Clock, server_name: str, retention_ms: int | None) -> Cleanup:
    """`retention_ms` None: they are kept for ever."""
    if retention_ms is None:
        return Cleanup({})
    return Cleanup({"rooms": ForgottenRooms(clock, server_name, retention_ms).schedule_purges})


def expire_audit_log(clock: Clock, retention_ms: int | None) -> Cleanup:
    """`retention_ms` None: it is kept for ever."""
    if retention_ms is None:
        return Cleanup({})
    return Cleanup(
        {
            "entries": until_none_left(
                lambda txn, limit: audit.delete_old_changes(txn, clock.now_ms() - retention_ms, limit)
            )
        }
    )


def trim_stream(clock: Clock) -> Cleanup:
    return Cleanup({"stream": Expiry(clock).stream})
