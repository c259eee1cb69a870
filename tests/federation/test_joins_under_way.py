"""What a room says between its server's yes to a join and the moment at which that is heard here."""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest
from attrs import frozen
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.federation.pdus import PduChecker
from synapse_lite.federation.staging import StagedRooms
from synapse_lite.matrix.event import Draft, Event, build_event
from synapse_lite.rooms.enter import Entry, RoomEntrance
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import StoredEvent
from tests.federation.hall import CREATOR, FEDERATION, ROOM, VERSION, Hall
from tests.federation.network import Scripted
from tests.federation.pair import join_path
from tests.federation.remote_room import RemoteRoom, catch_up, remote_room, second_process, send, texts
from tests.federation.test_crossing import Gate
from tests.server import Answer, TestServer, path_part


@frozen
class Joining:
    """Bob's join has been taken by the room; the answer waits at the gate."""

    hall: Hall
    bob: str
    gate: Gate
    end: "Deferred[Answer]"

    @property
    def join(self) -> Event:
        return Event.from_pdu(self.hall.taken[-1], VERSION)

    def message(self, *previous: Event) -> Event:
        content = {"msgtype": "m.text", "body": "hello"}
        return self._build(Draft("m.room.message", CREATOR, content, 9_000, None), *previous)

    def put_out(self, membership: str, sender: str) -> Event:
        """Of bob, by somebody in the room."""
        return self._build(Draft("m.room.member", sender, {"membership": membership}, 9_000, self.hall.user))

    def _build(self, draft: Draft, *previous: Event) -> Event:
        create, levels, _rules = self.hall.auth
        auth = [create, levels, self.hall.current["m.room.member", draft.sender]]
        if draft.state_key is not None:
            auth.append(self.join)
        before, leaned_on = ([one.reference for one in some] for some in (previous or (self.join,), auth))
        return build_event(draft, VERSION, ROOM, before, leaned_on, 20, self.hall.other.key)

    async def answer(self) -> int:
        self.gate.opened.callback(None)
        return (await self.end).status


async def joining(
    server: TestServer, other: Scripted, answered: Callable[[Hall, JsonObject], JsonObject] | None = None,
    *, member: str = CREATOR, token: str | None = None,
) -> Joining:  # fmt: skip
    """`member` is in the room, too; `token`: that of bob, if there is one already."""
    hall, bob = Hall(other), token or await server.user("bob")
    hall.user = f"@bob:{server.name}"
    if member != CREATOR:
        hall.add("m.room.member", {"membership": "join"}, member, member)
    if answered is not None:
        hall.answered = partial(answered, hall)
    gate = Gate(other, f"{FEDERATION}/v2/send_join/")
    end = Deferred.fromCoroutine(server.call("POST", join_path(ROOM, other.name), {}, bob))
    await gate.reached
    return Joining(hall, bob, gate, end)


def shut_out(hall: Hall, answer: JsonObject) -> JsonObject:
    """The room has an ACL that shuts out the server that tells it."""
    acl = {"allow": ["*"], "deny": [hall.other.name]}
    return {**answer, "state": [*answer["state"], hall.build("m.room.server_acl", acl, "").pdu]}


async def bodies(server: TestServer, token: str) -> list[str]:
    page = await server.ok("GET", f"rooms/{path_part(ROOM)}/messages?dir=b", token=token)
    return [one["content"]["body"] for one in page["chunk"] if "body" in one["content"]]


@ensureDeferred
@pytest.mark.parametrize("membership", ["leave", "ban"])
async def test_who_is_put_out_while_they_join(server: TestServer, other: Scripted, membership: str) -> None:
    """The kick is faster than the answer to the join: they are out when both are here."""
    under_way = await joining(server, other)
    kick = under_way.put_out(membership, CREATOR)
    assert await send(server, other, kick.pdu) == {kick.event_id: {}}
    await under_way.answer()
    await catch_up(server)
    assert await server.ok("GET", "joined_rooms", token=under_way.bob) == {"joined_rooms": []}


@ensureDeferred
async def test_a_kick_by_who_may_not(server: TestServer, other: Scripted) -> None:
    """It is judged by the room's rules, as if it had come later."""
    mallory = f"@mallory:{other.name}"
    under_way = await joining(server, other, member=mallory)
    kick = under_way.put_out("leave", mallory)
    assert await send(server, other, kick.pdu) == {kick.event_id: {}}
    assert await under_way.answer() == 200
    await catch_up(server)
    assert await server.ok("GET", "joined_rooms", token=under_way.bob) == {"joined_rooms": [ROOM]}


