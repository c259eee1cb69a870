"""What crosses on the way: a room's answer to a knock or a rejection that comes before the other server's, a leave during a join."""

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.federation.peers import PeerError
from synapse_lite.matrix.event import Draft, Event, build_event
from synapse_lite.matrix.types import MEMBER
from tests.federation.hall import CREATOR, FEDERATION, ROOM, VERSION, Hall
from tests.federation.network import Network, Scripted
from tests.federation.pair import join_path
from tests.federation.remote_room import catch_up, second_process, send
from tests.server import TestServer, path_part

KNOCK = f"knock/{path_part(ROOM)}?via=other.test"


@define
class Gate:
    """Answers of the server to one endpoint wait before it; `reached` fires when the first has come there."""

    other: Scripted
    endpoint: str
    reached: "Deferred[None]" = field(factory=Deferred)
    opened: "Deferred[None]" = field(factory=Deferred)

    def __attrs_post_init__(self) -> None:
        answer = self.other.scripts[self.endpoint]

        async def wait(method: str, target: str, body: JsonObject | None) -> JsonObject:
            answered = answer(method, target, body)
            if not self.reached.called:
                self.reached.callback(None)
                await self.opened
            return answered if isinstance(answered, dict) else await answered

        self.other.scripts[self.endpoint] = wait


def member_event(hall: Hall, user_id: str, membership: str, sender: str, *causes: Event) -> Event:
    """It follows the causes, and leans on them."""
    auth = [one.reference for one in dict.fromkeys([*hall.auth, hall.creator, *causes])]
    previous = [one.reference for one in causes or hall.events[-1:]]
    draft = Draft("m.room.member", sender, {"membership": membership}, 9_000, user_id)
    return build_event(draft, VERSION, ROOM, previous, auth, 20, hall.other.key)


def hear_knocks(hall: Hall, meanwhile: Callable[[Event], Awaitable[object]]) -> None:
    """The room takes knocks; `meanwhile` is done with each before its answer is on the way."""

    def make(_method: str, target: str, _body: JsonObject | None) -> JsonObject:
        made = hall.make(_method, target, None)
        made["event"]["content"] = {"membership": "knock"}
        return made

    async def send(_method: str, _target: str, body: JsonObject | None) -> JsonObject:
        assert body is not None
        await meanwhile(Event.from_pdu(body, VERSION))
        return {"knock_room_state": [hall.events[0].pdu]}

    hall.other.scripts[f"{FEDERATION}/v1/make_knock/"] = make
    hall.other.scripts[f"{FEDERATION}/v1/send_knock/"] = send


def hear_leaves(hall: Hall) -> None:
    """The room lets go whoever is invited there, or has joined."""

    def make(method: str, target: str, _body: JsonObject | None) -> JsonObject:
        made = hall.make(method, target, None)
        made["event"]["content"] = {"membership": "leave"}
        own = [Event.from_pdu(pdu, VERSION) for pdu in hall.taken[-1:]] or [hall.current[MEMBER, hall.user]]
        create, levels, _rules = hall.auth
        made["event"]["auth_events"] = [one.event_id for one in (create, levels, *own)]
        made["event"]["prev_events"] = [own[0].event_id]
        return made

    hall.other.scripts[f"{FEDERATION}/v1/make_leave/"] = make
    hall.other.scripts[f"{FEDERATION}/v2/send_leave/"] = lambda *_question: {}


async def invite(server: TestServer, hall: Hall, event: Event) -> int:
    body = {"event": event.pdu, "room_version": "10", "invite_room_state": [hall.events[0].pdu]}
    path = f"{FEDERATION}/v2/invite/{path_part(ROOM)}/{path_part(event.event_id)}"
    return (await hall.other.ask(server, "PUT", path, body))[0]


async def invited(server: TestServer, hall: Hall) -> None:
    """The user is, as the room has it."""
    event = hall.add("m.room.member", {"membership": "invite"}, hall.user)
    assert await invite(server, hall, event) == 200


