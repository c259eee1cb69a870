"""Deleting rooms and purging history over HTTP: Synapse's keys, types, status words and errors."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.tasks.actions.purge_history import PURGE_HISTORY
from synapse_lite.tasks.actions.purge_room import PURGE_ROOM, PurgeRoomParams
from synapse_lite.tasks.actions.shutdown_room import SHUTDOWN_AND_PURGE_ROOM
from tests.builders import SERVER
from tests.rest.admin_server import V1, V2, AdminServer
from tests.server import path_part

EARLY = 100_000_000_000  # before everything
SHUTDOWN = SHUTDOWN_AND_PURGE_ROOM


async def populated(server: AdminServer, **body: Any) -> tuple[str, str]:
    """The id of a room of Alice and Bob, and Bob's token."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, **body)
    await server.ok("POST", f"{room}/join", {}, bob)
    return room.removeprefix("rooms/"), bob


EMPTY = {"kicked_users": [], "failed_to_kick_users": [], "local_aliases": [], "new_room_id": None}


@ensureDeferred
async def test_delete_and_watch(server: AdminServer) -> None:
    """Queued, it is visible at once, by room and by id; complete, it says who was kicked."""
    room_id, _ = await populated(server, room_alias_name="a")
    delete_id = (await server.admin("DELETE", f"{V2}/rooms/{room_id}", {}))["delete_id"]
    (queued,) = (await server.admin("GET", f"{V2}/rooms/{room_id}/delete_status"))["results"]
    assert queued == await server.admin("GET", f"{V2}/rooms/delete_status/{delete_id}")
    assert {name: queued[name] for name in ("delete_id", "room_id", "status", "shutdown_room")} == {
        "delete_id": delete_id,
        "room_id": room_id,
        "status": "scheduled",
        "shutdown_room": None,
    }
    assert "error" not in queued
    await server.run_task(SHUTDOWN)
    done = await server.admin("GET", f"{V2}/rooms/delete_status/{delete_id}")
    assert done["status"] == "complete"
    assert done["shutdown_room"] == EMPTY | {"kicked_users": [f"@alice:{SERVER}", f"@bob:{SERVER}"]}
    assert done["progress"]["done"] >= done["progress"]["total"] > 0
    assert await server.refusal("GET", f"{V1}/rooms/{room_id}", None, server.token) == (404, "M_NOT_FOUND")
    assert (await server.admin("GET", f"{V1}/rooms"))["total_rooms"] == 0


@ensureDeferred
async def test_into_a_new_room(server: AdminServer) -> None:
    """The members are in it, its name and first message are what was asked for, aliases lead to it."""
    room_id, bob = await populated(server, room_alias_name="a")
    await server.user("warden")
    body = {
        "new_room_user_id": f"@warden:{SERVER}",
        "room_name": "New home",
        "message": "Read the rules.",
        "block": True,
    }
    delete_id = (await server.admin("DELETE", f"{V2}/rooms/{path_part(room_id)}", body))["delete_id"]
    await server.run_task(SHUTDOWN)
    result = (await server.admin("GET", f"{V2}/rooms/delete_status/{delete_id}"))["shutdown_room"]
    new_room_id = result["new_room_id"]
    assert result == EMPTY | {
        "kicked_users": [f"@alice:{SERVER}", f"@bob:{SERVER}"],
        "local_aliases": [f"#a:{SERVER}"],
        "new_room_id": new_room_id,
    }
    details = await server.admin("GET", f"{V1}/rooms/{new_room_id}")
    assert (details["name"], details["joined_members"], details["join_rules"]) == ("New home", 3, "public")
    levels = await server.ok("GET", f"rooms/{new_room_id}/state/m.room.power_levels", None, bob)
    assert levels["users_default"] == -10
    history = await server.ok("GET", f"rooms/{new_room_id}/messages?dir=b&limit=1", None, bob)
    assert history["chunk"][0]["content"] == {"msgtype": "m.text", "body": "Read the rules."}
    alias = await server.ok("GET", f"directory/room/{path_part(f'#a:{SERVER}')}", None, bob)
    assert alias["room_id"] == new_room_id
    assert (await server.admin("GET", f"{V1}/rooms/{room_id}/block"))["block"] is True


@ensureDeferred
async def test_one_at_a_time(server: AdminServer) -> None:
    """While a deletion is pending another is refused, and told which; a dry run is not."""
    room_id, _ = await populated(server)
    path = f"{V2}/rooms/{room_id}"
    delete_id = (await server.admin("DELETE", path, {}))["delete_id"]
    answer = await server.call("DELETE", path, {}, server.token)
    assert (answer.status, answer.json()) == (
        400,
        {"errcode": "M_UNKNOWN", "error": f"Purge already in progress for {room_id}", "delete_id": delete_id},
    )
    await server.admin("DELETE", path, {"dry_run": True})
    await server.run_task(SHUTDOWN)
    assert (await server.admin("DELETE", path, {}))["delete_id"] != delete_id