@ensureDeferred
async def test_a_message_to_another_process_while_one_joins(
    server: TestServer, other: Scripted, database_arguments: Mapping[str, Any]
) -> None:
    """Nobody says it again: it is there once the room is."""
    async with second_process(server, dict(database_arguments)) as second:
        under_way = await joining(server, other)
        message = under_way.message()
        assert await send(second, other, message.pdu) == {message.event_id: {}}
        assert await under_way.answer() == 200
        await catch_up(second)
        await catch_up(server)
        assert await bodies(server, under_way.bob) == ["hello"]


@ensureDeferred
async def test_a_join_that_fails_in_the_end(server: TestServer, other: Scripted) -> None:
    """What was kept is let go, without a question to anybody, also of a room that was known; later events are nothing to us again."""
    first = await joining(server, other)
    assert await first.answer() == 200
    await server.ok("POST", f"rooms/{path_part(ROOM)}/leave", {}, first.bob)
    under_way = await joining(server, other, lambda _, answer: {**answer, "state": []}, token=first.bob)
    await send(server, other, under_way.message(under_way.message()).pdu)
    asked = len(other.network.asked)
    assert await under_way.answer() == 502
    await catch_up(server)
    assert len(other.network.asked) == asked
    for table in ("staged_events", "staged_rooms", "joins_under_way"):
        assert await server.database.read(lambda txn, table=table: txn.rows(f"SELECT FROM {table}", ())) == []
    assert await send(server, other, under_way.message().pdu) == {}


@ensureDeferred
async def test_who_is_shut_out_of_the_room_that_one_joins(server: TestServer, other: Scripted) -> None:
    """What they send meanwhile is not taken, though the ACL comes with the answer only."""
    under_way = await joining(server, other, shut_out)
    await send(server, other, under_way.message().pdu)
    assert await under_way.answer() == 200
    await catch_up(server)
    assert await bodies(server, under_way.bob) == []


@ensureDeferred
async def test_a_process_that_dies_while_one_joins(server: TestServer, other: Scripted) -> None:
    """What was kept for the join holds up nothing for ever."""
    under_way = await joining(server, other)
    await send(server, other, under_way.message().pdu)
    sql = "UPDATE joins_under_way SET held_until = clock_timestamp()"
    await server.database.transact(lambda txn: txn.execute(sql, ()))
    assert await send(server, other, under_way.message().pdu) == {}
    server.bus.publish("staged_events")
    await catch_up(server)
    assert await server.database.read(lambda txn: txn.rows("SELECT FROM staged_events", ())) == []
    assert await under_way.answer() == 200


