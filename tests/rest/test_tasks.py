"""The admin API of tasks, over HTTP: the contract of its clients."""

from typing import Any

import pytest
import pytest_twisted
from attrs import define
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks import Lease, Status
from synapse_lite.tasks.actions.noop import NOOP, NoopParams
from synapse_lite.tasks.queue import TOPIC, TaskQueue
from synapse_lite.tasks.specs import PERIODIC
from tests.server import TestServer

ADMIN = "/_synapse/admin/v1"
TASKS = f"{ADMIN}/scheduled_tasks"
NOOP_ACTION = f"{ADMIN}/task_actions/noop"
CAPABILITY = ("noop", 1)
FIELDS = {
    *("id", "action", "status", "timestamp_ms", "resource_id", "result", "error", "version", "progress"),
    *("attempt", "max_attempts", "priority", "runner", "runnable_by", "last_seen_runner", "waiting_reason"),
    *("requester", "endpoint", "parent_id", "cancel_requested", "created_ts", "updated_ts", "finished_ts"),
}


@define
class Office:
    """An admin who asks, and a runner whose claims and checkpoints the test makes itself."""

    server: TestServer
    token: str
    user_token: str

    @property
    def queue(self) -> TaskQueue:
        return self.server.core.queue

    async def ask(self, steps: int = 3) -> str:
        params = NoopParams(steps=steps)
        return (await self.queue.enqueue(NOOP, params, requester="@admin:hs.test", endpoint="POST /noop")).id

    async def do(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return await self.server.database.transact(function, *args, **kwargs)

    async def register(self, runner: str = "w#1") -> None:
        await self.do(store.register_runner, runner, runner.partition("#")[0], [CAPABILITY], 60_000)

    async def claim(self, runner: str = "w#1") -> Lease:
        claimed = await self.do(store.claim, runner, [CAPABILITY], [])
        assert claimed is not None
        return claimed.lease

    async def execute(self, sql: str) -> None:
        await self.do(lambda txn: txn.execute(sql))

    async def get(self, path: str) -> Any:
        return await self.server.ok("GET", path, token=self.token)

    async def show(self, task_id: str) -> Any:
        return await self.get(f"{TASKS}/{task_id}")

    async def post(self, path: str, body: Any = None) -> Any:
        return await self.server.ok("POST", path, {} if body is None else body, self.token)

    async def put(self, body: Any, path: str = NOOP_ACTION) -> Any:
        return await self.server.ok("PUT", path, body, self.token)

    async def refusal(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        return await self.server.refusal(method, path, body, self.token)


@pytest.fixture
def office(server: TestServer) -> Office:
    async def open_office() -> Office:
        user_token = await server.register("user")
        token = await server.register("admin")
        await server.make_admin("@admin:hs.test")
        return Office(server, token, user_token)

    office: Office = pytest_twisted.blockon(Deferred.fromCoroutine(open_office()))
    return office


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
            store.record_item(txn, task_id, item, outcome)

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


async def run_to_failure(office: Office) -> str:
    """A task that has done two steps and then failed."""
    task_id = await office.ask()
    await office.register()
    lease = await office.claim()

    def work(txn: Transaction) -> None:
        store.checkpoint(txn, lease, '{"step": 2}', done=2, phase="half", total=3)
        store.record_item(txn, task_id, "x", "failed")
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


@ensureDeferred
async def test_runners(office: Office) -> None:
    """Who lives and who died, what each can run, and what nobody can."""
    await office.register("w#1")
    await office.register("v#1")
    await office.ask()
    await office.claim("w#1")
    await office.execute("UPDATE task_runners SET expires_at = now_ms() - 1 WHERE name = 'v'")
    await office.execute("INSERT INTO task_actions_seen VALUES ('other', 2, 'old', 1)")
    await office.ask()
    await office.execute(
        "UPDATE scheduled_tasks SET action = 'other', version = 2, run_at = 5 WHERE owner IS NULL"
    )
    answer = await office.get(f"{ADMIN}/task_runners")
    dead, living = answer["runners"]
    assert set(living) == {"name", "runner", "alive", "started_ts", "expires_ts", "running", "actions"}
    assert (dead["name"], dead["alive"], dead["running"]) == ("v", False, 0)
    assert (living["runner"], living["alive"], living["running"]) == ("w#1", True, 1)
    assert living["actions"] == [{"action": "noop", "version": 1}]
    assert answer["unserved"] == [
        {"action": "other", "version": 2, "count": 1, "oldest_ts": 5, "last_seen_runner": "old"}
    ]


@ensureDeferred
async def test_followers(office: Office) -> None:
    """Who follows the stream, how far, and who holds it up; a follower is paused and resumed."""
    await office.register()
    await office.execute(
        "INSERT INTO followers (name, shard, position, owner, seen_at, updated_at)"
        " SELECT 'ahead', 0, position, 'w#1', 1, 7 FROM stream_position"
        " UNION ALL SELECT 'behind', 0, position - 1, NULL, 1, 7 FROM stream_position"
    )
    ahead, behind = (await office.get(f"{ADMIN}/task_runners"))["followers"]
    position = ahead.pop("position")
    assert ahead == {
        "name": "ahead",
        "shard": 0,
        "runner": "w#1",
        "alive": True,
        "lag": 0,
        "slowest": False,
        "paused": False,
        "attempt": 0,
        "error": None,
        "updated_ts": 7,
    }
    assert (behind["position"], behind["lag"], behind["slowest"]) == (position - 1, 1, True)
    assert (behind["runner"], behind["alive"]) == (None, False)
    path = f"{ADMIN}/task_followers/ahead"
    for paused in (True, False):
        (shown,) = (await office.put({"paused": paused}, path))["followers"]
        assert (shown["name"], shown["paused"]) == ("ahead", paused)
    assert await office.refusal("PUT", f"{ADMIN}/task_followers/none", {"paused": True}) == (
        404,
        "M_NOT_FOUND",
    )
    assert await office.refusal("PUT", path, {"paused": "yes"}) == (400, "M_BAD_JSON")


@ensureDeferred
async def test_actions(office: Office) -> None:
    """What is known about each action; a change of one setting leaves the other, and wakes schedulers."""
    await office.register()
    await office.ask()
    await office.ask()
    await office.claim()
    state = {
        "action": "noop",
        "versions": [1],
        "paused": False,
        "max_running": None,
        "pending": 1,
        "active": 1,
        "runnable_by": ["w"],
    }
    assert await office.get(f"{ADMIN}/task_actions") == {"actions": [state]}
    wake_ups: list[str] = []
    office.server.bus.subscribe(TOPIC, wake_ups.append)
    assert await office.put({"max_running": 2}) == {**state, "max_running": 2}
    assert wake_ups
    assert await office.put({"paused": True}) == {**state, "paused": True, "max_running": 2}
    assert await office.put({"max_running": None}) == {**state, "paused": True}
    assert await office.put({}) == {**state, "paused": True}
    assert await office.get(NOOP_ACTION) == {**state, "paused": True}


@ensureDeferred
async def test_controls_are_checked(office: Office) -> None:
    """No limit below one, no other types, no actions that nobody knows."""
    await office.register()
    for body in (
        {"max_running": 0},
        {"max_running": "2"},
        {"max_running": 2**40},
        {"paused": 1},
        {"paused": None},
    ):
        assert await office.refusal("PUT", NOOP_ACTION, body) == (400, "M_BAD_JSON")
    unknown = f"{ADMIN}/task_actions/unknown"
    assert await office.refusal("PUT", unknown, {"paused": True}) == (404, "M_NOT_FOUND")
    assert await office.refusal("GET", unknown) == (404, "M_NOT_FOUND")


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