@ensureDeferred
async def test_a_dry_run_answers_in_its_result(server: AdminServer) -> None:
    """Rows by table, and members; nothing has happened."""
    room_id, bob = await populated(server)
    delete_id = (await server.admin("DELETE", f"{V2}/rooms/{room_id}", {"dry_run": True}))["delete_id"]
    await server.run_task(SHUTDOWN)
    status = await server.admin("GET", f"{V2}/rooms/delete_status/{delete_id}")
    assert (status["status"], status["result"]["members"]) == ("complete", 2)
    assert status["result"]["rows"]["memberships"] == 2
    assert status["shutdown_room"] == EMPTY
    await server.ok("GET", f"rooms/{room_id}/state", None, bob)


@ensureDeferred
async def test_refused_bodies(server: AdminServer) -> None:
    """In Synapse's words."""
    path = f"{V2}/rooms/!room:{SERVER}"
    for name in ("block", "purge", "force_purge"):
        answer = await server.call("DELETE", path, {name: "yes"}, server.token)
        assert answer.json() == {
            "errcode": "M_BAD_JSON",
            "error": f"Param '{name}' must be a boolean, if given",
        }
    answer = await server.call("DELETE", path, {"new_room_user_id": "@a:elsewhere"}, server.token)
    assert answer.json() == {"errcode": "M_UNKNOWN", "error": "User must be our own: @a:elsewhere"}
    answer = await server.call("DELETE", path, {"new_room_user_id": "nonsense"}, server.token)
    assert answer.json() == {"errcode": "M_UNKNOWN", "error": "User must be our own: nonsense"}
    answer = await server.call("DELETE", path, {"new_room_user_id": f"@nobody:{SERVER}"}, server.token)
    assert answer.status == 400
    assert answer.json() == {"errcode": "M_UNKNOWN", "error": f"There is no such user: @nobody:{SERVER}"}
    answer = await server.call("DELETE", f"{V2}/rooms/nonsense", {}, server.token)
    assert answer.json() == {"errcode": "M_UNKNOWN", "error": "nonsense is not a legal room ID"}
    assert await server.refusal("DELETE", path, b"", server.token) == (400, "M_NOT_JSON")


@ensureDeferred
async def test_unknown_ids(server: AdminServer) -> None:
    """404 for what is no deletion, also for tasks of another kind."""
    purge_id = await server.steps.ask(PURGE_HISTORY, PURGE_HISTORY.params(room_id="!r:x", depth=1))
    for task_id in ("unknown", purge_id):
        answer = await server.call("GET", f"{V2}/rooms/delete_status/{task_id}", None, server.token)
        assert answer.json() == {"errcode": "M_NOT_FOUND", "error": f"delete id '{task_id}' not found"}
    answer = await server.call("GET", f"{V2}/rooms/!r:x/delete_status", None, server.token)
    assert answer.json() == {
        "errcode": "M_NOT_FOUND",
        "error": "No delete task for room_id '!r:x' found",
    }
    assert await server.refusal("GET", f"{V2}/rooms/nonsense/delete_status", None, server.token) == (
        400,
        "M_UNKNOWN",
    )
    purge_room = await server.steps.ask(PURGE_ROOM, PurgeRoomParams(room_id="!r:x"))
    assert (await server.admin("GET", f"{V2}/rooms/delete_status/{purge_room}"))["shutdown_room"] is None


@ensureDeferred
async def test_failed_and_cancelled_say_why(server: AdminServer) -> None:
    """`error` is there when there is one."""
    room_id, _ = await populated(server)
    failed = await server.steps.ask(PURGE_ROOM, PurgeRoomParams(room_id=room_id))
    await server.run_task(PURGE_ROOM)
    status = await server.admin("GET", f"{V2}/rooms/delete_status/{failed}")
    assert (status["status"], status["error"]) == ("failed", "Users are still joined to this room")
    cancelled = (await server.admin("DELETE", f"{V2}/rooms/{room_id}", {}))["delete_id"]
    await server.steps.queue.cancel(cancelled)
    status = await server.admin("GET", f"{V2}/rooms/delete_status/{cancelled}")
    assert (status["status"], status["error"]) == ("cancelled", "The task was cancelled.")


@ensureDeferred
async def test_the_old_way_waits(server: AdminServer) -> None:
    """The answer comes when the task has ended, with its result; a second request joins the first."""
    room_id, _ = await populated(server)
    answers = [Deferred.fromCoroutine(server.admin("DELETE", f"{V1}/rooms/{room_id}", {})) for _ in range(2)]
    await server.admin("GET", f"{V1}/rooms")  # both are waiting by now
    while not (await server.steps.queue.find()).tasks:
        await server.admin("GET", f"{V1}/rooms")
    for _ in range(5):  # of both, as their statements were sent before these
        await server.admin("GET", f"{V1}/rooms")
    await server.run_task(SHUTDOWN)
    kicked = EMPTY | {"kicked_users": [f"@alice:{SERVER}", f"@bob:{SERVER}"]}
    for answer in answers:
        assert await answer == kicked
    assert len((await server.steps.queue.find()).tasks) == 1


