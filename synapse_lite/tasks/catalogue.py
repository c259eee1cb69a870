"""The one list of tasks: every process that runs tasks registers all of it.

A new task is one line here. What the line needs must be in `TaskStores`.
"""

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.storage.append import EventAppender
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.state import StateStore
from synapse_lite.tasks.actions.noop import NOOP, Noop
from synapse_lite.tasks.actions.redact_all_events import REDACT_ALL_EVENTS, RedactAllEvents
from synapse_lite.tasks.registry import Binding


@frozen
class TaskStores:
    """What the steps of tasks work with."""

    appender: EventAppender
    events: EventStore
    state: StateStore
    clock: Clock
    server_name: str


Catalogue = tuple[Binding[TaskStores], ...]

CATALOGUE: Catalogue = (
    Binding(NOOP, lambda _: Noop()),
    Binding(
        REDACT_ALL_EVENTS,
        lambda s: RedactAllEvents(s.appender, s.events, s.state, s.clock, s.server_name),
    ),
)
