"""`users select`: users that have something in common, to see who they are, and to redact or erase them at once."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import RenderableType

from synapse_lite.canonical_json import JsonObject
from synapse_lite.cli.admin_api import open_admin_api
from synapse_lite.cli.answers import (
    dry_run_option,
    fields,
    flag,
    follow_task,
    given,
    page_options,
    print_page,
    watch_option,
)
from synapse_lite.cli.options import Access, access_options, json_option
from synapse_lite.cli.output import new_table, open_console, plain
from synapse_lite.cli.tasks.watching import interval_option

_FLAGS = ("shadow_banned", "suspended", "locked", "deactivated")
_TIMES = ("created_after", "created_before")
_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])
_PATHS = {"redact": "redact", "erase": "erase_users"}

_OPTIONS = (
    click.option("--localpart", metavar="GLOB", help="Name before the colon; * is any text, ? a character."),
    click.option("--except", "except_localpart", metavar="GLOB", help="But not those of such names."),
    click.option("--displayname", metavar="GLOB", help="Name that is shown."),
    click.option("--created-after", type=_TIME, help="Local time; the account is not older."),
    click.option("--created-before", type=_TIME, help="Local time; the account is older."),
    click.option("--ip", metavar="GLOB", help="Where a device was seen last, such as 203.0.113.*"),
    click.option("--registration-token", metavar="TOKEN", help="With which the account was made."),
    click.option("--in-room", metavar="ROOM_ID", help="Is or was in the room."),
    click.option("--appservice", metavar="ID", help="Of this application service; else of none."),
    click.option("--sent-nothing/--sent-something", default=None, help="Whether they ever sent an event."),
    *(
        click.option(f"--{name}/--not-{name}", default=None, help=f"Whether they are {name}.")
        for name in (flag_name.replace("_", "-") for flag_name in _FLAGS)
    ),
)


def _selection_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command("select")
@_selection_options
@click.option("--redact", "action", flag_value="redact", help="Redact all that they have sent.")
@click.option("--erase", "action", flag_value="erase", help="Erase them, as `users erase` does.")
@click.option("--reason", help="Put into each redaction.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@dry_run_option
@watch_option
@interval_option
@page_options
@access_options
@json_option
def select_users(
    *,
    action: str | None,
    reason: str | None,
    yes: bool,
    dry_run: bool,
    is_watched: bool,
    interval: float,
    limit: int,
    start: str | None,
    access: Access,
    as_json: bool,
    **selection: Any,
) -> None:
    """List users that have something in common, such as those of a wave of spam; or redact or erase all of them.

    All that is given must hold. Admins never fit. Before it redacts or erases, it shows who fits, and asks; should
    more of them have come by then, it does nothing.
    """
    times = {name: _ms(selection.pop(name)) for name in _TIMES}
    wanted = given(**selection, **times)
    query = {name: flag(value) if isinstance(value, bool) else value for name, value in wanted.items()}
    with open_admin_api(access) as api:
        page = api.ask("GET", "user_selection", query={**query, "limit": limit, "from": start})
        if action is None:
            print_page(page, _table(page), as_json=as_json)
            return
        if not (yes or dry_run):
            console = open_console(stderr=True)
            console.print(_table(page))
            console.print(fields({"users": page["total"]}))
            click.confirm(f"{action.capitalize()} {page['total']} users?", abort=True, err=True)
        body = {
            "select": wanted,
            "max_users": max(1, page["total"]),
            "dry_run": dry_run,
            **given(reason=reason),
        }
        task_id: str = api.ask("POST", _PATHS[action], body=body)["task_id"]
        follow_task(api, task_id, interval, is_watched=is_watched or dry_run, as_json=as_json)


def _ms(time: datetime | None) -> int | None:
    return None if time is None else round(time.timestamp() * 1000)


def _table(page: JsonObject) -> RenderableType:
    table = new_table("USER", "NAME", "CREATED", "EVENTS", "IS")
    for user in page["users"]:
        created = (
            datetime.fromtimestamp(user["created_ts"] / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
        )
        states = ", ".join(name.replace("_", "-") for name in _FLAGS if user[name])
        table.add_row(
            plain(user["user_id"]), plain(user["displayname"]), created, str(user["sent_events"]), states
        )
    return table
