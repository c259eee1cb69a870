"""The findings, for people and for programs."""

from collections import Counter
from collections.abc import Sequence

import attrs
from rich.console import Console, Group, RenderableType
from rich.text import Text

from synapse_lite.canonical_json import JsonObject
from synapse_lite.cli.doctor.findings import Finding, Level, has_errors
from synapse_lite.cli.output import plain

_MARKS = {
    Level.OK: Text("ok      ", style="green"),
    Level.WARNING: Text("warning ", style="yellow"),
    Level.ERROR: Text("error   ", style="bold red"),
}
_NAME_WIDTH = 11
_INDENT = " " * (8 + _NAME_WIDTH)


def as_json_object(findings: Sequence[Finding]) -> JsonObject:
    return {"ok": not has_errors(findings), "checks": [attrs.asdict(finding) for finding in findings]}


def print_report(console: Console, findings: Sequence[Finding]) -> None:
    for finding in findings:
        console.print(_lines(finding))
    counts = Counter(finding.level for finding in findings)
    console.print(f"\n{counts[Level.ERROR]} errors, {counts[Level.WARNING]} warnings")


def _lines(finding: Finding) -> RenderableType:
    head = Text.assemble(_MARKS[finding.level], f"{finding.check:<{_NAME_WIDTH}}", plain(finding.summary))
    details = (Text(f"{_INDENT}- {plain(line)}") for line in finding.details)
    advice = [Text(f"{_INDENT}> {plain(finding.advice)}", style="bold")] if finding.advice else []
    return Group(head, *details, *advice)
