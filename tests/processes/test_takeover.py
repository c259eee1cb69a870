"""A worker dies, freezes or stops in the middle of a task: another goes on, and nothing is done twice."""

import signal
from collections.abc import Iterator

import pytest
from attrs import frozen

from synapse_lite.cli.demo.connection import User
from tests.processes.conftest import BuildSite
from tests.processes.site import LEASE, Site, create_room, flood, readable

ROOMS, EACH = 4, 500
MESSAGES = ROOMS * EACH
EVENTS = MESSAGES + ROOMS  # with the joins
WORKERS = ("a", "b")
SLACK_MS = 1500  # of a busy machine


@frozen
class Scene:
    """Rooms full of a spammer's messages."""

    site: Site
    admin: User
    member: User
    spammer: User
    room_ids: list[str]

    def redact(self) -> str:
        return self.site.redact(self.admin, self.spammer.user_id)

    def check_done_once(self, task_id: str) -> None:
        """The task is complete, each event has one redaction, and a member can read nothing."""
        task = self.site.wait_for_end(task_id)
        assert (task.status, task.error) == ("complete", None)
        assert (task.done, task.total) == (EVENTS, EVENTS)
        redactions = self.site.redactions_of(self.spammer.user_id)
        assert len(redactions) == MESSAGES
        assert set(redactions.values()) == {1}
        assert readable(self.member, self.room_ids, self.spammer.user_id) == []
        status = self.site.redact_status(self.admin, task_id)
        assert (status["status"], status["failed_redactions"]) == ("complete", {})


@pytest.fixture(scope="module")
def site(build_site: BuildSite) -> Site:
    site = build_site(*WORKERS)
    site.start("main", *WORKERS)
    return site


@pytest.fixture(scope="module")
def people(site: Site) -> tuple[User, User]:
    return site.user("admin", admin=True), site.user("member")


@pytest.fixture
def scene(site: Site, people: tuple[User, User], request: pytest.FixtureRequest) -> Iterator[Scene]:
    """All workers are up before the test and after it."""
    admin, member = people
    spammer = site.user(request.node.name[5:25])
    room_ids = [create_room(member, spammer) for _ in range(ROOMS)]
    flood(spammer, room_ids, EACH)
    yield Scene(site, admin, member, spammer, room_ids)
    ended = [name for name in WORKERS if site.processes[name].running.poll() is not None]
    site.start(*ended)


def test_a_killed_worker_is_replaced_within_one_lease(scene: Scene) -> None:
    """After SIGKILL the other worker takes the task over when the lease ends, and finishes it."""
    site, task_id = scene.site, scene.redact()
    killed = site.wait_for_middle(task_id).worker
    killed_at = site.value("SELECT now_ms()")
    site.processes[killed].kill()
    assert 0 < site.task(task_id).done < EVENTS
    scene.check_done_once(task_id)
    (rescue,) = [event for event in site.history(task_id) if event[1] == "rescued"]
    assert rescue[2] is not None
    assert not rescue[2].startswith(f"{killed}#")
    assert rescue[0] - killed_at < LEASE * 1000 + SLACK_MS


def test_a_frozen_worker_writes_nothing_when_it_wakes(scene: Scene) -> None:
    """Stopped for longer than its lease and then continued, a worker finds that the task is not its own."""
    site, task_id = scene.site, scene.redact()
    frozen_task = site.wait_for_middle(task_id)
    zombie = frozen_task.worker
    frozen_at = site.value("SELECT now_ms()")
    site.signal(zombie, signal.SIGSTOP)
    scene.check_done_once(task_id)
    (rescue,) = [event for event in site.history(task_id) if event[1] == "rescued"]
    assert rescue[0] - frozen_at < LEASE * 1000 + SLACK_MS
    before = (site.task(task_id), site.history(task_id), site.value("SELECT count(*) FROM redactions"))
    assert before[0].epoch == frozen_task.epoch + 1
    site.signal(zombie, signal.SIGCONT)
    site.processes[zombie].wait_for_log(rf"task {task_id} is (no longer ours|dropped)")
    site.processes[zombie].wait_for_log(r"runner \S+ expired; its tasks are dropped")
    assert (
        site.task(task_id),
        site.history(task_id),
        site.value("SELECT count(*) FROM redactions"),
    ) == before
    scene.check_done_once(task_id)


def test_a_worker_that_stops_hands_over_at_once(scene: Scene) -> None:
    """On SIGTERM the current step is finished and the task released: the other does not wait for the lease."""
    site, task_id = scene.site, scene.redact()
    stopped = site.wait_for_middle(task_id).worker
    asked_at = site.value("SELECT now_ms()")
    site.stop(stopped)
    scene.check_done_once(task_id)
    history = site.history(task_id)
    kinds = [kind for _, kind, _ in history]
    assert kinds == ["enqueued", "claimed", "released", "claimed", "complete"]
    (released_at, _, releaser), (claimed_at, _, claimer) = history[2:4]
    assert releaser is not None
    assert claimer is not None
    assert releaser.startswith(f"{stopped}#")
    assert not claimer.startswith(f"{stopped}#")
    assert released_at - asked_at < 2000
    assert claimed_at - released_at < 1000


def test_a_restart_of_everything_goes_on(scene: Scene) -> None:
    """All processes stop in the middle of a task, and the next ones finish it where it was."""
    site, task_id = scene.site, scene.redact()
    site.wait_for_middle(task_id)
    site.stop("main", *WORKERS)
    between = site.task(task_id)
    assert (between.status, between.owner) == ("scheduled", None)
    assert 0 < between.done < EVENTS
    site.start("main", *WORKERS)
    scene.check_done_once(task_id)
