"""Checks of the database: reachable, fit, migrated, and of the same time as this machine."""

from collections.abc import Callable, Iterator, Sequence

import attrs

from synapse_lite.cli.doctor.findings import Finding, error, ok, warning
from synapse_lite.cli.output import duration
from synapse_lite.storage.diagnosis import DatabaseFacts, read_facts
from synapse_lite.storage.migrate import EMPTY_DATABASE, describe_foreign_tables
from synapse_lite.storage.session import Session

_SKEW_WARNING_MS = 1000
_SKEW_ERROR_MS = 60_000


@attrs.frozen
class Skew:
    """How far the database's clock is ahead of ours, at most `uncertainty_ms` wrong."""

    ahead_ms: float
    uncertainty_ms: float


def measure(session: Session, now_ms: Callable[[], int]) -> tuple[DatabaseFacts, Skew]:
    """Raises DatabaseError."""
    session.read(read_facts)  # connects: the time that this takes is not of interest
    before = now_ms()
    facts = session.read(read_facts)
    after = now_ms()
    return facts, Skew(facts.clock_ms - (before + after) / 2, (after - before) / 2)


def check_facts(facts: DatabaseFacts, *, any_locale: bool) -> Iterator[Finding]:
    if unfit := facts.unfit:
        yield error("database", unfit.problem, unfit.remedy)
    elif (unsafe := facts.unsafe_locale) and not any_locale:
        yield warning("database", unsafe.problem, unsafe.remedy)
    else:
        yield ok("database", f"PostgreSQL {facts.version}, {facts.encoding}, locale {facts.collation}")


def check_clock(skew: Skew) -> Finding:
    ahead = abs(skew.ahead_ms)
    if ahead <= _SKEW_WARNING_MS + skew.uncertainty_ms:
        return ok("clock", "this machine and the database agree")
    direction = "ahead of" if skew.ahead_ms > 0 else "behind"
    finding = error if ahead > _SKEW_ERROR_MS else warning
    return finding(
        "clock",
        f"the database's clock is {duration(ahead)} {direction} that of this machine",
        "synchronise both with NTP: events are stamped by the one, tasks by the other",
    )


def check_schema(applied: Sequence[str], available: Sequence[str], foreign: Sequence[str] = ()) -> Finding:
    """`foreign`: tables of another program, where nothing of ours is applied."""
    if foreign:
        return error("schema", describe_foreign_tables(foreign), EMPTY_DATABASE)
    if not applied:
        return error(
            "schema",
            "the database is empty",
            "start the server, or run synapse-lite migrate: both make its tables",
        )
    if missing := [name for name in available if name not in applied]:
        return error(
            "schema",
            f"{len(missing)} of {len(available)} migrations are missing",
            "run synapse-lite migrate, or start the server, which does so, too",
            missing,
        )
    if newer := [name for name in applied if name not in available]:
        return error(
            "schema",
            "the database has migrations that this program does not know, so the server would not start",
            "start the newer program that made them, or go back to a backup from before",
            newer,
        )
    return ok("schema", f"all {len(available)} migrations are applied")
