"""docs/tasks.md names what there is."""

import pkgutil
import re
from importlib import import_module
from pathlib import Path

import tests
from synapse_lite import handlers
from synapse_lite.tasks import actions
from synapse_lite.tasks.actions.expired_messages import PURGE_EXPIRED_MESSAGES
from synapse_lite.tasks.followers import FollowerSpec
from synapse_lite.tasks.registry import CATALOGUE, Binding

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
    """Wherever it is defined: beside the catalogue's, or in a handler that a feature adds."""
    defined = {
        value.name
        for package in (actions, handlers)
        for _, name, _ in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        for value in vars(import_module(name)).values()
        if isinstance(value, FollowerSpec)
    }
    assert {name for name, _ in rows("Followers")} == defined
