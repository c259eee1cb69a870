"""The audit trail, and requests that are sent twice, over HTTP."""

from typing import Any

import pytest
from attrs import define
from pytest_twisted import ensureDeferred

from synapse_lite.handlers.audit import AuditLog, without_secrets
from synapse_lite.http.access import Access
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route
from synapse_lite.rest.admin.audited import audited
from synapse_lite.tasks import periodic
from synapse_lite.tasks.outcome import Done, Next
from synapse_lite.tasks.specs import TaskView
from tests.server import TestServer

LOG = "/_synapse/admin/v1/audit_log"
USER = "/_synapse/admin/v1/user/@spam:hs.test/redact"


@define
class Office:
    server: TestServer
    token: str

    async def log(self, query: str = "") -> list[Any]:
        answer = await self.server.ok("GET", f"{LOG}{query}", token=self.token)
        entries: list[Any] = answer["entries"]
        return entries

    async def redact(self, key: str = "", **body: Any) -> tuple[int, Any]:
        headers = {"Idempotency-Key": key} if key else {}
        answer = await self.server.call("POST", USER, {"rooms": [], **body}, self.token, headers)
        return answer.status, answer.json()


async def office(server: TestServer) -> Office:
    return Office(server, await server.user("admin", is_admin=True))


@ensureDeferred
async def test_a_change_is_written_down(server: TestServer) -> None:
    """Who, from where, what, and what came of it; what only reads is not."""
    here = await office(server)
    status, answer = await here.redact(reason="spam")
    (entry,) = await here.log()
    assert status == 200
    assert entry.pop("ts") <= entry.pop("finished_ts")
    assert {**entry, "id": 1, "ip": "", "user_agent": ""} == {
        "id": 1,
        "user_id": "@admin:hs.test",
        "ip": "",
        "user_agent": "",
        "method": "POST",
        "path": USER,
        "request": {"rooms": [], "reason": "spam"},
        "status": 200,
        "response": answer,
    }


@ensureDeferred
async def test_refusals_and_faults_are_written_down_too(server: TestServer) -> None:
    """With their status and error; what nobody was let in for is not."""
    here = await office(server)
    await here.redact(limit=-1)
    entry = (await here.log())[0]
    assert (entry["status"], entry["response"]["errcode"]) == (400, "M_UNKNOWN")
    assert await server.refusal("POST", USER, {"rooms": []}) == (401, "M_MISSING_TOKEN")
    user = await server.user("user")
    assert await server.refusal("POST", USER, {"rooms": []}, user) == (403, "M_FORBIDDEN")
    assert len(await here.log()) == 1


@ensureDeferred
async def test_the_trail_is_paged_and_filtered(server: TestServer) -> None:
    """Newest first or oldest first, by user and time, each entry once."""
    here = await office(server)
    for number in range(5):
        await here.redact(limit=-1 - number)
    newest = [entry["request"]["limit"] for entry in await here.log()]
    assert newest == [-5, -4, -3, -2, -1]
    oldest = [entry["request"]["limit"] for entry in await here.log("?dir=f")]
    assert oldest == newest[::-1]
    paged, token = [], ""
    while True:
        answer = await server.ok("GET", f"{LOG}?limit=2{token}", token=here.token)
        paged += [entry["request"]["limit"] for entry in answer["entries"]]
        if "next_token" not in answer:
            break
        token = f"&from={answer['next_token']}"
    assert paged == newest
    assert await here.log("?user_id=@other:hs.test") == []
    middle = (await here.log())[2]["ts"]
    since, until = await here.log(f"?since_ts={middle}"), await here.log(f"?until_ts={middle}")
    assert (len(since), len(until)) == (3, 3)
    for wrong in ("?from=x", "?dir=x", "?since_ts=x", f"?from={'9' * 19}"):
        assert await server.refusal("GET", f"{LOG}{wrong}", None, here.token) == (400, "M_INVALID_PARAM")


def test_secrets_are_left_out() -> None:
    """However deep in the request they are."""
    body = {"password": "x", "list": [{"access_token": "y", "name": "n"}], "deep": {"auth": {"a": 1}}}
    assert without_secrets(body) == {
        "password": "(hidden)",
        "list": [{"access_token": "(hidden)", "name": "n"}],
        "deep": {"auth": "(hidden)"},
    }


@ensureDeferred
@pytest.mark.parametrize("depth", [90, 300, 900])
async def test_no_body_is_too_deep_to_be_written_down(server: TestServer, depth: int) -> None:
    """What is refused for its depth is told of by its size."""
    here = await office(server)
    body = b'{"rooms": [], "reason": null, "deep": ' + b"[" * depth + b"]" * depth + b"}"
    answer = await server.call("POST", USER, body, here.token)
    (entry,) = await here.log()
    if depth < 100:
        assert (answer.status, entry["request"].keys()) == (200, {"rooms", "reason", "deep"})
    else:
        assert (answer.status, entry["request"]) == (400, {"malformed": len(body)})


@ensureDeferred
async def test_what_dies_over_a_change_leaves_its_beginning(server: TestServer) -> None:
    """The entry is there before the change, and has no end when the process had none; faults are 500."""
    here = await office(server)
    seen: list[Any] = []

    async def look(_request: Any, _requester: Any) -> Any:
        seen.extend(await here.log())
        raise ZeroDivisionError

    async def answer(_request: Any, _requester: Any) -> Response:
        return Response(202, {})

    routes = [
        Route("POST", "/_synapse/admin/v1/look", look, Access.ADMIN),
        Route("PUT", "/_synapse/admin/v1/answer", answer, Access.ADMIN),
    ]
    server.add_routes(audited(routes, AuditLog(server.database, server.clock)))
    assert (await server.call("POST", "/_synapse/admin/v1/look", {}, here.token)).status == 500
    assert [(entry["status"], entry["finished_ts"]) for entry in seen] == [(None, None)]
    assert (await here.log())[0]["status"] == 500
    assert (await server.call("PUT", "/_synapse/admin/v1/answer", {}, here.token)).status == 202
    assert (await here.log())[0]["status"] == 202


