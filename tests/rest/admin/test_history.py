"""What administrators read of rooms that they are not in."""

from typing import Any

from pytest_twisted import ensureDeferred

from synapse_lite.storage.statistics import count_events
from tests.builders import SERVER
from tests.rest.admin_server import V1, AdminServer

NOT_FOUND = (404, "M_NOT_FOUND")


async def say(server: AdminServer, room: str, text: str, token: str) -> str:
    body = {"msgtype": "m.text", "body": text}
    sent = await server.ok("PUT", f"{room}/send/m.room.message/{text}", body, token)
    return str(sent["event_id"])


async def hidden_room(server: AdminServer) -> tuple[str, str]:
    """Alice's private room that shows its past to nobody; and her token."""
    alice = await server.user("alice")
    visibility = {
        "type": "m.room.history_visibility",
        "state_key": "",
        "content": {"history_visibility": "joined"},
    }
    room = await server.room(alice, preset="private_chat", initial_state=[visibility])
    return room, alice


def bodies(answer: Any, key: str = "chunk") -> list[str]:
    return [event["content"]["body"] for event in answer[key] if event["type"] == "m.room.message"]


@ensureDeferred
async def test_pages_of_a_room_that_one_is_not_in(server: AdminServer) -> None:
    """All of it, whatever its history visibility, page by page; of an unknown room nothing."""
    room, alice = await hidden_room(server)
    for number in range(5):
        await say(server, room, str(number), alice)
    assert await server.refusal("GET", f"{room}/messages", None, server.token) == (403, "M_FORBIDDEN")
    first = await server.admin("GET", f"{V1}/{room}/messages?dir=b&limit=3")
    assert {"chunk", "start", "end"} <= first.keys()
    assert bodies(first) == ["4", "3", "2"]
    rest = await server.admin("GET", f"{V1}/{room}/messages?dir=b&limit=100&from={first['end']}")
    assert bodies(rest) == ["1", "0"]
    assert rest["chunk"][-1]["type"] == "m.room.create"
    assert "end" not in rest
    lazy = '{"types":["m.room.message"],"lazy_load_members":true}'
    filtered = await server.admin("GET", f"{V1}/{room}/messages?dir=f&filter={lazy}")
    assert bodies(filtered) == ["0", "1", "2", "3", "4"]
    assert [event["state_key"] for event in filtered["state"]] == [f"@alice:{SERVER}"]
    unknown = f"{V1}/rooms/!none:{SERVER}/messages"
    assert await server.refusal("GET", unknown, None, server.token) == NOT_FOUND


@ensureDeferred
async def test_raw_pages(server: AdminServer) -> None:
    """With `raw` the events are as servers exchange them."""
    room, alice = await hidden_room(server)
    await say(server, room, "hello", alice)
    (event,) = (await server.admin("GET", f"{V1}/{room}/messages?dir=b&limit=1&raw=true"))["chunk"]
    assert {"auth_events", "prev_events", "hashes", "signatures", "event_id"} <= event.keys()
    (event,) = (await server.admin("GET", f"{V1}/{room}/messages?dir=b&limit=1"))["chunk"]
    assert "auth_events" not in event


@ensureDeferred
async def test_ignored_users_are_shown(server: AdminServer) -> None:
    """Who judges somebody sees what they wrote."""
    room, alice = await hidden_room(server)
    await say(server, room, "rude", alice)
    ignored = {"ignored_users": {f"@alice:{SERVER}": {}}}
    path = f"user/@admin:{SERVER}/account_data/m.ignored_user_list"
    await server.ok("PUT", path, ignored, server.token)
    assert bodies(await server.admin("GET", f"{V1}/{room}/messages?dir=b")) == ["rude"]


@ensureDeferred
async def test_what_stands_around_an_event(server: AdminServer) -> None:
    """Before, after, and the state; an event of another room is not found."""
    room, alice = await hidden_room(server)
    events = [await say(server, room, str(number), alice) for number in range(5)]
    answer = await server.admin("GET", f"{V1}/{room}/context/{events[2]}?limit=4")
    assert answer.keys() == {"event", "events_before", "events_after", "state", "start", "end"}
    assert answer["event"]["event_id"] == events[2]
    assert bodies(answer, "events_before") == ["1", "0"]
    assert bodies(answer, "events_after") == ["3", "4"]
    assert "m.room.create" in {event["type"] for event in answer["state"]}
    other = await server.room(alice)
    assert await server.refusal("GET", f"{V1}/{other}/context/{events[2]}", None, server.token) == NOT_FOUND


