"""Events whose predecessors are not known: what is asked for, and what is made of the answers."""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.federation.fetching import SINGLE_EVENTS
from synapse_lite.federation.keyring import PATIENCE_SECONDS, RETRY_SECONDS
from synapse_lite.federation.peers import PeerError
from synapse_lite.matrix.event import MAX_PREV_EVENTS, Event
from synapse_lite.storage.events import Standing
from tests.federation.network import Network, Scripted
from tests.federation.remote_room import RemoteRoom, remote_room, send
from tests.federation.test_transactions import texts
from tests.server import TestServer

V1 = "/_matrix/federation/v1"


class History:
    """What `other` knows of the room, and answers as a good server does."""

    def __init__(self, room: RemoteRoom) -> None:
        self.room = room
        self.events: dict[str, Event] = {}
        self.states: dict[str, list[Event]] = {}
        scripts = room.other.scripts
        scripts[f"{V1}/get_missing_events"] = self.missing
        scripts[f"{V1}/state_ids"] = self.state_ids
        scripts[f"{V1}/state/"] = self.state
        scripts[f"{V1}/event/"] = self.event
        scripts[f"{V1}/event_auth/"] = self.event_auth

    def add(self, event: Event, state: list[Event] | None = None) -> Event:
        """`state` is that before the event."""
        self.events[event.event_id] = event
        self.states[event.event_id] = list(self.room.state.values()) if state is None else state
        return event

    async def chain(self, count: int, first: Event | None = None) -> list[Event]:
        """Messages, each after the one before it."""
        said = [] if first is None else [first]
        for number in range(count):
            said.append(self.add(await self.room.say(str(number), previous=said[-1:] or None)))
        return said

    def missing(self, _method: str, _target: str, body: JsonObject | None) -> JsonObject:
        assert body is not None
        found: list[Event] = []
        frontier = list(body["latest_events"])
        while frontier and len(found) < body["limit"]:
            event = self.events.get(frontier.pop(0))
            for event_id in event.prev_events if event else ():
                if event_id not in body["earliest_events"] and event_id in self.events:
                    found.append(self.events[event_id])
                    frontier.append(event_id)
        return {"events": [event.pdu for event in found[: body["limit"]]]}

    def state_ids(self, _method: str, target: str, _body: object) -> JsonObject:
        state = self.states[unquote(target.rpartition("=")[2])]
        return {"pdu_ids": [one.event_id for one in state], "auth_chain_ids": self.auth_ids(state)}

    def state(self, _method: str, target: str, _body: object) -> JsonObject:
        state = self.states[unquote(target.rpartition("=")[2])]
        return {"pdus": [one.pdu for one in state], "auth_chain": []}

    def event(self, _method: str, target: str, _body: object) -> JsonObject:
        event_id = unquote(target.rpartition("/")[2])
        if event_id not in self.events:
            raise PeerError("unknown", 404, "M_NOT_FOUND")
        return {"origin": "x", "origin_server_ts": 1, "pdus": [self.events[event_id].pdu]}

    def event_auth(self, _method: str, target: str, _body: object) -> JsonObject:
        event_id = unquote(target.rpartition("/")[2])
        return {"auth_chain": [self.events[one].pdu for one in self.auth_ids([self.events[event_id]])]}

    def auth_ids(self, events: list[Event]) -> list[str]:
        found: dict[str, None] = {}
        frontier = [one for event in events for one in event.auth_events]
        while frontier:
            event_id = frontier.pop()
            if event_id in self.events and event_id not in found:
                found[event_id] = None
                frontier += self.events[event_id].auth_events
        return list(found)


async def joined_by_third(room: RemoteRoom, network: Network) -> RemoteRoom:
    """The room as one more server has it."""
    third = RemoteRoom(room.server, network.scripted("third.test"), room.room_id)
    await third.join()
    await room.look()
    return third


def counts(network: Network) -> dict[str, int]:
    found: dict[str, int] = {}
    for _, _, target in network.asked:
        name = target.removeprefix(f"{V1}/").partition("/")[0]
        found[name] = found.get(name, 0) + 1
    return found