@ensureDeferred
async def test_who_is_shut_out_speaks_as_the_room_is_entered(
    server: TestServer, other: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is here, the room is not yet."""
    under_way = await joining(server, other, shut_out)
    enter = RoomEntrance.enter

    async def enter_late(entrance: RoomEntrance, entry: Entry) -> StoredEvent | None:
        await send(server, other, under_way.message().pdu)
        return await enter(entrance, entry)

    monkeypatch.setattr(RoomEntrance, "enter", enter_late)
    assert await under_way.answer() == 200
    await catch_up(server)
    assert await bodies(server, under_way.bob) == []


@ensureDeferred
async def test_who_is_shut_out_speaks_slowly(
    server: TestServer, other: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To check what they send takes until the room is entered, as long as they like to wait with their keys."""
    under_way = await joining(server, other, shut_out)
    checked: Deferred[None] = Deferred()
    check_all = PduChecker.check_all

    async def check_late(checker: PduChecker, pdus: Sequence[Any], *more: Any) -> Sequence[Any]:
        if len(pdus) == 1:
            await checked
        return await check_all(checker, pdus, *more)

    monkeypatch.setattr(PduChecker, "check_all", check_late)
    sending = Deferred.fromCoroutine(send(server, other, under_way.message().pdu))
    assert await under_way.answer() == 200
    checked.callback(None)
    await sending
    await catch_up(server)
    assert await bodies(server, under_way.bob) == []


@ensureDeferred
async def test_a_message_in_the_moment_of_entering(
    server: TestServer, other: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The join is over just after it was asked whether we are in the room."""
    under_way = await joining(server, other)
    is_over, waits = threading.Event(), [True]

    def note(answer: Answer) -> Answer:
        is_over.set()
        return answer

    under_way.end.addCallback(note)

    def enter_after(read: Callable[..., Any]) -> Callable[..., Any]:
        def reading(txn: Transaction, sql: str, arguments: Any = ()) -> Any:
            found = read(txn, sql, arguments)
            if waits and "FROM memberships" in sql:
                waits.clear()
                reactor.callFromThread(under_way.gate.opened.callback, None)  # type: ignore[attr-defined]  # a zope interface
                assert is_over.wait(60)
            return found

        return reading

    for name in ("row", "rows"):
        monkeypatch.setattr(Transaction, name, enter_after(getattr(Transaction, name)))
    message = under_way.message()
    assert await send(server, other, message.pdu) == {message.event_id: {}}
    await catch_up(server)
    assert await bodies(server, under_way.bob) == ["hello"]


@ensureDeferred
async def test_a_room_that_was_taken_on_before_the_join(server: TestServer, other: Scripted) -> None:
    """As its last events are let go, those that the join waits for are not."""
    under_way = await joining(server, other)
    await send(server, other, under_way.message().pdu)
    (staged,) = [
        life for feature in server.features for life in feature.lives if isinstance(life, StagedRooms)
    ]
    claim = "UPDATE staged_rooms SET owner = %s, leased_until = clock_timestamp() + interval '1 hour'"
    await server.database.transact(lambda txn: txn.execute(claim, (staged._owner,)))
    await Deferred.fromCoroutine(staged._work_off(ROOM))
    assert await under_way.answer() == 200
    await catch_up(server)
    assert await bodies(server, under_way.bob) == ["hello"]


@ensureDeferred
async def test_a_room_that_somebody_of_ours_is_in(server: TestServer, other: Scripted) -> None:
    """While another user asks a slow server to let them in, all goes on for those who are there."""
    room, alice = await remote_room(server, other)
    allow = [{"type": "m.room_membership", "room_id": "!elsewhere:third.test"}]
    rules = {"join_rule": "restricted", "allow": allow}
    await server.ok("PUT", f"rooms/{room.room_id}/state/m.room.join_rules", rules, alice)
    await room.look()
    bob, user_id = await server.user("bob"), f"@bob:{server.name}"
    proposed = await room.build("m.room.member", {"membership": "join"}, user_id, sender=user_id)
    version = (await room.room()).version.identifier
    other.scripts[f"{FEDERATION}/v1/make_join/"] = lambda *_: {"room_version": version, "event": proposed.pdu}
    other.scripts[f"{FEDERATION}/v2/send_join/"] = lambda *_: {}
    gate = Gate(other, f"{FEDERATION}/v2/send_join/")
    end = Deferred.fromCoroutine(server.call("POST", join_path(room.room_id, other.name), {}, bob))
    await gate.reached
    await send(server, other, (await room.say("hello")).pdu)
    assert await texts(server, room, alice) == ["hello"]
    gate.opened.callback(None)
    assert (await end).status == 502


@ensureDeferred
async def test_a_room_that_one_enters_and_leaves_while_another_joins(
    server: TestServer, other: Scripted, database_arguments: Mapping[str, Any]
) -> None:
    """What is said after that waits for the other one's join."""
    async with second_process(server, dict(database_arguments)) as second:
        under_way = await joining(server, other)
        message, carl = under_way.message(), await server.user("carl")
        under_way.hall.user = f"@carl:{server.name}"
        other.scripts[f"{FEDERATION}/v2/send_join/"] = under_way.hall.send
        await second.ok("POST", join_path(ROOM, other.name), {}, carl)
        await second.ok("POST", f"rooms/{path_part(ROOM)}/leave", {}, carl)
        assert await send(second, other, message.pdu) == {message.event_id: {}}
        assert await under_way.answer() == 200
        await catch_up(second)
        await catch_up(server)
        assert await bodies(server, under_way.bob) == ["hello"]


@ensureDeferred
async def test_what_follows_our_leave_while_one_fails_to_come_back(
    server: TestServer, other: Scripted
) -> None:
    """The room as it was when we left goes on without us."""
    first = await joining(server, other)
    assert await first.answer() == 200
    await server.ok("POST", f"rooms/{path_part(ROOM)}/leave", {}, first.bob)
    room = RemoteRoom(server, other, ROOM)
    await room.look()
    (leave,) = room.tips
    under_way = await joining(server, other, lambda _, answer: {**answer, "state": []}, token=first.bob)
    message = await room.say("hello", sender=CREATOR)
    assert await send(server, other, message.pdu) == {message.event_id: {}}
    assert await under_way.answer() == 502
    await catch_up(server)
    assert await room.stored(message) is None
    await room.look()
    assert room.tips == [leave]