@ensureDeferred
async def test_any_event(server: AdminServer) -> None:
    """As servers exchange it; what was redacted too, and by what."""
    room, alice = await hidden_room(server)
    event_id = await say(server, room, "regretted", alice)
    redaction = (await server.ok("PUT", f"{room}/redact/{event_id}/1", {"reason": "oops"}, alice))["event_id"]
    answer = await server.admin("GET", f"{V1}/fetch_event/{event_id}")
    assert answer.keys() == {"event"}
    event = answer["event"]
    assert {"auth_events", "prev_events", "hashes", "signatures", "depth", "room_id"} <= event.keys()
    assert (event["event_id"], event["content"]["body"]) == (event_id, "regretted")
    assert event["unsigned"]["redacted_by"] == redaction
    assert event["unsigned"]["redacted_because"]["content"]["reason"] == "oops"
    assert type(event["unsigned"]["age"]) is int
    kept = await server.admin("GET", f"{V1}/fetch_event/{redaction}")
    assert "redacted_by" not in kept["event"]["unsigned"]
    assert await server.refusal("GET", f"{V1}/fetch_event/$none", None, server.token) == NOT_FOUND


@ensureDeferred
async def test_the_largest_rooms(server: AdminServer) -> None:
    """Ten, the largest first, by what the statistics say."""
    alice = await server.user("alice")
    rooms = [await server.room(alice) for _ in range(11)]
    await say(server, rooms[5], "x" * 200, alice)
    nids = await server.database.read(
        lambda txn: [nid for (nid,) in txn.rows("SELECT event_nid FROM events")]
    )
    await server.database.transact(count_events, nids)
    answer = await server.admin("GET", f"{V1}/statistics/database/rooms")
    assert answer.keys() == {"rooms"}
    assert len(answer["rooms"]) == 10
    assert answer["rooms"][0]["room_id"] == rooms[5].removeprefix("rooms/")
    assert {frozenset(room) for room in answer["rooms"]} == {frozenset({"room_id", "estimated_size"})}
    sizes = [room["estimated_size"] for room in answer["rooms"]]
    assert {type(size) for size in sizes} == {int}
    assert sizes == sorted(sizes, reverse=True)


@ensureDeferred
async def test_the_tree_of_a_space(server: AdminServer) -> None:
    """Private rooms too, of a space that one is not in, page by page."""
    alice = await server.user("alice")
    space = await server.room(alice, preset="private_chat", creation_content={"type": "m.space"})
    child = await server.room(alice, preset="private_chat")
    path = f"{space}/state/m.space.child/{child.removeprefix('rooms/')}"
    await server.ok("PUT", path, {"via": [SERVER]}, alice)
    client = f"/_matrix/client/v1/{space}/hierarchy"
    assert await server.refusal("GET", client, None, server.token) == (403, "M_FORBIDDEN")
    answer = await server.admin("GET", f"{V1}/{space}/hierarchy")
    assert answer.keys() == {"rooms"}
    assert [room["room_id"] for room in answer["rooms"]] == [
        one.removeprefix("rooms/") for one in (space, child)
    ]
    assert [one["state_key"] for one in answer["rooms"][0]["children_state"]] == [
        child.removeprefix("rooms/")
    ]
    first = await server.admin("GET", f"{V1}/{space}/hierarchy?limit=1")
    assert len(first["rooms"]) == 1
    rest = await server.admin("GET", f"{V1}/{space}/hierarchy?limit=1&from={first['next_batch']}")
    assert [room["room_id"] for room in rest["rooms"]] == [child.removeprefix("rooms/")]
    top = await server.admin("GET", f"{V1}/{space}/hierarchy?max_depth=0")
    assert len(top["rooms"]) == 1
    unknown = f"{V1}/rooms/!none:{SERVER}/hierarchy"
    assert await server.refusal("GET", unknown, None, server.token) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_who_reads_is_written_down(server: AdminServer) -> None:
    """Whoever reads what was said, also what was redacted since, and how it ended; not what they read."""
    room, alice = await hidden_room(server)
    event_id = await say(server, room, "secret", alice)
    await server.ok("PUT", f"{room}/redact/{event_id}/1", {}, alice)
    paths = [f"{V1}/fetch_event/{event_id}", f"{V1}/{room}/messages", f"{V1}/{room}/context/{event_id}"]
    for path in paths:
        await server.admin("GET", path)
    await server.refusal("GET", f"{V1}/fetch_event/$none", None, server.token)
    await server.admin("GET", f"{V1}/{room}/state")
    entries = (await server.admin("GET", f"{V1}/audit_log?dir=f"))["entries"]
    shown = [(one["method"], one["path"], one["status"]) for one in entries]
    assert shown == [*(("GET", path, 200) for path in paths), ("GET", f"{V1}/fetch_event/$none", 404)]
    assert [one["response"] for one in entries[:3]] == [None] * 3
