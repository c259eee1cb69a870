"""Clients of two processes write into a room from before its purge until after it."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pytest
from twisted.internet import reactor

from benchmarks.seed_room import Plan, Seeder
from synapse_lite.cli.api import ApiError
from synapse_lite.cli.demo.connection import User
from synapse_lite.cli.demo.reading import read_events
from synapse_lite.cli.demo.traffic import room_path
from synapse_lite.clock import ReactorClock
from synapse_lite.matrix.signing import generate_signing_key
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.session import Session
from tests.processes.conftest import BuildSite
from tests.processes.gate import build_gate, closed_gate, resting, wait_at_gate
from tests.processes.harness import wait_until
from tests.processes.racing import CLIENT, DEEDS, ELSEWHERE, Racer, racing, wait_for_rounds
from tests.processes.site import SERVER, Site, act, create_room, say
from tests.tasks.remains import Traces, contents, remains, traces

PROCESSES = ("main", "a")
RACERS = 6
EVENTS, MEMBERS = 12_000, 100
CLEAN = {
    *((deed, 403, "M_FORBIDDEN") for deed in DEEDS),
    *((deed, 404, "M_NOT_FOUND") for deed in DEEDS),
    ("alias", 400, "M_UNKNOWN"),  # as Synapse refuses an alias of an unknown room
}

_BLOCKED = "SELECT count(*) FROM pg_locks WHERE locktype <> 'advisory' AND NOT granted"
_OPEN = "SELECT count(*) FROM rooms WHERE room_nid = %s AND NOT purging"
_UNUSED = """
SELECT array_agg(nid) FROM generate_series(1, (SELECT last_value + 1000 FROM {name}_nids)) AS nid
WHERE NOT EXISTS (SELECT FROM {table} WHERE {name}_nid = nid)
"""

# Snapshots that events or other snapshots name, and that are not there.
_DANGLING = """
SELECT nid FROM (
    SELECT unnest(ARRAY[before_nid, after_nid]) AS nid FROM events WHERE room_nid = %(room_nid)s
    UNION SELECT base_nid FROM state_snapshots WHERE room_nid = %(room_nid)s
    UNION SELECT snapshot_nid FROM rooms WHERE room_nid = %(room_nid)s) AS named