@ensureDeferred
async def test_a_short_gap_is_filled_by_one_request(
    server: TestServer, other: Scripted, network: Network
) -> None:
    """All of it, in order; in whatever order it comes, and whatever depths the events claim."""
    room, token = await remote_room(server, other)
    history = History(room)
    said = await history.chain(20)
    network.asked.clear()
    assert await send(server, other, said[-1].pdu) == {said[-1].event_id: {}}
    assert counts(network) == {"get_missing_events": 1}
    assert await texts(server, room, token) == [str(number) for number in range(20)]


@ensureDeferred
async def test_a_long_gap_is_bridged_by_the_state_behind_it(
    server: TestServer, other: Scripted, network: Network
) -> None:
    """A few requests, however long it is; the state that was missed is there, and the gap is on record."""
    room, token = await remote_room(server, other)
    history = History(room)
    name = history.add(
        await room.build("m.room.member", {"membership": "join", "displayname": "Carol"}, room.user)
    )
    room.state[name.key] = name
    said = await history.chain(120, name)
    network.asked.clear()
    await send(server, other, said[-1].pdu)
    asked = counts(network)
    assert asked["get_missing_events"] == 1
    assert asked["state_ids"] == 1
    assert sum(asked.values()) < 6
    assert (await texts(server, room, token))[-1] == "119"
    content = await server.ok("GET", f"rooms/{room.room_id}/state/m.room.member/{room.user}", None, token)
    assert content["displayname"] == "Carol"
    gaps = await server.database.read(lambda txn: txn.rows("SELECT missing_event_id FROM room_gaps"))
    assert gaps == [(said[-52].event_id,)]


@ensureDeferred
async def test_what_was_missing_comes_later(server: TestServer, other: Scripted) -> None:
    """It is no end of the room, since what is known follows it: neither with what lies below it, nor alone, nor at the head."""
    room, _ = await remote_room(server, other)
    (head,) = room.tips
    history = History(room)
    said = await history.chain(120)
    await send(server, other, said[119].pdu)
    assert await missing(server) == [said[68].event_id]
    await send(server, other, said[68].pdu)
    assert await ends(room) == {head.event_id, said[119].event_id}
    assert await missing(server) == [said[17].event_id]
    del other.scripts[f"{V1}/get_missing_events"]
    await send(server, other, said[17].pdu)
    assert await ends(room) == {head.event_id, said[119].event_id}
    assert await missing(server) == [said[15].event_id]
    await send(server, other, *(one.pdu for one in said[:16]))
    assert await ends(room) == {said[119].event_id}
    assert await missing(server) == []


@ensureDeferred
async def test_a_gap_below_a_soft_failed_event(server: TestServer, other: Scripted, network: Network) -> None:
    """It is on record below what follows that one: nothing else leads there."""
    room, token = await remote_room(server, other)
    third = await joined_by_third(room, network)
    history = History(room)
    said = await history.chain(3)
    await server.ok("POST", f"rooms/{room.room_id}/kick", {"user_id": room.user}, token)
    await room.look()
    for script in (f"{V1}/get_missing_events", f"{V1}/event/"):
        del other.scripts[script]
    third.other.scripts.update(other.scripts)
    history.events.pop(said[0].event_id)
    other.scripts[f"{V1}/get_missing_events"] = lambda *_: {"events": [said[1].pdu]}
    third.other.scripts[f"{V1}/get_missing_events"] = other.scripts[f"{V1}/get_missing_events"]
    after = await third.say("after", previous=[said[2], *room.tips], state=room.state)
    await send(server, other, said[2].pdu)
    stored = await room.stored(said[1])
    assert stored is not None
    assert stored.standing is Standing.SOFT_FAILED
    await send(server, third.other, after.pdu)
    assert await missing(server) == [said[0].event_id]


async def missing(server: TestServer) -> list[str]:
    rows = await server.database.read(lambda txn: txn.rows("SELECT missing_event_id FROM room_gaps"))
    return [event_id for (event_id,) in rows]


