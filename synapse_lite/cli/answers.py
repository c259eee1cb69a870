"""What commands that ask the admin API have in common: pages, answers as words or as JSON, tasks that are followed."""

import time
from collections.abc import Callable
from typing import Any

import click
from rich.console import RenderableType

from synapse_lite.canonical_json import JsonObject
from synapse_lite.cli.admin_api import MAX_PAGE, AdminApi
from synapse_lite.cli.output import new_table, open_console, plain, print_answer
from synapse_lite.cli.tasks.screen import choose_screen
from synapse_lite.cli.tasks.watching import OneTask, check_complete, watch

PAGE = 100
_DAY_MS = 86_400_000

watch_option = click.option("--watch", "is_watched", is_flag=True, help="Return when it has ended.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Only count.")
unused_days_option = click.option(
    "--unused-days", required=True, type=click.IntRange(1, 36500), help="Not used for so many days."
)
lift_option = click.option("--lift", is_flag=True, help="No more.")


def page_options(command: Callable[..., None]) -> Callable[..., None]:
    """`limit`, and `start` (text, or None for the first page)."""
    command = click.option("--from", "start", metavar="TOKEN", help="Begin where the last page ended.")(
        command
    )
    return click.option(
        "--limit", default=PAGE, show_default=True, type=click.IntRange(1, MAX_PAGE), help="At most so many."
    )(command)


def print_page(page: JsonObject, table: RenderableType, *, as_json: bool) -> None:
    """The table, and how to see the next page: by whatever names the list has for it."""
    print_answer(page, table, as_json=as_json)
    following = page.get("next_token", page.get("next_batch"))
    if following is not None and not as_json:
        total = page.get("total", page.get("total_rooms"))
        click.echo(f"{'There are more' if total is None else f'{total} in all'}: --from {following}")


def fields(values: JsonObject) -> RenderableType:
    """One line for each value that there is."""
    table = new_table("", "")
    for name, value in values.items():
        if value is not None:
            table.add_row(name, plain(value))
    return table


def follow_task(api: AdminApi, task_id: str, interval: float, *, is_watched: bool, as_json: bool) -> None:
    """Print the id of the task; or, watched, what came of it. Raises `TaskEndedError` when it failed."""
    if not is_watched:
        words = f"{task_id}\nSee it with: synapse-lite tasks watch {task_id}"
        print_answer({"task_id": task_id}, words, as_json=as_json)
        return
    task = watched_task(api, task_id, interval, as_json=as_json)
    result: JsonObject = task["result"] or {}
    print_answer(result, fields(result), as_json=as_json)
    check_complete([task])


def watched_task(api: AdminApi, task_id: str, interval: float, *, as_json: bool) -> JsonObject:
    """The task when it has ended; its progress is shown meanwhile."""
    (task,) = watch(OneTask(api, task_id), choose_screen(open_console(stderr=as_json)), interval)
    return task


def days_ago(days: int) -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000) - days * _DAY_MS


def flag(value: bool | None) -> str | None:
    """For a query."""
    return None if value is None else str(value).lower()


def given(**values: Any) -> JsonObject:
    """Those that are."""
    return {name: value for name, value in values.items() if value is not None}
