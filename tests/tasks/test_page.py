"""docs/tasks.md names what there is."""

import re
from pathlib import Path

import tests
from synapse_lite.handlers.federation.sending import FEDERATION
from synapse_lite.handlers.push import PUSH
from synapse_lite.tasks.actions.expired_messages import PURGE_EXPIRED_MESSAGES
from synapse_lite.tasks.registry import CATALOGUE, Binding, FollowerBinding

PAGE = Path(tests.__file__).parent.parent / "docs/tasks.md"
PERIODS = {900: "15 minutes", 3600: "hour", 6 * 3600: "6 hours", 24 * 3600: "day"}


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    table = re.search(r"(?:^\|.*\n)+", PAGE.read_text().partition(f"\n## {heading}\n")[2], re.MULTILINE)
    assert table is not None
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


def test_every_periodic_task_is_named_with_its_period() -> None:
    """One that is new, or has another period, changes the page."""
    specs = [entry.spec for entry in CATALOGUE if isinstance(entry, Binding)]
    periods = {spec.action: PERIODS[spec.every_seconds] for spec in specs if spec.every_seconds is not None}
    configured = {PURGE_EXPIRED_MESSAGES.action: "as configured"}
    assert {action: period for action, period, _ in rows("Periodic tasks")} == periods | configured


def test_every_follower_is_named() -> None:
    """Those of the catalogue, and those that features add."""
    bound = {entry.spec.name for entry in CATALOGUE if isinstance(entry, FollowerBinding)}
    assert {name for name, _ in rows("Followers")} == bound | {PUSH.name, FEDERATION.name}
