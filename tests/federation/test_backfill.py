"""History that other servers have: fetched while somebody scrolls up, put in its place, shown to whom it may be."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.federation.peers import PeerError
from synapse_lite.matrix.redact_on_ban import REDACT_EVENTS
from synapse_lite.rooms.contributors.redact_on_ban import RedactOnBanContributor
from tests.federation.conftest import JoinNetwork
from tests.federation.history import History
from tests.federation.network import Network, Scripted
from tests.federation.pair import HOME, home, join_path, tell_newest, text
from tests.federation.remote_room import RemoteRoom, remote_room, send
from tests.server import TestServer, path_part

V1 = "/_matrix/federation/v1"


async def say(server: TestServer, room_id: str, token: str, *texts: str) -> None:
    for one in texts:
        path = f"rooms/{path_part(room_id)}/send/m.room.message/{path_part(one)}"
        await server.ok("PUT", path, text(one), token)


async def scroll(
    server: TestServer, room_id: str, token: str, limit: int = 20, start: str = "", pages: int = 30
) -> list[JsonObject]:
    """All events that pages show, the newest first."""
    found: list[JsonObject] = []
    where = f"&from={start}" if start else ""
    for _ in range(pages):
        path = f"rooms/{path_part(room_id)}/messages?dir=b&limit={limit}{where}"
        page = await server.ok("GET", path, token=token)
        found += page["chunk"]
        if "end" not in page:
            return found
        where = f"&from={page['end']}"
    raise AssertionError("the pages do not end")


def bodies(events: list[JsonObject]) -> list[str]:
    return [event["content"]["body"] for event in events if "body" in event["content"]]


@ensureDeferred
@pytest.mark.parametrize("version", ["1", "3", "6", "11", "12"])
async def test_scrolling_up(server: TestServer, join_network: JoinNetwork, version: str) -> None:
    """Everything since the room began is there, once and in order; reading it again asks nobody."""
    there, alice, room_id = await home(join_network, room_version=version)
    said = [str(number) for number in range(150)]
    await say(there, room_id, alice, *said)
    bob = await server.user("bob")
    await server.ok("POST", join_path(room_id, HOME), {}, bob)
    since = (await server.ok("GET", "sync", token=bob))["next_batch"]
    found = await scroll(server, room_id, bob)
    assert bodies(found) == said[::-1]
    assert found[-1]["type"] == "m.room.create"
    ids = [event["event_id"] for event in found]
    assert len(ids) == len(set(ids))
    theirs = await scroll(there, room_id, alice, limit=100)
    assert ids == [event["event_id"] for event in theirs]
    network = server.core.federation.peers.network  # type: ignore[attr-defined]
    network.asked.clear()
    assert [event["event_id"] for event in await scroll(server, room_id, bob, limit=100)] == ids
    assert network.asked == []
    assert "rooms" not in await server.ok("GET", f"sync?since={since}", token=bob)


@ensureDeferred
async def test_notifications_stay_as_they_are(server: TestServer, join_network: JoinNetwork) -> None:
    """History is news to nobody: unread counts do not rise by it."""
    there, alice, room_id = await home(join_network)
    await say(there, room_id, alice, *[f"bob {number}" for number in range(10)])
    bob = await server.user("bob")
    await server.ok("POST", join_path(room_id, HOME), {}, bob)
    before = (await server.ok("GET", "sync", token=bob))["rooms"]["join"][room_id]["unread_notifications"]
    assert len(bodies(await scroll(server, room_id, bob))) == 10
    after = (await server.ok("GET", "sync", token=bob))["rooms"]["join"][room_id]["unread_notifications"]
    assert after == before


@ensureDeferred
async def test_redactions_and_relations_in_history(server: TestServer, join_network: JoinNetwork) -> None:
    """A redacted message comes without its text, a thread with what is in it."""
    there, alice, room_id = await home(join_network)
    room = f"rooms/{path_part(room_id)}"
    root = (await there.ok("PUT", f"{room}/send/m.room.message/1", text("root"), alice))["event_id"]
    relation = {"rel_type": "m.thread", "event_id": root}
    await there.ok("PUT", f"{room}/send/m.room.message/2", {**text("in it"), "m.relates_to": relation}, alice)
    bad = (await there.ok("PUT", f"{room}/send/m.room.message/3", text("bad"), alice))["event_id"]
    await there.ok("PUT", f"{room}/redact/{path_part(bad)}/4", {}, alice)
    bob = await server.user("bob")
    await server.ok("POST", join_path(room_id, HOME), {}, bob)
    found = {event["event_id"]: event for event in await scroll(server, room_id, bob)}
    assert found[bad]["content"] == {}
    assert found[root]["unsigned"]["m.relations"]["m.thread"]["count"] == 1


@ensureDeferred
async def test_history_for_members_only(server: TestServer, join_network: JoinNetwork) -> None:
    """What was said before the join is not shown, here as there."""
    hidden = {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
    there, alice, room_id = await home(join_network, initial_state=[hidden])
    await say(there, room_id, alice, "secret")
    bob = await server.user("bob")
    await server.ok("POST", join_path(room_id, HOME), {}, bob)
    await say(server, room_id, bob, "open")
    assert bodies(await scroll(server, room_id, bob)) == ["open"]


@ensureDeferred
async def test_two_members_see_what_each_may(server: TestServer, join_network: JoinNetwork) -> None:
    """History that one of ours has seen does not show to another who came later, where it is for members only."""
    hidden = {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
    there, _, room_id = await home(join_network, initial_state=[hidden])
    bob, carl = await server.user("bob"), await server.user("carl")
    await server.ok("POST", join_path(room_id, HOME), {}, bob)
    await server.ok("POST", f"rooms/{path_part(room_id)}/leave", {}, bob)
    await tell_newest(server, there, room_id)
    await server.ok("POST", join_path(room_id), {}, carl)
    await say(server, room_id, carl, "carl")
    await server.ok("POST", join_path(room_id), {}, bob)
    assert bodies(await scroll(server, room_id, bob)) == []
    assert bodies(await scroll(server, room_id, carl)) == ["carl"]


@ensureDeferred
async def test_rejoining(server: TestServer, join_network: JoinNetwork) -> None:
    """What was said while nobody of ours was there stands between what we heard before and after."""
    there, alice, room_id = await home(join_network)
    await say(there, room_id, alice, "first")
    bob = await server.user("bob")
    await server.ok("POST", join_path(room_id, HOME), {}, bob)
    await say(server, room_id, bob, "second")
    await tell_newest(server, there, room_id)
    await server.ok("POST", f"rooms/{path_part(room_id)}/leave", {}, bob)
    await tell_newest(server, there, room_id)
    await say(there, room_id, alice, "third")
    await server.ok("POST", join_path(room_id), {}, bob)
    assert bodies(await scroll(server, room_id, bob)) == ["third", "second", "first"]


@ensureDeferred
async def test_context_reaches_into_what_is_missing(server: TestServer, join_network: JoinNetwork) -> None:
    """The events before the first that is known are fetched for /context, too."""
    there, alice, room_id = await home(join_network)
    await say(there, room_id, alice, "one", "two")
    bob = await server.user("bob")
    await server.ok("POST", join_path(room_id, HOME), {}, bob)
    joined = (await server.ok("GET", "sync", token=bob))["rooms"]["join"][room_id]["timeline"]["events"][-1]
    path = f"rooms/{path_part(room_id)}/context/{path_part(joined['event_id'])}?limit=6"
    context = await server.ok("GET", path, token=bob)
    assert bodies(context["events_before"]) == ["two", "one"]


@ensureDeferred
async def test_times_in_what_is_missing(
    server: TestServer, join_network: JoinNetwork, network: Network
) -> None:
    """The event next to a time is looked for among what only others know; once it is here nobody is asked."""
    there, alice, room_id = await home(join_network)
    await say(there, room_id, alice, *[str(number) for number in range(30)])
    bob = await server.user("bob")
    await server.ok("POST", join_path(room_id, HOME), {}, bob)
    path = f"/_matrix/client/v1/rooms/{path_part(room_id)}/timestamp_to_event"
    theirs = {
        query: await there.ok("GET", f"{path}?{query}", token=alice)
        for query in ("ts=0&dir=f", f"ts={2**50}&dir=b")
    }
    for query, event in theirs.items():
        assert await server.ok("GET", f"{path}?{query}", token=bob) == event
    middle = (await scroll(there, room_id, alice))[20]
    query = f"ts={middle['origin_server_ts']}&dir=b"
    there_found = await there.ok("GET", f"{path}?{query}", token=alice)
    network.asked.clear()
    found = await server.ok("GET", f"{path}?{query}", token=bob)
    assert found["origin_server_ts"] == there_found["origin_server_ts"] == middle["origin_server_ts"]
    assert not network.asked


@ensureDeferred
async def test_servers_that_do_not_help(
    server: TestServer, join_network: JoinNetwork, network: Network
) -> None:
    """While nobody gives the history, pages show what is here, and where to ask again; they do so when it may help."""
    there, alice, room_id = await home(join_network)
    await say(there, room_id, alice, "one", "two")
    bob = await server.user("bob")
    await server.ok("POST", join_path(room_id, HOME), {}, bob)
    del network.servers[HOME]
    path = f"rooms/{path_part(room_id)}/messages?dir=b"
    page = await server.ok("GET", path, token=bob)
    assert [event["type"] for event in page["chunk"]] == ["m.room.member"]
    asked = len(network.asked)
    again = await server.ok("GET", f"{path}&from={page['end']}", token=bob)
    assert again["chunk"] == []
    assert "end" in again
    assert len(network.asked) == asked  # the servers that could not help are left alone for a while
    network.servers[HOME] = there
    server.clock.advance(61)
    assert bodies(await scroll(server, room_id, bob, start=page["end"])) == ["two", "one"]


class Archive(History):
    """A scripted server's history, given to whoever asks for it, shuffled; `changed` may spoil the answer."""

    def __init__(self, room: RemoteRoom) -> None:
        super().__init__(room)
        self.changed: Any = lambda pdus: pdus
        self.asked = 0
        room.other.scripts[f"{V1}/backfill/"] = self.backfill

    def backfill(self, _method: str, _target: str, _body: object) -> JsonObject:
        self.asked += 1
        pdus = [event.pdu for event in sorted(self.events.values(), key=lambda event: event.event_id)]
        return {"origin": "other.test", "origin_server_ts": 1, "pdus": self.changed(pdus)}


