"""What holds for every task there is, and for every request that starts one: read from the catalogue and the routes."""

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import BaseModel
from pytest_twisted import ensureDeferred

from synapse_lite.handlers import room_deletion
from synapse_lite.handlers.media import admin as media_admin
from synapse_lite.http.access import Access
from synapse_lite.http.router import Route
from synapse_lite.replication.bus import LocalBus
from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.actions.expired_messages import PURGE_EXPIRED_MESSAGES
from synapse_lite.tasks.actions.noop import NOOP
from synapse_lite.tasks.actions.purge_room import PURGE_ROOM
from synapse_lite.tasks.actions.withdraw_invites import WITHDRAW_INVITES
from synapse_lite.tasks.queue import TaskQueue
from synapse_lite.tasks.registry import CATALOGUE, Binding
from synapse_lite.tasks.specs import TaskSpec
from tests.builders import SERVER
from tests.rest.admin_server import V1, AdminServer

TASKS = f"{V1}/scheduled_tasks"
USER, ROOM, ADMIN, OTHER = f"@alice:{SERVER}", "!room", f"@admin:{SERVER}", f"@other:{SERVER}"
SAMPLES: Mapping[str, Any] = {
    "user_id": USER,
    "user_ids": (USER,),
    "room_id": ROOM,
    "room_ids": (ROOM,),
    "redaction": {"user_id": USER},
    "erasure": {"user_id": USER},
    "shutdown": {"room_id": ROOM},
    "before_ts": 1,
    "job_name": "populate_stats_process_rooms",
    "name": "all",
    "steps": 2,
    "servers": ("other.test",),
    "content": {},
    "up_to_stream_id": 1,
}
"""Values of params, by name."""

BODIES: Mapping[str, Any] = {
    "/redact": {"users": [USER]},
    "/erase_users": {"users": [USER]},
    "/user/{user_id}/redact": {"rooms": []},
    "/prune_devices": {"before_ts": 10**12},
    "/background_updates/start_job": {"job_name": "populate_stats_process_rooms"},
    "/shutdown_rooms": {"rooms": ["!room"]},
    "/users/{user_id}": {"deactivated": True},
    "/purge_history/{room_id}": {"purge_up_to_ts": "now"},
    "/rooms/{room_id}": {"purge": True},
    "/rooms/{room_id}/delete": {"purge": True},
    "/admin/lock/{user_id}": {"locked": False},
    "/admin/suspend/{user_id}": {"suspended": False},
}
"""Where an empty body says too little."""

BEFORE_NOW = {"/media/delete", "/media/{server_name}/delete", "/purge_media_cache"}
"""Requests that want a time in their query."""

STARTING = {
    *(
        f"POST /v1/{path}"
        for path in ("prune_devices", "delete_old_otks", "redact", "erase_users", "shutdown_rooms")
    ),
    *(f"POST /v1/{path}" for path in ("media/delete", "media/{server_name}/delete", "purge_media_cache")),
    *(
        f"POST /v1/{kind}/media/quarantine"
        for kind in ("user/{user_id}", "room/{room_id}", "server/{server_name}")
    ),
    *("POST /v1/quarantine_media/{room_id}", "POST /v1/quarantine_media/undo/{task_id}"),
    *("DELETE /v1/rooms/{room_id}", "DELETE /v2/rooms/{room_id}"),
    *("POST /v1/purge_history/{room_id}", "POST /v1/purge_history/{room_id}/{event_id}"),
    *("PUT /v2/users/{user_id}", "POST /v1/deactivate/{user_id}", "POST /v1/users/{user_id}/erase"),
    *("POST /v1/user/{user_id}/redact", "POST /v1/background_updates/start_job"),
}
"""Requests that start a task as they are made here. A repetition of a task is one more (`tests/rest/test_audit.py`)."""

BEGIN_BY_THEMSELVES = {
    NOOP.action: "tests",
    PURGE_ROOM.action: "a room that everybody has forgotten",
    PURGE_EXPIRED_MESSAGES.action: "the clock",
    WITHDRAW_INVITES.action: "the end of a redaction",
}
"""What starts the tasks that need an administrator, and that no request asks for."""


def specs() -> list[TaskSpec[Any, Any]]:
    return [entry.spec for entry in CATALOGUE if isinstance(entry, Binding)]


def sample(params: type[BaseModel]) -> BaseModel:
    required = {name for name, field in params.model_fields.items() if field.is_required()}
    return params.model_validate({name: SAMPLES.get(name, "x") for name in required} | _choice(params))


def _choice(params: type[BaseModel]) -> dict[str, Any]:
    """Of params of which one must be given."""
    return {"room_id": ROOM} if "undo_of" in params.model_fields else {}