async def shown(server: TestServer, token: str) -> set[str]:
    """In which parts of a first /sync the room is."""
    rooms: dict[str, Any] = (await server.ok("GET", "sync", token=token)).get("rooms", {})
    return {part for part, found in rooms.items() if ROOM in found}


async def knocker(server: TestServer, other: Scripted) -> tuple[Hall, str]:
    hall = Hall(other)
    hall.user = f"@bob:{server.name}"
    return hall, await server.user("bob")


@ensureDeferred
async def test_an_invite_before_the_answer_to_the_knock(server: TestServer, other: Scripted) -> None:
    """Whoever lets everybody in at once is faster than the server that was asked: the invite stays."""
    hall, bob = await knocker(server, other)

    async def let_in(knock: Event) -> None:
        assert await invite(server, hall, member_event(hall, hall.user, "invite", CREATOR, knock)) == 200

    hear_knocks(hall, let_in)
    await server.ok("POST", KNOCK, {}, bob)
    assert await shown(server, bob) == {"invite"}


@ensureDeferred
async def test_a_denial_before_the_answer_to_the_knock(server: TestServer, other: Scripted) -> None:
    """Whoever turns everybody away at once is faster, too: nobody knocks for ever. The next knock counts."""
    hall, bob = await knocker(server, other)
    denials: list[Event] = []

    async def deny_once(knock: Event) -> None:
        if not denials:
            denials.append(member_event(hall, hall.user, "leave", CREATOR, knock))
            await send(server, other, denials[0].pdu)

    hear_knocks(hall, deny_once)
    await server.ok("POST", KNOCK, {}, bob)
    assert await shown(server, bob) == {"leave"}
    await server.ok("POST", KNOCK, {}, bob)
    assert await shown(server, bob) == {"knock"}
    await send(server, other, denials[0].pdu)
    assert await shown(server, bob) == {"knock"}


@ensureDeferred
async def test_an_invite_and_its_end_before_the_answer_to_the_knock(
    server: TestServer, other: Scripted
) -> None:
    """What leads to what the user is now is over, however many steps ago."""
    hall, bob = await knocker(server, other)

    async def change_ones_mind(knock: Event) -> None:
        invited = member_event(hall, hall.user, "invite", CREATOR, knock)
        assert await invite(server, hall, invited) == 200
        ended = member_event(hall, hall.user, "leave", CREATOR, invited)
        await send(server, other, member_event(hall, hall.user, "leave", CREATOR, knock).pdu)
        assert await shown(server, bob) == {"invite"}
        await send(server, other, ended.pdu)

    hear_knocks(hall, change_ones_mind)
    await server.ok("POST", KNOCK, {}, bob)
    assert await shown(server, bob) == {"leave"}


@ensureDeferred
async def test_a_knock_whose_answer_is_lost(server: TestServer, other: Scripted) -> None:
    """Nothing of it stays here; the next one counts, and is over when it is denied."""
    hall, bob = await knocker(server, other)
    knocks: list[Event] = []

    async def lose_the_first(knock: Event) -> None:
        knocks.append(knock)
        if len(knocks) == 1:
            raise ConnectionError("the connection was lost")

    hear_knocks(hall, lose_the_first)
    assert (await server.call("POST", KNOCK, {}, bob)).status >= 500
    assert await shown(server, bob) == set()
    await server.ok("POST", KNOCK, {}, bob)
    assert await shown(server, bob) == {"knock"}


@ensureDeferred
async def test_a_knock_that_is_refused(server: TestServer, other: Scripted) -> None:
    """Nothing is waited for: what the room says afterwards is nothing to us, and no row is left. Where there is no answer, there may be."""
    hall, bob = await knocker(server, other)
    failures = [PeerError("not you", 403, "M_FORBIDDEN"), PeerError("no answer")]
    knocks: list[Event] = []

    async def refuse(knock: Event) -> None:
        knocks.append(knock)
        raise failures[len(knocks) - 1]

    hear_knocks(hall, refuse)
    for failure in failures:
        assert (await server.call("POST", KNOCK, {}, bob)).status == (failure.status or 502)
    sent = await server.database.read(lambda txn: txn.rows("SELECT event_id FROM sent_knocks"))
    assert sent == [(knocks[1].event_id,)]