async def room_with_a_hole(server: TestServer, other: Scripted) -> tuple[RemoteRoom, str, Archive, list[str]]:
    """A room whose last event hangs on 70 others, of which we got but the newest, one by one; the ids of all."""
    room, token = await remote_room(server, other)
    archive = Archive(room)
    said = await archive.chain(70)
    hidden, scripts = [event.event_id for event in said[:-1]], other.scripts
    missing = scripts.pop(f"{V1}/get_missing_events")
    scripts[f"{V1}/get_missing_events"] = lambda *_: {"events": []}
    results = await send(server, other, said[-1].pdu)
    assert list(results.values()) == [{}]
    scripts[f"{V1}/get_missing_events"] = missing
    return room, token, archive, hidden


@ensureDeferred
async def test_a_hole_in_the_middle(server: TestServer, other: Scripted) -> None:
    """It is filled where it is, whatever the order of the answer; nothing stands twice."""
    room, token, archive, hidden = await room_with_a_hole(server, other)
    found = [event["event_id"] for event in await scroll(server, room.room_id, token)]
    assert [one for one in found if one in hidden] == hidden[::-1]
    assert len(found) == len(set(found))
    assert found.index(hidden[0]) < found.index(await joined_id(room))
    assert archive.asked == 1


async def joined_id(room: RemoteRoom) -> str:
    return room.state["m.room.member", room.user].event_id


