"""`media`: files that users have uploaded, and copies of what other servers have."""

import re
import time

import click
from rich.console import RenderableType

from synapse_lite.canonical_json import JsonObject
from synapse_lite.cli.admin_api import open_admin_api
from synapse_lite.cli.answers import (
    days_ago,
    dry_run_option,
    fields,
    flag,
    lift_option,
    page_options,
    print_page,
    unused_days_option,
)
from synapse_lite.cli.explained import explained
from synapse_lite.cli.options import Access, access_options, json_option
from synapse_lite.cli.output import ago, new_table, plain, print_answer

ORDERS = (
    *("media_id", "upload_name", "created_ts", "last_access_ts", "media_length", "media_type"),
    *("quarantined_by", "safe_from_quarantine"),
)
TASK_SECONDS = 660.0
"""A little longer than the server waits for a task, before it answers with its id."""
_MXC = re.compile(r"mxc://([^/]+)/([^/]+)")

_FILE = click.argument("mxc", metavar="MXC")
_USER = click.option("--of", "user_id", metavar="USER_ID", help="All that this user has uploaded.")
_ROOM = click.option(
    "--in", "room_id", metavar="ROOM_ID", help="All that unencrypted messages of this room name."
)


@click.group()
def media() -> None:
    """Files: see them, quarantine them, delete them.

    A file is named as in messages: mxc://server/id. Every command asks the running server, as an admin.
    """


@click.command("list")
@_USER
@_ROOM
@click.option("--order-by", type=click.Choice(ORDERS), help="Sort a user's files by this. [newest first]")
@click.option("--reverse", is_flag=True, help="The other way round.")
@page_options
@access_options
@json_option
def list_media(
    *,
    user_id: str | None,
    room_id: str | None,
    order_by: str | None,
    reverse: bool,
    limit: int,
    start: str | None,
    access: Access,
    as_json: bool,
) -> None:
    """List the files of a user, or of a room."""
    query = {
        "limit": limit,
        "from": start,
        "order_by": order_by,
        "dir": "b" if reverse else "f" if order_by else None,
    }
    with open_admin_api(access) as api:
        if user_id is not None and room_id is None:
            page = api.ask("GET", "users", user_id, "media", query=query)
            print_page(page, _files(page["media"]), as_json=as_json)
        elif room_id is not None and user_id is None:
            found = api.ask("GET", "room", room_id, "media")
            words = "\n".join(map(plain, [*found["local"], *found["remote"]]))
            print_answer(found, words, as_json=as_json)
        else:
            raise click.UsageError("Give --of or --in.")


@click.command("show")
@_FILE
@access_options
@json_option
def show_media(*, mxc: str, access: Access, as_json: bool) -> None:
    """Show what is known of a file."""
    with open_admin_api(access) as api:
        info: JsonObject = api.ask("GET", "media", *_parts(mxc))["media_info"]
    print_answer(info, fields(info), as_json=as_json)


@click.command("quarantine")
@click.argument("mxc", metavar="[MXC]", required=False)
@_USER
@_ROOM
@dry_run_option
@access_options
@json_option
def quarantine_media(
    *, mxc: str | None, user_id: str | None, room_id: str | None, dry_run: bool, access: Access, as_json: bool
) -> None:
    """Show a file, or all of a user or of a room, to nobody any more."""
    if sum(value is not None for value in (mxc, user_id, room_id)) != 1:
        raise click.UsageError("Give a file, or --of, or --in.")
    if mxc is not None and dry_run:
        raise click.UsageError("--dry-run counts the files of a user or of a room.")
    with open_admin_api(access) as api:
        if mxc is not None:
            answer = api.ask("POST", "media", "quarantine", *_parts(mxc), body={})
        else:
            words = ("user", user_id) if user_id is not None else ("room", room_id or "")
            query = {"dry_run": flag(dry_run or None)}
            answer = api.ask(
                "POST", *words, "media", "quarantine", query=query, body={}, timeout=TASK_SECONDS
            )
    number = answer.get("num_quarantined", 1)
    print_answer(answer, f"{number} {'would be ' if dry_run else ''}quarantined", as_json=as_json)


@click.command("unquarantine")
@_FILE
@access_options
@json_option
def unquarantine_media(*, mxc: str, access: Access, as_json: bool) -> None:
    """Show a file again."""
    with open_admin_api(access) as api:
        answer = api.ask("POST", "media", "unquarantine", *_parts(mxc), body={})
    print_answer(answer, f"{plain(mxc)}: not in quarantine", as_json=as_json)


@click.command("protect")
@_FILE
@lift_option
@access_options
@json_option
def protect_media(*, mxc: str, lift: bool, access: Access, as_json: bool) -> None:
    """Keep a file from being quarantined."""
    with open_admin_api(access) as api:
        answer = api.ask("POST", "media", "unprotect" if lift else "protect", _parts(mxc)[1], body={})
    print_answer(answer, f"{plain(mxc)}: {'not ' if lift else ''}protected", as_json=as_json)


@click.command("delete")
@_FILE
@access_options
@json_option
def delete_media(*, mxc: str, access: Access, as_json: bool) -> None:
    """Delete a file of this server."""
    with open_admin_api(access) as api:
        answer = api.ask("DELETE", "media", *_parts(mxc))
    print_answer(answer, f"{answer['total']} deleted", as_json=as_json)


@click.command("clean")
@unused_days_option
@click.option("--larger-than", "size", default=0, type=click.IntRange(0), help="Only files of more bytes.")
@click.option("--profiles", is_flag=True, help="Avatars of users and rooms too.")
@access_options
@json_option
def clean_media(*, unused_days: int, size: int, profiles: bool, access: Access, as_json: bool) -> None:
    """Delete files of this server that nobody has looked at for long."""
    query = {"before_ts": days_ago(unused_days), "size_gt": size, "keep_profiles": flag(not profiles)}
    with open_admin_api(access) as api:
        answer = api.ask("POST", "media", "delete", query=query, body={}, timeout=TASK_SECONDS)
    print_answer(answer, f"{answer['total']} deleted", as_json=as_json)


@click.command("clean-remote")
@unused_days_option
@access_options
@json_option
def clean_remote_media(*, unused_days: int, access: Access, as_json: bool) -> None:
    """Delete copies of files of other servers; they are fetched again when somebody looks."""
    with open_admin_api(access) as api:
        query = {"before_ts": days_ago(unused_days)}
        answer = api.ask("POST", "purge_media_cache", query=query, body={}, timeout=TASK_SECONDS)
    print_answer(answer, f"{answer['deleted']} deleted", as_json=as_json)


def _files(found: list[JsonObject]) -> RenderableType:
    now_ms = int(time.time() * 1000)
    table = new_table("id", "name", "type", "bytes", "uploaded", "quarantined by")
    for one in found:
        table.add_row(
            plain(one["media_id"]),
            plain(one["upload_name"]),
            plain(one["media_type"]),
            plain(one["media_length"]),
            ago(one["created_ts"], now_ms),
            plain(one["quarantined_by"]),
        )
    return table


def _parts(mxc: str) -> tuple[str, str]:
    found = _MXC.fullmatch(mxc)
    if found is None:
        raise click.BadParameter(f"{mxc} is not like mxc://server/id")
    return found[1], found[2]


for _command in (
    list_media,
    show_media,
    quarantine_media,
    unquarantine_media,
    protect_media,
    delete_media,
    clean_media,
    clean_remote_media,
):
    media.add_command(explained(_command))
