"""Two of our servers that federate over TLS, as processes."""

import signal
from pathlib import Path
from urllib.parse import quote

from tests.processes.conftest import BuildSite
from tests.processes.harness import wait_until
from tests.processes.neighbours import Neighbours
from tests.processes.site import create_room, say


def test_servers_read_each_others_keys(build_site: BuildSite, tmp_path: Path) -> None:
    """Both listen with TLS, find each other, and believe the authority of their configuration."""
    neighbours = Neighbours.in_directory(tmp_path)
    sites = [neighbours.site(build_site, "main") for _ in range(2)]
    for site, _ in sites:
        site.start("main")
    names = [name for _, name in sites]
    for asked, of in (names, reversed(names)):
        assert neighbours.keys_seen_by(asked, of) == neighbours.keys_of(of)


def test_a_sender_that_is_killed_is_replaced(build_site: BuildSite, tmp_path: Path) -> None:
    """What is said goes on to the other server, all of it in order, when the process that sends is killed meanwhile."""
    neighbours = Neighbours.in_directory(tmp_path)
    ours, our_name = neighbours.site(build_site, "main", "second")
    theirs, _ = neighbours.site(build_site, "main")
    ours.start("main", "second")
    theirs.start("main")
    alice, bob = ours.user("alice", through="second"), theirs.user("bob")
    room_id = create_room(alice)
    with bob.connect() as connection:
        connection.call("POST", f"/_matrix/client/v3/join/{quote(room_id)}?server_name={quote(our_name)}", {})
        with alice.connect() as sending:
            said = [say(sending, room_id, str(number), str(number)) for number in range(30)]
            ours.signal("main", signal.SIGKILL)
            said += [say(sending, room_id, str(number), str(number)) for number in range(30, 60)]

        def heard() -> list[str]:
            path = f"/_matrix/client/v3/rooms/{quote(room_id)}/messages?dir=b&limit=100"
            page = connection.call("GET", path)["chunk"]
            return [one["event_id"] for one in reversed(page) if one["type"] == "m.room.message"]

        wait_until(lambda: heard() == said, "all that was said")