async def ends(room: RemoteRoom) -> set[str]:
    await room.look()
    return {one.event_id for one in room.tips}


@ensureDeferred
async def test_missing_state_events_lie_after_what_is_missing(server: TestServer, other: Scripted) -> None:
    """The missing event may be a state event itself: it counts, though no state before it has it."""
    room, token = await remote_room(server, other)
    history = History(room)
    name = history.add(
        await room.build("m.room.member", {"membership": "join", "displayname": "Carol"}, room.user)
    )
    del room.other.scripts[f"{V1}/get_missing_events"]
    said = history.add(await room.say("hello", previous=[name]))
    await send(server, other, said.pdu)
    content = await server.ok("GET", f"rooms/{room.room_id}/state/m.room.member/{room.user}", None, token)
    assert content["displayname"] == "Carol"
    assert await texts(server, room, token) == ["hello"]


@ensureDeferred
async def test_missing_auth_events_are_asked_for(server: TestServer, other: Scripted) -> None:
    """An event on a branch that nobody here saw brings its auth chain; nothing is stored as rejected meanwhile."""
    room, _ = await remote_room(server, other)
    history = History(room)
    rejoin = history.add(
        await room.build("m.room.member", {"membership": "join", "displayname": "C"}, room.user)
    )
    said = history.add(await room.say("hello", state={**room.state, rejoin.key: rejoin}))
    await send(server, other, said.pdu)
    stored = await room.stored(said)
    assert stored is not None
    assert stored.standing is Standing.ACCEPTED
    known = await room.stored(rejoin)
    assert known is not None
    assert known.standing is Standing.OUTLIER


@ensureDeferred
async def test_undecided_events_are_not_rejected(server: TestServer, other: Scripted) -> None:
    """While their auth events are not to be had they are unknown; when somebody gives them they are accepted."""
    room, token = await remote_room(server, other)
    history = History(room)
    rejoin = await room.build("m.room.member", {"membership": "join", "displayname": "C"}, room.user)
    said = history.add(await room.say("hello", state={**room.state, rejoin.key: rejoin}))
    await send(server, other, said.pdu)
    assert await room.stored(said) is None
    history.add(rejoin)
    await send(server, other, said.pdu)
    assert await texts(server, room, token) == ["hello"]


async def refuse_nothing_else(server: TestServer, room: RemoteRoom, token: str) -> None:
    """The room goes on after whatever was sent."""
    await room.look()
    fine = await room.say("fine")
    await send(server, room.other, fine.pdu)
    assert (await texts(server, room, token))[-1] == "fine"


@ensureDeferred
async def test_servers_that_answer_nonsense(server: TestServer, other: Scripted, network: Network) -> None:
    """Other events than those asked for, of other rooms, without end, in circles, or no answer: the event waits for
    better times, after a bounded number of requests, and the room goes on.
    """
    room, token = await remote_room(server, other)
    history = History(room)
    said = await history.chain(3)
    elsewhere, _ = await remote_room_of(server, other, "dave")
    foreign = await elsewhere.say("of another room")

    def answers(**given: Any) -> Callable[..., JsonObject]:
        return lambda *_: given

    for script in (
        answers(events=[foreign.pdu], pdus=[foreign.pdu], pdu_ids=[], auth_chain_ids=[], auth_chain=[]),
        answers(events=[said[2].pdu] * 50, pdus=[said[2].pdu], pdu_ids=["$x"], auth_chain_ids=["$y"]),
        answers(events=[said[2].pdu] * 51, pdus=[said[2].pdu] * 2, pdu_ids=7, auth_chain_ids={}),
        answers(events=[None, 7, {}], pdus=[{"type": 7}], pdu_ids=[7], auth_chain_ids=[]),
        answers(),
    ):
        for name in list(other.scripts):
            other.scripts[name] = script
        network.asked.clear()
        await send(server, other, said[-1].pdu)
        assert await room.stored(said[-1]) is None
        assert len(network.asked) < 40
    assert await texts(server, room, token) == []
    await refuse_nothing_else(server, room, token)


