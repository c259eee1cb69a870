"""What other servers may read of our rooms."""

from itertools import count
from typing import Any
from urllib.parse import quote

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.matrix.event import content_hash
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from tests.federation.network import Network, Scripted
from tests.federation.remote_room import RemoteRoom, remote_room, send
from tests.server import TestServer

REQUESTS = count()
V1 = "/_matrix/federation/v1"
FORBIDDEN, NOT_FOUND = (403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")


def part(text: str) -> str:
    return quote(text, safe="")


async def get(server: TestServer, other: Scripted, target: str) -> Any:
    status, answer = await other.ask(server, "GET", f"{V1}/{target}")
    assert status == 200, answer
    return answer


async def refused(
    server: TestServer, other: Scripted, target: str, method: str = "GET", body: Any = None
) -> tuple[int, str]:
    status, answer = await other.ask(server, method, f"{V1}/{target}", body)
    return status, answer.get("errcode")


async def talk(server: TestServer, room: RemoteRoom, token: str, count: int) -> list[str]:
    """Event ids of messages of alice."""
    path = f"rooms/{room.room_id}/send/m.room.message"
    return [
        (await server.ok("PUT", f"{path}/t{next(REQUESTS)}", {"msgtype": "m.text", "body": str(n)}, token))[
            "event_id"
        ]
        for n in range(count)
    ]


@ensureDeferred
async def test_one_event(server: TestServer, other: Scripted) -> None:
    """As it was signed, with or without a slash at the end of the path."""
    room, token = await remote_room(server, other)
    (said,) = await talk(server, room, token, 1)
    for end in ("", "/"):
        answer = await get(server, other, f"event/{part(said)}{end}")
        assert answer.keys() == {"origin", "origin_server_ts", "pdus"}
        (pdu,) = answer["pdus"]
        assert pdu["content"]["body"] == "0"
        assert pdu["hashes"]["sha256"] == content_hash(pdu, ROOM_VERSIONS["12"])
    assert await refused(server, other, "event/$unknown") == NOT_FOUND


@ensureDeferred
async def test_state_before_an_event(server: TestServer, other: Scripted) -> None:
    """And its auth chains, as events and as ids."""
    room, token = await remote_room(server, other, room_version="11")
    topic = await server.ok("PUT", f"rooms/{room.room_id}/state/m.room.topic/", {"topic": "t"}, token)
    (said,) = await talk(server, room, token, 1)
    before = {}
    for event_id in (topic["event_id"], said):
        ids = await get(server, other, f"state_ids/{room.room_id}?event_id={part(event_id)}")
        state = await get(server, other, f"state/{room.room_id}?event_id={part(event_id)}")
        assert ids.keys() == {"pdu_ids", "auth_chain_ids"}
        assert state.keys() == {"pdus", "auth_chain"}
        assert len(ids["pdu_ids"]) == len(state["pdus"])
        assert len(ids["auth_chain_ids"]) == len(state["auth_chain"]) >= 4
        before[event_id] = {pdu["type"] for pdu in state["pdus"]}
        assert (topic["event_id"] in ids["pdu_ids"]) == (event_id == said)
    assert before[said] - before[topic["event_id"]] == {"m.room.topic"}
    chain = await get(server, other, f"event_auth/{room.room_id}/{part(said)}")
    assert {pdu["type"] for pdu in chain["auth_chain"]} == {
        "m.room.create", "m.room.member", "m.room.power_levels",
    }  # fmt: skip


@ensureDeferred
async def test_backfill_and_missing_events(server: TestServer, other: Scripted) -> None:
    """Newest first for one, oldest first for the other; within the limits, and not below what is known."""
    room, token = await remote_room(server, other)
    said = await talk(server, room, token, 12)

    def bodies(pdus: list[Any]) -> list[str]:
        return [pdu["content"].get("body") for pdu in pdus]

    answer = await get(server, other, f"backfill/{room.room_id}?v={part(said[9])}&limit=5")
    assert bodies(answer["pdus"]) == ["9", "8", "7", "6", "5"]

    async def missing(**more: Any) -> list[str]:
        asked = {"earliest_events": [said[2]], "latest_events": [said[7]], **more}
        status, found = await other.ask(server, "POST", f"{V1}/get_missing_events/{room.room_id}", asked)
        assert status == 200, found
        return bodies(found["events"])

    assert await missing() == ["3", "4", "5", "6"]
    assert await missing(limit=2) == ["5", "6"]
    depth = (await get(server, other, f"event/{part(said[5])}"))["pdus"][0]["depth"]
    assert await missing(min_depth=depth) == ["5", "6"]
    assert await missing(limit=0) == []


@pytest.mark.parametrize(
    ("visibility", "is_whole"),
    [("joined", False), ("invited", False), ("shared", True), ("world_readable", True)],
)
@ensureDeferred
async def test_history_before_the_server_came(
    server: TestServer, other: Scripted, visibility: str, is_whole: bool
) -> None:
    """Its content is given only where the history visibility says so; the graph is always whole."""
    token = await server.user("alice")
    state = [{"type": "m.room.history_visibility", "content": {"history_visibility": visibility}}]
    path = await server.room(token, initial_state=state)
    room = RemoteRoom(server, other, path.removeprefix("rooms/"))
    said = await talk(server, room, token, 3)
    await room.join()
    later = await server.ok("PUT", f"{path}/send/m.room.message/x", {"msgtype": "m.text", "body": "x"}, token)
    answer = await get(server, other, f"backfill/{room.room_id}?v={part(later['event_id'])}&limit=5")
    found = [pdu["content"] for pdu in answer["pdus"] if pdu["type"] == "m.room.message"]
    assert found[0]["body"] == "x"
    assert len(found) == 4
    assert all(bool(content) == is_whole for content in found[1:])
    assert (await refused(server, other, f"event/{part(said[0])}") == NOT_FOUND) != is_whole


@ensureDeferred
async def test_servers_that_are_not_in_the_room(
    server: TestServer, other: Scripted, network: Network
) -> None:
    """Read nothing, nor does who is shut out; who left reads what was there before."""
    room, token = await remote_room(server, other)
    (said, later) = await talk(server, room, token, 2)
    third = network.scripted("third.test")
    targets = [
        f"event/{part(said)}", f"state/{room.room_id}?event_id={part(said)}",
        f"state_ids/{room.room_id}?event_id={part(said)}", f"event_auth/{room.room_id}/{part(said)}",
        f"backfill/{room.room_id}?v={part(said)}&limit=5", f"make_leave/{room.room_id}/@x:third.test",
    ]  # fmt: skip
    for target in targets:
        assert await refused(server, third, target) == FORBIDDEN
    asked = {"earliest_events": [], "latest_events": [said]}
    assert await refused(server, third, f"get_missing_events/{room.room_id}", "POST", asked) == FORBIDDEN
    await room.look()
    leave = await room.build("m.room.member", {"membership": "leave"}, room.user)
    assert await send(server, other, leave.pdu) == {leave.event_id: {}}
    assert await room.membership(room.user) == "leave"
    (after,) = await talk(server, room, token, 1)
    assert (await get(server, other, f"event/{part(later)}"))["pdus"]
    assert await refused(server, other, f"backfill/{room.room_id}?v={part(after)}&limit=5") == FORBIDDEN
    acl = {"allow": ["*"], "deny": [other.name]}
    await server.ok("PUT", f"rooms/{room.room_id}/state/m.room.server_acl/", acl, token)
    for target in targets[:5]:
        assert await refused(server, other, target) == FORBIDDEN


@ensureDeferred
async def test_what_our_last_user_did_before_they_left(
    server: TestServer, other: Scripted, network: Network
) -> None:
    """Their leave may be the first that a server hears after a while: what lies below it is given to who was there, until it is deleted."""
    room, token = await remote_room(server, other)
    third = network.scripted("third.test")
    (said,) = await talk(server, room, token, 1)
    await server.ok("POST", f"rooms/{room.room_id}/leave", {}, token)
    await room.look()
    (leave,) = (one.event_id for one in room.tips)
    asked = {"earliest_events": [], "latest_events": [leave], "limit": 1}
    target = f"get_missing_events/{room.room_id}"
    status, found = await other.ask(server, "POST", f"{V1}/{target}", asked)
    assert (status, [pdu["content"]["body"] for pdu in found["events"]]) == (200, ["0"])
    for target in (
        f"event/{part(said)}",
        f"event/{part(leave)}",
        f"state_ids/{room.room_id}?event_id={part(leave)}",
    ):
        assert await get(server, other, target)
        assert await refused(server, third, target) == FORBIDDEN
    make = f"make_join/{room.room_id}/@dave:{other.name}?ver=10&ver=11&ver=12"
    assert await refused(server, other, make) == NOT_FOUND
    purging = "UPDATE rooms SET purging = TRUE WHERE room_id = %s"
    await server.database.transact(lambda txn: txn.execute(purging, (room.room_id,)))
    assert await refused(server, other, f"event/{part(leave)}") == FORBIDDEN


@ensureDeferred
async def test_redacted_content_is_not_served(server: TestServer, other: Scripted) -> None:
    """Whoever asks later gets what clients get."""
    room, token = await remote_room(server, other)
    (said,) = await talk(server, room, token, 1)
    await server.ok("PUT", f"rooms/{room.room_id}/redact/{said}/1", {}, token)
    assert (await get(server, other, f"event/{part(said)}"))["pdus"][0]["content"] == {}


@ensureDeferred
async def test_wrong_questions(server: TestServer, other: Scripted) -> None:
    """Are told what is wrong with them."""
    room, _ = await remote_room(server, other)
    for target, expected in {
        f"state/{room.room_id}": 400, f"backfill/{room.room_id}?limit=5": 400,
        f"backfill/{room.room_id}?v=$x": 400, f"backfill/{room.room_id}?limit=5{'&v=x' * 21}": 400,
        f"state/{room.room_id}?event_id=$unknown": 404, "state_ids/!unknown:x.test?event_id=$x": 403,
        "backfill/!unknown:x.test?v=$x&limit=1": 403, f"timestamp_to_event/{room.room_id}?ts=1": 400,
        f"event_auth/{room.room_id}/$unknown": 404,
    }.items():  # fmt: skip
        assert (await refused(server, other, target))[0] == expected
    for body in (
        {},
        {"earliest_events": 1, "latest_events": []},
        {"earliest_events": [], "latest_events": [1]},
    ):
        status, _ = await refused(server, other, f"get_missing_events/{room.room_id}", "POST", body)
        assert status == 400


@ensureDeferred
async def test_slashes_at_the_end(server: TestServer, other: Scripted) -> None:
    """Some servers write one, others none: it makes no difference."""
    room, token = await remote_room(server, other)
    (said,) = await talk(server, room, token, 1)
    here = part(room.room_id)
    for path, query in (
        (f"state/{here}", f"?event_id={part(said)}"),
        (f"state_ids/{here}", f"?event_id={part(said)}"),
        (f"backfill/{here}", f"?v={part(said)}&limit=1"),
        (f"event/{part(said)}", ""),
    ):
        with_slash, without = [await get(server, other, f"{path}{end}{query}") for end in ("/", "")]
        assert with_slash.keys() == without.keys()
