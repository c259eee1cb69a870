"""/search and the user directory through real processes: their followers run beside the server."""

import pytest

from synapse_lite.cli.demo.connection import User
from tests.processes.conftest import BuildSite
from tests.processes.harness import wait_until
from tests.processes.site import Site, create_room


@pytest.fixture
def site(build_site: BuildSite) -> Site:
    site = build_site("able")
    site.start("main", "able")
    return site


def found(user: User, term: str) -> int:
    criteria = {"search_term": term, "order_by": "recent"}
    with user.connect() as connection:
        body = {"search_categories": {"room_events": criteria}}
        answer = connection.call("POST", "/_matrix/client/v3/search", body)
    return len(answer["search_categories"]["room_events"]["results"])


def names(user: User, term: str) -> list[str]:
    with user.connect() as connection:
        answer = connection.call("POST", "/_matrix/client/v3/user_directory/search", {"search_term": term})
    return [one["user_id"] for one in answer["results"]]


def test_what_is_said_is_found(site: Site) -> None:
    """Soon after it is said; not once it is redacted. So are the people in the room."""
    alice, bob = site.user("alice"), site.user("bob")
    room_id = create_room(alice, bob)
    with alice.connect() as connection:
        content = {"msgtype": "m.text", "body": "我们今天讨论数据库"}
        path = f"/_matrix/client/v3/rooms/{room_id}"
        event_id = connection.call("PUT", f"{path}/send/m.room.message/1", content)["event_id"]
    wait_until(lambda: found(bob, "数据库") == 1, "the message is found")
    wait_until(lambda: names(alice, "bo") == [bob.user_id], "the user is found")
    with alice.connect() as connection:
        connection.call("PUT", f"{path}/redact/{event_id}/2", {})
    assert found(bob, "数据库") == 0
