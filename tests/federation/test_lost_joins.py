"""Joins that another server took, and whose answer never came: nobody stays in a room of which nothing is known here."""

from typing import Any

import pytest
from attrs import frozen
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.federation.peers import PeerError
from synapse_lite.handlers.remote_members import DOOR_SECONDS
from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.actions.finish_join import FINISH_JOIN, MAX_ATTEMPTS, MAX_JOINS, FinishJoin
from synapse_lite.tasks.outcome import Done, Fail, Later
from tests.federation.hall import FEDERATION, ROOM, Hall
from tests.federation.network import Scripted
from tests.federation.pair import join_path
from tests.federation.remote_room import second_process
from tests.federation.tasks import run_pending
from tests.federation.test_crossing import Gate, hear_leaves, invited, knocker, shown
from tests.server import TestServer, path_part

LEAVE = f"rooms/{path_part(ROOM)}/leave"


@frozen
class Lost:
    """Bob's join is in the room there. `loses`: so is every further one, as long as there is something in it."""

    server: TestServer
    hall: Hall
    bob: str
    loses: list[str]

    async def join(self) -> tuple[int, str]:
        return await self.server.refusal("POST", join_path(ROOM, self.hall.other.name), {}, self.bob)

    async def run(self) -> Any:
        return await run_pending(self.server, FINISH_JOIN, FinishJoin(self.server.core.rooms.lost_joins.end))

    async def run_until_given_up(self) -> Any:
        for _ in range(MAX_JOINS):
            assert isinstance(await self.run(), Later)
        return await self.run()

    async def joined(self) -> list[str]:
        rooms: list[str] = (await self.server.ok("GET", "joined_rooms", token=self.bob))["joined_rooms"]
        return rooms

    def asked(self, name: str) -> int:
        return len([path for _, _, path in self.hall.other.network.asked if name in path])


async def joiner(server: TestServer, other: Scripted) -> Lost:
    hall, bob = await knocker(server, other)
    hear_leaves(hall)
    loses = ["the connection was lost"]

    def send(method: str, target: str, body: JsonObject | None) -> JsonObject:
        answer = hall.send(method, target, body)
        if loses:
            raise PeerError(loses[0])
        return answer

    other.scripts[f"{FEDERATION}/v2/send_join/"] = send
    return Lost(server, hall, bob, loses)


async def lost(server: TestServer, other: Scripted) -> Lost:
    found = await joiner(server, other)
    assert await found.join() == (502, "M_UNKNOWN")
    return found


def tell_states(hall: Hall) -> None:
    """Of the events that the joins follow."""
    state, chain = ([one.event_id for one in some] for some in (hall.current.values(), hall.events))
    pdus = [one.pdu for one in hall.events]
    for path, answer in {
        "v1/get_missing_events/": {"events": []},
        "v1/event_auth/": {"auth_chain": pdus},
        "v1/event/": {"pdus": pdus[-1:]},
        "v1/state_ids/": {"pdu_ids": state, "auth_chain_ids": chain},
    }.items():
        hall.other.scripts[f"{FEDERATION}/{path}"] = lambda *_question, answer=answer: answer


def pending(txn: Transaction) -> list[int]:
    """When joins are going to be finished."""
    sql = "SELECT run_at FROM scheduled_tasks WHERE action = %s AND status = 'scheduled'"
    return [left for (left,) in txn.rows(sql, (FINISH_JOIN.action,))]


@ensureDeferred
async def test_it_is_finished(server: TestServer, other: Scripted) -> None:
    """The user comes in after all, a minute later, when the server answers."""
    bobs = await lost(server, other)
    (run_at,) = await server.database.read(pending)
    assert run_at <= server.clock.now_ms() + 60_000
    assert isinstance(await bobs.run(), Later)
    bobs.loses.clear()
    assert await bobs.run() == Done({})
    assert await bobs.joined() == [ROOM]
    assert await bobs.run() is None


@ensureDeferred
async def test_it_is_known_before_it_is_sent(server: TestServer, other: Scripted) -> None:
    """A process that dies while the other server works on it has left word of it. Nothing remains of one that succeeds."""
    bobs = await joiner(server, other)
    bobs.loses.clear()
    gate = Gate(other, f"{FEDERATION}/v2/send_join/")
    joining = Deferred.fromCoroutine(server.ok("POST", join_path(ROOM, other.name), {}, bobs.bob))
    await gate.reached
    (run_at,) = await server.database.read(pending)
    assert run_at > server.clock.now_ms() + 60_000
    gate.opened.callback(None)
    await joining
    assert await server.database.read(pending) == []


