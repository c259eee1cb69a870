"""Rooms of both servers with a policy server: each asks it for what its own users send."""

import pytest

from synapse_lite.cli.api import ApiError
from tests.interop.policy_server import policy_server
from tests.interop.test_federated_rooms import Two, heard, part, people, two
from tests.interop.test_federation import Pair, build_site, pair
from tests.processes.harness import wait_until

__all__ = ["build_site", "pair", "people", "two"]

VERSION = "11"


def test_what_it_recommends_is_heard(pair: Pair, two: Two) -> None:
    """On both servers, whoever has the room; what it refuses is not sent by either, and heard by nobody."""
    host, guest = two.host, two.guest
    with policy_server(pair.neighbours, VERSION) as policy:
        room_id = host.room(room_version=VERSION)
        policy.join(host.server_name, room_id, f"@policy:{policy.name}")
        guest.join(room_id, host.server_name)
        wait_until(lambda: guest.user_id in host.members(room_id), "both are in")
        named = host.ask("PUT", f"rooms/{part(room_id)}/state/m.room.policy", policy.content)["event_id"]
        heard(guest, room_id, named)
        for sender, reader in ((host, guest), (guest, host)):
            with pytest.raises(ApiError) as refused:
                sender.say(room_id, "spam")
            assert refused.value.status in (400, 403)
            said = sender.say(room_id, f"from {sender.user_id}")
            heard(reader, room_id, said)
            assert (sender.server_name, f"from {sender.user_id}") in policy.asked
            assert "spam" not in reader.texts(room_id)
