"""Check of the processes that a configuration gives a duty by name, beside running tasks: are they there?"""

from collections.abc import Collection, Iterator

from synapse_lite.cli.doctor.findings import Finding, error, ok, warning
from synapse_lite.config.model import Config


def check_duties(config: Config, connected: Collection[str]) -> Iterator[Finding]:
    """`connected`: those of `named_for_duties` that are connected to the database now."""
    if config.push.enabled:
        yield from _check("pushers", "pushing", "pusher_instances", config.pusher_instances, connected)
    senders = config.federation_sender_instances
    yield from _check(
        "senders", "sending to other servers", "federation_sender_instances", senders, connected
    )


def named_for_duties(config: Config) -> list[str]:
    return [*config.pusher_instances, *config.federation_sender_instances]


def _check(
    check: str, duty: str, option: str, named: Collection[str], connected: Collection[str]
) -> Iterator[Finding]:
    absent = ", ".join(sorted(set(named) - set(connected)))
    remedy = f"start them, or take them out of {option}"
    if not named:
        return
    if not absent:
        yield ok(check, f"alive: {', '.join(sorted(named))}")
    elif set(named) & set(connected):
        yield warning(check, f"not running now: {absent}; the others do their share of {duty}", remedy)
    else:
        yield error(check, f"nobody does it: {duty} is for {absent}, not running now", remedy)
