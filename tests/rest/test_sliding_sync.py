"""Sliding sync over HTTP: positions, connections, extensions, waiting, refusals."""

from typing import Any

from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.sent_rooms import SentRoom, decode, encode
from synapse_lite.storage.sliding_sync import DAY_MS, delete_unused_connections
from synapse_lite.tasks.periodic import CONNECTED_MS
from tests.builders import SERVER
from tests.rest.conftest import BuildServer
from tests.rest.sliding_sync import (
    ALL,
    BOB,
    EXTENSIONS,
    LIST,
    PATH,
    UNKNOWN_POS,
    count,
    id_of,
    say,
    sync,
    texts,
)
from tests.server import OPEN, TestServer, path_part, user_path
from tests.signing import Device


@ensureDeferred
async def test_first_answer_and_what_follows(server: TestServer) -> None:
    """A room is sent whole once, then only what is new of it; the list tells its order."""
    token = await server.user("alice")
    tea, cake = await server.room(token, name="Tea"), await server.room(token, name="Cake")
    first = await sync(server, token, ALL)
    assert first["lists"]["all"] == {
        "count": 2,
        "ops": [{"op": "SYNC", "range": [0, 19], "room_ids": [id_of(cake), id_of(tea)]}],
    }
    shown = first["rooms"][id_of(tea)]
    assert (shown["initial"], shown["name"], shown["joined_count"], shown["invited_count"]) == (
        True,
        "Tea",
        1,
        0,
    )
    assert [event["content"] for event in shown["required_state"]] == [{"name": "Tea"}]
    assert not any("room_id" in event for event in (*shown["required_state"], *shown["timeline"]))
    assert len(shown["timeline"]) == LIST["timeline_limit"]
    assert (shown["limited"], shown["num_live"]) == (True, 0)
    assert (shown["notification_count"], shown["highlight_count"]) == (0, 0)
    assert shown["bump_stamp"] > 0

    await say(server, token, tea, "one")
    second = await sync(server, token, ALL, first["pos"])
    assert second["rooms"].keys() == {id_of(tea)}
    news = second["rooms"][id_of(tea)]
    assert (texts(news), news["limited"], news["num_live"]) == (["one"], False, 1)
    assert "initial" not in news
    assert "required_state" not in news
    assert news["bump_stamp"] > shown["bump_stamp"]
    assert second["lists"]["all"]["ops"][0]["room_ids"] == [id_of(tea), id_of(cake)]
    third = await sync(server, token, ALL, second["pos"])
    assert third["rooms"] == {}


@ensureDeferred
async def test_lost_answers(server: TestServer) -> None:
    """A position stays good until a later one is used, and answers the same again; then it is unknown."""
    token = await server.user("alice")
    room = await server.room(token)
    first = await sync(server, token, ALL)
    await say(server, token, room, "one")
    more = {"lists": {"all": {**LIST, "required_state": [["*", ""]]}}}
    answers = [await sync(server, token, more, first["pos"]) for _ in range(5)]
    assert all(texts(answer["rooms"][id_of(room)]) == ["one"] for answer in answers)
    assert len({answer["pos"] for answer in answers}) == len(answers)
    assert await count(server, "sliding_positions") == 3
    assert (await sync(server, token, more, answers[-1]["pos"]))["rooms"] == {}
    for gone in (*answers[:-1], first):
        assert await server.refusal("POST", f"{PATH}?pos={gone['pos']}", ALL, token) == UNKNOWN_POS


@ensureDeferred
async def test_polls_write_nothing(server: TestServer) -> None:
    """What a client knows of rooms is written when it changes: neither news nor their absence change it."""
    token = await server.user("alice")
    room = await server.room(token)
    pos = (await sync(server, token, ALL))["pos"]
    await sync(server, token, ALL, pos)
    rows = "SELECT c.ctid, c.xmin, p.ctid, p.xmin FROM sliding_connections c, sliding_positions p"
    before = await server.database.read(lambda txn: txn.rows(rows))
    seen = [pos]
    for number in range(4):
        if number % 2:
            await say(server, token, room, str(number))
        answers = [await sync(server, token, ALL, seen[-1]) for _ in range(2)]
        assert answers[0]["pos"] == answers[1]["pos"]
        for answer in answers:
            assert answer["rooms"].keys() == ({id_of(room)} if number % 2 else set())
        seen.append(answers[0]["pos"])
    assert len(set(seen)) == len(seen), "clients take a position that they have seen for an old answer"
    assert await server.database.read(lambda txn: txn.rows(rows)) == before


