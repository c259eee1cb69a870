"""The admin API of tasks: those that ended are tried again."""

from pytest_twisted import ensureDeferred

from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks import Status
from synapse_lite.tasks.queue import TOPIC
from tests.rest.office import FIELDS, TASKS, Office


async def run_to_failure(office: Office) -> str:
    """A task that has done two steps and then failed."""
    task_id = await office.ask()
    await office.register()
    lease = await office.claim()

    def work(txn: Transaction) -> None:
        store.checkpoint(txn, lease, '{"step": 2}', done=2, phase="half", total=3)
        store.record_items(txn, task_id, [store.TaskItem("x", "failed")])
        store.finish(txn, lease, Status.FAILED, error="gave up")

    await office.do(work)
    return task_id


@ensureDeferred
async def test_retry_from_the_cursor(office: Office) -> None:
    """The same task goes on where it stopped, with all its attempts, and schedulers are woken."""
    task_id = await run_to_failure(office)
    await office.execute("UPDATE scheduled_tasks SET attempt = 3, cancel_requested_at = 1")
    wake_ups: list[str] = []
    office.server.bus.subscribe(TOPIC, wake_ups.append)
    answer = await office.post(f"{TASKS}/{task_id}/retry")
    assert set(answer) == FIELDS
    assert (answer["id"], answer["status"], answer["attempt"]) == (task_id, "scheduled", 0)
    assert (answer["error"], answer["finished_ts"], answer["cancel_requested"]) == (None, None, False)
    assert answer["progress"] == {"done": 2, "total": 3, "phase": "half"}
    assert wake_ups
    shown = await office.show(task_id)
    assert (shown["history"][-1]["kind"], shown["history"][-1]["detail"]) == ("reopened", "by @admin:hs.test")
    lease = await office.claim()
    assert (await office.do(store.fence, lease)).cursor == '{"step": 2}'


@ensureDeferred
async def test_a_complete_task_keeps_its_result(office: Office) -> None:
    """There is nothing to go on with: it is refused, and may be done anew."""
    task_id = await office.ask()
    await office.register()
    lease = await office.claim()
    await office.do(store.finish, lease, Status.COMPLETE, result='{"done": 3}')
    retry = f"{TASKS}/{task_id}/retry"
    assert await office.refusal("POST", retry, {}) == (400, "M_UNKNOWN")
    shown = await office.show(task_id)
    assert (shown["status"], shown["result"]) == ("complete", {"done": 3})
    assert (await office.post(retry, {"from": "start"}))["id"] != task_id


@ensureDeferred
async def test_retry_from_the_start(office: Office) -> None:
    """A new task like the old one, asked for by the admin; the old one keeps its record."""
    task_id = await run_to_failure(office)
    answer = await office.post(f"{TASKS}/{task_id}/retry", {"from": "start"})
    assert answer["id"] != task_id
    assert (answer["status"], answer["requester"]) == ("scheduled", "@admin:hs.test")
    assert answer["progress"] == {"done": 0, "total": None, "phase": None}
    fresh = await office.show(answer["id"])
    assert (fresh["items"], fresh["params"]) == ({}, {"steps": 3, "fail_at": None})
    assert fresh["history"][0]["detail"].endswith(f"as {task_id}")
    old = await office.show(task_id)
    assert (old["status"], old["items"]) == ("failed", {"failed": 1})


@ensureDeferred
async def test_retry_is_refused(office: Office) -> None:
    """For what has not ended, for what is pending again already, for nonsense, for nothing."""
    task_id = await office.ask()
    retry = f"{TASKS}/{task_id}/retry"
    assert await office.refusal("POST", retry, {}) == (400, "M_UNKNOWN")
    await office.post(f"{TASKS}/{task_id}/cancel")
    await office.ask()
    await office.execute("UPDATE scheduled_tasks SET unique_key = 'k'")
    for origin in ("cursor", "start"):
        assert await office.refusal("POST", retry, {"from": origin}) == (400, "M_UNKNOWN")
    assert await office.refusal("POST", retry, {"from": "middle"}) == (400, "M_BAD_JSON")
    assert await office.refusal("POST", f"{TASKS}/none/retry", {}) == (404, "M_NOT_FOUND")
