"""Joining, inviting, leaving, kicking, banning, knocking, forgetting."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.handlers.requester import Requester
from synapse_lite.storage.database import Database
from tests.builders import ALICE, BOB, MALLORY, SERVER
from tests.handlers.house import House, alice, bob, mallory, refusal, requester, shown

FORBIDDEN = (403, "M_FORBIDDEN")
BANNED = (403, "M_BAD_STATE")
TOO_MANY = (429, "M_LIMIT_EXCEEDED")
TIGHT = {"per_second": 1e-6, "burst_count": 1}
versions = pytest.mark.parametrize("version", ["11", "12"])


@versions
@ensureDeferred
async def test_joining_by_id_and_by_alias(database: Database, version: str) -> None:
    """The member event shows the profile; joining again is no event; custom content is kept."""
    house = House(database)
    await house.account(BOB, "Bob", "mxc://hs.test/b")
    room_id = await house.room(alias_name="den", room_version=version)
    assert await house.memberships.join(bob, f"#den:{SERVER}") == room_id
    shown = {"membership": "join", "displayname": "Bob", "avatar_url": "mxc://hs.test/b"}
    assert (await house.current(room_id))["m.room.member", BOB] == shown
    before = len(await house.events(room_id))
    await house.memberships.join(bob, room_id)
    assert len(await house.events(room_id)) == before
    await house.memberships.join(
        mallory, room_id, {"foo": "bar", "membership": "ban", "join_authorised_via_users_server": ALICE}
    )
    assert (await house.current(room_id))["m.room.member", MALLORY] == {"membership": "join", "foo": "bar"}


@ensureDeferred
async def test_rooms_that_nobody_here_knows(database: Database) -> None:
    """Joins answer 404, or 502 when its server does not; malformed names 400, what only members may do 403."""
    house = House(database)
    unknown = "!unknown:other.test"
    for name in (unknown, "#none:other.test"):
        assert await refusal(house.memberships.join(bob, name)) == (502, "M_UNKNOWN")
        assert await refusal(house.memberships.knock(bob, name, None)) == (502, "M_UNKNOWN")
    for name in ("!" + 43 * "x", f"#none:{SERVER}"):
        assert await refusal(house.memberships.join(bob, name)) == (404, "M_NOT_FOUND")
        assert await refusal(house.memberships.knock(bob, name, None)) == (404, "M_NOT_FOUND")
    assert await refusal(house.memberships.join(bob, "den")) == (400, "M_INVALID_PARAM")
    assert await refusal(house.memberships.join(bob, "#den")) == (400, "M_INVALID_PARAM")
    assert await refusal(house.memberships.join(bob, "!den")) == (400, "M_UNKNOWN")
    assert await refusal(house.memberships.leave(bob, unknown, None)) == (404, "M_NOT_FOUND")
    for act in (house.memberships.invite, house.memberships.kick, house.memberships.ban):
        assert await refusal(act(bob, unknown, ALICE, None)) == FORBIDDEN
    await house.memberships.forget(bob, unknown)


@versions
@ensureDeferred
async def test_invites(database: Database, version: str) -> None:
    """A private room admits the invited only; strangers cannot invite, and members cannot be invited."""
    house = House(database)
    await house.account(BOB, "Bob")
    room_id = await house.room(preset="private_chat", room_version=version)
    assert await refusal(house.memberships.join(bob, room_id)) == FORBIDDEN
    assert await refusal(house.memberships.invite(bob, room_id, MALLORY, None)) == FORBIDDEN
    await house.memberships.invite(alice, room_id, BOB, "come in")
    invited = {"membership": "invite", "displayname": "Bob", "reason": "come in"}
    assert (await house.current(room_id))["m.room.member", BOB] == invited
    await house.join(room_id, bob)
    assert await refusal(house.memberships.invite(alice, room_id, BOB, None)) == FORBIDDEN
    assert await refusal(house.memberships.invite(alice, room_id, "mallory", None)) == (
        400,
        "M_INVALID_PARAM",
    )
    await house.memberships.invite(bob, room_id, MALLORY, None)
    await house.memberships.leave(mallory, room_id, "no")
    assert (await house.current(room_id))["m.room.member", MALLORY] == {"membership": "leave", "reason": "no"}
    assert await refusal(house.memberships.join(mallory, room_id)) == FORBIDDEN


@versions
@ensureDeferred
async def test_leaving(database: Database, version: str) -> None:
    """Leaving twice is fine; who was never in, or was kicked or banned, has nothing to leave."""
    house = House(database)
    room_id = await house.room(room_version=version)
    assert await refusal(house.memberships.leave(bob, room_id, None)) == FORBIDDEN
    await house.join(room_id, bob, mallory)
    for reason in (None, "again"):
        await house.memberships.leave(bob, room_id, reason)
    assert (await house.current(room_id))["m.room.member", BOB] == {"membership": "leave"}
    await house.memberships.kick(alice, room_id, MALLORY, "spam")
    assert await refusal(house.memberships.leave(mallory, room_id, None)) == FORBIDDEN
    await house.memberships.ban(alice, room_id, MALLORY, None)
    assert await refusal(house.memberships.leave(mallory, room_id, None)) == FORBIDDEN


@versions
@ensureDeferred
async def test_kicks_and_bans(database: Database, version: str) -> None:
    """Moderators remove who is there, ban anybody and lift bans; others may do none of that."""
    house = House(database)
    room_id = await house.room(room_version=version)
    members = house.memberships
    assert await refusal(members.kick(alice, room_id, BOB, None)) == FORBIDDEN
    assert await refusal(members.kick(bob, room_id, ALICE, None)) == FORBIDDEN
    await house.join(room_id, bob, mallory)
    for act in (members.kick, members.ban):
        assert await refusal(act(bob, room_id, MALLORY, None)) == FORBIDDEN
        assert await refusal(act(bob, room_id, ALICE, None)) == FORBIDDEN
    await members.kick(alice, room_id, MALLORY, "spam")
    assert (await house.current(room_id))["m.room.member", MALLORY] == {
        "membership": "leave",
        "reason": "spam",
    }
    assert await refusal(members.kick(alice, room_id, MALLORY, None)) == FORBIDDEN
    assert await refusal(members.unban(alice, room_id, MALLORY, None)) == (403, "M_BAD_STATE")
    await members.ban(alice, room_id, MALLORY, None)
    assert await refusal(members.join(mallory, room_id)) == BANNED
    assert await refusal(members.invite(alice, room_id, MALLORY, None)) == BANNED
    assert await refusal(members.unban(bob, room_id, MALLORY, None)) == FORBIDDEN
    await members.unban(alice, room_id, MALLORY, None)
    await house.join(room_id, mallory)


@ensureDeferred
async def test_forgetting(database: Database) -> None:
    """One forgets a room after leaving it, not before; coming back brings it back."""
    house = House(database)
    room_id = await house.room()
    await house.memberships.forget(mallory, room_id)
    await house.join(room_id, bob)
    assert await refusal(house.memberships.forget(bob, room_id)) == (400, "M_UNKNOWN")
    await house.memberships.leave(bob, room_id, None)
    await shown(house.state.all(bob, room_id))
    await house.memberships.forget(bob, room_id)
    assert await refusal(shown(house.state.all(bob, room_id))) == FORBIDDEN
    await house.join(room_id, bob)
    await shown(house.state.all(bob, room_id))


@versions
@ensureDeferred
async def test_knocks(database: Database, version: str) -> None:
    """One knocks where the rule says so; the knock may be withdrawn, repeated, and answered by an invite."""
    house = House(database)
    room_id = await house.room(preset="private_chat", room_version=version)
    assert await refusal(house.memberships.knock(bob, room_id, None)) == FORBIDDEN
    await house.sending.state(alice, room_id, "m.room.join_rules", "", {"join_rule": "knock"})
    assert await house.memberships.knock(bob, room_id, "please") == room_id
    assert (await house.current(room_id))["m.room.member", BOB] == {"membership": "knock", "reason": "please"}
    assert await refusal(house.memberships.join(bob, room_id)) == FORBIDDEN
    await house.memberships.leave(bob, room_id, None)
    await house.memberships.knock(bob, room_id, None)
    await house.memberships.invite(alice, room_id, BOB, None)
    assert await refusal(house.memberships.knock(bob, room_id, None)) == FORBIDDEN
    await house.join(room_id, bob)
    assert await refusal(house.memberships.knock(bob, room_id, None)) == FORBIDDEN


@versions
@ensureDeferred
async def test_restricted_rooms(database: Database, version: str) -> None:
    """Members of an allowed room get in through somebody here who may invite; others do not."""
    house = House(database)
    club = await house.room(preset="private_chat", room_version=version, invited=[BOB])
    rule = {
        "join_rule": "restricted",
        "allow": [{"type": "m.room_membership", "room_id": club}, {"type": "x"}],
    }
    room_id = await house.room(
        preset="private_chat", room_version=version, initial_state=[(("m.room.join_rules", ""), rule)]
    )
    assert await refusal(house.memberships.join(bob, room_id)) == FORBIDDEN
    await house.join(club, bob)
    await house.join(room_id, bob)
    joined = {"membership": "join", "join_authorised_via_users_server": ALICE}
    assert (await house.current(room_id))["m.room.member", BOB] == joined
    assert await refusal(house.memberships.join(mallory, room_id)) == FORBIDDEN
    await house.memberships.invite(bob, club, MALLORY, None)
    await house.join(club, mallory)
    await house.memberships.leave(alice, room_id, None)
    # Everybody may invite in a private chat, so the ordinary member admits as well.
    await house.join(room_id, mallory)
    joined = {"membership": "join", "join_authorised_via_users_server": BOB}
    assert (await house.current(room_id))["m.room.member", MALLORY] == joined


@versions
@ensureDeferred
async def test_nobody_left_to_admit(database: Database, version: str) -> None:
    """When no member of this server may invite, a restricted join is refused with its own code."""
    house = House(database)
    club = await house.room(room_version=version)
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": club}]}
    await house.join(club, bob, mallory)
    creator = {} if version == "12" else {ALICE: 100}
    for levels in ({"invite": 1}, {"invite": 0, "users": {BOB: -1, **creator}}):
        room_id = await house.room(
            room_version=version,
            initial_state=[(("m.room.join_rules", ""), rule)],
            power_levels=levels,
        )
        await house.join(room_id, bob)
        await house.memberships.leave(alice, room_id, None)
        assert await refusal(house.memberships.join(mallory, room_id)) == (400, "M_UNABLE_TO_GRANT_JOIN")


@versions
@ensureDeferred
async def test_the_banned_are_not_admitted(database: Database, version: str) -> None:
    """Being a member of an allowed room is no way around a ban."""
    house = House(database)
    club = await house.room(room_version=version)
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": club}]}
    room_id = await house.room(room_version=version, initial_state=[(("m.room.join_rules", ""), rule)])
    await house.join(club, bob)
    await house.memberships.ban(alice, room_id, BOB, None)
    await house.memberships.leave(alice, room_id, None)
    assert await refusal(house.memberships.join(bob, room_id)) == BANNED


@ensureDeferred
async def test_guests_join_where_they_may(database: Database) -> None:
    """`guest_access` decides."""
    house = House(database)
    guest = requester("@1:hs.test", is_guest=True)
    closed = await house.room()
    opened = await house.room(initial_state=[(("m.room.guest_access", ""), {"guest_access": "can_join"})])
    assert await refusal(house.memberships.join(guest, closed)) == (403, "M_GUEST_ACCESS_FORBIDDEN")
    await house.join(opened, guest)


@ensureDeferred
async def test_suspended_users_stay_where_they_are(database: Database) -> None:
    """They neither join, knock nor invite, but they may leave."""
    house = House(database)
    room_id = await house.room()
    await house.join(room_id, bob)
    suspended = requester(BOB, suspended=True)
    other = await house.room()
    for doing in (
        house.memberships.join(suspended, other),
        house.memberships.knock(suspended, other, None),
        house.memberships.invite(suspended, room_id, MALLORY, None),
        house.memberships.change(suspended, room_id, MALLORY, {"membership": "invite"}),
    ):
        assert await refusal(doing) == (403, "M_USER_SUSPENDED")
    await house.memberships.leave(suspended, room_id, None)


@ensureDeferred
async def test_limits_of_joins(database: Database) -> None:
    """By user and by room; joining again where one is already costs nothing."""
    house = House(database, rc_joins={"local": TIGHT})
    first, second = await house.room(), await house.room()
    for _ in range(2):
        await house.memberships.join(bob, first)
    assert await refusal(house.memberships.join(bob, second)) == TOO_MANY
    await house.join(second, mallory)
    house = House(database, rc_joins_per_room=TIGHT)
    third = await house.room()
    await house.join(third, bob)
    assert await refusal(house.memberships.join(mallory, third)) == TOO_MANY


@pytest.mark.parametrize("limit", ["per_issuer", "per_room", "per_user"])
@ensureDeferred
async def test_limits_of_invites(database: Database, limit: str) -> None:
    """By who invites, into which room, and whom; strangers use up nobody's limit."""
    house = House(database, rc_invites={limit: TIGHT})
    first, second = await house.room(), await house.room(bob)
    await house.join(first, bob)
    await house.sending.state(alice, first, "m.room.power_levels", "", {"invite": 0, "users": {}})
    assert await refusal(house.memberships.invite(mallory, first, "@c:hs.test", None)) == FORBIDDEN
    await house.memberships.invite(alice, first, "@c:hs.test", None)
    attempts: dict[str, tuple[Requester, str, str]] = {
        "per_issuer": (alice, first, "@d:hs.test"),
        "per_room": (bob, first, "@e:hs.test"),
        "per_user": (bob, second, "@c:hs.test"),
    }
    assert await refusal(house.memberships.invite(*attempts[limit], None)) == TOO_MANY
    await house.memberships.invite(bob, second, "@unrelated:hs.test", None)


