"""`rooms`: what rooms there are, who is in them, and what an admin does to them."""

from collections.abc import Sequence

import click
from rich.console import RenderableType

from synapse_lite.canonical_json import JsonObject
from synapse_lite.cli.admin_api import AdminApi, open_admin_api
from synapse_lite.cli.answers import (
    dry_run_option,
    fields,
    flag,
    given,
    page_options,
    print_page,
    watched_task,
)
from synapse_lite.cli.explained import explained
from synapse_lite.cli.options import Access, access_options, json_option
from synapse_lite.cli.output import echo_json, new_table, open_console, plain, print_answer
from synapse_lite.cli.tasks.watching import check_complete, interval_option

ORDERS = (
    *("name", "canonical_alias", "joined_members", "joined_local_members", "version", "creator"),
    *("encryption", "federatable", "public", "join_rules", "guest_access", "history_visibility"),
    "state_events",
)
_V2 = "/_synapse/admin/v2"
_COLUMNS = (
    "room_id",
    "name",
    "canonical_alias",
    "joined_members",
    "joined_local_members",
    "version",
    "creator",
)

_ROOM = click.argument("room_id", metavar="ROOM_ID")
_NAMED_ROOM = click.argument("room", metavar="ROOM")


@click.group()
def rooms() -> None:
    """Rooms of the server: find them, look at them, block them, shut them down.

    Every command asks the running server, as an admin.
    """


@click.command("list")
@click.option("--search", help="Part of the name or of the alias, or the whole room id.")
@click.option(
    "--order-by", default="name", show_default=True, type=click.Choice(ORDERS), help="Sort by this."
)
@click.option("--reverse", is_flag=True, help="The other way round.")
@click.option(
    "--public/--not-public", default=None, help="Only rooms that are, or are not, in the directory."
)
@click.option("--empty/--not-empty", default=None, help="Only rooms in which nobody is, or somebody.")
@page_options
@access_options
@json_option
def list_rooms(
    *,
    search: str | None,
    order_by: str,
    reverse: bool,
    public: bool | None,
    empty: bool | None,
    limit: int,
    start: str | None,
    access: Access,
    as_json: bool,
) -> None:
    """List rooms."""
    query = {
        "order_by": order_by,
        "dir": "b" if reverse else "f",
        "limit": limit,
        "from": start,
        "search_term": search or None,
        "public_rooms": flag(public),
        "empty_rooms": flag(empty),
    }
    with open_admin_api(access) as api:
        page = api.ask("GET", "rooms", query=query)
    print_page(page, _room_table(page["rooms"]), as_json=as_json)


@click.command("show")
@_ROOM
@access_options
@json_option
def show_room(*, room_id: str, access: Access, as_json: bool) -> None:
    """Show a room, and whether it is blocked."""
    with open_admin_api(access) as api:
        room = api.ask("GET", "rooms", room_id) | {
            "blocked": api.ask("GET", "rooms", room_id, "block")["block"]
        }
    print_answer(room, fields(room), as_json=as_json)


@click.command("members")
@_ROOM
@access_options
@json_option
def list_members(*, room_id: str, access: Access, as_json: bool) -> None:
    """List who is joined."""
    with open_admin_api(access) as api:
        answer = api.ask("GET", "rooms", room_id, "members")
    print_answer(answer, "\n".join(map(plain, answer["members"])), as_json=as_json)


@click.command("block")
@_ROOM
@access_options
@json_option
def block_room(*, room_id: str, access: Access, as_json: bool) -> None:
    """Let no user of this server join a room."""
    _set_blocked(access, room_id, block=True, as_json=as_json)


@click.command("unblock")
@_ROOM
@access_options
@json_option
def unblock_room(*, room_id: str, access: Access, as_json: bool) -> None:
    """Undo `block`."""
    _set_blocked(access, room_id, block=False, as_json=as_json)


@click.command("join")
@_NAMED_ROOM
@click.argument("user_id", metavar="USER_ID")
@access_options
@json_option
def join_room(*, room: str, user_id: str, access: Access, as_json: bool) -> None:
    """Make a user of this server join a room, by its id or an alias."""
    with open_admin_api(access) as api:
        answer = api.ask("POST", "join", room, body={"user_id": user_id})
    print_answer(answer, f"{plain(user_id)} is in {plain(answer['room_id'])}", as_json=as_json)


