"""Who waits with sliding sync is answered from memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue

from synapse_lite.handlers.sliding_sync.lists import Windows, find_windows
from synapse_lite.handlers.sliding_sync.reading import SlidingReader
from synapse_lite.replication.changes import ChangeLog
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.snapshots import snapshot_then
from tests.builders import SERVER
from tests.rest.conftest import BuildServer
from tests.rest.sliding_sync import ALICE, EXTENSIONS, id_of, say, sync, texts
from tests.server import TestServer, path_part, user_path
from tests.signing import Device

LAZY = [["m.room.name", ""], ["m.room.member", "$LAZY"], ["m.room.member", "$ME"]]
ALL = {"lists": {"all": {"ranges": [[0, 9]], "required_state": LAZY, "timeline_limit": 2}}, **EXTENSIONS}
Asked = list[Callable[..., Any]]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> "DeferredQueue[None]":
    """Each time that somebody begins to wait."""
    began: DeferredQueue[None] = DeferredQueue()
    wait = ChangeLog.wait

    async def observed(self: ChangeLog, *arguments: Any) -> bool:
        reactor.callLater(0, began.put, None)
        return await wait(self, *arguments)

    monkeypatch.setattr(ChangeLog, "wait", observed)
    return began


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What has been read of the database."""
    asked: Asked = []
    for name in ("read", "snapshot"):
        original = getattr(Database, name)

        async def observed(
            self: Database, function: Any, *arguments: Any, original: Any = original, **named: Any
        ) -> Any:
            asked.append(function)
            return await original(self, function, *arguments, **named)

        monkeypatch.setattr(Database, name, observed)
    return asked


@contextmanager
def count_statements(sent: list[str]) -> Iterator[None]:
    run = Transaction._run

    def counted(self: Transaction, sql: str, arguments: Any) -> None:
        sent.append(sql)
        run(self, sql, arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transaction, "_run", counted)
        yield


def without_ages(rooms: Any) -> Any:
    for room in rooms.values():
        for event in (*room["timeline"], *room["required_state"]):
            del event["unsigned"]["age"]
    return rooms


class Phone:
    """Alice's, which goes on from answer to answer."""

    def __init__(self, server: TestServer, token: str) -> None:
        self.server = server
        self.token = token
        self.last: Any = {}

    async def sync(self, wait_ms: int = 0) -> Any:
        to_device = {"enabled": True}
        if self.last:
            to_device["since"] = self.last["extensions"]["to_device"]["next_batch"]
        body = {**ALL, "extensions": {**ALL["extensions"], "to_device": to_device}}
        self.last = await sync(self.server, self.token, body, self.last.get("pos"), wait_ms)
        return self.last


async def _rooms(server: TestServer, number: int) -> tuple[str, str, list[str]]:
    alice, bob = await server.user("alice"), await server.user("bob")
    rooms = [await server.room(alice, preset="public_chat") for _ in range(number)]
    for room in rooms:
        await server.ok("POST", f"{room}/join", {}, bob)
    return alice, bob, rooms


@ensureDeferred
async def test_only_the_last_key_ends_a_wait(server: TestServer, waits: "DeferredQueue[None]") -> None:
    """Counts stand in every answer and are no news, or clients would poll without a pause; a device without keys is woken once."""
    token, bob = await server.register("alice", device_id="A"), await server.user("bob")
    device = Device.of(ALICE, "A")
    body = {"device_keys": device.keys, "one_time_keys": device.one_time_keys("1", "2")}
    await server.ok("POST", "keys/upload", body, token)
    phone = Phone(server, token)
    for _ in range(2):
        await phone.sync()
    waiting = Deferred.fromCoroutine(phone.sync(600_000))
    await waits.get()
    wanted = {"one_time_keys": {ALICE: {"A": "signed_curve25519"}}}
    await server.ok("POST", "keys/claim", wanted, bob)
    await waits.get()
    assert not waiting.called
    await server.ok("POST", "keys/claim", wanted, bob)
    counts = (await waiting)["extensions"]["e2ee"]["device_one_time_keys_count"]
    assert counts == {"signed_curve25519": 0}
    waiting = Deferred.fromCoroutine(phone.sync(600_000))
    await waits.get()
    assert not waiting.called
    server.clock.advance(600)
    await waiting


