"""What went wrong elsewhere with sliding sync does not here."""

import json
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from synapse_lite.storage import sliding_sync
from synapse_lite.storage.database import Transaction
from tests.builders import SERVER
from tests.rest.conftest import BuildServer
from tests.rest.sliding_sync import ALL, BOB, EXTENSIONS, LIST, PATH, count, id_of, say, sync, texts
from tests.server import OPEN, TestServer, path_part, user_path

UNKNOWN_POS = (400, "M_UNKNOWN_POS")
ALICE = f"@alice:{SERVER}"


async def set_state(server: TestServer, token: str, room: str, kind: str, content: Any) -> None:
    await server.ok("PUT", f"{room}/state/{kind}", content, token)


@ensureDeferred
async def test_nothing_after_a_leave_whatever_process_answers(build_server: BuildServer) -> None:
    """Neither state nor timeline nor name of a room that one has left, also of who asks for more, or asks anew."""
    one = await build_server(**OPEN)
    servers = [one, await build_server(bus=one.bus, **OPEN)]
    alice, bob = await one.user("alice"), await one.user("bob")
    room = await one.room(alice, name="Tea", preset="public_chat")
    await one.ok("POST", f"{room}/join", {}, bob)
    everything = {**LIST, "required_state": [["*", "*"]], "timeline_limit": 50}
    narrow = {"lists": {"all": {**LIST, "timeline_limit": 1}}}
    wide = {"lists": {"all": everything}, "room_subscriptions": {id_of(room): everything}}
    known = [(await sync(server, bob, narrow))["pos"] for server in servers]
    known = [(await sync(servers[1], bob, {**narrow, "conn_id": str(n)}))["pos"] for n in range(2)]
    for membership, who, body in (("leave", bob, {}), ("ban", alice, {"user_id": BOB})):
        await one.ok("POST", f"{room}/{membership}", body, who)
        for kind in ("m.room.name", "m.room.topic"):
            await set_state(one, alice, room, kind, {kind.rpartition(".")[2]: f"secret {membership}"})
        await say(one, alice, room, f"secret_{membership}")
        for n, server in enumerate(servers):
            answer = await sync(server, bob, {**wide, "conn_id": str(n)}, known[n])
            assert "secret" not in str(answer)
            again = await sync(servers[1 - n], bob, {**wide, "conn_id": str(n)}, answer["pos"])
            assert "secret" not in str(again)
            assert "secret" not in str(await sync(server, bob, {**wide, "conn_id": f"new {n}"}))
            known[n] = again["pos"]


@ensureDeferred
async def test_the_look_of_a_room_that_one_was_put_out_of(server: TestServer) -> None:
    """It is called as it was called until then, for who asks anew; not what was redacted since."""
    alice, bob = await server.user("alice"), await server.user("bob")
    avatar = {"type": "m.room.avatar", "content": {"url": "mxc://hs.test/a"}}
    room = await server.room(alice, name="Tea", preset="public_chat", initial_state=[avatar])
    await server.ok("POST", f"{room}/join", {}, bob)
    for what in ("kick", "ban"):
        await server.ok("POST", f"{room}/{what}", {"user_id": BOB}, alice)
        await set_state(server, alice, room, "m.room.name", {"name": "secret"})
        wanted = {"room_subscriptions": {id_of(room): {**LIST, "timeline_limit": 0}}}
        shown = (await sync(server, bob, wanted))["rooms"][id_of(room)]
        assert (shown["initial"], shown["name"], shown["avatar"]) == (True, "Tea", "mxc://hs.test/a")
        assert "heroes" not in shown
    state = await server.ok("GET", f"{room}/state", token=alice)
    named = next(one["event_id"] for one in state if one["type"] == "m.room.avatar")
    await server.ok("PUT", f"{room}/redact/{path_part(named)}/1", {}, alice)
    shown = (await sync(server, bob, wanted))["rooms"][id_of(room)]
    assert (shown["name"], "avatar" in shown) == ("Tea", False)


@ensureDeferred
async def test_a_position_that_is_asked_again_and_again(server: TestServer) -> None:
    """However often, and for whatever: the rows stay few, and the position is good."""
    token = await server.user("alice")
    await server.room(token)
    first = await sync(server, token, ALL)
    for number in range(30):
        wanted = {"lists": {"all": {**LIST, "timeline_limit": number}}}
        await sync(server, token, wanted, first["pos"])
    assert await count(server, "sliding_positions") <= 3
    assert (await sync(server, token, ALL, first["pos"]))["rooms"] == {}


