"""The state behind a gap, as others tell it: what is believed, and what is waited for."""

from collections.abc import Sequence

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.federation import outliers
from synapse_lite.federation.fetching import SINGLE_EVENTS
from synapse_lite.federation.keyring import PATIENCE_SECONDS, RETRY_SECONDS
from synapse_lite.federation.peers import PeerError
from synapse_lite.matrix.event import Event
from synapse_lite.rooms.receive import EventReceiver
from tests.federation.history import V1, History, joined_by_third, refuse_nothing_else
from tests.federation.network import Network, Scripted
from tests.federation.remote_room import RemoteRoom, remote_room, send, texts
from tests.server import TestServer


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


def slices_of_four(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events each slice stores."""
    monkeypatch.setattr(outliers, "SLICE", 4)
    sizes: list[int] = []
    store = EventReceiver.store_outliers

    async def record(receiver: EventReceiver, room_nid: int, events: Sequence[Event]) -> dict[str, int]:
        sizes.append(len(events))
        return await store(receiver, room_nid, events)

    monkeypatch.setattr(EventReceiver, "store_outliers", record)
    return sizes


@ensureDeferred
async def test_a_large_state_is_stored_in_slices(
    server: TestServer, other: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room is not locked for all of it at once."""
    sizes = slices_of_four(monkeypatch)
    room, _ = await remote_room(server, other)
    history = History(room)
    for number in range(10):
        user_id = f"@u{number}:{other.name}"
        join = await room.build("m.room.member", {"membership": "join"}, user_id, sender=user_id)
        room.state[join.key] = history.add(join)
    said = await history.chain(120, join)
    await send(server, other, said[-1].pdu)
    assert await room.membership("@u0:other.test") == "join"
    assert sizes == [4, 4, 2]


@ensureDeferred
async def test_an_auth_chain_is_stored_in_slices(
    server: TestServer, other: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an event leans on is stored before it, and nothing else of the answer."""
    sizes = slices_of_four(monkeypatch)
    room, token = await remote_room(server, other)
    history, state = History(room), dict(room.state)
    for number in range(10):
        content = {"membership": "join", "displayname": str(number)}
        renamed = history.add(await room.build("m.room.member", content, room.user, state=state))
        state[renamed.key] = renamed
    said = history.add(await room.say("hello", state=state))
    unrelated = await room.build("m.room.topic", {"topic": "unrelated"}, "")
    chain = [history.events[one].pdu for one in history.auth_ids([said])]
    other.scripts[f"{V1}/event_auth/"] = lambda *_: {"auth_chain": [unrelated.pdu, said.pdu, *chain]}
    await send(server, other, said.pdu)
    assert await texts(server, room, token) == ["hello"]
    assert sizes == [4, 4, 2]
    assert await room.stored(unrelated) is None


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
