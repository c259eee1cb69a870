"""What the admin API says about a redaction of all events of a user."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import MatrixError
from synapse_lite.handlers import redactions as module
from synapse_lite.handlers.redactions import RedactionsHandler
from synapse_lite.handlers.user_selection import UserSelection
from synapse_lite.replication.bus import LocalBus
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.tasks import Status, TaskItem
from synapse_lite.tasks.actions.noop import NOOP, NoopParams
from synapse_lite.tasks.actions.redact_all_events import (
    FAILED,
    REDACT_ALL_EVENTS,
    ROOM,
    UNKNOWN_ROOM,
    RedactParams,
)
from synapse_lite.tasks.queue import TaskQueue
from tests.builders import MALLORY
from tests.handlers.house import refusal

ADMIN = "@admin:hs.test"
CAPABILITY = [(REDACT_ALL_EVENTS.action, REDACT_ALL_EVENTS.version)]
PARAMS = RedactParams(user_id=MALLORY)


class Desk:
    """The handler, and the hand that moves its task along."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.queue = TaskQueue(database, LocalBus())
        self.handler = RedactionsHandler(self.queue, UserSelection(database))

    async def start(self, params: RedactParams = PARAMS) -> str:
        return await self.handler.start(ADMIN, params)

    async def claim(self) -> store.Lease:
        def claim(txn: Transaction) -> store.Lease:
            store.register_runner(txn, "w#1", "w", CAPABILITY, 60_000)
            claimed = store.claim(txn, "w#1", CAPABILITY, [])
            assert claimed is not None
            return claimed.lease

        return await self.database.transact(claim)

    async def finish(self, status: Status, error: str | None = None) -> None:
        lease = await self.claim()
        await self.database.transact(lambda txn: store.finish(txn, lease, status, error=error))

    async def words(self, redact_id: str) -> JsonObject:
        """The fields that Synapse has, too."""
        answer = await self.handler.status(redact_id)
        return {name: answer[name] for name in ("status", "error", "failed_redactions") if name in answer}


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


@ensureDeferred
async def test_the_words_of_a_task_that_goes_well(desk: Desk) -> None:
    """scheduled, active, complete; `failed_redactions` is in each answer, with what has failed so far."""
    redact_id = await desk.start()
    assert await desk.words(redact_id) == {"status": "scheduled", "failed_redactions": {}}
    lease = await desk.claim()

    def record(txn: Transaction) -> None:
        items = [
            TaskItem("$event", FAILED, "403: no"),
            TaskItem("!room:hs.test", ROOM, '{"redacted":3}'),
            TaskItem("!lost:hs.test", UNKNOWN_ROOM, None),
        ]
        store.record_items(txn, redact_id, items)
        store.checkpoint(txn, lease, "{}", done=3, phase="redact", total=7)

    await desk.database.transact(record)
    failed = {"failed_redactions": {"$event": "403: no"}}
    assert await desk.words(redact_id) == {"status": "active", **failed}
    answer = await desk.handler.status(redact_id)
    assert answer["progress"] == {"done": 3, "total": 7, "phase": "redact"}
    assert answer["rooms"] == {"!room:hs.test": {"redacted": 3}}
    assert (answer["unknown_rooms"], answer["runner"], answer["requester"]) == (["!lost:hs.test"], "w", ADMIN)
    await desk.database.transact(lambda txn: store.finish(txn, lease, Status.COMPLETE))
    assert await desk.words(redact_id) == {"status": "complete", **failed}


@ensureDeferred
async def test_who_waits_asks_often(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer takes two statements, with the first ones of each kind of item."""
    redact_id = await desk.start()
    await desk.claim()
    items = [
        TaskItem(f"{number}{outcome}", outcome, "{}") for number in (3, 1, 2) for outcome in (FAILED, ROOM)
    ]
    await desk.database.transact(store.record_items, redact_id, items)
    monkeypatch.setattr(module, "SHOWN_ITEMS", 2)
    sent, run = list[str](), Transaction._run

    def watch(txn: Transaction, sql: str, arguments: Any) -> None:
        sent.append(sql)
        run(txn, sql, arguments)

    monkeypatch.setattr(Transaction, "_run", watch)
    answer = await desk.handler.status(redact_id)
    assert len(sent) == 2
    for name, outcome in (("failed_redactions", FAILED), ("rooms", ROOM)):
        assert list(answer[name]) == [f"{number}{outcome}" for number in (1, 2)]


@ensureDeferred
@pytest.mark.parametrize(
    ("error", "said"),
    [("out of luck", "out of luck"), (None, "Unknown error, please check the logs for more information.")],
)
async def test_a_failure_says_why(desk: Desk, error: str | None, said: str) -> None:
    """`failed`, with the error, or with Synapse's words when there is none."""
    redact_id = await desk.start()
    await desk.finish(Status.FAILED, error)
    assert await desk.words(redact_id) == {"status": "failed", "error": said, "failed_redactions": {}}


@ensureDeferred
async def test_cancelled_is_failed_for_clients(desk: Desk) -> None:
    """The API has no fifth word: a cancelled task is `failed`, and the error tells."""
    redact_id = await desk.start()
    await desk.queue.cancel(redact_id)
    said = {"status": "failed", "error": "The task was cancelled.", "failed_redactions": {}}
    assert await desk.words(redact_id) == said


@ensureDeferred
async def test_unknown_ids(desk: Desk) -> None:
    """404 for an id that is none, and for that of another action."""
    other = await desk.queue.enqueue(NOOP, NoopParams(steps=1), requester=ADMIN, endpoint="POST /test")
    for redact_id in ("nothing", other.id):
        assert await refusal(desk.handler.status(redact_id)) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_one_at_a_time_for_a_user(desk: Desk) -> None:
    """400 while a task of the user waits or runs, naming it; another user, or afterwards: a new one."""
    redact_id = await desk.start()
    for claim_first in (False, True):
        if claim_first:
            await desk.claim()
        with pytest.raises(MatrixError, match=f"Redact already in progress for user {MALLORY}") as caught:
            await desk.start(RedactParams(user_id=MALLORY, limit=5))
        assert (caught.value.status, str(caught.value.errcode)) == (400, "M_UNKNOWN")
        assert caught.value.extra == {"redact_id": redact_id}
    assert await desk.start(RedactParams(user_id="@other:hs.test")) != redact_id


@ensureDeferred
@pytest.mark.parametrize(
    "params", [RedactParams(user_id="mallory"), RedactParams(user_id=MALLORY, rooms=("#alias:hs.test",))]
)
async def test_malformed_ids_start_nothing(desk: Desk, params: RedactParams) -> None:
    """400 before there is a task."""
    assert (await refusal(desk.start(params)))[0] == 400
    assert (await desk.queue.find()).tasks == []
