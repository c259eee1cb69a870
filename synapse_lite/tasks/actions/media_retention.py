"""Media that nobody has used for as long as the configuration says are deleted, every hour."""

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.media import files
from synapse_lite.storage.media.selection import Selection, candidates
from synapse_lite.tasks.actions.cleanup import Cleanup, Part, periodic_cleanup

EXPIRE_MEDIA = periodic_cleanup("expire_media", 3600)


@frozen
class MediaLifetimes:
    """Milliseconds since the last use; None: for ever."""

    local_ms: int | None = None
    remote_ms: int | None = None


def expire_media(clock: Clock, server_name: str, lifetimes: MediaLifetimes) -> Cleanup:
    """What is protected, hidden or somebody's picture stays."""
    parts = {"local": (lifetimes.local_ms, True), "remote": (lifetimes.remote_ms, False)}
    return Cleanup(
        {
            name: _expiry(clock, server_name, lifetime, is_origin)
            for name, (lifetime, is_origin) in parts.items()
            if lifetime is not None
        }
    )


def _expiry(clock: Clock, server_name: str, lifetime_ms: int, is_origin: bool) -> Part:
    def part(txn: Transaction, after: int, limit: int) -> tuple[int, int | None]:
        now_ms = clock.now_ms()
        selection = Selection(server_name, is_origin, unused_since_ms=now_ms - lifetime_ms, keep_avatars=True)
        found = candidates(txn, selection, after, limit)
        chosen = [one.nid for one in found if one.chosen]
        files.delete(txn, chosen, now_ms)
        return len(chosen), found[-1].nid if len(found) == limit else None

    return part