def test_what_clients_know_is_small() -> None:
    """Thousands of rooms of a client take kilobytes."""
    sent = {nid * 3: SentRoom(None if nid % 2 else nid, "x" * 500, "join") for nid in range(5000)}
    data = encode(sent)
    assert decode(data) == sent
    assert len(data) < 30_000


@ensureDeferred
async def test_connections_are_apart(server: TestServer) -> None:
    """A position belongs to one connection of one device; two connections do not disturb each other."""
    token, other = await server.user("alice"), await server.user("bob")
    room = await server.room(token)
    first = await sync(server, token, {**ALL, "conn_id": "a"})
    assert id_of(room) in (await sync(server, token, {**ALL, "conn_id": "b"}))["rooms"]
    assert (
        await server.refusal("POST", f"{PATH}?pos={first['pos']}", {**ALL, "conn_id": "b"}, token)
        == UNKNOWN_POS
    )
    assert (
        await server.refusal("POST", f"{PATH}?pos={first['pos']}", {**ALL, "conn_id": "a"}, other)
        == UNKNOWN_POS
    )
    for garbage in ("x", "p1", "p1_x", f"p{'9' * 18}_1"):
        assert await server.refusal("POST", f"{PATH}?pos={garbage}", ALL, token) == UNKNOWN_POS
    assert (await sync(server, token, {**ALL, "conn_id": "a"}, first["pos"]))["rooms"] == {}


@ensureDeferred
async def test_any_process_goes_on(build_server: BuildServer) -> None:
    """Another process continues a connection where the first one was."""
    one, other = await build_server(**OPEN), await build_server(**OPEN)
    token = await one.user("alice")
    room = await one.room(token)
    first = await sync(one, token, ALL)
    await say(one, token, room, "one")
    second = await sync(other, token, ALL, first["pos"])
    assert texts(second["rooms"][id_of(room)]) == ["one"]
    assert (await sync(one, token, ALL, second["pos"]))["rooms"] == {}


@ensureDeferred
async def test_extensions(server: TestServer) -> None:
    """What /sync shows beside rooms comes whole at first, then as it changes, each thing once."""
    token, bob = await server.register("alice"), await server.register("bob")
    room = await server.room(token)
    await server.ok("POST", f"{room}/join", {}, bob)
    event_id = await say(server, token, room, "one")
    await server.ok("PUT", user_path("alice", "account_data/org.example"), {"a": 1}, token)
    first = await sync(server, token, {**ALL, **EXTENSIONS})
    data = {event["type"]: event["content"] for event in first["extensions"]["account_data"]["global"]}
    assert data["org.example"] == {"a": 1}
    assert "m.push_rules" in data
    assert first["extensions"]["e2ee"]["device_unused_fallback_key_types"] == []
    assert first["extensions"]["to_device"]["events"] == []

    await server.ok("POST", f"{room}/receipt/m.read/{path_part(event_id)}", {}, bob)
    await server.ok("PUT", f"{room}/typing/{path_part(BOB)}", {"typing": True}, bob)
    await server.ok("PUT", user_path("alice", f"{room}/tags/u.x"), {}, token)
    device = (await server.ok("GET", "account/whoami", None, token))["device_id"]
    message = {"messages": {f"@alice:{SERVER}": {device: {"x": 1}}}}
    await server.ok("PUT", "sendToDevice/org.example/1", message, bob)
    second = await sync(server, token, {**ALL, **EXTENSIONS}, first["pos"])
    found = second["extensions"]
    receipt = found["receipts"]["rooms"][id_of(room)]
    assert (receipt["type"], list(receipt["content"][event_id]["m.read"])) == ("m.receipt", [BOB])
    assert found["typing"]["rooms"][id_of(room)] == {"type": "m.typing", "content": {"user_ids": [BOB]}}
    assert found["account_data"]["rooms"][id_of(room)] == [
        {"type": "m.tag", "content": {"tags": {"u.x": {}}}}
    ]
    assert [event["content"] for event in found["to_device"]["events"]] == [{"x": 1}]
    third = await sync(server, token, {**ALL, **EXTENSIONS}, second["pos"])
    assert not {"receipts", "typing", "account_data"} & third["extensions"].keys()
    assert [event["content"] for event in third["extensions"]["to_device"]["events"]] == [{"x": 1}]
    confirmed = {
        "extensions": {
            **EXTENSIONS["extensions"],
            "to_device": {"enabled": True, "since": found["to_device"]["next_batch"]},
        }
    }
    last = await sync(server, token, {**ALL, **confirmed}, third["pos"])
    assert last["extensions"]["to_device"]["events"] == []


