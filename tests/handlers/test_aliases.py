"""Room aliases and the list of public rooms."""

from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Database
from tests.handlers.house import House, admin, alice, bob, mallory, refusal, requester

FORBIDDEN = (403, "M_FORBIDDEN")
NOT_FOUND = (404, "M_NOT_FOUND")
INVALID = (400, "M_INVALID_PARAM")
DEN = "#den:hs.test"


@ensureDeferred
async def test_an_alias_names_a_room(database: Database) -> None:
    """Members make aliases, also in other scripts; an alias names one room."""
    house = House(database)
    room_id = await house.room()
    assert await refusal(house.room_named(DEN)) == NOT_FOUND
    for alias in (DEN, "#老虎£я:hs.test"):
        await house.aliases.add(alice, alias, room_id)
        assert await house.room_named(alias) == room_id
    assert await refusal(house.aliases.add(alice, DEN, await house.room())) == (409, "M_UNKNOWN")
    assert await house.aliases.of_room(alice, room_id) == [DEN, "#老虎£я:hs.test"]


@ensureDeferred
async def test_what_is_no_alias(database: Database) -> None:
    """Malformed and foreign aliases are refused."""
    house = House(database)
    room_id = await house.room()
    for alias in ("den", "#den", "#:hs.test", "#a b:hs.test", "#" + 255 * "a" + ":hs.test"):
        assert await refusal(house.room_named(alias)) == INVALID
        assert await refusal(house.aliases.add(alice, alias, room_id)) == INVALID
        assert await refusal(house.aliases.remove(alice, alias)) == INVALID
    assert await refusal(house.room_named("#den:other.test")) == (502, "M_UNKNOWN")
    assert await refusal(house.aliases.add(alice, "#den:other.test", room_id)) == INVALID


@ensureDeferred
async def test_who_makes_aliases(database: Database) -> None:
    """Members only, unless the server says otherwise; never suspended ones; rooms must exist."""
    house = House(database)
    room_id = await house.room()
    assert await refusal(house.aliases.add(mallory, DEN, room_id)) == FORBIDDEN
    suspended = requester(alice.user_id, suspended=True)
    assert await refusal(house.aliases.add(suspended, DEN, room_id)) == (403, "M_USER_SUSPENDED")
    assert await refusal(house.aliases.add(alice, DEN, "!unknown:hs.test")) == (400, "M_UNKNOWN")
    lenient = House(database, require_membership_for_aliases=False)
    await lenient.aliases.add(mallory, DEN, room_id)


@ensureDeferred
async def test_who_removes_aliases(database: Database) -> None:
    """Who made it, moderators of the room, administrators of the server; nobody else."""
    house = House(database)
    room_id = await house.room()
    await house.join(room_id, bob, mallory)
    for who in (bob, alice, admin):
        await house.aliases.add(bob, DEN, room_id)
        assert await refusal(house.aliases.remove(mallory, DEN)) == FORBIDDEN
        await house.aliases.remove(who, DEN)
        assert await refusal(house.room_named(DEN)) == NOT_FOUND
    assert await refusal(house.aliases.remove(alice, DEN)) == NOT_FOUND
    await house.aliases.add(bob, DEN, room_id)
    await house.memberships.leave(alice, room_id, None)
    assert await refusal(house.aliases.remove(alice, DEN)) == FORBIDDEN


@ensureDeferred
async def test_a_removed_alias_is_not_canonical(database: Database) -> None:
    """It leaves the canonical alias event, where the remover may write that; it goes in any case."""
    house = House(database)
    room_id = await house.room(alias_name="den")
    await house.join(room_id, bob)
    await house.aliases.add(bob, "#alt:hs.test", room_id)
    listed = {"alias": DEN, "alt_aliases": ["#alt:hs.test", DEN]}
    await house.sending.state(alice, room_id, "m.room.canonical_alias", "", listed)

    async def canonical() -> object:
        return (await house.current(room_id))["m.room.canonical_alias", ""]

    await house.aliases.remove(bob, "#alt:hs.test")
    assert await refusal(house.room_named("#alt:hs.test")) == NOT_FOUND
    assert await canonical() == listed
    await house.aliases.remove(alice, DEN)
    assert await canonical() == {"alt_aliases": ["#alt:hs.test"]}


@ensureDeferred
async def test_who_sees_the_aliases_of_a_room(database: Database) -> None:
    """Members, server administrators, and everybody where history is world-readable."""
    house = House(database)
    opened = [(("m.room.history_visibility", ""), {"history_visibility": "world_readable"})]
    closed, readable = await house.room(alias_name="den"), await house.room(initial_state=opened)
    assert await house.aliases.of_room(alice, closed) == [DEN]
    assert await house.aliases.of_room(mallory, readable) == []
    assert await house.aliases.of_room(admin, closed) == [DEN]
    assert await house.aliases.of_room(admin, "!unknown:hs.test") == []
    for room_id in (closed, "!unknown:hs.test"):
        assert await refusal(house.aliases.of_room(mallory, room_id)) == FORBIDDEN


@ensureDeferred
async def test_the_public_list(database: Database) -> None:
    """Moderators and server administrators publish and hide rooms."""
    house = House(database)
    room_id = await house.room()
    await house.join(room_id, bob)
    assert not await house.aliases.is_listed(room_id)
    await house.aliases.set_listed(alice, room_id, listed=True)
    assert await house.aliases.is_listed(room_id)
    for who in (bob, mallory):
        assert await refusal(house.aliases.set_listed(who, room_id, listed=False)) == FORBIDDEN
    await house.aliases.set_listed(admin, room_id, listed=False)
    assert not await house.aliases.is_listed(room_id)
    assert await refusal(house.aliases.is_listed("!unknown:hs.test")) == NOT_FOUND
    assert await refusal(house.aliases.set_listed(alice, "!unknown:hs.test", listed=True)) == NOT_FOUND