@ensureDeferred
async def test_a_client_is_told_of_the_hole(server: TestServer, other: Scripted) -> None:
    """The event after it begins a timeline that is limited, in /sync and for who waits."""
    room, token = await remote_room(server, other)
    since = (await server.ok("GET", "sync", token=token))["next_batch"]
    archive = Archive(room)
    said = await archive.chain(70)
    other.scripts[f"{V1}/get_missing_events"] = lambda *_: {"events": []}
    await send(server, other, said[-1].pdu)
    timeline = (await server.ok("GET", f"sync?since={since}", token=token))["rooms"]["join"][room.room_id][
        "timeline"
    ]
    ids = [event.event_id for event in said]
    first = ids.index(timeline["events"][0]["event_id"])
    assert [event["event_id"] for event in timeline["events"]] == ids[first:]
    assert first > 0
    assert timeline["limited"] is True
    path = f"rooms/{path_part(room.room_id)}/messages?dir=b&limit=1&from={timeline['prev_batch']}"
    page = await server.ok("GET", path, token=token)
    assert [event["event_id"] for event in page["chunk"]] == [ids[first - 1]]


@ensureDeferred
async def test_a_bad_event_does_no_harm_to_others(server: TestServer, other: Scripted) -> None:
    """One with a bad signature is left out; what is below it comes by the next step."""
    room, token, archive, hidden = await room_with_a_hole(server, other)
    bad = hidden[40]

    def spoiled(pdus: list[JsonObject]) -> list[JsonObject]:
        forged = {"signatures": {other.name: {other.key.key_id: "A" * 86}}}
        return [{**pdu, **forged} if archive.events[bad].pdu is pdu else pdu for pdu in pdus]

    archive.changed = spoiled
    found = [event["event_id"] for event in await scroll(server, room.room_id, token, pages=3, limit=100)]
    assert [one for one in found if one in hidden] == hidden[41:][::-1]


