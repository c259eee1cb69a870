"""Knocks, rejections and leaves between Synapse and this server that are repeated, refused, or cross on their way."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import pytest

from synapse_lite.cli.api import ApiError
from tests.interop.test_federated_rooms import Two, User, build_site, pair, part, people, two
from tests.interop.test_federation import Pair
from tests.processes.harness import wait_until

__all__ = ["build_site", "pair", "people", "two"]

DELAYS = (0.0, 0.02, 0.05, 0.1, 0.2)  # seconds from a join to the leave


def knock(two: Two, room_id: str) -> None:
    query = urlencode({"via": two.host.server_name, "server_name": two.host.server_name})
    two.guest.ask("POST", f"knock/{part(room_id)}?{query}", {})


def refused(two: Two, room_id: str) -> bool:
    try:
        knock(two, room_id)
    except ApiError as error:
        return error.status == 403
    return False


def becomes(two: Two, room_id: str, membership: str) -> None:
    wait_until(lambda: two.host.members(room_id).get(two.guest.user_id) == membership, membership)


@pytest.mark.parametrize("rule", ["knock", "knock_restricted"])
def test_knocks(two: Two, rule: str) -> None:
    """One may knock again, not while banned, invited or there; who has withdrawn, or is banned no more, knocks anew."""
    content: dict[str, Any] = {"join_rule": rule} | ({"allow": []} if rule == "knock_restricted" else {})
    rules = {"type": "m.room.join_rules", "content": content}
    host, guest = two.host, two.guest
    room_id = host.room(preset="private_chat", room_version="10", initial_state=[rules])
    for _ in range(2):
        knock(two, room_id)
        becomes(two, room_id, "knock")
        assert room_id in guest.rooms("knock")
    guest.act(room_id, "leave")
    wait_until(lambda: room_id not in guest.rooms("knock"), "the knock is withdrawn")
    knock(two, room_id)
    host.act(room_id, "ban", guest.user_id)
    assert refused(two, room_id)
    host.act(room_id, "unban", guest.user_id)
    knock(two, room_id)
    becomes(two, room_id, "knock")
    host.act(room_id, "invite", guest.user_id)
    wait_until(lambda: room_id in guest.rooms("invite"), "the invite")
    assert refused(two, room_id)
    guest.join(room_id)
    becomes(two, room_id, "join")
    assert refused(two, room_id)
    assert host.members(room_id) == guest.members(room_id)


def test_leaving_while_one_joins(two: Two) -> None:
    """Whenever the leave comes, both servers say the same of the guest in the end."""
    host, guest = two.host, two.guest
    room_id = host.room()

    def leave(delay: float) -> None:
        time.sleep(delay)
        with suppress(ApiError):  # there is nothing to leave yet
            guest.act(room_id, "leave")

    for delay in DELAYS:
        with ThreadPoolExecutor(2) as pool:
            pool.submit(leave, delay)
            pool.submit(guest.join, room_id, host.server_name)

        def is_in(user: User) -> bool:
            return user.members(room_id).get(guest.user_id) == "join"

        wait_until(lambda: is_in(host) == (room_id in guest.rooms("join")), f"agreement after {delay} s")
    guest.join(room_id, host.server_name)
    wait_until(lambda: host.state(room_id) == guest.state(room_id), "the same state")


def test_a_rejection_that_synapse_does_not_hear(pair: Pair, people: tuple[User, User]) -> None:
    """It is down when our user rejects: the user is out, and may come in when it is back."""
    guest, host = people
    room_id = host.room(preset="private_chat")
    host.act(room_id, "invite", guest.user_id)
    wait_until(lambda: room_id in guest.rooms("invite"), "the invite")
    pair.synapse.stop()
    guest.act(room_id, "leave")
    assert room_id not in guest.rooms("invite")
    with pytest.raises(ApiError):
        guest.join(room_id, host.server_name)
    pair.synapse.start()
    guest.join(room_id, host.server_name)
    becomes(Two(host, guest), room_id, "join")
    assert host.members(room_id) == guest.members(room_id)