@ensureDeferred
async def test_every_task_can_be_followed_cancelled_and_retried(server: AdminServer) -> None:
    """Who asked and through what; how long it will take, as soon as it has come somewhere; again, from both ends."""
    queue = TaskQueue(server.database, LocalBus())
    for spec in specs():
        task_id = (await queue.enqueue(spec, sample(spec.params), requester=OTHER, endpoint="a test")).id
        path = f"{TASKS}/{task_id}"
        shown = await server.admin("GET", path)
        assert (shown["requester"], shown["endpoint"], shown["eta_ms"]) == (OTHER, "a test", None), spec
        assert [event["kind"] for event in shown["history"]] == ["enqueued"], spec
        await server.database.transact(_come_halfway, task_id)
        assert 0 < (await server.admin("GET", path))["eta_ms"] < 60_000, spec
        await server.database.transact(_fail, task_id)
        again = await server.admin("POST", f"{path}/retry", {"from": "cursor"})
        assert (again["id"], again["status"], again["requester"]) == (task_id, "scheduled", ADMIN), spec
        assert (await server.admin("POST", f"{path}/cancel"))["status"] == "cancelled", spec
        new = await server.admin("POST", f"{path}/retry", {"from": "start"})
        assert new["id"] != task_id, spec
        assert (new["action"], new["status"], new["requester"]) == (spec.action, "scheduled", ADMIN), spec
        assert (await server.admin("POST", f"{TASKS}/{new['id']}/cancel"))["status"] == "cancelled", spec


def _come_halfway(txn: Transaction, task_id: str) -> None:
    """A process has worked on it for ten seconds."""
    txn.execute(
        "UPDATE scheduled_tasks SET status = 'active', owner = 'w#1', done = 5, total = 10, claimed_done = 0,"
        " claimed_at = now_ms() - 10000, updated_at = now_ms() WHERE id = %s",
        (task_id,),
    )


def _fail(txn: Transaction, task_id: str) -> None:
    txn.execute(
        "UPDATE scheduled_tasks SET status = 'failed', owner = NULL, error = 'no', finished_at = now_ms() WHERE id = %s",
        (task_id,),
    )


async def started(server: AdminServer) -> dict[str, str]:
    rows = await server.database.read(lambda txn: txn.rows("SELECT id, action FROM scheduled_tasks"))
    return dict(rows)


def routes(server: AdminServer) -> list[Route]:
    return [route for route in server.routes if route.access is Access.ADMIN and route.method != "GET"]


@ensureDeferred
async def test_every_request_is_written_down_and_starts_its_task_once(
    server: AdminServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever an administrator changes is one entry of the audit trail; sent again with its key, the same task is told of.

    Every task that needs an administrator is asked for by one of them, or begins by itself.
    """
    for waits in (media_admin, room_deletion):
        monkeypatch.setattr(waits, "PATIENCE_SECONDS", 0.0)  # nobody runs the tasks
    alice = await server.user("alice")
    room = (await server.room(alice)).removeprefix("rooms/")
    values = {"user_id": USER, "room_id": room, "server_name": SERVER}
    values["event_id"] = await server.database.read(_newest_event)
    asked, starting = set[str](), set[str]()
    for number, route in enumerate(routes(server)):
        path = "/".join(
            values.get(part[1:-1], "x") if part.startswith("{") else part for part in route.pattern.split("/")
        )
        suffix = route.pattern.split("/v1", 1)[-1].split("/v2", 1)[-1]
        now = server.clock.now_ms()
        named = {"!room": room, "now": now}
        body = {
            name: [named.get(one, one) for one in value]
            if isinstance(value, list)
            else named.get(value, value)
            for name, value in BODIES.get(suffix, {}).items()
        }
        query = f"?before_ts={now}" if suffix in BEFORE_NOW else ""
        before, entries = await started(server), len(await _entries(server))
        answers = []
        for _ in range(2):
            answer = await server.call(
                route.method, path + query, body, server.token, {"Idempotency-Key": f"key {number}"}
            )
            assert answer.status in {504, *range(500)}, (route, answer.body)
            answers.append((answer.status, answer.json()))
            new = {
                task_id: action
                for task_id, action in (await started(server)).items()
                if task_id not in before
            }
            asked |= set(new.values())
            assert len(new) <= 1 or len(answers) == 1, route
            if len(answers) == 1:
                first = new
        assert new == first, (route, "a second task")
        if new:
            starting.add(f"{route.method} {route.pattern.removeprefix('/_synapse/admin')}")
            assert answers[0] == answers[1], route
            await server.database.transact(_cancel_all)
        written = (await _entries(server))[entries:]
        assert written == [(ADMIN, route.method, path)] * 2, route
    assert starting == STARTING
    for spec in specs():
        if spec.needs_admin and spec.every_seconds is None:
            assert spec.action in asked | BEGIN_BY_THEMSELVES.keys()


def _newest_event(txn: Transaction) -> str:
    return str(txn.value("SELECT event_id FROM events ORDER BY depth DESC LIMIT 1"))


def _cancel_all(txn: Transaction) -> None:
    """A request is refused while there is a task of the one before."""
    txn.execute(
        "UPDATE scheduled_tasks SET status = 'cancelled', finished_at = now_ms() WHERE finished_at IS NULL"
    )
    txn.execute("UPDATE rooms SET purging = FALSE")


async def _entries(server: AdminServer) -> list[tuple[str, str, str]]:
    return await server.database.read(
        lambda txn: txn.rows("SELECT user_id, method, path FROM audit_log ORDER BY audit_nid")
    )
