"""Watching tasks until they have ended, over restarts of the server."""

import time
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

import click

from synapse_lite.canonical_json import JsonObject
from synapse_lite.cli.admin_api import AdminApi, Wanted
from synapse_lite.cli.api import ApiError
from synapse_lite.cli.exits import Exit
from synapse_lite.cli.tasks.screen import Screen
from synapse_lite.errors import Errcode, SynapseLiteError

ENDED = ("complete", "failed", "cancelled")
PENDING = ("scheduled", "active")
PATIENCE = 60.0  # seconds for which the server may be away
_PAUSE = 1.0
_TOO_MANY = 429
_SERVER_ERROR = 500

interval_option = click.option(
    "--interval",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.05, 3600),
    help="Seconds between looks at the progress.",
)


class TaskEndedError(SynapseLiteError):
    """A task ended, but not as it should."""


class Source(Protocol):
    """Tasks to watch. `finished`, after a reading: nothing more will happen to them."""

    finished: bool

    def read(self) -> list[JsonObject]: ...


class OneTask:
    """The task with an id."""

    def __init__(self, api: AdminApi, task_id: str) -> None:
        self._api = api
        self._task_id = task_id
        self.finished = False

    def read(self) -> list[JsonObject]:
        task = self._api.task(self._task_id)
        self.finished = task["status"] in ENDED
        return [task]


class ManyTasks:
    """The first `limit` pending tasks that match, after the last `limit` of those that have ended since.

    `ended` counts all of the latter by their status.
    """

    def __init__(self, api: AdminApi, wanted: Wanted, limit: int) -> None:
        self._api = api
        self._wanted = wanted
        self._limit = limit
        self._going: tuple[str, ...] = ()
        self._ended: list[JsonObject] = []
        self.ended: Counter[str] = Counter()
        self.finished = False

    def read(self) -> list[JsonObject]:
        listed = self._api.tasks(self._wanted, limit=self._limit)["scheduled_tasks"]
        ids = dict.fromkeys((*self._going, *(task["id"] for task in listed)))
        tasks = [task for task in map(self._read_one, ids) if task is not None]
        going = [task for task in tasks if task["status"] not in ENDED][: self._limit]
        self._going = tuple(task["id"] for task in going)
        ended = [task for task in tasks if task["status"] in ENDED]
        self.ended.update(task["status"] for task in ended)
        # A task that is retried is pending again.
        still_ended = [task for task in self._ended if task["id"] not in ids]
        self._ended = [*still_ended, *ended][-self._limit :]
        self.finished = not ids
        return [*self._ended, *going]

    def _read_one(self, task_id: str) -> JsonObject | None:
        try:
            return self._api.task(task_id)
        except ApiError as error:
            if error.errcode == Errcode.NOT_FOUND:
                return None  # pruned meanwhile
            raise


def watch(source: Source, screen: Screen, interval: float) -> list[JsonObject]:
    """Show the tasks until the source has finished; their last state.

    The server may be away for `PATIENCE`; then, and when it refuses, raises ApiError. Ctrl-C ends the
    watching, with the exit code that shells expect, not the tasks.
    """
    try:
        with screen:
            while True:
                tasks = _read_patiently(source, screen, interval)
                screen.show(tasks)
                if source.finished:
                    return tasks
                time.sleep(interval)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(Exit.INTERRUPTED.value) from None


def check_complete(tasks: Iterable[JsonObject]) -> None:
    """Raises TaskEndedError with a line for each task that is not complete."""
    lines = [
        f"task {task['id']} ({task['action']}): {task['status']}"
        + (f": {task['error']}" if task["error"] else "")
        for task in tasks
        if task["status"] != "complete"
    ]
    if lines:
        raise TaskEndedError("\n".join(lines))


def _read_patiently(source: Source, screen: Screen, interval: float) -> list[JsonObject]:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return source.read()
        except ApiError as error:
            passes = error.status in (0, _TOO_MANY) or error.status >= _SERVER_ERROR
            if not passes or time.monotonic() > deadline:
                raise
            screen.warn(f"{error}; trying again")
            time.sleep(max(interval, _PAUSE))