@ensureDeferred
async def test_an_invite_that_is_told_once_more(
    server: TestServer, other: Scripted, network: Network
) -> None:
    """After the user has rejected it: the inviting server has not heard of that, or had no answer the first time."""
    hall, bob = await knocker(server, other)
    event = member_event(hall, hall.user, "invite", CREATOR)
    assert await invite(server, hall, event) == 200
    assert await shown(server, bob) == {"invite"}
    del network.servers[other.name]
    await server.ok("POST", f"rooms/{path_part(ROOM)}/leave", {}, bob)
    assert await shown(server, bob) == set()
    network.servers[other.name] = other
    assert await invite(server, hall, event) == 200
    assert await shown(server, bob) == set()
    again = member_event(hall, hall.user, "invite", CREATOR, event)
    assert await invite(server, hall, again) == 200
    assert await shown(server, bob) == {"invite"}


@ensureDeferred
async def test_an_invite_that_is_told_once_more_after_a_join(server: TestServer, other: Scripted) -> None:
    """And a leave, which leans on the join only: who has left stays out."""
    hall, bob = await knocker(server, other)
    event = member_event(hall, hall.user, "invite", CREATOR)
    assert await invite(server, hall, event) == 200
    await server.ok("POST", join_path(ROOM, other.name), {}, bob)
    await server.ok("POST", f"rooms/{path_part(ROOM)}/leave", {}, bob)
    assert await invite(server, hall, event) == 200
    assert await shown(server, bob) == set()
    assert await invite(server, hall, member_event(hall, hall.user, "invite", CREATOR, event)) == 200
    assert await shown(server, bob) == {"invite"}


@ensureDeferred
async def test_leaving_while_one_joins(server: TestServer, other: Scripted) -> None:
    """The leave comes after the join, whichever of the two servers is slow: nobody stays in a room that they have left."""
    _, bob = await knocker(server, other)
    gate = Gate(other, f"{FEDERATION}/v2/send_join/")
    joining = Deferred.fromCoroutine(server.ok("POST", join_path(ROOM, other.name), {}, bob))
    await gate.reached
    leaving = Deferred.fromCoroutine(server.ok("POST", f"rooms/{path_part(ROOM)}/leave", {}, bob))
    assert await shown(server, bob) == set()
    assert not leaving.called
    gate.opened.callback(None)
    await joining
    await leaving
    assert await server.ok("GET", "joined_rooms", token=bob) == {"joined_rooms": []}


@ensureDeferred
async def test_leaving_while_one_fails_to_join(server: TestServer, other: Scripted) -> None:
    """There is nothing to leave then."""
    hall, bob = await knocker(server, other)
    gate = Gate(other, f"{FEDERATION}/v2/send_join/")
    hall.answered = lambda answer: {**answer, "state": []}
    joining = Deferred.fromCoroutine(server.call("POST", join_path(ROOM, other.name), {}, bob))
    await gate.reached
    leaving = Deferred.fromCoroutine(server.call("POST", f"rooms/{path_part(ROOM)}/leave", {}, bob))
    gate.opened.callback(None)
    assert ((await joining).status, (await leaving).status) == (502, 200)


