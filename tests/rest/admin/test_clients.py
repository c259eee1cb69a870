"""The calls of moderation bots and admin pages, in their order, with answers decoded as strictly as they do."""

from typing import Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.tasks.actions.quarantine_media import QUARANTINE_MEDIA
from synapse_lite.tasks.actions.redact_all_events import REDACT_ALL_EVENTS
from synapse_lite.tasks.actions.shutdown_room import SHUTDOWN_AND_PURGE_ROOM
from tests.builders import SERVER
from tests.rest.admin_server import V1, V2, AdminServer

V3 = "/_synapse/admin/v3"
SPAM = f"@spam:{SERVER}"


class Strict(BaseModel):
    """No value is turned into another type; more keys than these are allowed."""

    model_config = ConfigDict(strict=True)


class User(Strict):
    name: str
    displayname: str | None
    avatar_url: str | None
    is_guest: bool
    admin: bool
    deactivated: bool
    erased: bool
    shadow_banned: bool
    locked: bool
    creation_ts: int
    last_seen_ts: int | None
    user_type: str | None


class UserDetails(User):
    suspended: bool
    threepids: list[dict[str, Any]]
    external_ids: list[dict[str, str]]


class Users(Strict):
    users: list[User]
    total: int
    next_token: str | None = None


class Room(Strict):
    room_id: str
    name: str | None
    canonical_alias: str | None
    joined_members: int
    joined_local_members: int
    version: str
    creator: str | None
    encryption: str | None
    federatable: bool
    public: bool
    join_rules: str | None
    guest_access: str | None
    history_visibility: str | None
    state_events: int
    room_type: str | None


class Rooms(Strict):
    rooms: list[Room]
    offset: int
    total_rooms: int
    next_batch: int | None = None
    prev_batch: int | None = None


class RoomDetails(Room):
    avatar: str | None
    topic: str | None
    joined_local_devices: int
    forgotten: bool


class RedactStatus(Strict):
    status: Literal["scheduled", "active", "complete", "failed"]
    failed_redactions: dict[str, str]


class Shutdown(Strict):
    kicked_users: list[str]
    failed_to_kick_users: list[str]
    local_aliases: list[str]
    new_room_id: str | None


class DeleteStatus(Strict):
    status: Literal["scheduled", "active", "complete", "failed", "cancelled"]
    shutdown_room: Shutdown | None


class EventReport(Strict):
    id: int
    received_ts: int
    room_id: str
    name: str | None
    event_id: str
    user_id: str
    reason: str | None
    score: int | None
    sender: str
    canonical_alias: str | None


class EventReports(Strict):
    event_reports: list[EventReport]
    total: int
    next_token: int | None = None


class ScheduledTask(Strict):
    id: str
    action: str
    status: str
    timestamp_ms: int
    resource_id: str | None
    result: dict[str, Any] | None
    error: str | None


def decode(kind: Any, answer: Any) -> Any:
    return TypeAdapter(kind).validate_python(answer)


async def flood(server: AdminServer) -> tuple[str, str, str]:
    """A spammer's token, a room in which they have written, and a message."""
    spam, owner = await server.user("spam"), await server.user("owner")
    room = await server.room(owner)
    await server.ok("POST", f"{room}/join", {}, spam)
    sent = await server.ok("PUT", f"{room}/send/m.room.message/1", {"msgtype": "m.text", "body": "buy"}, spam)
    report = f"{room}/report/{quote(sent['event_id'])}"
    await server.ok("POST", report, {"reason": "spam", "score": -100}, owner)
    return spam, room.removeprefix("rooms/"), sent["event_id"]


async def redacted_by(server: AdminServer, user: str, body: Any) -> RedactStatus:
    """Ask as bots do, look while it waits, and again when it has ended."""
    redact_id = (await server.admin("POST", f"{V1}/user/{user}/redact", body))["redact_id"]
    path = f"{V1}/user/redact_status/{redact_id}"
    assert decode(RedactStatus, await server.admin("GET", path)).status == "scheduled"
    await server.run_task(REDACT_ALL_EVENTS)
    status: RedactStatus = decode(RedactStatus, await server.admin("GET", path))
    return status


async def asked_for(server: AdminServer, action: str) -> None:
    """Returns when there is a task of that action."""
    while not (await server.admin("GET", f"{V1}/scheduled_tasks?action_name={action}"))["scheduled_tasks"]:
        pass


