"""What a room says between its server's yes to a join and the moment at which that is heard here."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
from attrs import frozen
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.event import Draft, Event, build_event
from tests.federation.hall import CREATOR, FEDERATION, ROOM, VERSION, Hall
from tests.federation.network import Scripted
from tests.federation.pair import join_path
from tests.federation.remote_room import catch_up, second_process, send
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
    acl = {"allow": ["*"], "deny": [other.name]}

    def shut_out(hall: Hall, answer: JsonObject) -> JsonObject:
        return {**answer, "state": [*answer["state"], hall.build("m.room.server_acl", acl, "").pdu]}

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
