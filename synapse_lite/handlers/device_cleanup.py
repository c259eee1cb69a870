"""Deleting what devices that nobody uses have left: the devices themselves, or their one-time keys."""

from collections.abc import Sequence

from synapse_lite.clock import Clock
from synapse_lite.handlers.user_admin import CHANGE, check_local
from synapse_lite.tasks.actions.delete_old_otks import DELETE_OLD_OTKS, DeleteOldKeysParams
from synapse_lite.tasks.actions.prune_devices import PRUNE_DEVICES, PruneDevicesParams
from synapse_lite.tasks.queue import TaskQueue

PRUNE_ENDPOINT = "POST /_synapse/admin/v1/prune_devices"
KEYS_ENDPOINT = "POST /_synapse/admin/v1/delete_old_otks"
YEAR_MS = 365 * 86_400_000


class DeviceCleanup:
    """Each asks for a task, and returns its id. `dry_run`: it only counts."""

    def __init__(self, queue: TaskQueue, clock: Clock, server_name: str) -> None:
        self._queue = queue
        self._clock = clock
        self._server_name = server_name

    async def prune_devices(
        self, requester: str, before_ts: int, user_ids: Sequence[str], *, dry_run: bool
    ) -> str:
        """Of everybody where no users are named; 400 for a user of another server."""
        for user_id in user_ids:
            check_local(user_id, self._server_name, CHANGE)
        params = PruneDevicesParams(before_ts=before_ts, user_ids=tuple(user_ids), dry_run=dry_run)
        enqueued = await self._queue.enqueue(
            PRUNE_DEVICES, params, requester=requester, endpoint=PRUNE_ENDPOINT
        )
        return enqueued.id

    async def delete_old_keys(self, requester: str, before_ts: int | None, *, dry_run: bool) -> str:
        """Of devices that were not used since then: a year, unless it is given."""
        if before_ts is None:
            before_ts = self._clock.now_ms() - YEAR_MS
        params = DeleteOldKeysParams(before_ts=before_ts, dry_run=dry_run)
        enqueued = await self._queue.enqueue(
            DELETE_OLD_OTKS, params, requester=requester, endpoint=KEYS_ENDPOINT
        )
        return enqueued.id
