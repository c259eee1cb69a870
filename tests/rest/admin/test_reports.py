"""What users report, and what the operators see of it."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.tasks.actions.deactivate_user import DEACTIVATE_USER
from synapse_lite.tasks.actions.shutdown_room import SHUTDOWN_AND_PURGE_ROOM
from tests.builders import SERVER
from tests.rest.admin_server import V1, V2, AdminServer
from tests.rest.conftest import BuildServer

NOT_FOUND = (404, "M_NOT_FOUND")
INVALID = (400, "M_INVALID_PARAM")
EVENT_FIELDS = {
    *("id", "received_ts", "room_id", "event_id", "user_id", "score", "reason", "sender"),
    *("canonical_alias", "name"),
}
USER_FIELDS = {"id", "received_ts", "target_user_id", "user_id", "reason"}
ROOM_FIELDS = {"id", "received_ts", "room_id", "user_id", "reason", "name", "canonical_alias"}


class Scene:
    """Alice's room with a message of Bob's."""

    def __init__(self, server: AdminServer) -> None:
        self.server = server

    async def set_up(self) -> "Scene":
        self.alice, self.bob = await self.server.user("alice"), await self.server.user("bob")
        self.room = await self.server.room(self.alice, name="Hall", room_alias_name="hall")
        await self.server.ok("POST", f"{self.room}/join", {}, self.bob)
        self.event_id = await self.say("buy!", 1)
        return self

    async def say(self, text: str, txn_id: int) -> str:
        body = {"msgtype": "m.text", "body": text}
        sent = await self.server.ok("PUT", f"{self.room}/send/m.room.message/{txn_id}", body, self.bob)
        return str(sent["event_id"])

    async def report(self, event_id: str, **body: Any) -> None:
        path = f"{self.room}/report/{event_id}"
        assert await self.server.ok("POST", path, body, self.alice) == {}

    async def listed(self, name: str, query: str = "") -> Any:
        return await self.server.admin("GET", f"{V1}/{name}{query}")


@ensureDeferred
async def test_a_reported_event(server: AdminServer) -> None:
    """Who, what, where and why; by itself with the event as servers exchange it."""
    scene = await Scene(server).set_up()
    await scene.report(scene.event_id, reason="spam", score=-100)
    answer = await scene.listed("event_reports")
    assert answer.keys() == {"event_reports", "total"}
    (report,) = answer["event_reports"]
    assert report.keys() == EVENT_FIELDS
    assert type(report["id"]) is type(report["received_ts"]) is int
    assert report | {"id": 0, "received_ts": 0} == {
        "id": 0,
        "received_ts": 0,
        "room_id": scene.room.removeprefix("rooms/"),
        "event_id": scene.event_id,
        "user_id": f"@alice:{SERVER}",
        "score": -100,
        "reason": "spam",
        "sender": f"@bob:{SERVER}",
        "canonical_alias": f"#hall:{SERVER}",
        "name": "Hall",
    }
    one = await scene.listed(f"event_reports/{report['id']}")
    event = one.pop("event_json")
    assert one == report
    assert event["content"]["body"] == "buy!"
    assert {"auth_events", "prev_events", "hashes", "signatures", "depth"} <= event.keys()


@ensureDeferred
async def test_redacted_events_are_shown(server: AdminServer) -> None:
    """What was redacted after the report is what operators have to judge."""
    scene = await Scene(server).set_up()
    await scene.report(scene.event_id)
    await server.ok("PUT", f"{scene.room}/redact/{scene.event_id}/2", {}, scene.bob)
    (report,) = (await scene.listed("event_reports"))["event_reports"]
    assert (report["reason"], report["score"]) == (None, None)
    assert (await scene.listed(f"event_reports/{report['id']}"))["event_json"]["content"]["body"] == "buy!"


@ensureDeferred
async def test_pages_and_filters(server: AdminServer) -> None:
    """Newest first unless `dir=f`; by parts of the reporter and the room, by the whole sender."""
    scene = await Scene(server).set_up()
    for number in range(3):
        await scene.report(await scene.say("again", 10 + number), reason=str(number))

    def reasons(answer: Any) -> list[str]:
        return [report["reason"] for report in answer["event_reports"]]

    first = await scene.listed("event_reports", "?limit=2")
    assert (reasons(first), first["total"], first["next_token"]) == (["2", "1"], 3, 2)
    last = await scene.listed("event_reports", "?limit=2&from=2")
    assert reasons(last) == ["0"]
    assert "next_token" not in last
    assert reasons(await scene.listed("event_reports", "?dir=f")) == ["0", "1", "2"]
    for query, found in {
        "user_id=lice": 3,
        "user_id=bob": 0,
        f"room_id={scene.room[8:16]}": 3,
        f"event_sender_user_id=@bob:{SERVER}": 3,
        "event_sender_user_id=@bob": 0,
        "user_id=%25": 0,
    }.items():
        answer = await scene.listed("event_reports", f"?{query}")
        assert (len(answer["event_reports"]), answer["total"]) == (found, found), query
    for query in ("dir=x", "from=-1", "limit=x"):
        assert await server.refusal("GET", f"{V1}/event_reports?{query}", None, server.token) == INVALID


@ensureDeferred
async def test_only_members_report_events(server: AdminServer) -> None:
    """A stranger, and who left, cannot tell whether there is such an event."""
    scene = await Scene(server).set_up()
    carol = await server.user("carol")
    path = f"{scene.room}/report/{scene.event_id}"
    assert await server.refusal("POST", path, {}, carol) == NOT_FOUND
    assert await server.refusal("POST", f"{scene.room}/report/$nothing", {}, scene.alice) == NOT_FOUND
    await server.ok("POST", f"{scene.room}/leave", {}, scene.alice)
    assert await server.refusal("POST", path, {}, scene.alice) == NOT_FOUND
    assert (await scene.listed("event_reports"))["total"] == 0


@ensureDeferred
async def test_reported_rooms_and_users(server: AdminServer) -> None:
    """One need not be in the room; both ask for a reason; unknown ones are not found."""
    scene = await Scene(server).set_up()
    carol = await server.user("carol")
    bob = f"users/@bob:{SERVER}/report"
    assert await server.ok("POST", f"{scene.room}/report", {"reason": "a den"}, carol) == {}
    assert await server.ok("POST", bob, {"reason": "a rogue"}, carol) == {}
    assert await server.ok("POST", "users/@far:elsewhere.test/report", {"reason": ""}, carol) == {}
    for path in (f"{scene.room}/report", bob):
        assert await server.refusal("POST", path, {}, carol) == (400, "M_MISSING_PARAM")
        assert await server.refusal("POST", path, {"reason": 5}, carol) == (400, "M_BAD_JSON")
    for path in (f"rooms/!none:{SERVER}/report", f"users/@none:{SERVER}/report"):
        assert await server.refusal("POST", path, {"reason": "x"}, carol) == NOT_FOUND
    (room,) = (await scene.listed("room_reports"))["room_reports"]
    assert room.keys() == ROOM_FIELDS
    assert (room["name"], room["reason"], room["user_id"]) == ("Hall", "a den", f"@carol:{SERVER}")
    users = await scene.listed("user_reports")
    assert users["total"] == 2
    assert [user["target_user_id"] for user in users["user_reports"]] == [
        "@far:elsewhere.test",
        f"@bob:{SERVER}",
    ]
    assert {frozenset(user) for user in users["user_reports"]} == {frozenset(USER_FIELDS)}
    assert (await scene.listed("user_reports", "?target_user_id=bob"))["total"] == 1
    one = users["user_reports"][1]
    assert await scene.listed(f"user_reports/{one['id']}") == one


@pytest.mark.parametrize("name", ["event_reports", "room_reports", "user_reports"])
@ensureDeferred
async def test_deleting_reports(server: AdminServer, name: str) -> None:
    """Once; what is no number is invalid, what is none of ours is not found."""
    scene = await Scene(server).set_up()
    await scene.report(scene.event_id)
    await server.ok("POST", f"{scene.room}/report", {"reason": ""}, scene.alice)
    await server.ok("POST", f"users/@bob:{SERVER}/report", {"reason": ""}, scene.alice)
    (report,) = (await scene.listed(name))[name]
    path = f"{V1}/{name}/{report['id']}"
    assert await server.admin("DELETE", path) == {}
    assert (await scene.listed(name))["total"] == 0
    for method in ("GET", "DELETE"):
        assert await server.refusal(method, path, None, server.token) == NOT_FOUND
        assert await server.refusal(method, f"{V1}/{name}/-1", None, server.token) == INVALID
        assert await server.refusal(method, f"{V1}/{name}/{'9' * 30}", None, server.token) == NOT_FOUND


@ensureDeferred
async def test_reports_outlive_what_they_are_about(server: AdminServer) -> None:
    """Redacted, its sender erased, the room purged, the reporter gone: still listed, found and readable."""
    scene = await Scene(server).set_up()
    await scene.report(scene.event_id)
    await server.ok("POST", f"{scene.room}/report", {"reason": ""}, scene.alice)
    await server.ok("PUT", f"{scene.room}/redact/{scene.event_id}/2", {}, scene.bob)
    await server.ok("POST", f"{scene.room}/leave", {}, scene.alice)
    for name in ("bob", "alice"):
        await server.admin("POST", f"{V1}/deactivate/@{name}:{SERVER}", {"erase": True})
        await server.run_task(DEACTIVATE_USER)
    room_id = scene.room.removeprefix("rooms/")
    await server.admin("DELETE", f"{V2}/rooms/{room_id}", {})
    await server.run_task(SHUTDOWN_AND_PURGE_ROOM)
    assert await server.refusal("GET", f"{V1}/rooms/{room_id}", None, server.token) == NOT_FOUND
    about = {
        "room_id": room_id,
        "name": "Hall",
        "canonical_alias": f"#hall:{SERVER}",
        "user_id": f"@alice:{SERVER}",
    }
    for name in ("event_reports", "room_reports"):
        (report,) = (await scene.listed(name, f"?room_id={room_id[3:9]}&user_id=alice"))[name]
        assert report.items() >= about.items()
        one = await scene.listed(f"{name}/{report['id']}")
        assert one.items() >= about.items()
        assert name == "room_reports" or one["event_json"]["content"]["body"] == "buy!"


@ensureDeferred
async def test_reports_are_limited(build_server: BuildServer) -> None:
    """`rc_reports`: of each user, of all kinds together."""
    server = await build_server(rc_reports={"per_second": 0.001, "burst_count": 1})
    alice = await server.user("alice")
    await server.ok("POST", f"users/@alice:{SERVER}/report", {"reason": ""}, alice)
    status, errcode = await server.refusal("POST", f"users/@alice:{SERVER}/report", {"reason": ""}, alice)
    assert (status, errcode) == (429, "M_LIMIT_EXCEEDED")
