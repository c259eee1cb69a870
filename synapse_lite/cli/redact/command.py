"""`redact`: everything that a user has sent."""

import click

from synapse_lite.cli.admin_api import open_admin_api
from synapse_lite.cli.answers import given
from synapse_lite.cli.explained import explained
from synapse_lite.cli.options import Access, access_options, json_option
from synapse_lite.cli.output import echo_json, open_console
from synapse_lite.cli.redact.report import report
from synapse_lite.cli.tasks.screen import choose_screen
from synapse_lite.cli.tasks.watching import (
    OneTask,
    TaskEndedError,
    check_complete,
    interval_option,
    watch,
)
from synapse_lite.errors import SynapseLiteError


class DryRunError(SynapseLiteError):
    """The server does not do dry runs; a redaction cannot be undone."""


@explained
@click.command()
@click.argument("user_id", metavar="@USER:SERVER")
@click.option("--room", "rooms", multiple=True, help="Only in this room; may be repeated. [every room]")
@click.option("--reason", help="What the redactions say, for everyone to read.")
@click.option("--limit", type=click.IntRange(1), help="The newest events of each room only.")
@click.option("--use-admin", is_flag=True, help="Redact in your name, not in the user's.")
@click.option("--delete-media", is_flag=True, help="Then delete what the user has uploaded, by another task.")
@click.option(
    "--withdraw-invites",
    is_flag=True,
    help="Then take back invites that nobody has answered, by another task.",
)
@click.option("--dry-run", is_flag=True, help="Wait for the count of what would be redacted; change nothing.")
@click.option("--watch", "is_watched", is_flag=True, help="Show the progress, and return at the end.")
@interval_option
@access_options
@json_option
def redact(
    *,
    user_id: str,
    rooms: tuple[str, ...],
    reason: str | None,
    limit: int | None,
    use_admin: bool,
    delete_media: bool,
    withdraw_invites: bool,
    dry_run: bool,
    is_watched: bool,
    interval: float,
    access: Access,
    as_json: bool,
) -> None:
    """Redact what a user has sent, everywhere or in some rooms.

    Without --watch it returns as soon as the server has taken the task, which then runs whatever happens here.
    With it, fails unless every event could be redacted.
    """
    body = given(
        rooms=list(rooms),
        reason=reason,
        limit=limit,
        use_admin=use_admin or None,
        delete_media=delete_media or None,
        withdraw_invites=withdraw_invites or None,
        dry_run=dry_run or None,
    )
    with open_admin_api(access) as api:
        if dry_run and not api.knows_dry_run(user_id):
            raise DryRunError("this server cannot count without redacting: it ignores dry_run")
        redact_id = api.redact(user_id, body)
        if not (is_watched or dry_run):
            if as_json:
                echo_json({"redact_id": redact_id})
            else:
                click.echo(f"{redact_id}\nSee it with: synapse-lite tasks watch {redact_id}")
            return
        tasks = watch(OneTask(api, redact_id), choose_screen(open_console(stderr=as_json)), interval)
        status = api.redaction(redact_id)
    if as_json:
        echo_json({"redact_id": redact_id, **status})
    else:
        open_console().print(report(status))
    check_complete(tasks)
    if dry_run and "would_redact" not in (status["result"] or {}):
        raise DryRunError("the server has redacted although it should only have counted")
    if status["failed_redactions"]:
        raise TaskEndedError(f"{len(status['failed_redactions'])} events could not be redacted")