@ensureDeferred
async def test_news_take_no_statement(server: TestServer, waits: "DeferredQueue[None]", reads: Asked) -> None:
    """Messages, receipts and who types: with order, counts, members and bump stamp as the database has them."""
    alice, bob, (tea, cake) = await _rooms(server, 2)
    phone = Phone(server, alice)
    await phone.sync()
    for text in ("one", "two", "three"):
        waiting = Deferred.fromCoroutine(phone.sync(600_000))
        await waits.get()
        reads.clear()
        sent = await say(server, bob, tea, text)
        answer = await waiting
        seen = [*reads]
        assert texts(answer["rooms"][id_of(tea)]) == [text]
    assert seen == []
    assert answer["lists"]["all"]["ops"][0]["room_ids"] == [id_of(tea), id_of(cake)]
    shown = answer["rooms"][id_of(tea)]
    assert [event["state_key"] for event in shown["required_state"]] == [f"@bob:{SERVER}"]
    assert (shown["notification_count"], shown["num_live"], shown["limited"]) == (3, 1, False)
    whole = (await sync(server, alice, {**ALL, "conn_id": "other"}))["rooms"][id_of(tea)]
    assert shown["bump_stamp"] == whole["bump_stamp"]
    assert shown["timeline"][0]["event_id"] == whole["timeline"][-1]["event_id"]

    waiting = Deferred.fromCoroutine(phone.sync(600_000))
    await waits.get()
    reads.clear()
    await server.ok("POST", f"{tea}/receipt/m.read/{path_part(sent)}", {}, bob)
    answer = await waiting
    assert sent in answer["extensions"]["receipts"]["rooms"][id_of(tea)]["content"]
    assert answer["rooms"] == {}


