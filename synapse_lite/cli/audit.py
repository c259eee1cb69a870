"""`audit`: what administrators have changed, or tried to, and read of rooms."""

import time
from datetime import UTC, datetime

import click
from rich.console import RenderableType

from synapse_lite.canonical_json import JsonObject
from synapse_lite.cli.admin_api import MAX_PAGE, AdminApi, open_admin_api
from synapse_lite.cli.answers import page_options, print_page
from synapse_lite.cli.explained import explained
from synapse_lite.cli.options import Access, access_options, json_option
from synapse_lite.cli.output import ago, echo_json, new_table, plain

_DATES = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@click.command("audit")
@click.option("--by", "user_id", metavar="USER_ID", help="Only what this administrator did.")
@click.option("--since", type=_DATES, help="Only from then on (UTC).")
@click.option("--until", type=_DATES, help="Only until then (UTC).")
@click.option("--oldest-first", is_flag=True, help="The newest come last.")
@click.option(
    "--export", is_flag=True, help="All of them, one JSON document a line; --limit is of no effect."
)
@page_options
@access_options
@json_option
def audit(
    *,
    user_id: str | None,
    since: datetime | None,
    until: datetime | None,
    oldest_first: bool,
    export: bool,
    limit: int,
    start: str | None,
    access: Access,
    as_json: bool,
) -> None:
    """List what administrators changed, or tried to: who, from where, what, and what came of it."""
    query: dict[str, object] = {
        "user_id": user_id,
        "since_ts": _ms(since),
        "until_ts": _ms(until),
        "dir": "f" if oldest_first else "b",
        "limit": MAX_PAGE if export else limit,
        "from": start,
    }
    with open_admin_api(access) as api:
        if export:
            _export(api, query)
            return
        page = api.ask("GET", "audit_log", query=query)
    print_page(page, _table(page["entries"]), as_json=as_json)


def _export(api: AdminApi, query: dict[str, object]) -> None:
    more = True
    while more:
        page = api.ask("GET", "audit_log", query=query)
        for entry in page["entries"]:
            echo_json(entry)
        query["from"] = page.get("next_token")
        more = query["from"] is not None


def _table(entries: list[JsonObject]) -> RenderableType:
    now_ms = int(time.time() * 1000)
    table = new_table("when", "who", "from", "what", "status")
    for entry in entries:
        table.add_row(
            ago(entry["ts"], now_ms),
            plain(entry["user_id"]),
            plain(entry["ip"]),
            plain(f"{entry['method']} {entry['path']}"),
            "unfinished" if entry["status"] is None else str(entry["status"]),
        )
    return table


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.replace(tzinfo=UTC).timestamp() * 1000)


audit = explained(audit)
