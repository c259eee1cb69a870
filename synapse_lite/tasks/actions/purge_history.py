"""Delete the history of a room before a point, and free the state snapshots that nothing needs then."""

from enum import StrEnum

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage import history_purge as history
from synapse_lite.storage import rooms
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.history_purge import Candidates
from synapse_lite.storage.purge_boundary import (
    START,
    PurgeBoundary,
    count_past,
    event_at_time,
    read_past,
    read_unplaced,
)
from synapse_lite.storage.stream import Kind
from synapse_lite.tasks.actions.pace import ROWS_AT_ONCE, rest
from synapse_lite.tasks.actions.room_rows import COUNTED_AT_ONCE, MAX_ROWS
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Fail, Next, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView, Upcast


class Phase(StrEnum):
    COUNT = "count"
    EVENTS = "events"
    UNPLACED = "unplaced"  # events that have no position, where time decides
    CLEAR = "clear"  # what a cancelled task left behind
    LIST = "list"  # of the snapshots
    USE = "use"  # which of them are in use
    FREE = "free"


class PurgeHistoryParams(TaskModel):
    """Events with a smaller depth go, or those received until then (ms). `dry_run`: only count."""

    room_id: str
    depth: int | None = None
    received_until: int | None = None
    delete_local_events: bool = False
    dry_run: bool = False


class PurgeHistoryCursor(TaskModel):
    """`after`: the last event that is done in this phase; `after_snapshot` in LIST.

    `position`: of the first event that is not past, where time decides, and `depth` of the last one that is; `counted` is
    how many are.
    """

    phase: Phase = Phase.COUNT
    room_nid: int
    position: int | None = None
    depth: int = 0
    counted: int = 0
    after: tuple[int, int] = START
    after_snapshot: int = 0
    local: int = 0
    remote: int = 0
    kept: int = 0
    freed: int = 0


HistoryTask = TaskView[PurgeHistoryParams, PurgeHistoryCursor]

PURGE_HISTORY = TaskSpec(
    action="purge_history",
    version=2,
    params=PurgeHistoryParams,
    cursor=PurgeHistoryCursor,
    resource=lambda params: params.room_id,
    unique=lambda params: None if params.received_until is None else f"{params.room_id} (retention)",
    lock=lambda params: f"room:{params.room_id}",
    upcasts=(Upcast(version=1),),
)


class PurgeHistory:
    """The step of `PURGE_HISTORY`. The room goes on meanwhile. `server_name` is ours."""

    def __init__(self, server_name: str) -> None:
        self._server_name = server_name

    def step(self, txn: Transaction, task: HistoryTask) -> Outcome:
        cursor = task.cursor
        if cursor is None:
            return _begin(txn, task.params)
        limit = min(task.batch, MAX_ROWS)
        match cursor.phase:
            case Phase.COUNT:
                return self._count(txn, task.params, cursor, limit * COUNTED_AT_ONCE)
            case Phase.EVENTS:
                return self._purge(txn, task.params, cursor, limit)
            case Phase.UNPLACED:
                return self._purge_unplaced(txn, task.params, cursor, limit)
            case _:
                rest()
                rows = min(limit, ROWS_AT_ONCE)
                return _free_snapshots(txn, Candidates(cursor.room_nid, task.id), cursor, rows)

    def _count(
        self, txn: Transaction, params: PurgeHistoryParams, cursor: PurgeHistoryCursor, limit: int
    ) -> Outcome:
        count, last = count_past(txn, self._edge(params, cursor), cursor.after, limit)
        counted = cursor.counted + count
        if last is not None:
            return _next(cursor, total=counted, counted=counted, after=last)
        return _next(cursor, total=counted, phase=Phase.EVENTS, counted=counted, after=START)

    def _purge(
        self, txn: Transaction, params: PurgeHistoryParams, cursor: PurgeHistoryCursor, limit: int
    ) -> Outcome:
        edge, done = self._edge(params, cursor), 0
        if not params.dry_run:
            txn.publish(Kind.AMENDED, room_nid=cursor.room_nid)
        for start in range(0, limit, ROWS_AT_ONCE):
            past = read_past(txn, edge, cursor.after, min(limit - start, ROWS_AT_ONCE))
            if not params.dry_run:
                history.delete_events(txn, past.to_delete)
                history.hide_events(txn, past.kept)
            done += len(past.to_delete) + len(past.kept)
            counts = {
                "local": cursor.local + len(past.local),
                "remote": cursor.remote + len(past.remote),
                "kept": cursor.kept + len(past.kept),
            }
            cursor = cursor.model_copy(update={"after": past.last or START, **counts})
            if past.last is None and params.dry_run:
                return Done(_result(cursor, dry_run=True), done=done)
            if past.last is None:
                if (
                    cursor.local or cursor.remote
                ):  # once, not for each slice: all who are in the room hear of it
                    txn.publish(Kind.PURGED, room_nid=cursor.room_nid)
                return _next(
                    cursor, done=done, phase=Phase.CLEAR if edge.position is None else Phase.UNPLACED
                )
            rest()
        return _next(cursor, done=done)

    def _purge_unplaced(
        self, txn: Transaction, params: PurgeHistoryParams, cursor: PurgeHistoryCursor, limit: int
    ) -> Outcome:
        """Nobody has been told of them, and nobody is."""
        rest()
        rows = min(limit, ROWS_AT_ONCE)
        past = read_unplaced(txn, self._edge(params, cursor), cursor.depth, cursor.after, rows)
        history.delete_events(txn, past.to_delete)
        counts = {"local": cursor.local + len(past.local), "remote": cursor.remote + len(past.remote)}
        phase = Phase.CLEAR if past.last is None else Phase.UNPLACED
        return _next(cursor, phase=phase, after=past.last or START, **counts)

    def _edge(self, params: PurgeHistoryParams, cursor: PurgeHistoryCursor) -> PurgeBoundary:
        return PurgeBoundary(
            cursor.room_nid,
            self._server_name,
            depth=params.depth,
            position=cursor.position,
            keeps_local=not params.delete_local_events,
        )


