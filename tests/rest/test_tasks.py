"""The admin API of tasks, over HTTP: the contract of its clients."""

from typing import Any

from pytest_twisted import ensureDeferred

from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.actions.noop import NOOP, NoopParams
from synapse_lite.tasks.specs import PERIODIC
from tests.rest.office import ADMIN, FIELDS, NOOP_ACTION, TASKS, Office


@ensureDeferred
async def test_only_admins_may_ask(office: Office) -> None:
    """Every endpoint refuses other users, and those without a token."""
    for method, path in (
        ("GET", TASKS),
        ("GET", f"{TASKS}/x"),
        ("POST", f"{TASKS}/x/cancel"),
        ("POST", f"{TASKS}/x/retry"),
        ("GET", f"{ADMIN}/task_runners"),
        ("GET", f"{ADMIN}/task_actions"),
        ("GET", NOOP_ACTION),
        ("PUT", NOOP_ACTION),
        ("PUT", f"{ADMIN}/task_followers/statistics"),
    ):
        body = None if method == "GET" else {}
        assert await office.server.refusal(method, path, body, office.user_token) == (403, "M_FORBIDDEN")
        assert await office.server.refusal(method, path, body) == (401, "M_MISSING_TOKEN")


@ensureDeferred
async def test_a_task_is_shown_whole(office: Office) -> None:
    """All fields of the list, and those of a single task."""
    task_id = await office.ask()
    (listed,) = (await office.get(TASKS))["scheduled_tasks"]
    assert set(listed) == FIELDS
    shown = await office.show(task_id)
    assert set(shown) == FIELDS | {"eta_ms", "history", "items", "children", "params"}
    assert {**shown, **listed} == shown
    assert (shown["status"], shown["waiting_reason"], shown["runnable_by"]) == ("scheduled", "no_runner", [])
    assert shown["params"] == {"steps": 3, "fail_at": None}
    assert shown["progress"] == {"done": 0, "total": None, "phase": None}
    (event,) = shown["history"]
    assert (event["kind"], event["runner"]) == ("enqueued", None)
    assert event["detail"] == "@admin:hs.test through POST /noop"
    assert await office.refusal("GET", f"{TASKS}/none") == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_progress_and_items(office: Office) -> None:
    """A running task names its runner, what its items came to, and when it will be done."""
    task_id = await office.ask()
    await office.register()
    assert (await office.show(task_id))["waiting_reason"] is None
    lease = await office.claim()
    assert (await office.show(task_id))["eta_ms"] is None

    def work(txn: Transaction) -> None:
        store.checkpoint(txn, lease, "{}", done=25, phase="half", total=100)
        for item, outcome in (("a", "failed"), ("b", "failed"), ("c", "room")):
            store.record_items(txn, task_id, [store.TaskItem(item, outcome)])

    await office.do(work)
    await office.execute("UPDATE scheduled_tasks SET claimed_at = updated_at - 1000")
    shown = await office.show(task_id)
    assert (shown["runner"], shown["status"], shown["eta_ms"]) == ("w", "active", 3000)
    assert shown["progress"] == {"done": 25, "total": 100, "phase": "half"}
    assert shown["items"] == {"failed": 2, "room": 1}
    assert [event["kind"] for event in shown["history"]] == ["enqueued", "claimed"]


@ensureDeferred
async def test_pages(office: Office) -> None:
    """`from` the `next_token` until there is none; nonsense is refused."""
    ids = {await office.ask() for _ in range(3)}
    first = await office.get(f"{TASKS}?limit=2")
    rest = await office.get(f"{TASKS}?limit=2&from={first['next_token']}")
    assert {task["id"] for task in first["scheduled_tasks"] + rest["scheduled_tasks"]} == ids
    assert "next_token" not in rest
    assert (await office.get(f"{TASKS}?status=complete&status=failed"))["scheduled_tasks"] == []
    assert len((await office.get(f"{TASKS}?job_status=scheduled"))["scheduled_tasks"]) == 3
    for query in ("status=done", "from=x", "max_timestamp=soon", "limit=many"):
        assert await office.refusal("GET", f"{TASKS}?{query}") == (400, "M_INVALID_PARAM")