@ensureDeferred
async def test_member_events_written_as_state(database: Database) -> None:
    """They follow the same ways as the endpoints for memberships; what no membership is, is refused."""
    house = House(database)
    room_id = await house.room()
    await house.join(room_id, bob)
    change = house.memberships.change
    await change(bob, room_id, BOB, {"membership": "join", "displayname": "Bobby"})
    assert (await house.current(room_id))["m.room.member", BOB]["displayname"] == "Bobby"
    await change(alice, room_id, MALLORY, {"membership": "invite"})
    assert await house.membership(room_id, MALLORY) == "invite"
    await change(alice, room_id, MALLORY, {"membership": "ban"})
    assert await house.membership(room_id, MALLORY) == "ban"
    for content in ({}, {"membership": 1}, {"membership": "sleeping"}):
        assert await refusal(change(bob, room_id, BOB, content)) == (400, "M_BAD_JSON")
    assert await refusal(change(alice, room_id, BOB, {"membership": "join"})) == FORBIDDEN
    assert await refusal(change(alice, room_id, "bob", {"membership": "ban"})) == (400, "M_INVALID_PARAM")


@ensureDeferred
async def test_a_changed_profile_is_shown_in_rooms(database: Database) -> None:
    """Each joined room gets one new member event, unless it shows the profile already."""
    house = House(database)
    await house.account(BOB, "Bob")
    rooms = [await house.room(), await house.room()]
    for room_id in rooms:
        await house.join(room_id, bob)
    await house.memberships.change(bob, rooms[1], BOB, {"membership": "join", "custom": 1})
    left = await house.room()
    await house.join(left, bob)
    await house.memberships.leave(bob, left, None)
    await database.transact(lambda txn: txn.execute("UPDATE users SET displayname = 'Robert'"))
    for _ in range(2):
        await house.profiles.show(BOB)
    shown = [(await house.current(room_id))["m.room.member", BOB] for room_id in (*rooms, left)]
    assert shown[0] == {"membership": "join", "displayname": "Robert"}
    assert shown[1] == {"membership": "join", "displayname": "Robert", "custom": 1}
    assert shown[2] == {"membership": "leave"}
    members = [e for e in await house.events(rooms[0]) if e.get("state_key") == BOB]
    assert len(members) == 2
