"""A worker dies, freezes or stops in the middle of a task: another goes on, and nothing is done twice."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from attrs import frozen

from synapse_lite.cli.demo.connection import User
from tests.processes.conftest import BuildSite
from tests.processes.gate import build_gate, closed_gate, wait_at_gate
from tests.processes.site import Site, Task, create_room, flood, readable

ROOMS, EACH = 4, 500
MESSAGES = ROOMS * EACH
EVENTS = MESSAGES + ROOMS  # with the joins
WORKERS = ("a", "b")


@frozen
class Scene:
    """Rooms full of a spammer's messages."""

    site: Site
    admin: User
    member: User
    spammer: User
    room_ids: list[str]

    @contextmanager
    def redacting(self) -> Iterator[tuple[Task, Callable[[], None]]]:
        """A task whose second step waits; and what lets it go on, as the end does."""
        with closed_gate(self.site) as open_gate:
            task_id = self.site.redact(self.admin, self.spammer.user_id)
            wait_at_gate(self.site)
            task = self.site.task(task_id)
            assert 0 < task.done < EVENTS
            yield task, open_gate

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
    build_gate(site)
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


def test_a_killed_worker_is_replaced_when_its_lease_ends(scene: Scene) -> None:
    """After SIGKILL the other worker takes the task over, not before the end of the lease, and finishes it."""
    site = scene.site
    with scene.redacting() as (task, _):
        killed = task.worker
        site.processes[killed].kill()
    site.expire(killed)
    expired_at = site.value("SELECT max(expires_at) FROM task_runners WHERE name = %s", killed)
    scene.check_done_once(task.id)
    history = site.history(task.id)
    assert [kind for _, kind, _ in history] == ["enqueued", "claimed", "rescued", "complete"]
    rescued_at, _, rescuer = history[2]
    assert rescuer is not None
    assert not rescuer.startswith(f"{killed}#")
    assert rescued_at > expired_at


def test_a_frozen_worker_writes_nothing_when_it_wakes(scene: Scene) -> None:
    """Stopped for longer than its lease and then continued, a worker finds that the task is not its own."""
    site = scene.site
    with scene.redacting() as (frozen_task, _):
        zombie = frozen_task.worker
        site.signal(zombie, signal.SIGSTOP)
    site.expire(zombie)
    scene.check_done_once(frozen_task.id)
    before = _written(site, frozen_task)
    assert [kind for _, kind, _ in before[1]] == ["enqueued", "claimed", "rescued", "complete"]
    assert before[0].epoch == frozen_task.epoch + 1
    site.signal(zombie, signal.SIGCONT)
    site.processes[zombie].wait_for_log(rf"task {frozen_task.id} is (no longer ours|dropped)")
    site.processes[zombie].wait_for_log(r"runner \S+ expired; its tasks are dropped")
    assert _written(site, frozen_task) == before
    scene.check_done_once(frozen_task.id)


def _written(site: Site, task: Task) -> tuple[Task, list[tuple[int, str, str | None]], int]:
    return site.task(task.id), site.history(task.id), site.value("SELECT count(*) FROM redactions")


def test_a_worker_that_stops_hands_over(scene: Scene) -> None:
    """On SIGTERM the current step is finished and the task released: the other does not wait for the lease."""
    site = scene.site
    with scene.redacting() as (task, open_gate):
        stopped = task.worker
        site.stop(stopped, meanwhile=open_gate)
    released = site.task(task.id)
    assert released.owner is None or released.worker != stopped
    scene.check_done_once(task.id)
    history = site.history(task.id)
    kinds = [kind for _, kind, _ in history]
    assert kinds == ["enqueued", "claimed", "released", "claimed", "complete"]
    releaser, claimer = history[2][2], history[3][2]
    assert releaser is not None
    assert claimer is not None
    assert releaser.startswith(f"{stopped}#")
    assert not claimer.startswith(f"{stopped}#")


def test_a_restart_of_everything_goes_on(scene: Scene) -> None:
    """All processes stop in the middle of a task, and the next ones finish it where it was."""
    site = scene.site
    with scene.redacting() as (task, open_gate):
        site.stop("main", *WORKERS, meanwhile=open_gate)
    between = site.task(task.id)
    assert (between.status, between.owner) == ("scheduled", None)
    assert task.done < between.done < EVENTS
    site.start("main", *WORKERS)
    scene.check_done_once(task.id)
