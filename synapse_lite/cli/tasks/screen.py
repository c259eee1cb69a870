"""Tasks that go on: a table that changes on a terminal, lines elsewhere."""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

import attrs
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from synapse_lite.canonical_json import JsonObject
from synapse_lite.cli.output import duration, plain
from synapse_lite.cli.tasks.tables import add_narrow_row, new_narrow_table, note, progress_words

_BAR_WIDTH = 20
_QUIET = 10.0  # seconds between lines that tell of nothing but numbers


class Screen(AbstractContextManager["Screen"], Protocol):
    def show(self, tasks: Sequence[JsonObject]) -> None: ...
    def warn(self, text: str) -> None: ...


class LiveScreen:
    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, tasks: Sequence[JsonObject]) -> None:
        self._live.update(live_table(tasks), refresh=True)

    def warn(self, text: str) -> None:
        self._live.update(Group(self._live.get_renderable(), Text(plain(text), style="yellow")), refresh=True)


@attrs.frozen
class _Told:
    """What the last line of a task said, and when (monotonic seconds)."""

    state: Sequence[object]
    numbers: str
    at: float


class LineScreen:
    """A line when the state of a task changes, and now and then for its progress."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: Mapping[str, _Told] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def show(self, tasks: Sequence[JsonObject]) -> None:
        now = time.monotonic()
        self._told = {task["id"]: self._tell(task, now) for task in tasks}

    def warn(self, text: str) -> None:
        self._console.print(plain(text))

    def _tell(self, task: JsonObject, now: float) -> _Told:
        new = _Told((task["status"], task["runner"], note(task).plain), progress_words(task), now)
        old = self._told.get(task["id"])
        if old and old.state == new.state and (old.numbers == new.numbers or now < old.at + _QUIET):
            return old
        self._console.print(_line(task))
        return new


def choose_screen(console: Console) -> Screen:
    return LiveScreen(console) if console.is_terminal else LineScreen(console)


def live_table(tasks: Sequence[JsonObject]) -> Table:
    table = new_narrow_table()
    for task in tasks:
        progress = Table.grid()
        for line in (_bar(task), progress_words(task), _left(task)):
            progress.add_row(line)
        add_narrow_row(table, task, progress)
    return table


def _bar(task: JsonObject) -> ProgressBar:
    done, total = task["progress"]["done"], task["progress"]["total"]
    if task["status"] == "complete":
        done, total = 1, 1
    return ProgressBar(total=total or 1, completed=done if total else 0, width=_BAR_WIDTH)


def _left(task: JsonObject) -> str:
    eta = task["eta_ms"]
    return "" if eta is None or task["finished_ts"] is not None else f"{duration(eta)} left"


def _line(task: JsonObject) -> str:
    runner = plain(task["runner"])
    words = (
        time.strftime("%H:%M:%S"),
        plain(task["id"]),
        plain(task["action"]),
        plain(task["status"]),
        progress_words(task),
        _left(task),
        runner and f"on {runner}",
        note(task).plain,
    )
    return "  ".join(word for word in words if word)