async def remote_room_of(server: TestServer, other: Scripted, name: str) -> tuple[RemoteRoom, str]:
    token = await server.user(name)
    path = await server.room(token)
    room = RemoteRoom(server, other, path.removeprefix("rooms/"))
    await room.join()
    return room, token


@ensureDeferred
async def test_previous_events_of_another_room(server: TestServer, other: Scripted) -> None:
    """Count as not to be had: rooms are never joined at the hip."""
    room, token = await remote_room(server, other)
    elsewhere, _ = await remote_room_of(server, other, "dave")
    foreign = await elsewhere.say("of another room")
    await send(server, other, foreign.pdu)
    joined = await room.say("joined", previous=[foreign])
    await send(server, other, joined.pdu)
    assert await room.stored(joined) is None
    await refuse_nothing_else(server, room, token)


@ensureDeferred
async def test_the_largest_depth(server: TestServer, other: Scripted) -> None:
    """Somebody who claims it ends no room."""
    room, token = await remote_room(server, other)
    deep = await room.say("deep")
    tip = room.tips[0]
    fake = Event.from_pdu({**tip.pdu, "depth": 2**53 - 2}, tip.version, tip.event_id)
    deep = await room.say("deep", previous=[fake])
    assert deep.depth == 2**53 - 1
    await send(server, other, deep.pdu)
    await refuse_nothing_else(server, room, token)


@ensureDeferred
async def test_a_state_that_lies_is_not_believed(server: TestServer, other: Scripted) -> None:
    """A power level event that its sender had no right to send does not come in with the state of a gap."""
    room, token = await remote_room(server, other)
    history = History(room)
    power = room.state["m.room.power_levels", ""]
    levels = {**power.content, "users": {room.user: 100}}
    coup = history.add(await room.build("m.room.power_levels", levels, ""))
    state = {**room.state, coup.key: coup}
    lost = history.add(await room.say("lost", previous=[coup], state=state), list(state.values()))
    said = history.add(await room.say("hello", previous=[lost], state=state), list(state.values()))
    del other.scripts[f"{V1}/get_missing_events"]
    await send(server, other, said.pdu)
    current = await server.ok("GET", f"rooms/{room.room_id}/state/m.room.power_levels", None, token)
    assert room.user not in current.get("users", {})
    assert await room.membership(room.user) == "join"
    await refuse_nothing_else(server, room, token)


@ensureDeferred
async def test_a_state_that_only_others_know(server: TestServer, other: Scripted, network: Network) -> None:
    """Its sender has an event of which it never knew the state: the next server of the room is asked."""
    room, token = await remote_room(server, other)
    third = await joined_by_third(room, network)
    history = History(room)
    said = await history.chain(120)
    third.other.scripts[f"{V1}/state_ids"] = other.scripts.pop(f"{V1}/state_ids")
    third.other.scripts[f"{V1}/state/"] = other.scripts.pop(f"{V1}/state/")
    await send(server, other, said[-1].pdu)
    assert (await texts(server, room, token))[-1] == "119"


@ensureDeferred
async def test_many_branches(server: TestServer, other: Scripted) -> None:
    """An event of ours follows as many as an event may; after few of ours the room has one end again."""
    room, token = await remote_room(server, other)
    branches = [await room.say(str(number)) for number in range(50)]
    for start in range(0, len(branches), 25):
        await send(server, other, *(one.pdu for one in branches[start : start + 25]))
    await room.look()
    assert len(room.tips) == len(branches)
    for number, left in enumerate((31, 12, 1)):
        path = f"rooms/{room.room_id}/send/m.room.message/{number}"
        await server.ok("PUT", path, {"msgtype": "m.text", "body": "ours"}, token)
        await room.look()
        assert len(room.tips) == left
    assert sorted(await texts(server, room, token)) == sorted([*map(str, range(50)), *["ours"] * 3])