@ensureDeferred
async def test_a_connection_that_begins_anew_misses_no_change_of_devices(server: TestServer) -> None:
    """It hears of those since the messages that the client has; a client that has none, asks for all keys by itself."""
    token, bob = await server.register("alice"), await server.register("bob", device_id="B")
    room = await server.room(token)
    await server.ok("POST", f"{room}/join", {}, bob)
    first = await sync(server, token, {**ALL, **EXTENSIONS})
    has = first["extensions"]["to_device"]["next_batch"]
    await server.ok("POST", "keys/upload", {"device_keys": Device.of(BOB, "B").keys}, bob)

    on = {**EXTENSIONS["extensions"], "to_device": {"enabled": True, "since": has}}
    anew = await sync(server, token, {**ALL, "extensions": on})
    assert anew["extensions"]["e2ee"]["device_lists"] == {"changed": [BOB], "left": []}
    on["to_device"]["since"] = anew["extensions"]["to_device"]["next_batch"]
    for body in ({**ALL, "extensions": on}, {**ALL, **EXTENSIONS}):
        assert "device_lists" not in (await sync(server, token, body))["extensions"]["e2ee"]
    before = await sync(server, token, {**ALL, "extensions": {"to_device": {"enabled": True}}})
    on["to_device"]["since"] = has
    later = await sync(server, token, {**ALL, "extensions": on}, before["pos"])
    assert later["extensions"]["e2ee"]["device_lists"] == {"changed": [BOB], "left": []}


@ensureDeferred
async def test_own_receipt_is_news(server: TestServer) -> None:
    """Counts are those of /sync; reading on one device takes them down on the other."""
    token, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(token)
    await server.ok("POST", f"{room}/join", {}, bob)
    event_id = await say(server, bob, room, "one")
    first = await sync(server, token, ALL)
    v3 = (await server.ok("GET", "sync", None, token))["rooms"]["join"][id_of(room)]
    assert (
        first["rooms"][id_of(room)]["notification_count"]
        == v3["unread_notifications"]["notification_count"]
        == 1
    )
    await server.ok("POST", f"{room}/receipt/m.read/{path_part(event_id)}", {}, token)
    second = await sync(server, token, ALL, first["pos"])
    assert second["rooms"][id_of(room)] == {"notification_count": 0, "highlight_count": 0}


@ensureDeferred
async def test_lost_rows(build_server: BuildServer) -> None:
    """A room without its summary, or which is gone without a word, does not keep others from the client."""
    server, fresh = await build_server(**OPEN), await build_server(**OPEN)
    token = await server.user("alice")
    tea, cake = await server.room(token, name="Tea"), await server.room(token, name="Cake")
    await server.database.transact(lambda txn: txn.execute("DELETE FROM room_summary"))
    first = await sync(server, token, ALL)
    assert first["rooms"].keys() == {id_of(tea), id_of(cake)}
    await server.database.transact(
        lambda txn: txn.execute(
            "DELETE FROM memberships USING rooms WHERE memberships.room_nid = rooms.room_nid AND room_id = %s",
            (id_of(tea),),
        )
    )
    second = await sync(fresh, token, ALL, first["pos"])
    assert second["rooms"][id_of(tea)]["timeline"][-1]["content"] == {"membership": "leave"}
    assert (await sync(fresh, token, ALL, second["pos"]))["rooms"] == {}


@ensureDeferred
async def test_waiting(server: TestServer) -> None:
    """Who knows everything waits until something happens in their rooms."""
    token = await server.user("alice")
    room = await server.room(token)
    first = await sync(server, token, ALL)
    waiting = Deferred.fromCoroutine(sync(server, token, ALL, first["pos"], wait_ms=600_000))
    await say(server, token, room, "one")
    assert texts((await waiting)["rooms"][id_of(room)]) == ["one"]