WHERE nid <> 0 AND NOT EXISTS (SELECT FROM state_snapshots WHERE snapshot_nid = nid)
"""


@pytest.fixture(scope="module")
def site(build_site: BuildSite) -> Site:
    site = build_site("a")
    site.start(*PROCESSES)
    build_gate(site)
    return site


@pytest.fixture(scope="module")
def people(site: Site) -> list[User]:
    """The first members of every seeded room."""
    return [site.user(f"seed{number}") for number in range(RACERS + 1)]


@pytest.fixture(scope="module")
def admin(site: Site) -> User:
    return site.user("admin", admin=True)


@pytest.fixture
def session(site: Site) -> Iterator[Session]:
    session = Session(site._database, {})
    yield session
    session.close()


@pytest.fixture
def room(site: Site, people: list[User]) -> Room:
    """Everybody may do everything there."""
    seeder = Seeder(site._database, generate_signing_key(SERVER), ReactorClock(reactor))
    room = seeder.seed(Plan(EVENTS, MEMBERS, state_every=10))
    seeder.close()
    with people[0].connect() as connection:
        path = room_path(room.room_id, "state/m.room.power_levels")
        connection.call("PUT", path, {"state_default": 0, "invite": 0, "users": {}})
    return room


@pytest.fixture
def racers(site: Site, people: list[User], room: Room) -> list[Racer]:
    return [
        Racer(through(site, user, PROCESSES[number % 2]), room.room_id, number)
        for number, user in enumerate(people[:RACERS])
    ]


def through(site: Site, user: User, name: str) -> User:
    return attrs.evolve(user, base_url=site.url(name))


def sync(user: User, since: str = "") -> Any:
    with user.connect() as connection:
        return connection.call("GET", f"{CLIENT}/sync?timeout=0{since and '&since='}{since}")


def everything(txn: Transaction, room: Room, before: Traces, sent: list[str]) -> Traces:
    """Of a room that is gone: also by the numbers that nothing bears now, whoever took them."""
    event_nids = txn.value(_UNUSED.format(name="event", table="events"))
    snapshot_nids = txn.value(_UNUSED.format(name="snapshot", table="state_snapshots"))
    return Traces(room, event_nids, snapshot_nids, [*before.event_ids, *sent])


def test_writers_race_the_purge_of_a_room(
    site: Site, people: list[User], admin: User, session: Session, room: Room, racers: list[Racer]
) -> None:
    """Each answer is a success or a clean refusal; nothing is left; the same people go on in a new room."""
    other = create_room(people[0], *people[1:3])
    before, sleeper = session.read(traces, room), people[-1]
    asleep = sync(sleeper)["next_batch"]

    def delete() -> str:
        with admin.connect() as connection:
            path = f"/_synapse/admin/v2/rooms/{room.room_id}"
            delete_id: str = connection.call("DELETE", path, {})["delete_id"]
        return delete_id

    with racing(racers):
        with resting(site, admin, delete) as delete_id:
            assert not site.value(_OPEN, room.nid), "the room is closed"
            closed = time.monotonic()
            wait_for_rounds(racers, 1)
        task = site.wait_for_end(delete_id)
        ended = time.monotonic()

    assert (task.status, task.error) == ("complete", None)
    answers = [answer for racer in racers for answer in racer.answers]
    refused = [answer for answer in answers if answer.status != 200]
    assert {(answer.deed, answer.status, answer.errcode) for answer in refused} <= CLEAN
    succeeded = {answer.deed for answer in answers if answer.status == 200}
    assert succeeded - ELSEWHERE == {answer.deed for answer in refused}, (
        "everything succeeds before, not after"
    )
    accepted = [answer for answer in answers if answer.status == 200]
    assert {answer.deed for answer in accepted if answer.began > closed} <= {*ELSEWHERE, "read"}
    assert {answer.deed for answer in accepted if answer.began > ended} == ELSEWHERE
    assert [answer for answer in refused if answer.began < ended], "nobody was there to race"

    sent = [answer.event_id for answer in answers if answer.event_id]
    assert session.read(lambda txn: remains(txn, everything(txn, room, before, sent))) == {}
    for name in PROCESSES:
        news = sync(through(site, sleeper, name), asleep)["rooms"]
        assert list(news["leave"]) == [room.room_id]
        assert room.room_id not in news.get("join", {})
    _meet_again(site, people, [other, create_room(people[0])])


def _meet_again(site: Site, people: list[User], room_ids: list[str]) -> None:
    """Invited and joined through one process, heard through the other."""
    for room_id in room_ids:
        owner, *others = people[:4]
        for number, user in enumerate(others):
            here, there = (through(site, user, name) for name in (PROCESSES * 2)[number % 2 :][:2])
            if room_id == room_ids[-1]:
                act(through(site, owner, PROCESSES[number % 2]), room_id, "invite", user_id=user.user_id)
            act(here, room_id, "join")
            with there.connect() as connection:
                event_id = say(connection, room_id, f"again{number}")
            with through(site, owner, PROCESSES[number % 2]).connect() as connection:
                assert event_id in [event["event_id"] for event in read_events(connection, room_id)]


def test_typing_beside_an_open_step(site: Site, people: list[User], admin: User, room: Room) -> None:
    """Who types while a step of a purge holds its locks waits for its end at most; of a room that goes it is refused."""
    edge = site.value("SELECT event_id FROM events WHERE room_nid = %s ORDER BY depth DESC LIMIT 1", room.nid)
    purge_history = ("POST", f"/_synapse/admin/v1/purge_history/{room.room_id}/{edge}")
    delete_room = ("DELETE", f"/_synapse/admin/v2/rooms/{room.room_id}")
    for (method, path), expected in ((purge_history, {200}), (delete_room, {403, 404})):
        with closed_gate(site) as open_gate, ThreadPoolExecutor() as pool:
            with admin.connect() as connection:
                (task_id,) = connection.call(method, path, {}).values()
            wait_at_gate(site)
            typing = [
                pool.submit(_type, through(site, user, PROCESSES[number % 2]), room.room_id)
                for number, user in enumerate(people[:RACERS])
            ]
            wait_until(lambda: site.value(_BLOCKED) or all(one.done() for one in typing), "who types")  # noqa: B023
            open_gate()
            assert {one.result() for one in typing} <= expected
        site.wait_for_end(task_id)


def _type(user: User, room_id: str) -> int:
    """The status."""
    with user.connect() as connection:
        try:
            connection.call(
                "PUT", room_path(room_id, f"typing/{user.user_id}"), {"typing": True, "timeout": 30_000}
            )
        except ApiError as error:
            return error.status
    return 200


def test_writers_race_the_purge_of_a_history(
    site: Site, people: list[User], admin: User, session: Session, room: Room, racers: list[Racer]
) -> None:
    """Nobody is refused, everything sent meanwhile can be read through each process, and the past is gone."""
    edge = site.value(
        "SELECT event_id FROM events WHERE room_nid = %s AND depth > %s AND type = 'm.room.message'"
        " ORDER BY depth LIMIT 1",
        room.nid,
        EVENTS * 9 // 10,
    )
    past = session.read(traces, room)

    def purge() -> str:
        with admin.connect() as connection:
            path = f"/_synapse/admin/v1/purge_history/{room.room_id}/{edge}"
            purge_id: str = connection.call("POST", path, {"delete_local_events": True})["purge_id"]
        return purge_id

    with racing(racers):
        with resting(site, admin, purge) as purge_id:
            began = time.monotonic()
            wait_for_rounds(racers, 1)
        task = site.wait_for_end(purge_id)
        ended = time.monotonic()

    assert (task.status, task.error) == ("complete", None)
    assert task.result is not None
    assert task.result["local_events"] > EVENTS // 2
    answers = [answer for racer in racers for answer in racer.answers]
    assert {(answer.deed, answer.errcode) for answer in answers if answer.status != 200} == set()
    assert [answer for answer in answers if began < answer.began < ended], "nobody was there to race"
    sent = {answer.event_id for answer in answers if answer.event_id}
    for name in PROCESSES:
        with through(site, people[-1], name).connect() as connection:
            shown = {event["event_id"] for event in read_events(connection, room.room_id)}
            state = connection.call("GET", room_path(room.room_id, "state"))
        assert sent <= shown
        assert len(shown & set(past.event_ids)) < EVENTS // 5
        assert max(Counter((event["type"], event["state_key"]) for event in state).values()) == 1
    assert "snapshot_candidates" not in session.read(contents, room)
    assert session.read(lambda txn: txn.rows(_DANGLING, {"room_nid": room.nid})) == []