@ensureDeferred
async def test_requests_side_by_side(build_server: BuildServer) -> None:
    """An app and what shows its notifications use one connection at once, at two processes, and ask for different things.

    All are answered, no position stands for two things, and the client may go on from the newest of any of them.
    """
    one = await build_server(**OPEN)
    servers = [one, await build_server(bus=one.bus, **OPEN)]
    token = await one.user("alice")
    room = await one.room(token)
    bodies = [{"lists": {"all": {**LIST, "timeline_limit": limit}}} for limit in (1, 1, 2, 3)]
    pos = (await sync(one, token, bodies[0]))["pos"]
    meant: dict[str, dict[str, Any]] = {}
    for number in range(12):
        sent = await say(one, token, room, str(number))
        asked = [(servers[(number + n) % 2], body) for n, body in enumerate(bodies)]
        answers = await gatherResults(
            [Deferred.fromCoroutine(sync(server, token, body, pos)) for server, body in asked]
        )
        for body, answer in zip(bodies, answers, strict=True):
            assert answer["rooms"][id_of(room)]["timeline"][-1]["event_id"] == sent
            assert meant.setdefault(answer["pos"], body) == body
        pos = max((answer["pos"] for answer in answers), key=_age)


def _age(pos: str) -> list[int]:
    return [int(number) for number in pos[1:].split("_")]


@ensureDeferred
async def test_positions_that_never_were(server: TestServer) -> None:
    """Garbage, others' and old positions are one clear error, then the client starts anew."""
    alice, bob = await server.user("alice"), await server.user("bob")
    theirs = (await sync(server, bob, ALL))["pos"]
    for pos in ("x", "p1", "p999_1", "p1_1_1_1", theirs):
        assert await server.refusal("POST", f"{PATH}?pos={pos}", ALL, alice) == UNKNOWN_POS
    assert (await sync(server, alice, ALL))["lists"]["all"]["count"] == 0


@ensureDeferred
async def test_a_restored_backup(server: TestServer) -> None:
    """A position from a stream that came further than ours waits for no future."""
    token = await server.user("alice")
    room = await server.room(token)
    row = (await sync(server, token, ALL))["pos"].partition("_")[0]
    waiting = Deferred.fromCoroutine(sync(server, token, ALL, f"{row}_900000000", wait_ms=600_000))
    while not server.core.log.waiters.of_users([ALICE]):
        await deferLater(reactor, 0)  # type: ignore[arg-type]
    await say(server, token, room, "one")
    assert texts((await waiting)["rooms"][id_of(room)]) == ["one"]


@ensureDeferred
async def test_messages_to_the_device_after_a_restored_backup(server: TestServer) -> None:
    """They come, although the token of who never had them says that they did: keys would be lost. So with /sync."""
    alice, bob = await server.user("alice"), await server.user("bob")
    later = "s900000000"
    inbox = {**ALL, "extensions": {"to_device": {"enabled": True, "since": later}}}
    for number in range(2):
        messages = {"messages": {BOB: {"*": {"n": number}}}}
        await server.ok("PUT", f"sendToDevice/m.x/{number}", messages, alice)
    told = (await sync(server, bob, inbox))["extensions"]["to_device"]
    assert [event["content"]["n"] for event in told["events"]] == [0, 1]
    answer = await server.ok("GET", f"sync?since={later}", token=bob)
    assert [event["content"]["n"] for event in answer["to_device"]["events"]] == [0, 1]
    answer = await server.ok("GET", f"sync?timeout=0&since={answer['next_batch']}", token=bob)
    assert "to_device" not in answer
    inbox["extensions"]["to_device"]["since"] = told["next_batch"]
    assert (await sync(server, bob, inbox))["extensions"]["to_device"]["events"] == []


@ensureDeferred
async def test_messages_to_the_device_of_who_comes_from_synapse(server: TestServer) -> None:
    """Its tokens are numbers: the positions of messages that were taken over with it."""
    alice = await server.user("alice")
    inbox = {**ALL, "extensions": {"to_device": {"enabled": True, "since": "0"}}}
    for number in range(2):
        await server.ok(
            "PUT", f"sendToDevice/m.x/{number}", {"messages": {ALICE: {"*": {"n": number}}}}, alice
        )
    told = (await sync(server, alice, inbox))["extensions"]["to_device"]
    assert [event["content"]["n"] for event in told["events"]] == [0, 1]
    inbox["extensions"]["to_device"]["since"] = told["next_batch"].removeprefix("s")
    assert (await sync(server, alice, inbox))["extensions"]["to_device"]["events"] == []