@ensureDeferred
async def test_more_branches_than_an_event_may_follow(server: TestServer, other: Scripted) -> None:
    """The state before an event of ours is what those lead to that it follows; the others count for the room all the same."""
    room, token = await remote_room(server, other)
    before = room.state["m.room.member", room.user]
    name = await room.build("m.room.member", {"membership": "join", "displayname": "Carol"}, room.user)
    branches = [name, *[await room.say(str(number)) for number in range(MAX_PREV_EVENTS)]]
    await send(server, other, *(one.pdu for one in branches))
    path = f"rooms/{room.room_id}/send/m.room.message/1"
    answer = await server.ok("PUT", path, {"msgtype": "m.text", "body": "ours"}, token)
    await room.look()
    assert len(room.tips) == 2
    assert room.state[name.key].event_id == name.event_id
    target = f"{V1}/state_ids/{room.room_id}?event_id={answer['event_id']}"
    status, told = await other.ask(server, "GET", target)
    assert status == 200
    assert before.event_id in told["pdu_ids"]
    assert name.event_id not in told["pdu_ids"]
    await server.ok("PUT", path.removesuffix("1") + "2", {"msgtype": "m.text", "body": "ours"}, token)
    await room.look()
    assert len(room.tips) == 1
    assert room.state[name.key].event_id == name.event_id


@ensureDeferred
@pytest.mark.parametrize("members", [1, SINGLE_EVENTS + 1])
async def test_a_state_of_which_a_part_cannot_be_verified_now(
    server: TestServer, other: Scripted, network: Network, members: int
) -> None:
    """It waits for the keys."""
    room, token = await remote_room(server, other)
    history = History(room)
    third = network.scripted("third.test")
    del network.servers["third.test"]
    joins = [
        history.add(
            await room.build(
                "m.room.member", {"membership": "join"}, f"@u{n}:third.test",
                sender=f"@u{n}:third.test", key=third.key,
            )
        )
        for n in range(members)
    ]  # fmt: skip
    room.state.update({one.key: one for one in joins})
    said = await history.chain(120, joins[-1])
    await send(server, other, said[-3].pdu)
    assert await room.stored(said[-3]) is None
    network.servers["third.test"] = third
    server.clock.advance(RETRY_SECONDS + 1)
    await send(server, other, said[-2].pdu)
    assert (await texts(server, room, token))[-1] == "118"
    assert await room.membership("@u0:third.test") == "join"


@ensureDeferred
async def test_a_state_of_which_a_part_cannot_be_verified_for_long(
    server: TestServer, other: Scripted, network: Network
) -> None:
    """It is taken without what a server said that may be gone for ever."""
    room, token = await remote_room(server, other)
    history = History(room)
    gone = RemoteRoom(server, Scripted("gone.test", network), room.room_id)
    join = history.add(
        await room.build(
            "m.room.member", {"membership": "join"}, gone.user, sender=gone.user, key=gone.other.key
        )
    )
    room.state[join.key] = join
    said = await history.chain(120, join)
    await send(server, other, said[-3].pdu)
    server.clock.advance(PATIENCE_SECONDS + 1)
    await send(server, other, said[-2].pdu)
    assert (await texts(server, room, token))[-1] == "118"
    assert await room.membership(gone.user) is None


@ensureDeferred
async def test_a_state_of_which_a_part_cannot_be_had_now(server: TestServer, other: Scripted) -> None:
    """It is not taken without that part, which would be missing for ever: the event waits until it can be had whole."""
    room, token = await remote_room(server, other)
    history = History(room)
    name = history.add(
        await room.build("m.room.member", {"membership": "join", "displayname": "Carol"}, room.user)
    )
    room.state[name.key] = name
    said = await history.chain(120, name)

    def away(*_: object) -> JsonObject:
        raise PeerError("The connection broke off")

    other.scripts[f"{V1}/event/"] = away
    await send(server, other, said[-2].pdu)
    assert await room.stored(said[-2]) is None
    other.scripts[f"{V1}/event/"] = history.event
    await send(server, other, said[-1].pdu)
    assert (await texts(server, room, token))[-1] == "119"
    content = await server.ok("GET", f"rooms/{room.room_id}/state/m.room.member/{room.user}", None, token)
    assert content["displayname"] == "Carol"
