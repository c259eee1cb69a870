"""A process that answers a client and dies takes nothing along that the client was told."""

from typing import Any

import pytest

from synapse_lite.cli.demo.connection import Connection, User
from tests.processes.conftest import BuildSite
from tests.processes.site import Site, act, create_room, say

PATH = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
LIST = {"ranges": [[0, 9]], "required_state": [["m.room.name", ""]], "timeline_limit": 3}


@pytest.fixture(scope="module")
def site(build_site: BuildSite) -> Site:
    site = build_site("worker")
    site.start("main", "worker")
    return site


def sync(site: Site, name: str, user: User, pos: str = "") -> Any:
    with Connection(site.url(name), user.access_token) as connection:
        return connection.call("POST", PATH + (f"?pos={pos}" if pos else ""), {"lists": {"all": LIST}})


def test_a_killed_process(site: Site) -> None:
    """Another one answers the next request, with what is new; a room that was left meanwhile is told as left."""
    alice, bob = site.user("alice"), site.user("bob")
    tea, cake = create_room(alice, bob), create_room(alice, bob)
    first = sync(site, "worker", bob)
    second = sync(site, "worker", bob, first["pos"])
    site.processes["worker"].kill()
    act(bob, cake, "leave")
    with Connection(site.url("main"), alice.access_token) as connection:
        said = say(connection, tea, "1", "new")
        say(connection, cake, "2", "secret")
    third = sync(site, "main", bob, second["pos"])
    assert [event["event_id"] for event in third["rooms"][tea]["timeline"]] == [said]
    assert third["rooms"][cake]["timeline"][-1]["content"]["membership"] == "leave"
    assert "secret" not in str(third)
    site.start("worker")
    assert sync(site, "worker", bob, third["pos"])["rooms"] == {}
