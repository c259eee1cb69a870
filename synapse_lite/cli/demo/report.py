"""What the demo found, for people and for programs."""

from collections.abc import Sequence

import attrs
import click
import orjson
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

from synapse_lite.cli.demo.reading import Reading
from synapse_lite.cli.demo.redaction import Redaction
from synapse_lite.cli.demo.traffic import Room

_SHOWN = 5


@attrs.frozen
class RoomReport:
    room_id: str
    spammer: str
    messages: int
    redacted: int
    issuer: str | None


@attrs.frozen
class Report:
    """As `--json` prints it. `seconds`: from the command to the report; `problems` is empty when all is well."""

    ok: bool
    problems: Sequence[str]
    workers: Sequence[str]
    runners: Sequence[str]
    seconds: float
    messages: int
    send_seconds: float
    sends_per_second: float
    redact_id: str
    redactions: int
    redact_seconds: float
    redactions_per_second: float
    failed_redactions: int
    events_read: int
    readable: int
    rooms: Sequence[RoomReport]


@attrs.frozen
class Measured:
    """Seconds since the command began, and of the sending alone."""

    total: float
    sending: float


def write_report(
    rooms: Sequence[Room],
    readings: Sequence[Reading],
    redaction: Redaction,
    *,
    workers: Sequence[str],
    runners: Sequence[str],
    measured: Measured,
) -> Report:
    problems = find_problems(rooms, readings, redaction, workers=workers, runners=runners)
    messages = sum(room.messages for room in rooms)
    return Report(
        ok=not problems,
        problems=problems,
        workers=workers,
        runners=runners,
        seconds=round(measured.total, 2),
        messages=messages,
        send_seconds=round(measured.sending, 3),
        sends_per_second=round(messages / measured.sending, 1),
        redact_id=redaction.task_id,
        redactions=redaction.redacted,
        redact_seconds=round(redaction.seconds, 3),
        redactions_per_second=round(redaction.redacted / redaction.seconds, 1),
        failed_redactions=len(redaction.failed),
        events_read=sum(reading.events for reading in readings),
        readable=sum(len(reading.readable) for reading in readings),
        rooms=[_describe(room, redaction) for room in rooms],
    )


def find_problems(
    rooms: Sequence[Room],
    readings: Sequence[Reading],
    redaction: Redaction,
    *,
    workers: Sequence[str],
    runners: Sequence[str],
) -> list[str]:
    """One sentence for each thing that is not as it must be."""
    problems = []
    if redaction.failed:
        problems.append(f"could not be redacted: {_some(list(redaction.failed))}")
    for room, reading in zip(rooms, readings, strict=True):
        if reading.readable:
            problems.append(f"still readable in {room.room_id}: {_some(reading.readable)}")
        if reading.messages != room.messages:
            problems.append(f"{room.messages} messages sent to {room.room_id}, {reading.messages} read back")
        if reading.others != 1:
            problems.append(f"the owner's message in {room.room_id} cannot be read any more")
    seen = sum(reading.redacted for reading in readings)
    if seen != redaction.redacted:
        problems.append(f"{redaction.redacted} events redacted, but {seen} found to be")
    if not runners or not set(runners) <= set(workers):
        problems.append(f"run by {', '.join(runners) or 'nobody'}, not by {', '.join(workers)}")
    return problems


def print_json(report: Report) -> None:
    click.echo(orjson.dumps(attrs.asdict(report)))


def print_text(report: Report) -> None:
    console = Console(highlight=False)
    table = Table(
        Column("room", overflow="fold"),
        "spammer",
        Column("messages", justify="right"),
        Column("redacted", justify="right"),
        Column("redacted by", overflow="fold"),
        box=SIMPLE,
    )
    for room in report.rooms:
        table.add_row(
            room.room_id, room.spammer, str(room.messages), str(room.redacted), room.issuer or "nobody"
        )
    console.print(table)
    console.print(
        f"sent      {report.messages} messages in {report.send_seconds:.1f} s: "
        f"[bold]{report.sends_per_second:.0f}[/] a second"
    )
    console.print(
        f"redacted  {report.redactions} messages and joins in {report.redact_seconds:.1f} s: "
        f"[bold]{report.redactions_per_second:.0f}[/] a second, by [bold]{', '.join(report.runners)}[/]"
    )
    verdict = (
        "[bold red]not as it must be[/]" if report.problems else "[bold green]nothing readable is left[/]"
    )
    console.print(f"read back {report.events_read} events as another member: {verdict}")
    console.print(f"total     {report.seconds:.1f} s")


def _describe(room: Room, redaction: Redaction) -> RoomReport:
    found = redaction.rooms.get(room.room_id, {})
    return RoomReport(
        room_id=room.room_id,
        spammer=str(room.stance),
        messages=room.messages,
        redacted=found.get("redacted", 0),
        issuer=found.get("issuer"),
    )


def _some(event_ids: Sequence[str]) -> str:
    more = len(event_ids) - _SHOWN
    return ", ".join(event_ids[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
