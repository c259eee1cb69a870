"""Rooms that Synapse and this server share, replaced by either: what follows, for the users of the other one."""

from typing import Any

import pytest

from synapse_lite.cli.api import ApiError
from tests.interop.test_federated_rooms import Two, User, build_site, heard, pair, part, people, two
from tests.processes.harness import wait_until

__all__ = ["build_site", "pair", "people", "two"]

VERSIONS = [("10", "11"), ("11", "12"), ("12", "12")]


def shared(two: Two, version: str) -> str:
    room_id = two.host.room(room_version=version, name="Old")
    two.guest.join(room_id, two.host.server_name)
    wait_until(lambda: two.guest.user_id in two.host.members(room_id), "both are in")
    return room_id


def upgraded(user: User, other: User, room_id: str, **body: Any) -> str:
    """The id of the new room, once the other user knows that there is one."""
    replacement: str = user.ask("POST", f"rooms/{part(room_id)}/upgrade", body)["replacement_room"]
    wait_until(lambda: ("m.room.tombstone", "") in other.state(room_id), "the end of the room")
    return replacement


@pytest.mark.parametrize(("old", "new"), VERSIONS)
def test_names_of_a_room(two: Two, old: str, new: str) -> None:
    """An alias of the guest's server names the new room when the guest is there; so are the guest's tags."""
    host, guest = two.host, two.guest
    room_id = shared(two, old)
    alias = part(f"#{guest.user_id[1:4]}-{old}-{new}:{guest.server_name}")
    guest.ask("PUT", f"directory/room/{alias}", {"room_id": room_id})
    own = f"user/{part(guest.user_id)}/rooms"
    guest.ask("PUT", f"{own}/{part(room_id)}/tags/m.favourite", {})
    replacement = upgraded(host, guest, room_id, new_version=new)
    guest.join(replacement, host.server_name)
    wait_until(
        lambda: guest.ask("GET", f"directory/room/{alias}")["room_id"] == replacement, "the alias moves"
    )
    assert guest.ask("GET", f"{own}/{part(replacement)}/tags")["tags"].keys() == {"m.favourite"}


def test_creators_of_both_servers(two: Two) -> None:
    """In version 12 a creator of the other server stands above all levels there, and may replace the room in turn."""
    host, guest = two.host, two.guest
    room_id = shared(two, "11")
    replacement = upgraded(host, guest, room_id, new_version="12", additional_creators=[guest.user_id])
    guest.join(replacement, host.server_name)
    path = f"rooms/{part(replacement)}/state"
    topic = guest.ask("PUT", f"{path}/m.room.topic", {"topic": "of a creator"})["event_id"]
    heard(host, replacement, topic)
    levels = host.ask("GET", f"{path}/m.room.power_levels")
    demotion = {**levels, "users": {**levels.get("users", {}), guest.user_id: 0}}
    with pytest.raises(ApiError):
        host.ask("PUT", f"{path}/m.room.power_levels", demotion)
    last = upgraded(guest, host, replacement, new_version="12")
    host.join(last, guest.server_name)
    wait_until(lambda: host.state(last) == guest.state(last), "the same state")
    assert (
        guest.ask("GET", f"rooms/{part(last)}/state/m.room.create")["predecessor"]["room_id"] == replacement
    )


def test_rules_that_name_a_room_that_was_replaced(two: Two) -> None:
    """They go on naming the old room: who is still there gets in, who has left does not, although they are in the new one."""
    host, guest = two.host, two.guest
    room_id = shared(two, "10")
    allow = [{"type": "m.room_membership", "room_id": room_id}]
    rule = {"type": "m.room.join_rules", "content": {"join_rule": "restricted", "allow": allow}}
    inner = host.room(preset="private_chat", initial_state=[rule], room_version="10")
    replacement = upgraded(host, guest, room_id, new_version="11")
    guest.join(replacement, host.server_name)
    guest.join(inner, host.server_name)
    for left in (inner, room_id):
        guest.act(left, "leave")
        wait_until(lambda: host.members(left).get(guest.user_id) == "leave", "the leave")  # noqa: B023
    with pytest.raises(ApiError) as refused:
        guest.join(inner, host.server_name)
    assert refused.value.status == 403
