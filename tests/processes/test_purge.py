"""A room is purged by workers that are killed again and again: nothing is left of it, nothing else is touched."""

import random
import time

from twisted.internet import reactor

from benchmarks.seed_room import Plan, Seeder
from synapse_lite.clock import ReactorClock
from synapse_lite.matrix.signing import generate_signing_key
from synapse_lite.storage.session import Session
from tests.processes.conftest import BuildSite
from tests.processes.harness import wait_until
from tests.processes.site import ENDED, SERVER, Site, Task
from tests.tasks.remains import contents, remains, traces

WORKERS = ("a", "b")
KILLS = 4
EVENTS, MEMBERS = 12_000, 400
LONGEST = 0.25  # seconds between a claim and a kill


def test_killed_at_random_moments(build_site: BuildSite) -> None:
    """Every rescue goes on where the last commit was; the other room is the same to the byte."""
    site = build_site(*WORKERS)
    site.start("main", *WORKERS)
    admin = site.user("admin", admin=True)
    database = site._database
    seeder = Seeder(database, generate_signing_key(SERVER), ReactorClock(reactor))
    room, other = seeder.seed(Plan(EVENTS, MEMBERS)), seeder.seed(Plan(200, 20))
    seeder.close()
    session = Session(database, {})
    gone, before = session.read(traces, room), session.read(contents, other)

    with admin.connect() as connection:
        path = f"/_synapse/admin/v2/rooms/{room.room_id}"
        delete_id = connection.call("DELETE", path, {})["delete_id"]
    kills = _kill_at_random(site, delete_id)
    task = site.wait_for_end(delete_id)

    assert (task.status, task.error) == ("complete", None)
    assert kills > 0
    assert len([event for event in site.history(delete_id) if event[1] == "rescued"]) >= kills - 1
    assert session.read(remains, gone) == {}
    assert session.read(contents, other) == before
    kicked = "SELECT count(*) FROM task_items WHERE task_id = %s AND outcome = 'kicked'"
    assert site.value(kicked, delete_id) == MEMBERS
    session.close()


def _kill_at_random(site: Site, task_id: str) -> int:
    """How often somebody who worked on the task was killed; they are started again at once."""
    kills, epoch = 0, 0
    while kills < KILLS:
        task = wait_until(lambda: _claimed_after(site, task_id, epoch), "a claim")  # noqa: B023
        if task.status in ENDED:
            break
        epoch = task.epoch
        time.sleep(random.uniform(0, LONGEST))  # any moment will do
        if site.task(task_id).status in ENDED:
            break
        site.processes[task.worker].kill()
        site.start(task.worker)
        kills += 1
    return kills


def _claimed_after(site: Site, task_id: str, epoch: int) -> Task | None:
    task = site.task(task_id)
    return task if task.status in ENDED or (task.owner and task.epoch > epoch) else None
