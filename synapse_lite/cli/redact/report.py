"""What a redaction did, or would do, as people read it."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from synapse_lite.canonical_json import JsonObject
from synapse_lite.cli.output import new_table, plain

_SHOWN_FAILURES = 20


def report(status: JsonObject) -> RenderableType:
    """Rooms, failures, and the sum last."""
    result = status["result"] or {}
    parts: list[RenderableType] = []
    if rooms := status.get("rooms") or result.get("rooms"):
        parts.append(_room_table(rooms))
    failed = status["failed_redactions"]
    for event_id, reason in list(failed.items())[:_SHOWN_FAILURES]:
        parts.append(Text(f"{plain(event_id)}: {plain(reason)}", style="red"))
    if len(failed) > _SHOWN_FAILURES:
        parts.append(Text(f"and {len(failed) - _SHOWN_FAILURES} more", style="red"))
    for room_id, reason in (status.get("failed_rooms") or {}).items():
        parts.append(Text(f"{plain(room_id)} was given up: {plain(reason)}", style="red"))
    if unknown := status.get("unknown_rooms"):
        parts.append(Text(f"unknown rooms: {', '.join(map(plain, unknown))}", style="yellow"))
    if "would_redact" in result:
        parts.append(Text(f"would redact {result['would_redact']} events", style="bold"))
    elif "redacted" in result:
        parts.append(Text(f"redacted {result['redacted']} events, {len(failed)} failed", style="bold"))
    return Group(*parts)


def _room_table(rooms: JsonObject) -> Table:
    """One column for each word of the reports; a report may be a mere number."""
    reports = {room: found if isinstance(found, dict) else {"events": found} for room, found in rooms.items()}
    names = list(dict.fromkeys(name for found in reports.values() for name in found))
    table = new_table("room", *(name.replace("_", " ") for name in names))
    for room, found in reports.items():
        table.add_row(plain(room), *(_cell(found.get(name)) for name in names))
    return table


def _cell(value: Any) -> str:
    match value:
        case True:
            return "yes"
        case False:
            return "no"
        case _:
            return plain(value)
