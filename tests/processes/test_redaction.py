"""Redactions asked for at once and by the hundred, on two workers."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from attrs import evolve

from synapse_lite.cli.api import ApiError
from synapse_lite.cli.demo.connection import User
from tests.processes.conftest import BuildSite
from tests.processes.gate import build_gate, closed_gate
from tests.processes.harness import wait_until
from tests.processes.site import ENDED, Site, act, create_room, flood, readable, say

WORKERS = ("a", "b")
CLIENTS = 20
EACH = 500


@pytest.fixture(scope="module")
def site(build_site: BuildSite) -> Site:
    site = build_site(*WORKERS)
    site.start("main", *WORKERS)
    build_gate(site)
    return site


@pytest.fixture(scope="module")
def admin(site: Site) -> User:
    return site.user("admin", admin=True)


def test_many_ask_for_the_same(site: Site, admin: User) -> None:
    """Of requests at the same moment, through several processes, one starts a task; each target is redacted once."""
    member, spammer = site.user("member1"), site.user("spammer1")
    room_id = create_room(member, spammer)
    flood(spammer, [room_id], 200)
    users = [evolve(admin, base_url=site.url(name)) for name in ("main", *WORKERS)]

    def ask(number: int) -> str | ApiError:
        try:
            return site.redact(users[number % len(users)], spammer.user_id)
        except ApiError as error:
            return error

    with closed_gate(site), ThreadPoolExecutor(CLIENTS) as executor:  # it goes on when all have asked
        answers = list(executor.map(ask, range(CLIENTS)))
    (redact_id,) = [answer for answer in answers if isinstance(answer, str)]
    for error in answers:
        if isinstance(error, ApiError):
            assert error.status == 400
            assert f"Redact already in progress for user {spammer.user_id}" in str(error)
    task = site.wait_for_end(redact_id)
    assert (task.status, task.done) == ("complete", 201)
    assert site.value("SELECT count(*) FROM scheduled_tasks WHERE resource_id = %s", spammer.user_id) == 1
    assert set(site.redactions_of(spammer.user_id).values()) == {1}
    assert readable(member, [room_id], spammer.user_id) == []


def test_no_room_is_torn_into_branches(site: Site, admin: User) -> None:
    """Hundreds of redactions in banned, left and joined rooms: one extremity more at the most while they
    are made, none after the next message, and the departed stay out.
    """
    owner, spammer = site.user("owner2"), site.user("spammer2")
    banned, left, joined = rooms = [create_room(owner, spammer) for _ in range(3)]
    flood(spammer, rooms, EACH)
    act(owner, banned, "ban", user_id=spammer.user_id)
    act(spammer, left, "leave")
    before = {room_id: site.extremities(room_id) for room_id in rooms}
    redact_id = site.redact(admin, spammer.user_id)

    def ended() -> bool:
        assert all(site.extremities(room_id) <= before[room_id] + 1 for room_id in rooms)
        return site.task(redact_id).status in ENDED

    with owner.connect() as connection:
        for number in range(5):  # the life of the rooms goes on meanwhile
            for room_id in rooms:
                say(connection, room_id, f"meanwhile{number}", "hello")
        wait_until(ended, "the redaction")
        task = site.task(redact_id)
        assert task.result is not None
        assert (task.status, task.done, task.result["failed"]) == ("complete", 3 * (EACH + 1), 0)
        assert set(site.redactions_of(spammer.user_id).values()) == {1}
        for room_id in rooms:
            say(connection, room_id, "after", "hello")
    assert [site.extremities(room_id) for room_id in rooms] == [1, 1, 1]
    assert readable(owner, rooms, spammer.user_id) == []
    with spammer.connect() as connection:
        say(connection, joined, "again", "still here")
        for room_id in (banned, left):
            with pytest.raises(ApiError) as refused:
                say(connection, room_id, "again", "still here")
            assert refused.value.status == 403
