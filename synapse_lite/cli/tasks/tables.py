"""Tasks, runners and actions as people read them."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import orjson
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from synapse_lite.canonical_json import JsonObject
from synapse_lite.cli.output import ago, duration, new_table, plain

_STYLES = {
    "scheduled": "cyan",
    "active": "blue",
    "complete": "green",
    "failed": "bold red",
    "cancelled": "yellow",
}
_REASONS = {
    "paused": "the action is paused",
    "lock": "waits for another task on the same",
}
_WIDE = 160
_ID_WIDTH = 16
_STATUS_WIDTH = 11
_HIDDEN = ("history", "items", "params", "result", "progress", "timestamp_ms")


def status_text(status: str) -> Text:
    return Text(plain(status), style=_STYLES.get(status, ""))


def progress_words(task: JsonObject) -> str:
    """`300/1000 30 %`, as much of it as is known."""
    done, total = task["progress"]["done"], task["progress"]["total"]
    if total is None:
        return str(done) if done else ""
    return f"{done}/{total} {min(100, 100 * done // total)} %" if total else f"{done}/{total}"


def note(task: JsonObject) -> Text:
    """Why the task does not go on, or what it is doing."""
    if task["status"] in ("failed", "cancelled") and task["error"]:
        return Text(plain(task["error"]), style="red")
    if task["waiting_reason"] == "no_runner":
        seen = task["last_seen_runner"]
        known = f"last one: {plain(seen)}" if seen else "there has never been one"
        return Text(f"no live process can run it; {known}", style="bold red")
    words = ["cancelling" if task["cancel_requested"] and task["finished_ts"] is None else ""]
    words.append(_REASONS.get(task["waiting_reason"] or "", ""))
    if task["waiting_reason"] == "backoff":  # a failure, a rest, or a time for which it was asked
        words.append("waits after a failure" if task["attempt"] else "its time has not come")
    if task["attempt"]:
        words.append(f"attempt {task['attempt']} of {task['max_attempts']}")
    words.append(plain(task["progress"]["phase"]))
    return Text(", ".join(word for word in words if word))


@attrs.frozen
class TaskTable:
    """A line for each task where there is room, else two."""

    tasks: Sequence[JsonObject]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        now = now_ms()
        yield self._wide(now) if options.max_width >= _WIDE else self._narrow(now)

    def _wide(self, now: int) -> Table:
        table = new_table("id", "action", "status", "progress", "when", "runner", "resource", "note")
        for task in self.tasks:
            table.add_row(
                plain(task["id"]),
                plain(task["action"]),
                status_text(task["status"]),
                progress_words(task),
                ago(task["timestamp_ms"], now),
                plain(task["runner"]),
                plain(task["resource_id"]),
                note(task),
            )
        return table

    def _narrow(self, now: int) -> Table:
        table = new_narrow_table()
        for task in self.tasks:
            add_narrow_row(table, task, f"{progress_words(task)}\n{ago(task['timestamp_ms'], now)}")
        return table


def new_narrow_table() -> Table:
    """For `add_narrow_row`. An id is never broken: it is there to be copied."""
    table = Table(box=None, padding=(0, 2, 1, 0))
    table.add_column("task", min_width=_ID_WIDTH, overflow="fold")
    table.add_column("state", min_width=_STATUS_WIDTH, overflow="fold")
    table.add_column("progress", no_wrap=True)
    table.add_column("about", overflow="fold")
    return table


def add_narrow_row(table: Table, task: JsonObject, progress: RenderableType) -> None:
    table.add_row(
        f"{plain(task['id'])}\n{plain(task['action'])}",
        Text("\n").join([status_text(task["status"]), Text(plain(task["runner"]))]),
        progress,
        Text("\n").join([Text(plain(task["resource_id"])), note(task)]),
    )


def task_details(task: JsonObject) -> RenderableType:
    """All of one task, its history last."""
    now = now_ms()
    grid = _grid()
    for name, value in task.items():
        if name not in _HIDDEN and value not in (None, False, []):
            grid.add_row(name, status_text(value) if name == "status" else _words(name, value, now))
    grid.add_row("progress", progress_words(task) or "0")
    if task["progress"]["phase"]:
        grid.add_row("phase", plain(task["progress"]["phase"]))
    for name in ("params", "result"):
        if task[name] is not None:
            grid.add_row(name, plain(orjson.dumps(task[name]).decode()))
    for outcome, number in task["items"].items():
        grid.add_row(f"items: {plain(outcome)}", str(number))
    reason = note(task)
    if reason.plain:
        grid.add_row("note", reason)
    history = new_table("when", "what", "runner", "detail")
    for event in task["history"]:
        history.add_row(
            ago(event["ts"], now), plain(event["kind"]), plain(event["runner"]), plain(event["detail"])
        )
    return Group(grid, Padding(history, (1, 0, 0, 0), expand=False))


def runner_table(answer: JsonObject) -> RenderableType:
    """Who is alive and what each can run; then, in red, what nobody can run."""
    now = now_ms()
    table = new_table("name", "alive", "running", "since", "lease", "can run")
    for runner in answer["runners"]:
        table.add_row(
            plain(runner["name"]),
            Text("yes", style="green") if runner["alive"] else Text("no", style="red"),
            str(runner["running"]),
            ago(runner["started_ts"], now),
            _lease(runner["expires_ts"], now),
            ", ".join(_version(entry) for entry in runner["actions"]),
        )
    return Group(table, *(Text(words, style="bold red") for words in unserved_words(answer["unserved"])))


def unserved_words(unserved: Sequence[JsonObject]) -> list[str]:
    now = now_ms()
    return [
        f"No live process can run {_version(entry)}: {entry['count']} waiting, the oldest since "
        f"{duration(now - entry['oldest_ts'])}; last one that could: "
        f"{plain(entry['last_seen_runner']) or 'none, ever'}"
        for entry in unserved
    ]


def action_table(actions: Iterable[JsonObject]) -> Table:
    table = new_table("action", "versions", "state", "at once", "pending", "active", "runnable by")
    for action in actions:
        table.add_row(
            plain(action["action"]),
            ", ".join(map(str, action["versions"])),
            Text("paused", style="yellow") if action["paused"] else Text("runs", style="green"),
            "any" if action["max_running"] is None else str(action["max_running"]),
            str(action["pending"]),
            str(action["active"]),
            ", ".join(map(plain, action["runnable_by"])) or Text("nobody", style="bold red"),
        )
    return table


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    return grid


def _words(name: str, value: Any, now: int) -> str:
    if name in ("created_ts", "updated_ts", "finished_ts"):
        return ago(value, now)
    if name == "eta_ms":
        return duration(value)
    return ", ".join(map(plain, value)) if isinstance(value, list) else plain(value)


def _lease(expires_ms: int, now: int) -> str:
    return f"{duration(expires_ms - now)} left" if expires_ms > now else f"ended {ago(expires_ms, now)}"


def _version(entry: JsonObject) -> str:
    return f"{plain(entry['action'])} v{entry['version']}"