@click.command("make-admin")
@_NAMED_ROOM
@click.argument("user_id", metavar="[USER_ID]", required=False)
@access_options
@json_option
def make_admin(*, room: str, user_id: str | None, access: Access, as_json: bool) -> None:
    """Give a user the highest power that a member from this server has. Without USER_ID: yourself."""
    with open_admin_api(access) as api:
        answer = api.ask(
            "POST", "rooms", room, "make_room_admin", body={"user_id": user_id} if user_id else {}
        )
    print_answer(answer, f"{plain(user_id or 'You')} may now rule {plain(room)}", as_json=as_json)


@click.command("shutdown")
@click.argument("room_ids", metavar="ROOM_ID...", nargs=-1, required=True)
@click.option("--block", is_flag=True, help="Let nobody of this server join it again.")
@click.option("--keep", is_flag=True, help="Only bring its members out; keep what is stored of it.")
@click.option("--force", is_flag=True, help="Delete it also when somebody cannot be brought out.")
@click.option("--message", help="What those who are brought out read in a new room; with --new-room-user.")
@click.option("--new-room-user", metavar="USER_ID", help="Who makes a new room for them.")
@dry_run_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@interval_option
@access_options
@json_option
def shutdown_room(
    *,
    room_ids: tuple[str, ...],
    block: bool,
    keep: bool,
    force: bool,
    message: str | None,
    new_room_user: str | None,
    dry_run: bool,
    yes: bool,
    interval: float,
    access: Access,
    as_json: bool,
) -> None:
    """Bring everybody of this server out of rooms, and delete them. Tells first how much that is, and asks.

    It goes on when this command is interrupted: `tasks watch` shows it.
    """
    body = given(
        block=block,
        purge=not keep,
        force_purge=force,
        message=message or None,
        new_room_user_id=new_room_user or None,
    )
    with open_admin_api(access) as api:
        if dry_run or not yes:
            counted = _delete(api, room_ids, body | {"dry_run": True}, interval, as_json=as_json)
            if dry_run:
                print_answer(counted["result"], _counts(counted["result"]), as_json=as_json)
                return
            open_console(stderr=as_json).print(_counts(counted["result"]))
            what = plain(room_ids[0]) if len(room_ids) == 1 else f"these {len(room_ids)} rooms"
            click.confirm(f"Shut down {what}?", abort=True, err=True)
        task = _delete(api, room_ids, body, interval, as_json=as_json)
    print_answer(task, _counts(task["result"] or {}), as_json=as_json)


def _delete(
    api: AdminApi, room_ids: Sequence[str], body: JsonObject, interval: float, *, as_json: bool
) -> JsonObject:
    """The task that does it, complete. Raises `TaskEndedError` when it ended otherwise."""
    if len(room_ids) == 1:
        task_id = api.ask("DELETE", "rooms", room_ids[0], body=body, base=_V2)["delete_id"]
    else:
        task_id = api.ask("POST", "shutdown_rooms", body={**body, "rooms": list(room_ids)})["task_id"]
    task = watched_task(api, task_id, interval, as_json=True)
    if as_json and task["status"] != "complete":
        echo_json(task)
    check_complete([task])
    return task


def _set_blocked(access: Access, room_id: str, *, block: bool, as_json: bool) -> None:
    with open_admin_api(access) as api:
        answer = api.ask("PUT", "rooms", room_id, "block", body={"block": block})
    print_answer(answer, f"{plain(room_id)}: {'blocked' if block else 'not blocked'}", as_json=as_json)


def _room_table(found: Sequence[JsonObject]) -> RenderableType:
    table = new_table(*_COLUMNS)
    for room in found:
        table.add_row(*(plain(room[name]) for name in _COLUMNS))
    return table


def _counts(result: JsonObject) -> RenderableType:
    """What a shutdown counted, one line for each number; rows by table."""
    result = {**result, **result.get("sums", {})}
    flat = {name: value for name, value in result.items() if type(value) is int}
    rows = result.get("rows")
    flat |= (
        {f"rows of {name}": count for name, count in rows.items() if count} if isinstance(rows, dict) else {}
    )
    return fields(flat)


for _command in (
    list_rooms,
    show_room,
    list_members,
    block_room,
    unblock_room,
    join_room,
    make_admin,
    shutdown_room,
):
    rooms.add_command(explained(_command))