@ensureDeferred
async def test_why_a_task_waits(office: Office) -> None:
    """Nobody can run it, its action is paused, its time has not come, or another must end first."""
    task_id = await office.ask()

    async def reason() -> Any:
        return (await office.show(task_id))["waiting_reason"]

    assert await reason() == "no_runner"
    await office.register()
    assert await reason() is None
    await office.put({"paused": True})
    assert await reason() == "paused"
    await office.put({"paused": False})
    await office.execute("UPDATE scheduled_tasks SET run_at = now_ms() + 60000")
    assert await reason() == "backoff"
    await office.execute("UPDATE scheduled_tasks SET run_at = now_ms() + 60000")
    other = await office.ask()
    await office.claim()
    await office.execute("UPDATE scheduled_tasks SET run_at = 1")
    await office.put({"max_running": 1})
    assert await reason() == "lock"
    await office.put({"max_running": None})
    await office.execute("UPDATE scheduled_tasks SET lock_key = 'room'")
    assert await reason() == "lock"
    assert (await office.show(other))["waiting_reason"] is None


@ensureDeferred
async def test_cancel(office: Office) -> None:
    """At once when nobody works on it, else at its next step; what has ended stays as it is."""
    task_id = await office.ask()
    cancelled = await office.post(f"{TASKS}/{task_id}/cancel")
    assert set(cancelled) == FIELDS
    assert (cancelled["status"], cancelled["cancel_requested"]) == ("cancelled", True)
    assert await office.post(f"{TASKS}/{task_id}/cancel") == cancelled
    running = await office.ask()
    await office.register()
    await office.claim()
    answer = await office.post(f"{TASKS}/{running}/cancel")
    assert (answer["status"], answer["cancel_requested"]) == ("active", True)
    assert await office.refusal("POST", f"{TASKS}/none/cancel", {}) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_a_dry_run_of_a_redaction(office: Office) -> None:
    """It is a task of its own, beside which the real one may be asked for."""
    redact = f"{ADMIN}/user/@spam:hs.test/redact"
    dry = await office.post(redact, {"rooms": [], "dry_run": True})
    real = await office.post(redact, {"rooms": []})
    assert (await office.show(dry["redact_id"]))["params"]["dry_run"] is True
    assert (await office.show(real["redact_id"]))["params"]["dry_run"] is False


@ensureDeferred
async def test_other_orders(office: Office) -> None:
    """As admin clients page through a list: `from` counts rows, each column both ways; the rest is 400."""
    ids = [await office.ask(steps) for steps in (1, 2, 3, 4, 5)]
    await office.queue.cancel(ids[2])

    async def page(query: str) -> tuple[list[str], str | None]:
        answer = await office.get(f"{TASKS}?{query}")
        return [task["id"] for task in answer["scheduled_tasks"]], answer.get("next_token")

    ordered = sorted(ids, reverse=True)
    assert await page("from=0&limit=50&order_by=id&dir=b") == (ordered, None)
    assert await page("from=0&limit=3&order_by=id&dir=b") == (ordered[:3], "3")
    assert await page("from=3&limit=3&order_by=id&dir=b") == (ordered[3:], None)
    assert await page("order_by=id&limit=9") == (ordered[::-1], None)
    assert (await page("order_by=status&status=cancelled"))[0] == [ids[2]]
    by_time, _ = await page("limit=50")
    assert (await page("from=2&limit=2"))[0] == by_time[2:4]
    assert (await page("dir=b"))[0] == by_time[::-1]
    for column in ("action", "timestamp_ms", "resource_id", "result", "error"):
        assert set((await page(f"order_by={column}&dir=f"))[0]) == set(ids)
    for wrong in ("order_by=owner", "order_by=id&dir=x", "order_by=id&from=x", f"from={10**12}"):
        assert await office.refusal("GET", f"{TASKS}?{wrong}") == (400, "M_INVALID_PARAM")


@ensureDeferred
async def test_what_the_server_does_by_itself(office: Office) -> None:
    """`periodic` tells it from what people asked for, with and without an order; what is no boolean is refused."""
    by_itself = (
        await office.queue.enqueue(NOOP, NoopParams(steps=1), requester=PERIODIC, endpoint=PERIODIC)
    ).id
    first, second = await office.ask(), await office.ask()
    await office.execute("UPDATE scheduled_tasks SET created_at = created_at - 1000")
    third = await office.ask()

    async def listed(query: str) -> list[str]:
        return [task["id"] for task in (await office.get(f"{TASKS}?{query}"))["scheduled_tasks"]]

    assert await listed("periodic=true") == [by_itself]
    assert set(await listed("periodic=false")) == {first, second, third}
    newest = await listed("periodic=false&order_by=created_ts&dir=b")
    assert (newest[0], set(newest)) == (third, {first, second, third})
    assert len(await listed("limit=10")) == 4
    assert await office.server.refusal("GET", f"{TASKS}?periodic=x", None, office.token) == (
        400,
        "M_INVALID_PARAM",
    )