@ensureDeferred
async def test_unused_connections(server: TestServer) -> None:
    """A connection that nobody used for long is deleted, with all that it knew; the client begins anew."""
    token = await server.user("alice")
    await server.room(token)
    first = await sync(server, token, ALL)
    far = server.clock.now_ms() + 1000
    assert await server.database.transact(delete_unused_connections, 0, 10) == 0
    assert await server.database.transact(delete_unused_connections, far, 10) == 1
    assert await count(server, "sliding_positions") == 0
    assert await server.refusal("POST", f"{PATH}?pos={first['pos']}", ALL, token) == UNKNOWN_POS


@ensureDeferred
async def test_an_unused_connection_takes_no_other_along(server: TestServer) -> None:
    """Each of a device's connections lasts by itself; whose is gone begins anew after one refusal."""
    token = await server.user("alice")
    room = await server.room(token)
    idle = await sync(server, token, {**ALL, "conn_id": "idle"})
    used_ms = server.clock.now_ms()
    used = await sync(server, token, {**ALL, "conn_id": "used"})
    statement = "UPDATE sliding_connections SET used_ts = %s WHERE conn_id = 'idle'"
    await server.database.transact(Transaction.execute, statement, (used_ms - 1000,))
    assert await server.database.transact(delete_unused_connections, used_ms, 10) == 1
    asked = f"{PATH}?pos={idle['pos']}", {**ALL, "conn_id": "idle"}
    assert await server.refusal("POST", *asked, token) == UNKNOWN_POS
    assert (await sync(server, token, {**ALL, "conn_id": "idle"}))["rooms"].keys() == {id_of(room)}
    await say(server, token, room, "one")
    answer = await sync(server, token, {**ALL, "conn_id": "used"}, used["pos"])
    assert texts(answer["rooms"][id_of(room)]) == ["one"]


@ensureDeferred
async def test_who_only_waits_uses_the_connection(server: TestServer) -> None:
    """However long nothing is new for them, and nothing written."""
    token = await server.user("alice")
    await server.room(token)
    pos = (await sync(server, token, ALL))["pos"]
    for _ in range(CONNECTED_MS // DAY_MS):
        server.clock.advance(2 * DAY_MS / 1000)
        pos = (await sync(server, token, ALL, pos))["pos"]
    long_ago = server.clock.now_ms() - CONNECTED_MS
    assert await server.database.transact(delete_unused_connections, long_ago, 10) == 0
    assert (await sync(server, token, ALL, pos))["rooms"] == {}


@ensureDeferred
async def test_refusals(server: TestServer) -> None:
    """What does not fit is the client's fault, and named."""
    token = await server.user("alice")
    lists: tuple[Any, ...] = (
        {**LIST, "timeline_limit": 1001},
        {**LIST, "timeline_limit": -1},
        {**LIST, "timeline_limit": "1"},
        {**LIST, "ranges": [[1, 0]]},
        {**LIST, "ranges": [[0]]},
        {**LIST, "ranges": [[-1, 0]]},
        {**LIST, "required_state": [["m.room.name"]]},
        {**LIST, "filters": {"is_dm": "yes"}},
        {**LIST, "filters": {"room_types": [1]}},
        [],
    )
    for one in lists:
        assert await server.refusal("POST", PATH, {"lists": {"all": one}}, token) == (400, "M_BAD_JSON"), one
    many = [["m.room.name", str(number)] for number in range(700)]
    bodies: tuple[Any, ...] = (
        {"lists": {"x" * 65: LIST}},
        {"lists": {str(n): LIST for n in range(101)}},
        {"lists": {str(n): {**LIST, "ranges": [[0, 9]] * 51} for n in range(4)}},
        {"lists": {str(n): {**LIST, "required_state": many} for n in range(3)}},
        {"room_subscriptions": {"room": {"required_state": [], "timeline_limit": 1}}},
        {"extensions": {"typing": {"enabled": 1}}},
        {"conn_id": "a\0"},
    )
    for body in bodies:
        assert await server.refusal("POST", PATH, body, token) == (400, "M_BAD_JSON"), body
    for name in ("required_state", "timeline_limit"):
        one = {key: value for key, value in LIST.items() if key != name}
        assert await server.refusal("POST", PATH, {"lists": {"all": one}}, token) == (400, "M_MISSING_PARAM")
    assert await server.refusal("POST", PATH, ALL) == (401, "M_MISSING_TOKEN")
    await server.ok("POST", PATH, dict.fromkeys(("lists", "room_subscriptions", "extensions")), token)
    features = (await server.ok("GET", "/_matrix/client/versions"))["unstable_features"]
    assert features["org.matrix.simplified_msc3575"] is True
