"""Events whose predecessors are not known: what is asked for, and what is made of the answers."""

from collections.abc import Callable
from typing import Any

from pytest_twisted import ensureDeferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.event import MAX_PREV_EVENTS, Event
from synapse_lite.storage.events import Standing
from tests.federation.history import V1, History, counts, joined_by_third, refuse_nothing_else
from tests.federation.network import Network, Scripted
from tests.federation.remote_room import RemoteRoom, remote_room, send, texts
from tests.server import TestServer


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
async def test_events_that_follow_nothing(server: TestServer, other: Scripted) -> None:
    """Only a create event may; however it comes, nothing of it is stored, and nothing that leads there only."""
    room, token = await remote_room(server, other)
    loose = await room.say("loose", previous=[])
    assert await send(server, other, loose.pdu) == {}
    after = await room.say("after", previous=[loose])
    other.scripts[f"{V1}/get_missing_events"] = lambda *_: {"events": [loose.pdu]}
    other.scripts[f"{V1}/event/"] = lambda *_: {"pdus": [loose.pdu]}
    await send(server, other, after.pdu)
    assert [await room.stored(one) for one in (loose, after)] == [None, None]
    assert await texts(server, room, token) == []


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