@ensureDeferred
async def test_a_member_who_comes_moves_a_room(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database tells of the member; where the rooms stand is known, and none is looked at for that."""
    alice, _bob, (tea, cake) = await _rooms(server, 2)
    phone, carol = Phone(server, alice), await server.user("carol")
    for _ in range(2):
        await phone.sync()
    looks = []

    def look(*given: Any) -> Windows:
        looks.append(given)
        return find_windows(*given)

    monkeypatch.setattr("synapse_lite.handlers.sliding_sync.reading.find_windows", look)
    await server.ok("POST", f"{tea}/join", {}, carol)
    answer = await phone.sync()
    assert answer["rooms"][id_of(tea)]["joined_count"] == 3
    assert answer["lists"]["all"]["ops"][0]["room_ids"] == [id_of(tea), id_of(cake)]
    assert looks == []


@ensureDeferred
async def test_large_windows(server: TestServer, reads: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long to write does not hold the reactor: it is left to a database thread."""
    alice, bob, rooms = await _rooms(server, 3)
    phone = Phone(server, alice)
    for _ in range(2):
        await phone.sync()
    for most, is_read in ((2, True), (3, False)):
        monkeypatch.setattr("synapse_lite.handlers.sliding_sync.live.MOST_SHOWN", most)
        await say(server, bob, rooms[0], f"news{most}")
        reads.clear()
        answer = await phone.sync()
        assert texts(answer["rooms"][id_of(rooms[0])]) == [f"news{most}"]
        assert (snapshot_then in reads) is is_read


@ensureDeferred
async def test_opening_an_app_again(server: TestServer) -> None:
    """What was read for a first answer serves the next one, for as long as it is true."""
    alice, bob, (tea, cake) = await _rooms(server, 2)
    await say(server, bob, tea, "one")
    first = await sync(server, alice, ALL)
    statements: list[str] = []
    with count_statements(statements):
        second = await sync(server, alice, {**ALL, "conn_id": "2"})
    assert without_ages(second["rooms"]) == without_ages(first["rooms"])
    assert len(statements) <= 8
    said = await say(server, bob, tea, "two")
    await server.ok("POST", f"{tea}/receipt/m.read/{path_part(said)}", {}, bob)
    await server.ok("PUT", user_path("alice", f"{cake}/account_data/org.test"), {"v": 1}, alice)
    third = await sync(server, alice, {**ALL, "conn_id": "3"})
    assert texts(third["rooms"][id_of(tea)]) == ["one", "two"]
    assert third["rooms"][id_of(tea)]["notification_count"] == 2
    assert third["extensions"]["receipts"]["rooms"].keys() == {id_of(tea)}
    assert third["extensions"]["account_data"]["rooms"].keys() == {id_of(cake)}


@ensureDeferred
async def test_own_account_data_is_read_once(build_server: BuildServer) -> None:
    """Whoever begins anew gets it from memory, unless it changed meanwhile, in whatever process."""
    one = await build_server()
    other = await build_server(bus=one.bus)
    alice = await one.user("alice")

    async def begun(conn_id: str) -> tuple[Any, list[str]]:
        statements: list[str] = []
        with count_statements(statements):
            answer = await sync(one, alice, {**ALL, "conn_id": conn_id})
        shown = {event["type"]: event["content"] for event in answer["extensions"]["account_data"]["global"]}
        return shown, [sql for sql in statements if "account_data" in sql]

    path = user_path("alice", "account_data/org.test")
    await one.ok("PUT", path, {"v": 1}, alice)
    assert (await begun("1"))[0]["org.test"] == {"v": 1}
    shown, statements = await begun("2")
    assert shown["org.test"] == {"v": 1}
    assert "m.push_rules" in shown
    assert statements == []
    await other.ok("PUT", path, {"v": 2}, alice)
    assert (await begun("3"))[0]["org.test"] == {"v": 2}
    await one.ok("PUT", path, {"v": 3}, alice)
    shown, statements = await begun("4")
    assert shown["org.test"] == {"v": 3}
    assert len(statements) == 1


@ensureDeferred
async def test_a_reaction_bumps_nothing(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stamp stays that of the last message, also where memory answers; the list follows any event."""
    alice, bob, (tea, cake) = await _rooms(server, 2)
    phone = Phone(server, alice)
    await say(server, bob, cake, "other")
    said = await say(server, bob, tea, "one")
    stamp = (await phone.sync())["rooms"][id_of(tea)]["bump_stamp"]
    await say(server, bob, cake, "later")
    await phone.sync()
    monkeypatch.setattr(SlidingReader, "read", None)
    reaction = {"m.relates_to": {"rel_type": "m.annotation", "event_id": said, "key": "+"}}
    await server.ok("PUT", f"{tea}/send/m.reaction/1", reaction, bob)
    answer = await phone.sync()
    assert answer["rooms"][id_of(tea)]["bump_stamp"] == stamp
    assert answer["lists"]["all"]["ops"][0]["room_ids"] == [id_of(tea), id_of(cake)]


@ensureDeferred
async def test_who_forgets_a_room_hears_of_it(server: TestServer) -> None:
    """A room that one was put out of stands in the list until it is forgotten, and again when one came back meanwhile."""
    alice, bob, (tea, _) = await _rooms(server, 2)
    await sync(server, bob, ALL)
    await server.ok("POST", f"{tea}/kick", {"user_id": f"@bob:{SERVER}"}, alice)
    kicked = await sync(server, bob, ALL)
    assert kicked["lists"]["all"]["count"] == 2
    await server.ok("POST", f"{tea}/forget", {}, bob)
    forgotten = await sync(server, bob, ALL, kicked["pos"])
    assert forgotten["lists"]["all"]["count"] == 1
    await server.ok("POST", f"{tea}/join", {}, bob)
    await server.ok("POST", f"{tea}/kick", {"user_id": f"@bob:{SERVER}"}, alice)
    again = await sync(server, bob, ALL, forgotten["pos"])
    assert again["lists"]["all"]["count"] == 2
    assert again["rooms"].keys() == {id_of(tea)}
