"""The state of a room, as one user may see it."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.room_state import MemberQuery
from synapse_lite.storage.database import Database
from synapse_lite.storage.stream import read_position
from tests.builders import ALICE, BOB, MALLORY
from tests.handlers.house import House, alice, bob, decoded, mallory, refusal, requester, shown

FORBIDDEN = (403, "M_FORBIDDEN")
ANYONE = MemberQuery()
versions = pytest.mark.parametrize("version", ["11", "12"])


async def members(house: House, who: Requester, room_id: str, query: MemberQuery = ANYONE) -> dict[str, str]:
    events = await shown(house.state.members(who, room_id, query))
    return {event["state_key"]: event["content"]["membership"] for event in events}


async def topic(house: House, who: Requester, room_id: str) -> str:
    content = await house.state.content(who, room_id, "m.room.topic", "")
    return str(content["topic"])


async def now(database: Database) -> str:
    return f"s{await database.read(read_position)}"


@versions
@ensureDeferred
async def test_members_see_the_current_state(database: Database, version: str) -> None:
    """All of it, one event, or its content, in the format for clients; unset state is 404."""
    house = House(database)
    room_id = await house.room(topic="Foxes", room_version=version)
    events = {
        (event["type"], event["state_key"]): event for event in await shown(house.state.all(alice, room_id))
    }
    assert {key: event["content"] for key, event in events.items()} == await house.current(room_id)
    assert all(event["room_id"] == room_id for event in events.values())
    event = decoded(await house.state.event(alice, room_id, "m.room.topic", ""))
    assert event["event_id"] == events["m.room.topic", ""]["event_id"]
    assert await topic(house, alice, room_id) == "Foxes"
    assert await refusal(house.state.content(alice, room_id, "m.room.topic", "other")) == (404, "M_NOT_FOUND")


@versions
@ensureDeferred
async def test_strangers_see_nothing(database: Database, version: str) -> None:
    """Whether they are invited, were never there, or the room does not exist: 403."""
    house = House(database)
    room_id = await house.room(topic="Foxes", room_version=version)
    await house.memberships.invite(alice, room_id, BOB, None)
    await house.memberships.ban(alice, room_id, MALLORY, None)
    declined = requester("@declined:hs.test")
    await house.memberships.invite(alice, room_id, declined.user_id, None)
    await house.memberships.leave(declined, room_id, None)
    for who in (bob, mallory, declined, requester("@stranger:hs.test")):
        for room in (room_id, "!unknown:hs.test"):
            for reading in (
                shown(house.state.all(who, room)),
                house.state.content(who, room, "m.room.topic", ""),
                shown(house.state.members(who, room, ANYONE)),
                shown(house.state.joined_members(who, room)),
            ):
                assert await refusal(reading) == FORBIDDEN


@versions
@ensureDeferred
async def test_who_left_sees_the_state_of_then(database: Database, version: str) -> None:
    """Also after being banned or invited again since; after joining again, the current state."""
    house = House(database)
    room_id = await house.room(topic="then", room_version=version)
    await house.join(room_id, bob)
    await house.memberships.leave(bob, room_id, None)
    await house.sending.state(alice, room_id, "m.room.topic", "", {"topic": "now"})
    await house.join(room_id, mallory)
    for act in (
        None,
        house.memberships.ban(alice, room_id, BOB, None),
        house.memberships.unban(alice, room_id, BOB, None),
        house.memberships.invite(alice, room_id, BOB, None),
    ):
        if act is not None:
            await act
        assert await topic(house, bob, room_id) == "then"
        assert await members(house, bob, room_id) == {ALICE: "join", BOB: "leave"}
        assert await refusal(shown(house.state.joined_members(bob, room_id))) == FORBIDDEN
    await house.join(room_id, bob)
    assert await topic(house, bob, room_id) == "now"


@ensureDeferred
async def test_anybody_sees_the_state_of_a_world_readable_room(database: Database) -> None:
    """The current state; the list of joined members is still for members."""
    house = House(database)
    opened = [(("m.room.history_visibility", ""), {"history_visibility": "world_readable"})]
    room_id = await house.room(topic="Foxes", initial_state=opened)
    assert await topic(house, mallory, room_id) == "Foxes"
    assert await members(house, mallory, room_id) == {ALICE: "join"}
    assert await refusal(shown(house.state.joined_members(mallory, room_id))) == FORBIDDEN


@ensureDeferred
async def test_member_lists_are_filtered(database: Database) -> None:
    """By membership, by what it is not, and by both."""
    house = House(database)
    room_id = await house.room()
    await house.join(room_id, bob)
    await house.memberships.leave(bob, room_id, None)
    await house.memberships.invite(alice, room_id, MALLORY, None)
    everybody = {ALICE: "join", BOB: "leave", MALLORY: "invite"}
    assert await members(house, alice, room_id) == everybody
    assert await members(house, alice, room_id, MemberQuery(membership="leave")) == {BOB: "leave"}
    assert await members(house, alice, room_id, MemberQuery(not_membership="leave")) == {
        ALICE: "join",
        MALLORY: "invite",
    }
    assert await members(house, alice, room_id, MemberQuery(None, "join", "join")) == {}


@versions
@ensureDeferred
async def test_members_at_a_point_in_time(database: Database, version: str) -> None:
    """A sync token names the point; nobody looks at moments whose events they may not see."""
    house = House(database)
    hidden = [(("m.room.history_visibility", ""), {"history_visibility": "joined"})]
    room_id = await house.room(room_version=version, initial_state=hidden)
    start = await now(database)
    await house.join(room_id, bob)
    with_bob = await now(database)
    await house.memberships.leave(bob, room_id, None)
    await house.join(room_id, mallory)
    end = await now(database)

    async def at(token: str, who: Requester) -> dict[str, str]:
        return await members(house, who, room_id, MemberQuery(at=token))

    assert await at(start, alice) == {ALICE: "join"}
    assert await at(with_bob, alice) == {ALICE: "join", BOB: "join"}
    assert await at(with_bob, bob) == {ALICE: "join", BOB: "join"}
    assert await refusal(at(end, bob)) == FORBIDDEN
    assert await refusal(at(start, mallory)) == FORBIDDEN
    assert await at("s0", alice) == {}
    assert await refusal(at("yesterday", alice)) == (400, "M_INVALID_PARAM")
    assert await at(end, mallory) == {ALICE: "join", BOB: "leave", MALLORY: "join"}


@ensureDeferred
async def test_nobody_looks_beyond_their_leave(database: Database) -> None:
    """A token of later shows the members of that moment."""
    house = House(database)
    room_id = await house.room()
    await house.join(room_id, bob)
    await house.memberships.leave(bob, room_id, None)
    await house.join(room_id, mallory)
    query = MemberQuery(at=await now(database))
    assert await members(house, bob, room_id, query) == {ALICE: "join", BOB: "leave"}
    assert MALLORY in await members(house, alice, room_id, query)


@versions
@ensureDeferred
async def test_redacted_state_shows_what_is_left(database: Database, version: str) -> None:
    """Names disappear from member lists, topics from the state."""
    house = House(database)
    await house.account(ALICE, "Rude name", "mxc://hs.test/rude")
    room_id = await house.room(topic="Rude", room_version=version)
    before = dict(await shown(house.state.joined_members(alice, room_id)))
    assert before == {ALICE: {"display_name": "Rude name", "avatar_url": "mxc://hs.test/rude"}}
    for number, key in enumerate([("m.room.member", ALICE), ("m.room.topic", "")]):
        event_id = decoded(await house.state.event(alice, room_id, *key))["event_id"]
        await house.sending.redact(alice, room_id, event_id, f"redact {number}", {"reason": "rude"})
    assert dict(await shown(house.state.joined_members(alice, room_id))) == {
        ALICE: {"display_name": None, "avatar_url": None}
    }
    assert await house.state.content(alice, room_id, "m.room.topic", "") == {}
    event = decoded(await house.state.event(alice, room_id, "m.room.topic", ""))
    assert event["content"] == {}
    assert event["unsigned"]["redacted_because"]["content"]["reason"] == "rude"