def _begin(txn: Transaction, params: PurgeHistoryParams) -> Outcome:
    room = rooms.room_by_id(txn, params.room_id)
    if room is None:
        return Fail("The room is unknown")
    cursor = PurgeHistoryCursor(room_nid=room.nid)
    if params.received_until is None:
        return _next(cursor)
    last = event_at_time(txn, room.nid, params.received_until)
    if last is None:
        return _next(cursor, position=0)
    return _next(cursor, depth=last[0], position=last[1] + 1)


def _free_snapshots(
    txn: Transaction, candidates: Candidates, cursor: PurgeHistoryCursor, limit: int
) -> Outcome:
    match cursor.phase:
        case Phase.CLEAR:
            cleared = history.clear_candidates(txn, cursor.room_nid, limit)
            return _next(cursor, phase=Phase.CLEAR if cleared else Phase.LIST)
        case Phase.LIST:
            return _list(txn, candidates, cursor, limit)
        case Phase.USE:
            return _find_use(txn, candidates, cursor, limit)
        case _:
            return _free(txn, candidates, cursor, limit)


def _list(txn: Transaction, candidates: Candidates, cursor: PurgeHistoryCursor, limit: int) -> Outcome:
    last = history.list_candidates(txn, candidates, cursor.after_snapshot, limit)
    if last is not None:
        return _next(cursor, after_snapshot=last)
    return _next(cursor, phase=Phase.USE)


def _find_use(txn: Transaction, candidates: Candidates, cursor: PurgeHistoryCursor, limit: int) -> Outcome:
    if cursor.after == START:  # with the first events: after the list is complete
        history.spare_head(txn, candidates)
    last = history.spare_used(txn, candidates, cursor.after, limit)
    if last is not None:
        return _next(cursor, after=last)
    return _next(cursor, phase=Phase.FREE)


def _free(txn: Transaction, candidates: Candidates, cursor: PurgeHistoryCursor, limit: int) -> Outcome:
    freed = history.free_candidates(txn, candidates, limit)
    after = cursor.model_copy(update={"freed": cursor.freed + freed})
    return _next(after) if freed else Done(_result(after, dry_run=False))


def _next(cursor: PurgeHistoryCursor, *, done: int = 0, total: int | None = None, **changes: object) -> Next:
    after = cursor.model_copy(update=changes)
    return Next(after, done=done, phase=after.phase, total=total)


def _result(cursor: PurgeHistoryCursor, *, dry_run: bool) -> JsonObject:
    return {
        "dry_run": dry_run,
        "local_events": cursor.local,
        "remote_events": cursor.remote,
        "kept_events": cursor.kept,
        "freed_snapshots": cursor.freed,
    }
