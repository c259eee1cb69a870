"""`reports`: what users told the operators of."""

import time

import click
from rich.console import RenderableType

from synapse_lite.canonical_json import JsonObject
from synapse_lite.cli.admin_api import open_admin_api
from synapse_lite.cli.answers import fields, page_options, print_page
from synapse_lite.cli.explained import explained
from synapse_lite.cli.options import Access, access_options, json_option
from synapse_lite.cli.output import ago, new_table, plain, print_answer

KINDS = ("event", "room", "user")
_SUBJECTS = ("sender", "target_user_id", "name", "room_id", "event_id")

_KIND = click.argument("kind", type=click.Choice(KINDS))
_ID = click.argument("report_id", metavar="ID", type=click.IntRange(0))


@click.group()
def reports() -> None:
    """Events, rooms and users that were reported by users of this server.

    Every command asks the running server, as an admin.
    """


@click.command("list")
@_KIND
@click.option("--by", "user_id", help="Only by reporters with this in their user id.")
@click.option("--room", "room_id", help="Only about rooms with this in their id.")
@click.option("--about", help="Only about this user.")
@click.option("--oldest-first", is_flag=True, help="The newest come last.")
@page_options
@access_options
@json_option
def list_reports(
    *,
    kind: str,
    user_id: str | None,
    room_id: str | None,
    about: str | None,
    oldest_first: bool,
    limit: int,
    start: str | None,
    access: Access,
    as_json: bool,
) -> None:
    """List reports, the newest first."""
    query = {
        "dir": "f" if oldest_first else "b",
        "limit": limit,
        "from": start,
        "user_id": user_id,
        "room_id": room_id,
        "event_sender_user_id" if kind == "event" else "target_user_id": about,
    }
    with open_admin_api(access) as api:
        page = api.ask("GET", f"{kind}_reports", query=query)
    print_page(page, _report_table(page[f"{kind}_reports"]), as_json=as_json)


@click.command("show")
@_KIND
@_ID
@access_options
@json_option
def show_report(*, kind: str, report_id: int, access: Access, as_json: bool) -> None:
    """Show a report; of an event with the event itself, as it was before it was redacted."""
    with open_admin_api(access) as api:
        report = api.ask("GET", f"{kind}_reports", str(report_id))
    print_answer(report, fields(report), as_json=as_json)


@click.command("delete")
@_KIND
@_ID
@access_options
@json_option
def delete_report(*, kind: str, report_id: int, access: Access, as_json: bool) -> None:
    """Delete a report that has been dealt with."""
    with open_admin_api(access) as api:
        answer = api.ask("DELETE", f"{kind}_reports", str(report_id))
    print_answer(answer, f"{report_id}: deleted", as_json=as_json)


def _report_table(found: list[JsonObject]) -> RenderableType:
    now_ms = int(time.time() * 1000)
    subjects = [name for name in _SUBJECTS if any(name in report for report in found)]
    table = new_table("id", "when", "reporter", *subjects, "reason")
    for report in found:
        about = (plain(report[name]) for name in subjects)
        when = ago(report["received_ts"], now_ms)
        table.add_row(str(report["id"]), when, plain(report["user_id"]), *about, plain(report["reason"]))
    return table


for _command in (list_reports, show_report, delete_report):
    reports.add_command(explained(_command))
