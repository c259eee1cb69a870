"""What Synapse makes of the redactions that a task here sends (docs/tasks.md, "Other servers")."""

from urllib.parse import quote

import pytest
from attrs import frozen

from tests.interop.test_federation import CLIENT, Pair, build_site, pair
from tests.processes.harness import wait_until
from tests.processes.site import User, act, create_room, say

__all__ = ["build_site", "pair"]

VERSIONS = [str(number) for number in range(1, 13)]


@frozen
class Crowd:
    """Of ours: who owns the rooms, and an administrator; of Synapse: the token of one who reads them."""

    owner: User
    admin: User
    reader: str


@frozen
class Seen:
    """By a client of Synapse."""

    is_emptied: bool
    is_shown: bool


@pytest.fixture(scope="module")
def crowd(pair: Pair) -> Crowd:
    owner, admin = pair.ours.user("owner"), pair.ours.user("operator", admin=True)
    return Crowd(owner, admin, pair.synapse.register("reader")["access_token"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("standing", ["joined", "left", "banned", "muted", "outranked", "overruled"])
def test_the_report_says_what_synapse_does(pair: Pair, crowd: Crowd, standing: str, version: str) -> None:
    """The content is gone there, whatever became of its sender; `may_soft_fail` tells whether clients see the redaction."""
    spammer = pair.ours.user(f"spammer_{standing}_{version}")
    owner = crowd.admin if standing == "overruled" else crowd.owner
    room_id = create_room(owner, spammer, room_version=version)
    join = f"{CLIENT}/join/{quote(room_id)}?server_name={quote(pair.our_name)}"
    pair.synapse.request("POST", join, {}, crowd.reader)
    with spammer.connect() as connection:
        spam = say(connection, room_id, "spam")
    if standing == "left":
        act(spammer, room_id, "leave")
    elif standing in {"banned", "overruled"}:
        act(owner, room_id, "ban", user_id=spammer.user_id)
    elif standing == "muted":
        set_levels(owner, room_id, events_default=50)
    elif standing == "outranked":
        set_levels(owner, room_id, events={"m.room.redaction": 50})
    task_id = pair.ours.redact(crowd.admin, spammer.user_id, rooms=[room_id])
    assert pair.ours.wait_for_end(task_id).status == "complete"
    (report,) = pair.ours.redact_status(crowd.admin, task_id)["rooms"].values()
    seen = look(pair, crowd.reader, owner, room_id, spam)
    assert seen == Seen(is_emptied=True, is_shown=not report["may_soft_fail"])


def look(pair: Pair, reader: str, owner: User, room_id: str, target: str) -> Seen:
    """When what is said after the redaction has arrived: events come in their order."""
    with owner.connect() as connection:
        last = say(connection, room_id, "last")
    room = f"{CLIENT}/rooms/{quote(room_id)}"

    def read() -> list[dict[str, object]] | None:
        chunk = pair.synapse.request("GET", f"{room}/messages?dir=b&limit=50", None, reader)["chunk"]
        return chunk if any(event["event_id"] == last for event in chunk) else None

    events = {str(event["event_id"]): event for event in wait_until(read, f"{last} on the other server")}
    shown = [event for event in events.values() if event["type"] == "m.room.redaction"]
    return Seen(events[target]["content"] == {}, bool(shown))


def set_levels(owner: User, room_id: str, **changes: object) -> None:
    with owner.connect() as connection:
        path = f"{CLIENT}/rooms/{quote(room_id)}/state/m.room.power_levels"
        connection.call("PUT", path, {**connection.call("GET", path), **changes})
