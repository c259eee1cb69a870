"""Rooms that are entered without their members, which come while the user is in it already: Synapse with us, and we with Synapse."""

from tests.interop.test_federated_rooms import User, heard, people
from tests.interop.test_federation import Pair, build_site, pair
from tests.processes.harness import wait_until

__all__ = ["build_site", "pair", "people"]

MEMBERS = 12


def test_members_are_fetched_afterwards(pair: Pair, people: tuple[User, User]) -> None:
    """What we leave out at first is asked for with /state_ids; then Synapse knows every member, and both hear each other."""
    alicia, sam = people
    room_id = alicia.room(name="Large")
    for number in range(MEMBERS):
        user = pair.ours.user(f"partial{number}")
        User(pair.ours.url(), pair.our_name, user.user_id, user.access_token).join(room_id)
    sam.join(room_id, alicia.server_name)
    early = sam.say(room_id, "already here")
    heard(alicia, room_id, early)
    expected = alicia.members(room_id)
    assert len(expected) == MEMBERS + 2
    wait_until(lambda: sam.members(room_id) == expected, "all members are known to Synapse")
    late = alicia.say(room_id, "welcome")
    heard(sam, room_id, late)
    assert "/_matrix/federation/v1/state_ids/" in pair.ours.processes["main"].log()


def test_we_fetch_members_afterwards(pair: Pair, people: tuple[User, User]) -> None:
    """What Synapse leaves out at first we ask it for; then we know every member, and both hear each other."""
    alicia, sam = people
    room_id = sam.room(name="Theirs")
    for number in range(MEMBERS):
        user = pair.synapse.register(f"partial{number}")
        name = pair.synapse.server_name
        User(pair.synapse.base_url, name, user["user_id"], user["access_token"]).join(room_id)
    alicia.join(room_id, sam.server_name)
    early = alicia.say(room_id, "already here")
    heard(sam, room_id, early)
    expected = sam.members(room_id)
    assert len(expected) == MEMBERS + 2
    wait_until(lambda: alicia.members(room_id) == expected, "all members are known to us")
    late = sam.say(room_id, "welcome")
    heard(alicia, room_id, late)
    tasks = "SELECT count(*) FROM scheduled_tasks WHERE action = 'resync_room' AND resource_id = %s"
    assert pair.ours.value(tasks, room_id) == 1