@ensureDeferred
async def test_one_that_is_refused(server: TestServer, other: Scripted) -> None:
    """Is in no room, and nothing is to be finished."""
    bobs = await joiner(server, other)

    def refuse(*_question: object) -> JsonObject:
        raise PeerError("no", 403, "M_FORBIDDEN")

    other.scripts[f"{FEDERATION}/v2/send_join/"] = refuse
    assert await bobs.join() == (403, "M_FORBIDDEN")
    assert await server.database.read(pending) == []


@ensureDeferred
async def test_a_request_of_an_administrator_that_is_repeated(server: TestServer, other: Scripted) -> None:
    """With the same key: what the first one lost is still to be finished when the second is refused."""
    bobs = await joiner(server, other)
    admin = await server.user("root", is_admin=True)
    path = f"/_synapse/admin/v1/join/{path_part(ROOM)}?server_name={other.name}"
    arguments = ("POST", path, {"user_id": bobs.hall.user}, admin, {"Idempotency-Key": "again"})
    assert (await server.call(*arguments)).status == 502

    def refuse(*_question: object) -> JsonObject:
        raise PeerError("no", 403, "M_FORBIDDEN")

    other.scripts[f"{FEDERATION}/v2/send_join/"] = refuse
    assert (await server.call(*arguments)).status == 403
    assert len(await server.database.read(pending)) == 1


@ensureDeferred
@pytest.mark.parametrize("is_invited", [False, True])
async def test_it_is_taken_back(server: TestServer, other: Scripted, is_invited: bool) -> None:
    """Where the room cannot be had for two hours, the user is led out of it, and no longer invited."""
    bobs = await joiner(server, other)
    if is_invited:
        await invited(server, bobs.hall)
    await bobs.join()
    assert await bobs.run_until_given_up() == Done({})
    assert bobs.asked("send_leave") == 1
    assert await shown(server, bobs.bob) == set()
    assert await bobs.run() is None


@ensureDeferred
async def test_a_room_that_does_not_let_in_any_more(server: TestServer, other: Scripted) -> None:
    """It is left at once."""
    bobs = await lost(server, other)

    def refuse(*_question: object) -> JsonObject:
        raise PeerError("no", 403, "M_FORBIDDEN")

    other.scripts[f"{FEDERATION}/v1/make_join/"] = refuse
    assert await bobs.run() == Done({})
    assert bobs.asked("send_leave") == 1


@ensureDeferred
async def test_who_was_put_out_meanwhile(server: TestServer, other: Scripted) -> None:
    """Stays out, whoever may join: there is nothing to leave."""
    bobs = await lost(server, other)
    bobs.loses.clear()

    def refuse(*_question: object) -> JsonObject:
        raise PeerError("no", 403, "M_FORBIDDEN")

    other.scripts[f"{FEDERATION}/v1/make_leave/"] = refuse
    assert await bobs.run() == Done({})
    assert bobs.asked("send_join") == 1


@ensureDeferred
async def test_who_is_not_spoken_for_any_more(server: TestServer, other: Scripted) -> None:
    """An account that was deactivated meanwhile comes into no room."""
    bobs = await lost(server, other)
    sql = "UPDATE users SET deactivated = TRUE WHERE user_id = %s"
    await server.database.transact(lambda txn: txn.execute(sql, (bobs.hall.user,)))
    bobs.loses.clear()
    assert await bobs.run() == Done({})
    assert (bobs.asked("send_join"), bobs.asked("send_leave")) == (1, 1)


@ensureDeferred
@pytest.mark.parametrize("is_invited", [False, True])
async def test_who_leaves_meanwhile(server: TestServer, other: Scripted, is_invited: bool) -> None:
    """Is led out of the room, in which they are not for us, and not brought in."""
    bobs = await joiner(server, other)
    if is_invited:
        await invited(server, bobs.hall)
    await bobs.join()
    bobs.loses.clear()
    await server.ok("POST", LEAVE, {}, bobs.bob)
    await bobs.run()
    assert (bobs.asked("send_join"), bobs.asked("send_leave")) == (1, 1)
    assert await bobs.joined() == []


@ensureDeferred
@pytest.mark.parametrize("is_invited", [False, True])
async def test_who_leaves_while_it_is_finished(server: TestServer, other: Scripted, is_invited: bool) -> None:
    """The task has begun, and waits for the other server: what the user wants since then counts."""
    bobs = await joiner(server, other)
    if is_invited:
        await invited(server, bobs.hall)
    await bobs.join()
    bobs.loses.clear()
    gate = Gate(other, f"{FEDERATION}/v1/make_leave/")
    running = Deferred.fromCoroutine(bobs.run())
    await gate.reached
    await server.ok("POST", LEAVE, {}, bobs.bob)
    gate.opened.callback(None)
    await running
    await bobs.run()
    assert (bobs.asked("send_join"), bobs.asked("send_leave")) == (1, 1)
    assert await bobs.joined() == []


