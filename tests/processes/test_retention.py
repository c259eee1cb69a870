"""Message retention as an operator configures it: jobs find rooms, and workers purge what has expired."""

import pytest

from synapse_lite.cli.demo.connection import User
from synapse_lite.cli.demo.reading import read_events
from synapse_lite.cli.demo.traffic import room_path
from tests.processes.conftest import BuildSite
from tests.processes.harness import wait_until
from tests.processes.site import Site, create_room, say

HOUR_MS = 3_600_000
RETENTION = {
    "enabled": True,
    "default_policy": {"max_lifetime": "1h"},
    "purge_jobs": [{"longest_max_lifetime": "1d", "interval": "1s"}, {"shortest_max_lifetime": "1d"}],
}
PURGES = "SELECT id FROM scheduled_tasks WHERE action = 'purge_history' AND resource_id = %s"


@pytest.fixture
def site(build_site: BuildSite) -> Site:
    site = build_site("a", retention=RETENTION)
    site.start("main")
    return site


def bodies(user: User, room_id: str) -> list[str]:
    with user.connect() as connection:
        return [
            event["content"]["body"]
            for event in read_events(connection, room_id)
            if event["type"] == "m.room.message"
        ]


def speak(site: Site, user: User, room_id: str) -> None:
    """One message two hours ago, and one now."""
    with user.connect() as connection:
        old = say(connection, room_id, "1", "old")
        site.execute(
            "UPDATE events SET received_ts = received_ts - %s WHERE room_nid ="
            " (SELECT room_nid FROM events WHERE event_id = %s)",
            2 * HOUR_MS,
            old,
        )
        say(connection, room_id, "2", "young")


def test_messages_go_when_their_time_has_come(site: Site) -> None:
    """A job finds the room, a purge deletes what is old; a room that says so keeps its messages."""
    owner = site.user("owner")
    brief, lasting = create_room(owner), create_room(owner)
    with owner.connect() as connection:
        path = room_path(lasting, "state", "m.room.retention")
        connection.call("PUT", path, {"max_lifetime": 24 * 30 * HOUR_MS})
    for room_id in (brief, lasting):
        speak(site, owner, room_id)
    assert bodies(owner, brief) == ["young", "old"]  # by its own clock it is young: only the purge takes it

    site.start("a")
    ((purge_id,),) = wait_until(lambda: site.rows(PURGES, brief), "a purge of the room")
    task = site.wait_for_end(purge_id)
    assert (task.status, task.error) == ("complete", None)
    assert bodies(owner, brief) == ["young"]
    assert bodies(owner, lasting) == ["young", "old"]
    assert site.rows(PURGES, lasting) == []
    runs = site.rows(
        "SELECT DISTINCT params::text FROM scheduled_tasks WHERE action = 'purge_expired_messages'"
    )
    assert len(runs) == 2
