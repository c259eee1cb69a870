"""`users`: who is there, and what an administrator does about them."""

import click

from synapse_lite.canonical_json import JsonObject
from synapse_lite.cli.admin_api import open_admin_api
from synapse_lite.cli.answers import (
    days_ago,
    dry_run_option,
    fields,
    flag,
    follow_task,
    given,
    lift_option,
    page_options,
    print_page,
    unused_days_option,
    watch_option,
)
from synapse_lite.cli.explained import explained
from synapse_lite.cli.options import Access, access_options, json_option
from synapse_lite.cli.output import new_table, plain, print_answer
from synapse_lite.cli.tasks.watching import interval_option
from synapse_lite.cli.users.selection import select_users

_V2 = "/_synapse/admin/v2"
_FLAGS = ("admin", "is_guest", "deactivated", "erased", "locked", "suspended", "shadow_banned")

_USER = click.argument("user_id", metavar="USER_ID")
_PASSWORD = click.option("--new-password", help="The password; asked for when not given.")


@click.group()
def users() -> None:
    """Users: see them, make them, change them, close and erase them.

    Every command asks the running server, as an admin.
    """


@click.command("list")
@click.option("--search", help="Part of the name before the colon, or of the display name.")
@click.option("--admins", is_flag=True, help="Only admins.")
@click.option("--deactivated", is_flag=True, help="Deactivated users too.")
@page_options
@access_options
@json_option
def list_users(
    *,
    search: str | None,
    admins: bool,
    deactivated: bool,
    limit: int,
    start: str | None,
    access: Access,
    as_json: bool,
) -> None:
    """List users by their ids; locked ones too."""
    query = {
        "limit": limit,
        "locked": flag(True),
        "name": search,
        "admins": flag(admins or None),
        "deactivated": flag(deactivated or None),
        "from": start,
    }
    with open_admin_api(access) as api:
        page = api.ask("GET", "users", query=query, base=_V2)
    table = new_table("USER", "NAME", "IS")
    for user in page["users"]:
        table.add_row(plain(user["name"]), plain(user["displayname"]), _flags(user))
    print_page(page, table, as_json=as_json)


@click.command("show")
@_USER
@access_options
@json_option
def show_user(*, user_id: str, access: Access, as_json: bool) -> None:
    """Show a user."""
    with open_admin_api(access) as api:
        user = api.ask("GET", "users", user_id, base=_V2)
    print_answer(user, fields(user), as_json=as_json)


@click.command("set")
@_USER
@click.option("--displayname", help="Name to show.")
@click.option("--admin/--no-admin", default=None, help="A server admin, or none.")
@click.option("--lock/--unlock", default=None, help="Whether the user is kept out for the moment.")
@click.option("--type", "user_type", type=click.Choice(["bot", "support", "none"]), help="Type of the user.")
@click.option("--reactivate", is_flag=True, help="Open a deactivated account again.")
@access_options
@json_option
def set_user(
    *,
    user_id: str,
    displayname: str | None,
    admin: bool | None,
    lock: bool | None,
    user_type: str | None,
    reactivate: bool,
    access: Access,
    as_json: bool,
) -> None:
    """Change a user; one who is not there is made, without a password."""
    change = given(
        displayname=displayname, admin=admin, locked=lock, deactivated=False if reactivate else None
    )
    if user_type is not None:
        change["user_type"] = None if user_type == "none" else user_type
    if not change:
        raise click.UsageError("Say what to change.")
    with open_admin_api(access) as api:
        user = api.ask("PUT", "users", user_id, body=change, base=_V2)
    print_answer(user, fields(user), as_json=as_json)