@ensureDeferred
async def test_joining_while_one_rejects(server: TestServer, other: Scripted) -> None:
    """Who changes their mind meanwhile is in the room in the end."""
    hall, bob = await knocker(server, other)
    await invited(server, hall)
    hear_leaves(hall)
    gate = Gate(other, f"{FEDERATION}/v2/send_leave/")
    leaving = Deferred.fromCoroutine(server.ok("POST", f"rooms/{path_part(ROOM)}/leave", {}, bob))
    await gate.reached
    joining = Deferred.fromCoroutine(server.ok("POST", join_path(ROOM, other.name), {}, bob))
    assert await shown(server, bob) == {"invite"}
    gate.opened.callback(None)
    await leaving
    await joining
    assert await server.ok("GET", "joined_rooms", token=bob) == {"joined_rooms": [ROOM]}


@ensureDeferred
async def test_leaving_in_another_process_while_one_joins(
    server: TestServer, other: Scripted, database_arguments: dict[str, Any]
) -> None:
    """The room has both, one after the other: who has left is in it for neither process, though the answer to the join comes last."""
    hall, bob = await knocker(server, other)
    await invited(server, hall)
    hear_leaves(hall)
    gate = Gate(other, f"{FEDERATION}/v2/send_join/")
    async with second_process(server, database_arguments) as second:
        joining = Deferred.fromCoroutine(server.ok("POST", join_path(ROOM, other.name), {}, bob))
        await gate.reached
        await second.ok("POST", f"rooms/{path_part(ROOM)}/leave", {}, bob)
        gate.opened.callback(None)
        await joining
        for process in (server, second):
            await catch_up(process)
            assert await process.ok("GET", "joined_rooms", token=bob) == {"joined_rooms": []}
            assert await shown(process, bob) == set()
        await server.ok("POST", join_path(ROOM, other.name), {}, bob)
        assert await second.ok("GET", "joined_rooms", token=bob) == {"joined_rooms": [ROOM]}


@ensureDeferred
async def test_rejecting_unheard_in_another_process_while_one_joins(
    server: TestServer, other: Scripted, database_arguments: dict[str, Any]
) -> None:
    """Who is in the room by then leaves it as everybody does: the rejection that nobody has heard is none of it."""
    hall, bob = await knocker(server, other)
    await invited(server, hall)
    hear_leaves(hall)
    async with second_process(server, database_arguments) as second:
        gate = Gate(other, f"{FEDERATION}/v1/make_leave/")
        leaving = Deferred.fromCoroutine(second.ok("POST", f"rooms/{path_part(ROOM)}/leave", {}, bob))
        await gate.reached
        await server.ok("POST", join_path(ROOM, other.name), {}, bob)
        gate.opened.errback(PeerError("the connection was lost"))
        await leaving
        assert await server.ok("GET", "joined_rooms", token=bob) == {"joined_rooms": []}
        assert await second.ok("GET", "joined_rooms", token=bob) == {"joined_rooms": []}


@ensureDeferred
async def test_a_rejection_that_the_join_follows(
    server: TestServer, other: Scripted, database_arguments: dict[str, Any]
) -> None:
    """The room has the rejection first: it is over when the process that asked for it hears of it, and nobody is asked about it."""
    hall, bob = await knocker(server, other)
    await invited(server, hall)
    hear_leaves(hall)
    rejected: list[Event] = []

    def take(_method: str, _target: str, body: JsonObject | None) -> JsonObject:
        assert body is not None
        rejected.append(Event.from_pdu(body, VERSION))
        hall.auth.append(rejected[0])
        hall.events.append(rejected[0])
        return {}

    other.scripts[f"{FEDERATION}/v2/send_leave/"] = take
    async with second_process(server, database_arguments) as second:
        gate = Gate(other, f"{FEDERATION}/v2/send_leave/")
        leaving = Deferred.fromCoroutine(second.ok("POST", f"rooms/{path_part(ROOM)}/leave", {}, bob))
        await gate.reached
        await server.ok("POST", join_path(ROOM, other.name), {}, bob)
        asked = len(other.network.asked)
        gate.opened.callback(None)
        await leaving
        assert len(other.network.asked) == asked
        assert await second.ok("GET", "joined_rooms", token=bob) == {"joined_rooms": [ROOM]}