@ensureDeferred
@pytest.mark.parametrize("is_invited", [False, True])
async def test_who_leaves_through_another_process_while_it_joins(
    server: TestServer, other: Scripted, database_arguments: dict[str, Any], is_invited: bool
) -> None:
    """That process knows nothing of the join, which is undone when it is there."""
    bobs = await joiner(server, other)
    if is_invited:
        await invited(server, bobs.hall)
    await bobs.join()
    bobs.loses.clear()
    gate = Gate(other, f"{FEDERATION}/v2/send_join/")
    running = Deferred.fromCoroutine(bobs.run())
    await gate.reached
    async with second_process(server, database_arguments) as second:
        await second.ok("POST", LEAVE, {}, bobs.bob)
    gate.opened.callback(None)
    assert await running == Done({})
    assert await bobs.joined() == []


@ensureDeferred
async def test_who_comes_back_while_they_are_led_out(server: TestServer, other: Scripted) -> None:
    """The join waits for the leave, which would end it."""
    bobs = await lost(server, other)
    bobs.loses.clear()
    await server.ok("POST", LEAVE, {}, bobs.bob)
    gate = Gate(other, f"{FEDERATION}/v2/send_leave/")
    running = Deferred.fromCoroutine(bobs.run())
    await gate.reached
    joining = Deferred.fromCoroutine(server.ok("POST", join_path(ROOM, other.name), {}, bobs.bob))
    for _ in range(50):  # more than the statements of a join
        await server.database.read(pending)
    assert bobs.asked("send_join") == 1
    gate.opened.callback(None)
    assert await running == Done({})
    await joining
    assert await bobs.joined() == [ROOM]


@ensureDeferred
async def test_who_tries_again_meanwhile(server: TestServer, other: Scripted) -> None:
    """Comes first: nothing more is asked, neither then nor when they leave."""
    bobs = await lost(server, other)
    bobs.loses.clear()
    await server.ok("POST", join_path(ROOM, other.name), {}, bobs.bob)
    asked = len(other.network.asked)
    assert await bobs.run() == Done({})
    await server.ok("POST", LEAVE, {}, bobs.bob)
    assert await bobs.run() is None
    assert len(other.network.asked) == asked


@ensureDeferred
async def test_it_ends_where_nobody_ever_answers(server: TestServer, other: Scripted) -> None:
    """As a failed task, which says who did not."""
    bobs = await lost(server, other)
    del other.network.servers[other.name]
    for _ in range(MAX_ATTEMPTS):
        outcome = await bobs.run()
    assert isinstance(outcome, Fail)
    assert other.name in outcome.error


@ensureDeferred
async def test_a_server_that_takes_long(server: TestServer, other: Scripted) -> None:
    """It keeps no place that other tasks need; what has begun goes on."""
    bobs = await lost(server, other)
    bobs.loses.clear()
    gate = Gate(other, f"{FEDERATION}/v2/send_join/")
    running = Deferred.fromCoroutine(bobs.run())
    await gate.reached
    server.clock.advance(2)
    assert isinstance(await running, Later)
    gate.opened.callback(None)
    assert await bobs.run() == Done({})
    assert await bobs.joined() == [ROOM]


@ensureDeferred
async def test_a_silent_server_holds_up_its_own_user_only(server: TestServer, other: Scripted) -> None:
    """The next one waits for a while, and then asks by themself: they may know a better server."""
    bobs = await joiner(server, other)
    bobs.loses.clear()
    gate = Gate(other, f"{FEDERATION}/v2/send_join/")
    first = Deferred.fromCoroutine(server.call("POST", join_path(ROOM, other.name), {}, bobs.bob))
    await gate.reached
    carl = await server.user("carl")
    bobs.hall.user = f"@carl:{server.name}"
    second = Deferred.fromCoroutine(server.call("POST", join_path(ROOM, other.name), {}, carl))
    await server.ok("GET", "account/whoami", token=carl)
    assert bobs.asked("make_join") == 1
    server.clock.advance(DOOR_SECONDS)
    assert (await second).status == 200
    assert not first.called
    tell_states(bobs.hall)
    gate.opened.callback(None)
    assert (await first).status == 200
    assert await bobs.joined() == [ROOM]
