"""Redact all events of a user (docs/architecture.md, "Redacting a user").

The first step counts. Each further one redacts some events, room after room: it builds, signs and
stores the redactions in the transaction that also stores the cursor, so none is made twice.

Spammers come in numbers, and to the same rooms. Who writes into a room holds its lock, so that two tasks in
one room would only wait for each other: a room in which another redaction is at work comes last.

A room in which something goes wrong is given up, with the reason; the others go on.
"""

from synapse_lite.tasks.actions.redact_all_events.spec import (
    FAILED,
    FAILED_ROOM,
    REDACT_ALL_EVENTS,
    ROOM,
    UNKNOWN_ROOM,
    WOULD_REDACT,
    RedactParams,
)
from synapse_lite.tasks.actions.redact_all_events.task import RedactAllEvents

__all__ = [
    "FAILED",
    "FAILED_ROOM",
    "REDACT_ALL_EVENTS",
    "ROOM",
    "UNKNOWN_ROOM",
    "WOULD_REDACT",
    "RedactAllEvents",
    "RedactParams",
]
