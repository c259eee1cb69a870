"""What follows from the configuration of a process about what it does."""

from typing import Any

import pytest

from synapse_lite.config.model import Config
from synapse_lite.tasks.registry import CATALOGUE
from synapse_lite.tasks.specs import TaskSpec
from synapse_lite.workers.roles import Role, duties_elsewhere


def process(**options: Any) -> Config:
    return Config.model_validate(
        {"server_name": "hs.test", "database": {"name": "psycopg2", "args": {}}, **options}
    )


def worker(name: str, **options: Any) -> Config:
    return process(**{"worker_app": "synapse_lite", "worker_name": name, **options})


@pytest.mark.parametrize(
    ("listeners", "serves"),
    [
        ([], False),
        ([{"type": "http", "port": 1}], False),
        ([{"type": "metrics", "port": 1}], False),
        ([{"type": "http", "port": 1, "resources": [{"names": ["health"]}, {"names": ["client"]}]}], True),
    ],
)
def test_who_serves_clients(listeners: list[dict[str, Any]], serves: bool) -> None:
    assert Role.of(worker("w1", worker_listeners=listeners)).serves_clients is serves


def test_duties_are_those_of_who_runs_tasks() -> None:
    """Where nothing is said: the main process serves media, too, and nothing is told at start."""
    main = process()
    role = Role.of(main)
    assert (role.runs_tasks, role.keeps_files, role.sends_to_servers, role.pushes, role.serves_media) == (
        True,
    ) * 5
    assert role.tasks(CATALOGUE) == CATALOGUE
    assert list(duties_elsewhere(main)) == []
    assert Role.of(worker("w1")).tasks(CATALOGUE) == ()


def test_duties_of_named_processes() -> None:
    """Each does its own, and each process says at start who does what it does not."""
    named = {
        "pusher_instances": ["pusher1"],
        "federation_sender_instances": ["sender1", "sender2"],
        "run_background_tasks_on": ["background1"],
        "media_instance_running_background_jobs": "media1",
    }
    names = ("main", "pusher1", "sender2", "background1", "media1")
    roles = [Role.of(process(**named)), *(Role.of(worker(name, **named)) for name in names[1:])]
    duties = {
        name: (role.runs_tasks, role.keeps_files, role.sends_to_servers, role.pushes)
        for name, role in zip(names, roles, strict=True)
    }
    assert duties == {
        "main": (False, False, False, False),
        "pusher1": (False, False, False, True),
        "sender2": (False, False, True, False),
        "background1": (True, False, False, False),
        "media1": (False, True, False, False),
    }
    assert list(duties_elsewhere(process(**named))) == [
        "background tasks (run_background_tasks_on: background1)",
        "tasks that look at files of media (media_instance_running_background_jobs: media1)",
        "sending to other servers (federation_sender_instances: sender1, sender2)",
        "pushing (pusher_instances: pusher1)",
    ]
    assert process(**named).task_runners == {"background1", "media1"}


def test_tasks_that_look_at_files() -> None:
    """They are run by who has the files, and by nobody else; all others are not."""
    options = {"media_instance_running_background_jobs": "media1"}
    files = [entry.spec for entry in Role.of(worker("media1", **options)).tasks(CATALOGUE)]
    others = [entry.spec for entry in Role.of(process(**options)).tasks(CATALOGUE)]
    assert [spec.action for spec in files if isinstance(spec, TaskSpec)] == ["clean_media", "audit_media"]
    assert len(files) + len(others) == len(CATALOGUE)
    assert not [spec for spec in files if spec in others]


def test_duties_in_the_old_way() -> None:
    """`false` in the file of all, and workers with an application of their own."""
    old = {"start_pushers": False, "send_federation": False, "enable_media_repo": False}
    main, generic = Role.of(process(**old)), Role.of(worker("w1", **old))
    for role in (main, generic):
        assert (role.pushes, role.sends_to_servers, role.serves_media) == (False, False, False)
    for app, duties in (
        ("pusher", (True, False, False)),
        ("federation_sender", (False, True, False)),
        ("media_repository", (False, False, True)),
    ):
        role = Role.of(worker("w1", worker_app=f"synapse.app.{app}", **old))
        assert (role.pushes, role.sends_to_servers, role.serves_media) == duties
    assert list(duties_elsewhere(process(**old))) == [
        "sending to other servers (workers of synapse.app.federation_sender)",
        "pushing (workers of synapse.app.pusher)",
        "serving media (enable_media_repo: false; workers of synapse.app.media_repository)",
    ]


def test_an_application_of_its_own_is_enough() -> None:
    """The option may be in the file of the main process only: there it takes the duty away, and somebody has to have it."""
    for app in ("pusher", "federation_sender"):
        role = Role.of(worker("w1", worker_app=f"synapse.app.{app}"))
        assert (role.pushes, role.sends_to_servers) == (app == "pusher", app == "federation_sender")
    named = worker("w1", worker_app="synapse.app.pusher", pusher_instances=["pusher1"])
    assert not Role.of(named).pushes
