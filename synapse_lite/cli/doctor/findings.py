"""What a check found."""

from collections.abc import Iterable, Sequence
from enum import StrEnum

import attrs


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@attrs.frozen
class Finding:
    """`summary` is one sentence, `details` are lines below it, `advice` says what to do (not when all is well)."""

    check: str
    level: Level
    summary: str
    details: Sequence[str] = ()
    advice: str | None = None


def has_errors(findings: Iterable[Finding]) -> bool:
    return any(finding.level is Level.ERROR for finding in findings)


def ok(check: str, summary: str) -> Finding:
    return Finding(check, Level.OK, summary)


def warning(check: str, summary: str, advice: str, details: Sequence[str] = ()) -> Finding:
    return Finding(check, Level.WARNING, summary, details, advice)


def error(check: str, summary: str, advice: str, details: Sequence[str] = ()) -> Finding:
    return Finding(check, Level.ERROR, summary, details, advice)