@ensureDeferred
async def test_answers_that_are_nonsense(server: TestServer, other: Scripted) -> None:
    """Nothing of them is kept: other rooms' events, what nobody asked for, what is no list, far too much."""
    room, token, archive, hidden = await room_with_a_hole(server, other)
    path = f"rooms/{path_part(room.room_id)}/messages?dir=b&limit=100"
    archive.changed = lambda _: []
    known = shown_of(await server.ok("GET", path, token=token), hidden)
    server.clock.advance(61)
    stranger = (await room.say("stranger", previous=[])).pdu
    for answer in ([{}], [5], [stranger], "no", [{}] * 10_000):
        archive.changed = lambda _, answer=answer: answer
        assert shown_of(await server.ok("GET", path, token=token), hidden) == known
        server.clock.advance(61)


def shown_of(page: JsonObject, event_ids: list[str]) -> list[str]:
    return [event["event_id"] for event in page["chunk"] if event["event_id"] in event_ids]


@ensureDeferred
async def test_a_refusal_is_no_answer_to_the_client(server: TestServer, other: Scripted) -> None:
    """A server that refuses makes no error of the page."""
    room, token, _, _ = await room_with_a_hole(server, other)

    def refuse(*_question: Any) -> JsonObject:
        raise PeerError("not in room", 403, "M_FORBIDDEN")

    other.scripts[f"{V1}/backfill/"] = refuse
    page = await server.ok("GET", f"rooms/{path_part(room.room_id)}/messages?dir=b", token=token)
    assert page["chunk"]


@ensureDeferred
async def test_history_of_somebody_whom_a_ban_redacts(server: TestServer, join_network: JoinNetwork) -> None:
    """From a server that does not know of such bans, it comes with its text, which nobody here gets to see."""
    there, alice, room_id = await home(join_network)
    contributors = there.core.extensions.contributors
    contributors[:] = [one for one in contributors if not isinstance(one, RedactOnBanContributor)]
    mallory, room = await there.user("mallory"), f"rooms/{path_part(room_id)}"
    await there.ok("POST", f"{room}/join", {}, mallory)
    root = (await there.ok("PUT", f"{room}/send/m.room.message/1", text("root"), alice))["event_id"]
    relation = {"rel_type": "m.thread", "event_id": root}
    await there.ok(
        "PUT", f"{room}/send/m.room.message/2", {**text("spam"), "m.relates_to": relation}, mallory
    )
    await there.ok("POST", f"{room}/ban", {"user_id": f"@mallory:{HOME}", REDACT_EVENTS: True}, alice)
    bob = await server.user("bob")
    await server.ok("POST", join_path(room_id, HOME), {}, bob)
    found = await scroll(server, room_id, bob)
    assert bodies(found) == ["root"]
    theirs = [event for event in found if event["sender"] == f"@mallory:{HOME}"]
    assert [event["unsigned"]["redacted_because"]["type"] for event in theirs] == ["m.room.member"] * 2
    related = await server.ok("GET", f"/_matrix/client/v1/{room}/relations/{path_part(root)}", token=bob)
    assert related["chunk"] == []
    assert "spam" in bodies(await scroll(there, room_id, alice))


@ensureDeferred
async def test_history_that_begins_with_a_redaction(server: TestServer, join_network: JoinNetwork) -> None:
    """The lowest event that is known redacts one that is not: what is below it is fetched all the same."""
    there, alice, room_id = await home(join_network)
    await say(there, room_id, alice, "first", "bad")
    room = f"rooms/{path_part(room_id)}"
    page = await there.ok("GET", f"{room}/messages?dir=b&limit=1", token=alice)
    bob = await server.user("bob")
    await there.ok("PUT", f"{room}/redact/{path_part(page['chunk'][0]['event_id'])}/1", {}, alice)
    await server.ok("POST", join_path(room_id, HOME), {}, bob)
    found = await scroll(server, room_id, bob, limit=2)
    assert bodies(found) == ["first"]
    assert found[-1]["type"] == "m.room.create"


@ensureDeferred
async def test_an_old_leave_in_history(server: TestServer, join_network: JoinNetwork) -> None:
    """Who comes back, and scrolls up to their own leave, stays in the room for every /sync."""
    there, alice, room_id = await home(join_network)
    bob = await server.user("bob")
    await server.ok("POST", join_path(room_id, HOME), {}, bob)
    await server.ok("POST", f"rooms/{path_part(room_id)}/leave", {}, bob)
    await tell_newest(server, there, room_id)
    await say(there, room_id, alice, "meanwhile")
    await server.ok("POST", join_path(room_id, HOME), {}, bob)
    since = (await server.ok("GET", "sync", token=bob))["next_batch"]
    found = await scroll(server, room_id, bob)
    assert "leave" in [event["content"].get("membership") for event in found]
    assert "rooms" not in await server.ok("GET", f"sync?since={since}", token=bob)
    assert room_id in (await server.ok("GET", "sync", token=bob))["rooms"]["join"]
