"""Who runs which task: a process that lacks an action neither takes it, nor breaks, nor hides it.

In Synapse 1.117 a redaction waited for ever when `run_background_tasks_on` named a worker, because
only the main process knew its action (element-hq/synapse#17823).
"""

import urllib.request
from typing import Any

import pytest

from synapse_lite.cli.demo.connection import User
from synapse_lite.tasks.actions.redact_all_events import REDACT_ALL_EVENTS
from tests.processes.conftest import BuildSite
from tests.processes.harness import wait_until
from tests.processes.site import LIMITED, Site, create_room, flood, readable

MESSAGES = 30
_INSERT = """
INSERT INTO scheduled_tasks (id, action, version, requester, endpoint, priority, max_attempts, params,
    run_at, created_at, updated_at)
VALUES (%s, %s, 1, '@admin:site.test', 'SQL', %s, 10, '{"steps": 3}', 0, 0, 0)
"""


@pytest.fixture(scope="module")
def site(build_site: BuildSite) -> Site:
    """`main` runs no tasks, `able` runs all, `limited` all but the redaction."""
    site = build_site("able", "limited")
    site.start("main", "able")
    site.start("limited", module=LIMITED)
    return site


@pytest.fixture(scope="module")
def admin(site: Site) -> User:
    return site.user("admin", admin=True)


def spam(site: Site, name: str, reader: User) -> tuple[User, str]:
    spammer = site.user(name)
    room_id = create_room(reader, spammer)
    flood(spammer, [room_id], MESSAGES)
    return spammer, room_id


def listed(admin: User, task_id: str) -> dict[str, Any]:
    with admin.connect() as connection:
        tasks = connection.call("GET", "/_synapse/admin/v1/scheduled_tasks")["scheduled_tasks"]
    (task,) = [task for task in tasks if task["id"] == task_id]
    return task


def metrics(site: Site, name: str) -> str:
    with urllib.request.urlopen(f"{site.url(name)}/metrics", timeout=60) as answer:
        return answer.read().decode()


def test_the_able_worker_does_it(site: Site, admin: User) -> None:
    """A task asked of main, which runs none, is done by the only process that is able to."""
    spammer, room_id = spam(site, "early", admin)
    redact_id = site.redact(admin, spammer.user_id)
    task = site.wait_for_end(redact_id)
    assert (task.status, task.done) == ("complete", MESSAGES + 1)
    assert readable(admin, [room_id], spammer.user_id) == []
    assert {runner.partition("#")[0] for _, _, runner in site.history(redact_id) if runner} == {"able"}


def test_what_nobody_can_run_waits_in_sight_and_in_nobodys_way(site: Site, admin: User) -> None:
    """Without an able process a task waits, is shown as runnable by nobody in the list, the log and the
    metrics, holds nothing up, and is done as soon as an able process is there.
    """
    spammer, room_id = spam(site, "late", admin)
    site.stop("able")
    redact_id = site.redact(admin, spammer.user_id)
    site.execute(_INSERT, "unknown", "an_action_of_tomorrow", 100)
    site.execute(_INSERT, "after", "noop", 0)
    assert site.wait_for_end("after").status == "complete"

    task = listed(admin, redact_id)
    assert (task["status"], task["runnable_by"]) == ("scheduled", [])
    assert listed(admin, "unknown")["runnable_by"] == []
    assert listed(admin, "after")["runnable_by"] == ["limited"]
    assert site.redact_status(admin, redact_id)["status"] == "scheduled"

    site.stop("limited")
    site.start("limited", module=LIMITED)
    site.processes["limited"].wait_for_log(
        rf"redact_all_events/{REDACT_ALL_EVENTS.version}: 1 pending, runnable NOWHERE; last seen: able"
    )
    site.processes["limited"].wait_for_log(
        r"an_action_of_tomorrow/1: 1 pending, runnable NOWHERE; last seen: never"
    )
    told = metrics(site, "limited")
    assert 'synapse_lite_task_unserved{action="redact_all_events"} 1.0' in told
    assert 'synapse_lite_task_unserved{action="an_action_of_tomorrow"} 1.0' in told

    site.start("able")
    task_row = site.wait_for_end(redact_id)
    assert (task_row.status, task_row.done) == ("complete", MESSAGES + 1)
    assert readable(admin, [room_id], spammer.user_id) == []
    assert site.task("unknown").status == "scheduled"


def test_main_runs_what_it_is_named_for(build_site: BuildSite) -> None:
    """Without any worker, main runs the tasks when it is in the list."""
    site = build_site("main", "absent")
    site.start("main")
    admin = site.user("admin", admin=True)
    spammer, room_id = spam(site, "spammer", admin)
    redact_id = site.redact(admin, spammer.user_id)
    assert wait_until(lambda: site.redact_status(admin, redact_id)["status"] == "complete", "the redaction")
    assert readable(admin, [room_id], spammer.user_id) == []
