"""Copies of other servers' media have a limit in bytes: beyond it those not used for the longest go, every hour."""

from attrs import frozen
from pydantic import Field

from synapse_lite.clock import Clock
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.media import cache, files
from synapse_lite.storage.media.cache import DAY_MS
from synapse_lite.storage.media.selection import Selection, candidates
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView


class EvictParams(TaskModel):
    """None."""


class EvictCursor(TaskModel):
    """`days`: bytes by the day of the last use, while they are counted, up to the media number `after_nid`.

    Then `excess` bytes are too many: all that was used before `day` goes, and of that day (`in_day`) what is needed.
    """

    after_nid: int = 0
    days: dict[int, int] = Field(default_factory=dict)
    day: int | None = None
    in_day: bool = False
    excess: int = 0
    evicted: int = 0
    freed: int = 0


EVICT_MEDIA = TaskSpec(
    action="evict_media",
    version=1,
    params=EvictParams,
    cursor=EvictCursor,
    lock=lambda _: "periodic:evict_media",
    needs_admin=False,
    every_seconds=3600,
)


@frozen
class EvictMedia:
    """The step of `EVICT_MEDIA`; `max_bytes` None: no limit. Equal files count as often as there are copies."""

    clock: Clock
    server_name: str
    max_bytes: int | None

    def step(self, txn: Transaction, task: TaskView[EvictParams, EvictCursor]) -> Outcome:
        cursor = task.cursor or EvictCursor()
        if self.max_bytes is None:
            return Done({"evicted": 0, "bytes": 0})
        if cursor.day is None:
            return self._count(txn, cursor, self.max_bytes, task.batch)
        return self._evict(txn, cursor, cursor.day, task.batch)

    def _count(self, txn: Transaction, cursor: EvictCursor, max_bytes: int, limit: int) -> Outcome:
        found, last = cache.used_by_day(txn, self.server_name, cursor.after_nid, limit)
        days = dict(cursor.days)
        for day, size in found.items():
            days[day] = days.get(day, 0) + size
        if last is not None:
            return Next(EvictCursor(after_nid=last, days=days), done=0, phase="count")
        excess = sum(days.values()) - max_bytes
        if excess <= 0:
            return Done({"evicted": 0, "bytes": 0})
        return Next(EvictCursor(day=_boundary(days, excess), excess=excess), done=0, phase="evict")

    def _evict(self, txn: Transaction, cursor: EvictCursor, day: int, limit: int) -> Outcome:
        now_ms = self.clock.now_ms()
        before = (day + 1 if cursor.in_day else day) * DAY_MS
        selection = Selection(self.server_name, is_origin=False, unused_since_ms=before, keep_avatars=True)
        found = candidates(txn, selection, cursor.after_nid, limit)
        chosen, freed = [], cursor.freed
        for one in found:
            if one.chosen and freed < cursor.excess:
                chosen.append(one.nid)
                freed += one.size
        files.delete(txn, chosen, now_ms)
        evicted = cursor.evicted + len(chosen)
        is_over = len(found) < limit
        if freed >= cursor.excess or (is_over and cursor.in_day):
            return Done({"evicted": evicted, "bytes": freed}, done=len(chosen))
        went = {"evicted": evicted, "freed": freed, "in_day": cursor.in_day or is_over}
        after = 0 if is_over else found[-1].nid
        return Next(cursor.model_copy(update={**went, "after_nid": after}), done=len(chosen), phase="evict")


def _boundary(days: dict[int, int], excess: int) -> int:
    """The day of which something may stay: all before it is not enough."""
    for day in sorted(days):
        excess -= days[day]
        if excess <= 0:
            return day
    raise AssertionError("no more is too much than there is")
