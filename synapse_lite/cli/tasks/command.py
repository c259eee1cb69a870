"""`tasks`: what the server has to do, what it is doing, and what became of it."""

import click

from synapse_lite.canonical_json import JsonObject
from synapse_lite.cli.admin_api import AdminApi, Wanted, open_admin_api
from synapse_lite.cli.explained import explained
from synapse_lite.cli.options import Access, access_options, json_option
from synapse_lite.cli.output import echo_json, open_console, print_answer
from synapse_lite.cli.tasks.screen import choose_screen
from synapse_lite.cli.tasks.tables import TaskTable, action_table, runner_table, task_details
from synapse_lite.cli.tasks.watching import (
    ENDED,
    PENDING,
    ManyTasks,
    OneTask,
    TaskEndedError,
    check_complete,
    interval_option,
    watch,
)

_LIST_LIMIT = 100
_WATCH_LIMIT = 20

_ID = click.argument("task_id", metavar="ID")
_ACTIONS = click.option("--action", "actions", multiple=True, help="Only of this action; may be repeated.")
_RESOURCE = click.option("--resource", help="Only about this user or room.")


@click.group()
def tasks() -> None:
    """Long-running work of the server: see it, stop it, start it again.

    Every command asks the running server, as an admin.
    """


@click.command("list")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([*PENDING, *ENDED]),
    help="Only in this state; may be repeated.",
)
@_ACTIONS
@_RESOURCE
@click.option(
    "--limit",
    default=_LIST_LIMIT,
    show_default=True,
    type=click.IntRange(1),
    help="At most this many tasks.",
)
@click.option(
    "--from", "from_token", metavar="TOKEN", help="Begin after the page that ended with this token."
)
@click.option("--all", "is_all", is_flag=True, help="All of them, whatever the limit.")
@access_options
@json_option
def list_tasks(
    *,
    statuses: tuple[str, ...],
    actions: tuple[str, ...],
    resource: str | None,
    limit: int,
    from_token: str | None,
    is_all: bool,
    access: Access,
    as_json: bool,
) -> None:
    """List tasks, the oldest first."""
    with open_admin_api(access) as api:
        wanted = Wanted(statuses, actions, resource)
        page = api.tasks(wanted, limit=None if is_all else limit, from_token=from_token)
    print_answer(page, TaskTable(page["scheduled_tasks"]), as_json=as_json)
    if "next_token" in page and not as_json:
        click.echo(f"There are more: --all, or --from {page['next_token']}")


@click.command("show")
@_ID
@access_options
@json_option
def show_task(*, task_id: str, access: Access, as_json: bool) -> None:
    """Show a task and its history."""
    with open_admin_api(access) as api:
        task = api.task(task_id)
    print_answer(task, task_details(task), as_json=as_json)


@click.command("watch")
@click.argument("task_id", metavar="[ID]", required=False)
@_ACTIONS
@_RESOURCE
@click.option(
    "--limit",
    default=_WATCH_LIMIT,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Without ID: tasks to see at the same time.",
)
@interval_option
@access_options
@json_option
def watch_tasks(
    *,
    task_id: str | None,
    actions: tuple[str, ...],
    resource: str | None,
    limit: int,
    interval: float,
    access: Access,
    as_json: bool,
) -> None:
    """Watch a task, or all pending ones that match, until nothing is left to do.

    Succeeds when everything that ended meanwhile is complete. With --json the progress is on standard error.
    """
    screen = choose_screen(open_console(stderr=as_json))
    with open_admin_api(access) as api:
        if task_id is not None:
            if actions or resource:
                raise click.UsageError("Give an ID, or --action and --resource.")
            (task,) = watch(OneTask(api, task_id), screen, interval)
            if as_json:
                echo_json(task)
            check_complete([task])
            return
        source = ManyTasks(api, Wanted(PENDING, actions, resource), limit)
        last = watch(source, screen, interval)
    if as_json:
        echo_json({"scheduled_tasks": last, "ended": source.ended})
    bad = [f"{count} {status}" for status, count in source.ended.items() if status != "complete"]
    if bad:
        raise TaskEndedError(f"not all tasks are complete: {', '.join(bad)}")


@click.command("cancel")
@_ID
@click.option("--wait", is_flag=True, help="Return when it has ended.")
@interval_option
@access_options
@json_option
def cancel_task(*, task_id: str, wait: bool, interval: float, access: Access, as_json: bool) -> None:
    """Cancel a task: at once, or at its next step when it is running.

    Fails when the task has ended otherwise.
    """
    with open_admin_api(access) as api:
        task = api.cancel(task_id)
        if wait:
            (task,) = watch(OneTask(api, task_id), choose_screen(open_console(stderr=as_json)), interval)
    print_answer(task, f"{task_id}: {_cancelled(task)}", as_json=as_json)
    if task["status"] in ("complete", "failed"):
        raise TaskEndedError(f"{task_id} has ended already")


@click.command("retry")
@_ID
@click.option("--from-start", is_flag=True, help="Do everything again instead of going on where it ended.")
@access_options
@json_option
def retry_task(*, task_id: str, from_start: bool, access: Access, as_json: bool) -> None:
    """Start a task again that has ended."""
    with open_admin_api(access) as api:
        task = api.retry(task_id, from_start=from_start)
    print_answer(task, f"{task['id']}: {task['status']}", as_json=as_json)


@click.command("runners")
@access_options
@json_option
def list_runners(*, access: Access, as_json: bool) -> None:
    """Show which processes run tasks, what each can run, and what nobody can."""
    with open_admin_api(access) as api:
        answer = api.runners()
    print_answer(answer, runner_table(answer), as_json=as_json)


@click.command("actions")
@access_options
@json_option
def list_actions(*, access: Access, as_json: bool) -> None:
    """Show the kinds of tasks, their limits, and who can run them."""
    with open_admin_api(access) as api:
        answer = api.actions()
    print_answer(answer, action_table(answer["actions"]), as_json=as_json)


@click.command("pause")
@click.argument("action")
@access_options
@json_option
def pause_action(*, action: str, access: Access, as_json: bool) -> None:
    """Let no process begin tasks of ACTION, or go on with them, until it is resumed."""
    with open_admin_api(access) as api:
        _set_paused(api, action, paused=True, as_json=as_json)


@click.command("resume")
@click.argument("action")
@access_options
@json_option
def resume_action(*, action: str, access: Access, as_json: bool) -> None:
    """Undo `pause`."""
    with open_admin_api(access) as api:
        _set_paused(api, action, paused=False, as_json=as_json)


def _set_paused(api: AdminApi, action: str, *, paused: bool, as_json: bool) -> None:
    answer = api.pause(action, paused=paused)
    print_answer(answer, action_table([answer]), as_json=as_json)


def _cancelled(task: JsonObject) -> str:
    if task["status"] not in ENDED and task["cancel_requested"]:
        return "will be cancelled at its next step"
    return str(task["status"])


for _command in (
    list_tasks,
    show_task,
    watch_tasks,
    cancel_task,
    retry_task,
    list_runners,
    list_actions,
    pause_action,
    resume_action,
):
    tasks.add_command(explained(_command))
