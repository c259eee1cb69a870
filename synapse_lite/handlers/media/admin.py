"""Media in the hands of administrators: looking, hiding, protecting, deleting."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, invalid_param, not_found
from synapse_lite.handlers.long_lists import LongLists
from synapse_lite.ids import check_user_id, is_local
from synapse_lite.matrix.media import Mxc
from synapse_lite.storage import accounts
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.media import files, listing, quarantine
from synapse_lite.storage.media.files import Media
from synapse_lite.storage.media.listing import ORDERS, USER_ORDERS, StatisticsFilter
from synapse_lite.storage.media.mentions import of_room
from synapse_lite.storage.media.quarantine import Reason
from synapse_lite.tasks.actions.delete_media import DELETE_MEDIA, DELETED, DeleteMediaParams
from synapse_lite.tasks.actions.quarantine_media import QUARANTINE_MEDIA, QuarantineParams
from synapse_lite.tasks.queue import Status, Task, TaskQueue
from synapse_lite.tasks.specs import C, P, TaskSpec

__all__ = ["ORDERS", "USER_ORDERS", "Asked", "MediaAdmin", "Page", "StatisticsFilter"]

PATIENCE_SECONDS = 600.0
MAX_LISTED = 10_000
EVENTS_A_READ = 500
CHANGES_A_PAGE = 100


class Waiter(Protocol):
    async def until_ended(self, task_id: str, seconds: float) -> Task | None: ...


@frozen
class Page:
    """`order` is one of `ORDERS`; of statistics one of `USER_ORDERS`."""

    order: str
    backwards: bool
    start: int
    limit: int


@frozen
class Asked:
    """Who asks, through which endpoint."""

    user_id: str
    endpoint: str


class MediaAdmin:
    """`server_name` is ours."""

    def __init__(
        self, database: Database, queue: TaskQueue, waiter: Waiter, clock: Clock, server_name: str
    ) -> None:
        self._database = database
        self._queue = queue
        self._waiter = waiter
        self._clock = clock
        self._server_name = server_name
        self._lists = LongLists(database, clock)

    # One media

    async def info(self, mxc: Mxc) -> JsonObject:
        """404 for what is not here: other servers are not asked."""
        media = await self._database.read(files.read_media, mxc.origin, mxc.media_id)
        if media is None or media.sha256 is None:
            raise not_found("Unknown media")
        is_ours = media.origin == self._server_name
        return {
            **_shown(media),
            "media_origin": None if is_ours else media.origin,
            "user_id": media.user_id if is_ours else None,
            "filesystem_id": None if is_ours else media.sha256.hex(),
            "url_cache": media.url_cache if is_ours else None,
            "safe_from_quarantine": media.protected if is_ours else None,
        }

    async def delete(self, mxc: Mxc) -> JsonObject:
        """400 for another server's, 404 for what is not here."""
        self._check_ours(mxc.origin)
        deleted = await self._database.transact(self._delete, [mxc.media_id])
        if not deleted:
            raise not_found("Unknown media")
        return {"deleted_media": deleted, "total": len(deleted)}

    async def quarantine(self, asked: Asked, mxc: Mxc) -> None:
        """And all with the same bytes, except what is protected."""
        await self._database.transact(
            quarantine.quarantine, [(mxc.origin, mxc.media_id)], self._reason(asked)
        )

    async def unquarantine(self, asked: Asked, mxc: Mxc) -> None:
        await self._database.transact(
            quarantine.unquarantine, [(mxc.origin, mxc.media_id)], self._reason(asked)
        )

    async def protect(self, media_id: str, protected: bool) -> None:
        """404 for what is none of our files."""
        if not await self._database.transact(files.protect, self._server_name, media_id, protected):
            raise not_found("Unknown media")

    async def quarantine_changes(self, after: int) -> JsonObject:
        """400 `M_INVALID_PARAM` for a position that is not there yet."""
        if after > await self._database.read(quarantine.read_position):
            raise invalid_param("Query parameter 'from' is in the future")
        changes = await self._database.read(quarantine.read_changes, after, CHANGES_A_PAGE)
        return {
            "next_batch": changes[-1].position if changes else after,
            "changes": [
                {"origin": change.origin, "media_id": change.media_id, "quarantined": change.quarantined}
                for change in changes
            ],
        }

    # Lists

    async def of_user(self, user_id: str, page: Page) -> JsonObject:
        """400 for a user of another server, 404 for an unknown one."""
        media, total = await self._read_page(user_id, page)
        shown: JsonObject = {
            "media": [{**_shown(one), "user_id": one.user_id} for one in media],
            "total": total,
        }
        reached = page.start + len(media)
        return {**shown, "next_token": reached} if reached < total else shown

    async def delete_of_user(self, user_id: str, page: Page) -> JsonObject:
        """Delete one page of what `of_user` lists."""
        media, _ = await self._read_page(user_id, page)
        deleted = await self._database.transact(self._delete, [one.media_id for one in media])
        return {"deleted_media": deleted, "total": len(deleted)}

    async def of_room(self, room_id: str) -> JsonObject:
        """Mxc URIs in the unencrypted events of a room, ours and others'."""
        found: dict[Mxc, None] = {}
        last: int | None = 0
        while last is not None and len(found) < MAX_LISTED:
            mentions = await self._database.read(of_room, room_id, last, EVENTS_A_READ)
            found.update(dict.fromkeys(Mxc(*one) for one in mentions.media))
            last = mentions.last
        return {
            "local": [str(mxc) for mxc in found if mxc.origin == self._server_name],
            "remote": [str(mxc) for mxc in found if mxc.origin != self._server_name],
        }

    async def statistics(self, wanted: StatisticsFilter, page: Page) -> JsonObject:
        listed = listing.statistics_list(wanted, page.order, backwards=page.backwards)
        read = partial(listing.read_statistics, offset=page.start, limit=page.limit)
        users, total = await self._lists.page(listed, page.start, read)
        shown: JsonObject = {
            "users": [
                {
                    "user_id": user.user_id,
                    "displayname": user.displayname,
                    "media_count": user.count,
                    "media_length": user.size,
                }
                for user in users
            ],
            "total": total,
        }
        reached = page.start + len(users)
        return {**shown, "next_token": reached} if reached < total else shown

    # Tasks

    async def delete_many(self, asked: Asked, params: DeleteMediaParams) -> JsonObject:
        """The ids of what was deleted, the first 10,000 of them; with `dry_run` of what would be."""
        task = await self._run(asked, DELETE_MEDIA, params)
        items = await self._items(task.id)
        total = _count(task, "would_delete" if params.dry_run else "deleted")
        return {
            "deleted_media": [item.rpartition("/")[2] for item in items],
            "total": total,
            "task_id": task.id,
        }

    async def purge_cache(self, asked: Asked, before_ms: int, *, dry_run: bool) -> JsonObject:
        """Copies of other servers' media that were not used since."""
        params = DeleteMediaParams(remote=True, unused_since_ms=before_ms, dry_run=dry_run)
        task = await self._run(asked, DELETE_MEDIA, params)
        return {"deleted": _count(task, "would_delete" if dry_run else "deleted"), "task_id": task.id}

    async def quarantine_many(self, asked: Asked, params: QuarantineParams) -> JsonObject:
        if params.user_id is not None:
            self._check_local(params.user_id)
        task = await self._run(asked, QUARANTINE_MEDIA, params)
        return {"num_quarantined": _count(task, "num_quarantined"), "task_id": task.id}

    async def _run(self, asked: Asked, spec: TaskSpec[P, C], params: P) -> Task:
        """504 when it takes too long: it goes on, and `task_id` says where to look."""
        enqueued = await self._queue.enqueue(spec, params, requester=asked.user_id, endpoint=asked.endpoint)
        task = await self._waiter.until_ended(enqueued.id, PATIENCE_SECONDS)
        if task is None or task.status in {Status.SCHEDULED, Status.ACTIVE}:
            words = f"The task {enqueued.id} is still running"
            raise MatrixError(504, Errcode.UNKNOWN, words, {"task_id": enqueued.id})
        if task.status is not Status.COMPLETE:
            reason = task.error or "The task was cancelled"
            raise MatrixError(500, Errcode.UNKNOWN, reason, {"task_id": task.id})
        return task

    async def _items(self, task_id: str) -> list[str]:
        found: list[str] = []
        while len(found) < MAX_LISTED:
            items = await self._queue.items(
                task_id, outcome=DELETED, after=found[-1] if found else None, limit=1000
            )
            found += [item.item for item in items]
            if not items:
                break
        return found

    async def _read_page(self, user_id: str, page: Page) -> tuple[list[Media], int]:
        self._check_local(user_id)
        if await self._database.read(accounts.read_profile, user_id) is None:
            raise not_found("Unknown user")
        wanted = listing.user_list(user_id, page.order, backwards=page.backwards)
        read = partial(listing.list_user_media, offset=page.start, limit=page.limit)
        return await self._lists.page(wanted, page.start, read)

    def _delete(self, txn: Transaction, media_ids: Sequence[str]) -> list[str]:
        found = [files.read_media(txn, self._server_name, media_id) for media_id in media_ids]
        nids = [one.nid for one in found if one is not None]
        return [media_id for _, media_id in files.delete(txn, nids, self._clock.now_ms())]

    def _check_ours(self, server_name: str) -> None:
        if server_name != self._server_name:
            raise MatrixError(400, Errcode.UNKNOWN, "Can only delete local media")

    def _check_local(self, user_id: str) -> None:
        if not is_local(check_user_id(user_id), self._server_name):
            raise MatrixError(400, Errcode.UNKNOWN, "Can only look up local users")

    def _reason(self, asked: Asked) -> Reason:
        return Reason(asked.user_id, asked.endpoint, self._clock.now_ms())


def _shown(media: Media) -> JsonObject:
    return {
        "media_id": media.media_id,
        "media_type": media.media_type,
        "media_length": media.size,
        "upload_name": media.upload_name,
        "created_ts": media.created_ts,
        "url_cache": media.url_cache,
        "last_access_ts": media.last_access_ts,
        "quarantined_by": media.quarantined_by,
        "safe_from_quarantine": media.protected,
        "authenticated": media.authenticated,
        "sha256": None if media.sha256 is None else media.sha256.hex(),
    }


def _count(task: Task, name: str) -> int:
    count: int = (task.result or {}).get(name, 0)
    return count