@ensureDeferred
async def test_a_repeated_request_starts_no_second_task(server: TestServer) -> None:
    """With the same key the answer is the first one's, also when its task has ended; another request is refused."""
    here = await office(server)
    first = await here.redact("key")
    assert await here.redact("key") == first
    await server.core.queue.cancel(first[1]["redact_id"])
    assert await here.redact("key") == first
    status, other = await here.redact("other")
    assert status == 200
    assert other != first[1]
    status, refused = await here.redact("key", reason="another")
    assert (status, refused["errcode"]) == (422, "M_INVALID_PARAM")
    tasks = (await server.core.queue.find(actions=["redact_all_events"])).tasks
    assert len(tasks) == 2
    for wrong in ("x" * 256, "a\tb"):
        assert (await here.redact(wrong))[0] == 400


@ensureDeferred
async def test_a_key_is_for_one_request(server: TestServer) -> None:
    """Another user, another path, another query: whatever differs is another request, and starts nothing."""
    here = await office(server)
    statuses = []
    for path in (
        *("prune_devices?dry_run=false", "prune_devices?dry_run=false", "prune_devices", "delete_old_otks"),
        "user/@ham:hs.test/redact",
    ):
        body, headers = {"rooms": [], "before_ts": 10**12}, {"Idempotency-Key": "key"}
        answer = await server.call("POST", f"/_synapse/admin/v1/{path}", body, here.token, headers)
        statuses.append(answer.status)
    assert statuses == [200, 200, 422, 422, 422]
    tasks = (
        await server.core.queue.find(actions=["prune_devices", "delete_old_otks", "redact_all_events"])
    ).tasks
    assert len(tasks) == 1


@ensureDeferred
async def test_without_a_key_each_request_is_one_of_its_own(server: TestServer) -> None:
    """As before: a second redaction of a user is refused while the first one is pending."""
    here = await office(server)
    assert (await here.redact())[0] == 200
    assert (await here.redact())[0] == 400


@ensureDeferred
async def test_a_retry_may_be_repeated(server: TestServer) -> None:
    """From the start with a key: one new task, however often it is asked for."""
    here = await office(server)
    _, answer = await here.redact()
    task_id = answer["redact_id"]
    await server.core.queue.cancel(task_id)
    path = f"/_synapse/admin/v1/scheduled_tasks/{task_id}/retry"
    ids = set()
    for _ in range(3):
        again = await server.call("POST", path, {"from": "start"}, here.token, {"Idempotency-Key": "k"})
        ids.add(again.json()["id"])
    assert len(ids) == 1
    assert task_id not in ids


@ensureDeferred
async def test_the_trail_is_kept_as_configured(server: TestServer) -> None:
    """Entries older than the retention go; without one all stay."""
    here = await office(server)
    await here.redact(limit=-1)
    await here.redact(limit=-2)
    entry = (await here.log())[0]
    await server.database.transact(
        lambda txn: txn.execute("UPDATE audit_log SET ts = 5 WHERE audit_nid <> %s", (entry["id"],))
    )

    async def expire(retention_ms: int | None) -> Any:
        cleanup = periodic.expire_audit_log(server.clock, retention_ms)
        cursor: Any = None
        while True:
            task: Any = TaskView("id", None, cursor, 0, None, 0, 10, "")
            outcome = await server.database.transact(cleanup.step, task)
            if isinstance(outcome, Done):
                return outcome.result
            assert isinstance(outcome, Next)
            cursor = outcome.cursor

    assert await expire(None) == {}
    assert await expire(1_000_000) == {"entries": 1}
    assert await here.log() == [entry]


@ensureDeferred
async def test_many_users_are_redacted_by_one_request(server: TestServer) -> None:
    """One task with a part for each user; its parts are listed, and malformed requests are refused."""
    here = await office(server)
    path = "/_synapse/admin/v1/redact"
    users = ["@a:hs.test", "@b:hs.test", "@a:hs.test"]
    answer = await server.ok("POST", path, {"users": users, "reason": "spam"}, here.token)
    tasks = "/_synapse/admin/v1/scheduled_tasks"
    task = await server.ok("GET", f"{tasks}/{answer['task_id']}", token=here.token)
    assert task["action"] == "redact_users"
    assert task["params"]["user_ids"] == ["@a:hs.test", "@b:hs.test"]
    assert task["children"] == {"pending": 0, "complete": 0, "failed": 0, "cancelled": 0}
    assert (await server.ok("GET", f"{tasks}?parent_id={task['id']}", token=here.token))[
        "scheduled_tasks"
    ] == []
    for body, errcode in (
        ({}, "M_MISSING_PARAM"),
        ({"users": []}, "M_BAD_JSON"),
        ({"users": ["@a:hs.test"] * 10_001}, "M_BAD_JSON"),
        ({"users": ["nobody"]}, "M_INVALID_PARAM"),
        ({"users": ["@a:hs.test"], "limit": -1}, "M_UNKNOWN"),
    ):
        assert await server.refusal("POST", path, body, here.token) == (400, errcode)