@click.command("password")
@_USER
@_PASSWORD
@click.option("--keep-sessions", is_flag=True, help="Do not log the user out.")
@access_options
@json_option
def set_password(
    *, user_id: str, new_password: str | None, keep_sessions: bool, access: Access, as_json: bool
) -> None:
    """Give a user a new password."""
    password = new_password or click.prompt("New password", hide_input=True, confirmation_prompt=True)
    with open_admin_api(access) as api:
        answer = api.ask(
            "POST",
            "reset_password",
            user_id,
            body={"new_password": password, "logout_devices": not keep_sessions},
        )
    print_answer(answer, f"{plain(user_id)} has a new password", as_json=as_json)


@click.command("suspend")
@_USER
@lift_option
@access_options
@json_option
def suspend_user(*, user_id: str, lift: bool, access: Access, as_json: bool) -> None:
    """Let a user read, and no longer write."""
    with open_admin_api(access) as api:
        answer = api.ask("PUT", "suspend", user_id, body={"suspend": not lift})
    print_answer(answer, f"{plain(user_id)} is {'no longer ' if lift else ''}suspended", as_json=as_json)


@click.command("shadow-ban")
@_USER
@lift_option
@access_options
@json_option
def shadow_ban_user(*, user_id: str, lift: bool, access: Access, as_json: bool) -> None:
    """Let a user believe that others see what they write."""
    with open_admin_api(access) as api:
        answer = api.ask("DELETE" if lift else "POST", "users", user_id, "shadow_ban")
    print_answer(answer, f"{plain(user_id)} is {'no longer ' if lift else ''}shadow-banned", as_json=as_json)


@click.command("deactivate")
@_USER
@click.option(
    "--erase", is_flag=True, help="The profile goes, and who joins later sees none of the messages."
)
@access_options
@json_option
def deactivate_user(*, user_id: str, erase: bool, access: Access, as_json: bool) -> None:
    """Close an account for good; the user leaves all rooms in the background."""
    with open_admin_api(access) as api:
        answer = api.ask("POST", "deactivate", user_id, body={"erase": erase})
    print_answer(answer, f"{plain(user_id)} is deactivated", as_json=as_json)


@click.command("erase")
@_USER
@click.option("--reason", help="Put into each redaction.")
@dry_run_option
@watch_option
@interval_option
@access_options
@json_option
def erase_user(
    *,
    user_id: str,
    reason: str | None,
    dry_run: bool,
    is_watched: bool,
    interval: float,
    access: Access,
    as_json: bool,
) -> None:
    """Redact all that a user has written, delete their media, and close the account."""
    body = given(dry_run=dry_run, reason=reason)
    with open_admin_api(access) as api:
        task_id: str = api.ask("POST", "users", user_id, "erase", body=body)["task_id"]
        follow_task(api, task_id, interval, is_watched=is_watched or dry_run, as_json=as_json)


@click.command("prune-devices")
@click.argument("user_ids", metavar="[USER_ID]...", nargs=-1)
@unused_days_option
@dry_run_option
@watch_option
@interval_option
@access_options
@json_option
def prune_devices(
    *,
    user_ids: tuple[str, ...],
    unused_days: int,
    dry_run: bool,
    is_watched: bool,
    interval: float,
    access: Access,
    as_json: bool,
) -> None:
    """Delete devices that were not used for long: of these users, or of everybody."""
    body = {"before_ts": days_ago(unused_days), "users": list(user_ids), "dry_run": dry_run}
    with open_admin_api(access) as api:
        task_id: str = api.ask("POST", "prune_devices", body=body)["task_id"]
        follow_task(api, task_id, interval, is_watched=is_watched or dry_run, as_json=as_json)


def _flags(user: JsonObject) -> str:
    names = [name.removeprefix("is_").replace("_", "-") for name in _FLAGS if user.get(name)]
    return ", ".join([*names, *filter(None, [user["user_type"]])])


for _command in (
    list_users,
    show_user,
    set_user,
    set_password,
    suspend_user,
    shadow_ban_user,
    deactivate_user,
    erase_user,
    prune_devices,
    select_users,
):
    users.add_command(explained(_command))