@ensureDeferred
async def test_draupnir(server: AdminServer) -> None:
    """Who am I; reports; who is that; suspend, redact, wait, shadow-ban, deactivate, shut the room down."""
    spam, room_id, event_id = await flood(server)
    assert await server.admin("GET", f"{V1}/users/@admin:{SERVER}/admin") == {"admin": True}
    reports = decode(EventReports, await server.admin("GET", f"{V1}/event_reports?dir=b&from=0&limit=100"))
    assert [(report.event_id, report.sender) for report in reports.event_reports] == [(event_id, SPAM)]
    details = decode(UserDetails, await server.admin("GET", f"{V2}/users/{quote(SPAM)}"))
    assert not details.suspended
    answer = await server.admin("PUT", f"{V1}/suspend/{SPAM}", {"suspend": True})
    assert answer == {f"user_{SPAM}_suspended": True}
    assert (await redacted_by(server, SPAM, {"rooms": []})).status == "complete"
    assert await server.admin("POST", f"{V1}/users/{SPAM}/shadow_ban", {}) == {}
    assert await server.admin("DELETE", f"{V1}/users/{SPAM}/shadow_ban", {}) == {}
    gone = await server.admin("POST", f"{V1}/deactivate/{SPAM}", {"erase": False})
    assert gone == {"id_server_unbind_result": "success"}
    assert await server.refusal("GET", "sync", None, spam) == (401, "M_UNKNOWN_TOKEN")
    decode(RoomDetails, await server.admin("GET", f"{V1}/rooms/{quote(room_id)}"))
    body = {"block": True, "purge": False}
    delete_id = (await server.admin("DELETE", f"{V2}/rooms/{quote(room_id)}", body))["delete_id"]
    await server.run_task(SHUTDOWN_AND_PURGE_ROOM)
    deletion = decode(DeleteStatus, await server.admin("GET", f"{V2}/rooms/delete_status/{delete_id}"))
    assert f"@owner:{SERVER}" in deletion.shutdown_room.kicked_users
    assert (await server.admin("GET", f"{V1}/rooms/{quote(room_id)}/block"))["block"] is True
    unknown = f"{V1}/rooms/{quote(f'!nothing:{SERVER}')}"
    assert await server.refusal("GET", unknown, None, server.token) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_mjolnir(server: AdminServer) -> None:
    """The same by its paths: raw ids, no body at all, redactions by the admin, rooms by name."""
    _, room_id, _ = await flood(server)
    assert (await server.admin("GET", f"{V1}/users/@admin:{SERVER}/admin"))["admin"] is True
    body = {"rooms": [room_id], "use_admin": True, "limit": 1000}
    assert (await redacted_by(server, SPAM, body)).status == "complete"
    assert await server.admin("POST", f"{V1}/deactivate/{SPAM}") == {"id_server_unbind_result": "success"}
    made = await server.admin(
        "POST", f"{V1}/rooms/{room_id}/make_room_admin", {"user_id": f"@admin:{SERVER}"}
    )
    assert made == {}
    asked = Deferred.fromCoroutine(server.admin("POST", f"{V1}/room/{room_id}/media/quarantine", {}))
    await asked_for(server, QUARANTINE_MEDIA.action)
    await server.run_task(QUARANTINE_MEDIA)
    assert (await asked)["num_quarantined"] == 0
    assert (await server.admin("PUT", f"{V1}/rooms/{room_id}/block", {"block": True})) == {"block": True}


@ensureDeferred
async def test_ketesa(server: AdminServer) -> None:
    """A login, its lists with more in the query than is known, a user's page at once, a redaction that is polled."""
    _, room_id, _ = await flood(server)
    version = await server.ok("GET", f"{V1}/server_version")
    assert isinstance(version["server_version"], str)
    page = "from=0&limit=10&order_by=name&dir=f"
    listed = decode(
        Users,
        await server.admin(
            "GET",
            f"{V3}/users?{page}&name=&guests=true&deactivated=false&suspended=false&shadow_banned=false",
        ),
    )
    assert (listed.total, listed.next_token) == (3, None)
    assert decode(Users, await server.admin("GET", f"{V3}/users?from=0&limit=1")).next_token == "1"
    rooms = decode(
        Rooms, await server.admin("GET", f"{V1}/rooms?{page}&public_rooms=false&empty_rooms=false")
    )
    assert [room.room_id for room in rooms.rooms] == [room_id]
    assert decode(Rooms, await server.admin("GET", f"{V1}/rooms?limit=0")).total_rooms == 1
    user = f"{V1}/users/{quote(SPAM, safe='')}"
    for path, keys in (
        (f"{user}/joined_rooms?{page}", {"joined_rooms", "total"}),
        (f"{user}/memberships", {"memberships"}),
        (f"{user}/pushers", {"pushers", "total"}),
        (f"{user}/accountdata", {"account_data"}),
        (f"{user}/media?from=0&limit=10&order_by=media_id&dir=f", {"media", "total"}),
        (f"{user}/sent_invite_count?from_ts=0", {"invite_count"}),
        (f"{user}/cumulative_joined_room_count?from_ts=0", {"cumulative_joined_room_count"}),
        (f"{user}/override_ratelimit", set()),
        (f"{V1}/experimental_features/{quote(SPAM, safe='')}", {"features"}),
        (f"{V1}/whois/{quote(SPAM, safe='')}", {"user_id", "devices"}),
        (f"{V2}/users/{quote(SPAM, safe='')}/devices", {"devices", "total"}),
        (f"{V1}/rooms/{quote(room_id, safe='')}/members", {"members", "total"}),
        (f"{V1}/rooms/{quote(room_id, safe='')}/state", {"state"}),
        (f"{V1}/rooms/{quote(room_id, safe='')}/forward_extremities", {"count", "results"}),
        (f"{V1}/rooms/{quote(room_id, safe='')}/messages?limit=10&dir=b", {"chunk", "start"}),
        (f"{V1}/user_reports?{page}", {"user_reports", "total"}),
        (f"{V1}/statistics/users/media?from=0&limit=10&order_by=media_length&dir=b", {"users", "total"}),
        (f"{V1}/statistics/database/rooms", {"rooms"}),
        (f"{V1}/registration_tokens", {"registration_tokens"}),
    ):
        answer = await server.admin("GET", path)
        assert keys <= answer.keys(), path
    assert (await redacted_by(server, quote(SPAM, safe=""), {"rooms": []})).failed_redactions == {}
    tasks = await server.admin("GET", f"{V1}/scheduled_tasks?{page.replace('name', 'timestamp_ms')}")
    (task,) = decode(list[ScheduledTask], tasks["scheduled_tasks"])
    assert (task.action, task.status, task.resource_id) == ("redact_all_events", "complete", SPAM)
    assert await server.refusal("GET", f"{V1}/nothing", None, server.token) == (404, "M_UNRECOGNIZED")
    assert await server.refusal("POST", f"{V1}/rooms", {}, server.token) == (405, "M_UNRECOGNIZED")