@ensureDeferred
async def test_what_is_no_text_is_no_name(server: TestServer) -> None:
    """Computed fields are of the right type, or absent; an empty name is none, so that the room has heroes."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, preset="public_chat")
    await server.ok("POST", f"{room}/join", {}, bob)
    for value in ("", 5, None, ["x"], {"a": 1}):
        for kind, content, token in (
            ("m.room.name", {"name": value}, alice),
            ("m.room.avatar", {"url": value}, alice),
            (f"m.room.member/{BOB}", {"membership": "join", "displayname": value, "avatar_url": "x"}, bob),
        ):
            answer = await server.call("PUT", f"{room}/state/{kind}", content, token)
            assert answer.status in {200, 400}  # of another server such an event would come in any case
        shown = (await sync(server, alice, {**ALL, "conn_id": str(value)}))["rooms"][id_of(room)]
        assert not {"name", "avatar"} & shown.keys()
        assert shown["heroes"] == [{"user_id": BOB}]


@ensureDeferred
async def test_what_moves_a_room(server: TestServer) -> None:
    """A profile bumps nothing; the stamp of an invite, and of who came back, is a position."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, preset="public_chat")
    first = await sync(server, alice, ALL)
    stamp = first["rooms"][id_of(room)]["bump_stamp"]
    await set_state(server, alice, room, f"m.room.member/{ALICE}", {"membership": "join", "displayname": "A"})
    second = await sync(server, alice, ALL, first["pos"])
    assert second["rooms"][id_of(room)]["bump_stamp"] == stamp
    await server.ok("POST", f"{room}/invite", {"user_id": BOB}, alice)
    invited = await sync(server, bob, ALL)
    assert invited["rooms"][id_of(room)]["bump_stamp"] > stamp
    for path in ("join", "leave", "join"):
        await server.ok("POST", f"{room}/{path}", {}, bob)
    back = await sync(server, bob, ALL, invited["pos"])
    assert back["rooms"][id_of(room)]["bump_stamp"] >= 0


@ensureDeferred
async def test_a_limit_of_messages_loses_none(server: TestServer) -> None:
    """What comes back as `since` is what an answer carried. Zero counts as one, or nothing would ever come."""
    token, bob = await server.register("alice", device_id="A"), await server.register("bob")
    for number in range(5):
        body = {"messages": {ALICE: {"A": {"n": number}}}}
        await server.ok("PUT", f"sendToDevice/org.example/{number}", body, bob)
    pos, since, pieces = None, {}, []
    for limit in (0, 2, 0, 2, 2):
        body = {"extensions": {"to_device": {"enabled": True, "limit": limit, **since}}}
        answer = await sync(server, token, body, pos)
        found = answer["extensions"]["to_device"]
        pieces.append([event["content"]["n"] for event in found["events"]])
        pos, since = answer["pos"], {"since": found["next_batch"]}
    assert pieces == [[0], [1, 2], [3], [4], []]


@ensureDeferred
async def test_connections_share_the_inbox(server: TestServer) -> None:
    """A message to the device comes until it is confirmed, whatever becomes of the connection; then to none."""
    token = await server.user("alice")
    device = (await server.ok("GET", "account/whoami", None, token))["device_id"]
    await server.ok("PUT", "sendToDevice/org.test/1", {"messages": {ALICE: {device: {"x": 1}}}}, token)
    for conn_id in ("room-list", "encryption", "encryption"):
        found = (await sync(server, token, {**EXTENSIONS, "conn_id": conn_id}))["extensions"]["to_device"]
        assert [event["content"] for event in found["events"]] == [{"x": 1}]
    confirmed = {"to_device": {"enabled": True, "since": found["next_batch"]}}
    for conn_id in ("encryption", "room-list"):
        body = {"extensions": confirmed, "conn_id": conn_id}
        assert (await sync(server, token, body))["extensions"]["to_device"]["events"] == []


@ensureDeferred
async def test_account_data_of_the_wrong_shape(server: TestServer) -> None:
    """What clients wrote is shown as it is, and counts for nothing where the server looks at it."""
    token = await server.user("alice")
    room = await server.room(token)
    ignored: Any
    for ignored in ([], {"ignored_users": ["x"]}, {"ignored_users": {"x": 1}}):
        content = ignored if isinstance(ignored, dict) else {"ignored_users": None}
        await server.ok("PUT", user_path("alice", "account_data/m.ignored_user_list"), content, token)
        for direct, tags in (({"@x:y": "room"}, [1]), ({"@x:y": [1, None]}, 5), ({"": 5}, None)):
            await server.ok("PUT", user_path("alice", "account_data/m.direct"), direct, token)
            await server.ok("PUT", user_path("alice", f"{room}/account_data/m.tag"), {"tags": tags}, token)
            lists = {"all": {**LIST, "filters": {"is_dm": False, "not_tags": ["u.x"]}}}
            answer = await sync(server, token, {"lists": lists, "conn_id": "new"})
            assert answer["lists"]["all"]["count"] == 1


@pytest.mark.new_database
@ensureDeferred
async def test_unused_connections_are_found_by_their_index(server: TestServer) -> None:
    """A server of 100,000 phones deletes some of them with a look at those alone."""

    def explain(txn: Transaction) -> str:
        txn.execute(
            "INSERT INTO sliding_connections (user_id, device_id, conn_id, used_ts, rooms_nid, rooms)"
            " SELECT n::text, '', '', n, 0, '' FROM generate_series(1, 20000) n"
        )
        txn.execute("ANALYZE sliding_connections")
        return json.dumps(txn.value(f"EXPLAIN (FORMAT JSON) {sliding_sync._DELETE_UNUSED}", (9000, 10)))

    plan = await server.database.transact(explain)
    assert "sliding_connections_used" in plan
    assert '"Seq Scan"' not in plan
    assert '"Sort"' not in plan
