"""Asking for the redaction of a user, watching it, and learning who did it."""

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any
from urllib.parse import quote

import attrs

from synapse_lite.cli.demo.connection import DemoError, User
from synapse_lite.cli.demo.stages import Stages
from synapse_lite.storage.session import Session
from synapse_lite.storage.tasks import read_history

_ADMIN = "/_synapse/admin/v1/user"
_POLL = 0.05
_PATIENCE = 60.0  # seconds without progress


@attrs.frozen
class Redaction:
    """A task that is complete. `rooms`: the reports of its status; `seconds`: from the request to the last poll."""

    task_id: str
    seconds: float
    redacted: int
    rooms: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, str]


def redact(admin: User, user_id: str, expected: int, stages: Stages) -> Redaction:
    """Redact everything that the user sent, about `expected` events. Raises DemoError when the task fails or stands still."""
    with admin.connect() as connection, stages.stage("Redacting", expected) as stage:
        started = progressed = time.monotonic()
        answer = connection.call("POST", f"{_ADMIN}/{quote(user_id)}/redact", {"rooms": []})
        task_id: str = answer["redact_id"]
        done = 0
        while True:
            status = connection.call("GET", f"{_ADMIN}/redact_status/{task_id}")
            now = time.monotonic()
            progress = status["progress"]
            stage.show(progress["done"], progress["total"], _note(status))
            if status["status"] == "complete":
                break
            if status["status"] == "failed":
                raise DemoError(f"the task {task_id} failed: {status['error']}")
            if progress["done"] != done:
                done, progressed = progress["done"], now
            elif now > progressed + _PATIENCE:
                raise DemoError(
                    f"the task {task_id} made no progress for {_PATIENCE:.0f} s: {status['status']}, "
                    f"{done} redacted, runner {status['runner']}"
                )
            time.sleep(_POLL)
    return Redaction(
        task_id, now - started, status["result"]["redacted"], status["rooms"], status["failed_redactions"]
    )


def runners_of(task_id: str, postgres: Mapping[str, Any]) -> list[str]:
    """Names of the processes that ran the task, in order; more than one after a crash or a restart."""
    with closing(Session(postgres, {})) as session:
        history = session.read(read_history, task_id)
    return list(dict.fromkeys(event.runner.partition("#")[0] for event in history if event.runner))


def _note(status: Mapping[str, Any]) -> str:
    words = (status["status"], status["progress"]["phase"], status["runner"] and f"on {status['runner']}")
    return ", ".join(word for word in words if word)
