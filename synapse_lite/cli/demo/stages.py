"""What the demo is doing now: a bar for each stage on a terminal, else a line when it begins and when it ends."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

_NAME_WIDTH = 24


class Stage:
    """May be told of progress by any thread."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, count: int = 1) -> None:
        self._progress.advance(self._task, count)

    def show(self, done: int, total: int | None, note: str) -> None:
        self._progress.update(self._task, completed=done, total=total, note=note)


class Stages:
    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """Bars leave standard output and standard error alone: they may be redirected meanwhile."""
        if not self._console.is_terminal:
            self._console.print(f"{name} ...")
        with self._progress() as progress:
            task = progress.add_task(f"{name:<{_NAME_WIDTH}}", total=total, note="")
            yield Stage(progress, task)
        if not self._console.is_terminal:
            done = progress.tasks[task]
            self._console.print(f"{name}: {done.completed:.0f} of {done.total:.0f} in {done.elapsed:.1f} s")

    def _progress(self) -> Progress:
        return Progress(
            SpinnerColumn(finished_text="✔"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not self._console.is_terminal,
        )