@ensureDeferred
async def test_the_old_way_has_a_deadline(server: AdminServer) -> None:
    """Who has waited too long learns where to look; the task goes on."""
    room_id, _ = await populated(server)
    asked = Deferred.fromCoroutine(server.call("DELETE", f"{V1}/rooms/{room_id}", {}, server.token))
    while not asked.called:
        await server.admin("GET", f"{V1}/rooms")
        server.clock.advance(100)
    answer = await asked
    assert answer.status == 504
    delete_id = answer.json()["delete_id"]
    await server.run_task(SHUTDOWN)
    assert (await server.admin("GET", f"{V2}/rooms/delete_status/{delete_id}"))["status"] == "complete"


# Purge history


async def say(server: AdminServer, room_id: str, token: str, count: int) -> list[str]:
    return [
        (
            await server.ok(
                "PUT",
                f"rooms/{room_id}/send/m.room.message/{n}",
                {"msgtype": "m.text", "body": str(n)},
                token,
            )
        )["event_id"]
        for n in range(count)
    ]


@pytest.mark.parametrize("way", ["path", "event", "time"])
@ensureDeferred
async def test_purge_history(server: AdminServer, way: str) -> None:
    """Up to an event or a time; its status; and pages that end at the edge."""
    room_id, bob = await populated(server)
    events = await say(server, room_id, bob, 6)
    path, body = f"{V1}/purge_history/{room_id}", {"delete_local_events": True}
    if way == "path":
        path += f"/{path_part(events[4])}"
    elif way == "event":
        body |= {"purge_up_to_event_id": events[4], "purge_up_to_ts": EARLY}
    else:
        received = await server.steps.do(
            lambda txn: txn.value("SELECT received_ts FROM events WHERE event_id = %s", (events[4],))
        )
        body |= {"purge_up_to_ts": received}
    purge_id = (await server.admin("POST", path, body))["purge_id"]
    status_path = f"{V1}/purge_history_status/{purge_id}"
    assert (await server.admin("GET", status_path))["status"] == "active"
    await server.run_task(PURGE_HISTORY)
    status = await server.admin("GET", status_path)
    assert (status["status"], "error" in status) == ("complete", False)
    assert status["result"]["local_events"] == 4
    history = await server.ok("GET", f"rooms/{room_id}/messages?dir=b&limit=50", None, bob)
    assert [event["event_id"] for event in history["chunk"]] == [events[5], events[4]]
    assert "end" not in history
    whole = await server.ok("GET", f"rooms/{room_id}/state", None, bob)
    assert {event["type"] for event in whole} >= {"m.room.create", "m.room.member", "m.room.power_levels"}
    assert await server.refusal("GET", f"rooms/{room_id}/event/{events[0]}", None, bob) == (
        404,
        "M_NOT_FOUND",
    )


@ensureDeferred
async def test_refused_points(server: AdminServer) -> None:
    """In Synapse's words."""
    room_id, bob = await populated(server)
    (event_id,) = await say(server, room_id, bob, 1)
    carol = await server.user("carol")
    other = (await server.room(carol)).removeprefix("rooms/")
    path = f"{V1}/purge_history/{room_id}"
    for where, body, status, errcode, text in (
        (path, b"", 400, "M_BAD_JSON", "must specify purge_up_to_event_id or purge_up_to_ts"),
        (path, {"purge_up_to_ts": "1"}, 400, "M_BAD_JSON", "purge_up_to_ts must be an int"),
        (path, {"purge_up_to_ts": True}, 400, "M_BAD_JSON", "purge_up_to_ts must be an int"),
        (path, {"purge_up_to_ts": EARLY}, 404, "M_NOT_FOUND", "there is no event to be purged"),
        (f"{path}/$unknown", {}, 404, "M_NOT_FOUND", "Event not found."),
        (f"{V1}/purge_history/{other}/{event_id}", {}, 400, "M_UNKNOWN", "Event is for wrong room."),
        (
            f"{V1}/purge_history/x",
            {"purge_up_to_ts": EARLY},
            404,
            "M_NOT_FOUND",
            "there is no event to be purged",
        ),
        (f"{V1}/purge_history/x/{event_id}", {}, 400, "M_UNKNOWN", "Event is for wrong room."),
    ):
        answer = await server.call("POST", where, body, server.token)
        assert (answer.status, answer.json()) == (status, {"errcode": errcode, "error": text})
    refusal = await server.refusal("POST", path, {"purge_up_to_event_id": "$\0"}, server.token)
    assert refusal == (400, "M_INVALID_PARAM")
    answer = await server.call("GET", f"{V1}/purge_history_status/x", None, server.token)
    assert answer.json() == {"errcode": "M_NOT_FOUND", "error": "purge id 'x' not found"}
