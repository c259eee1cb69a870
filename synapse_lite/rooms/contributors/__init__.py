"""What is written in the transaction of an event, beside the event: one module each, none knows another."""

from synapse_lite.rooms.contributors.current_state import CurrentStateContributor
from synapse_lite.rooms.contributors.memberships import MembershipsContributor
from synapse_lite.rooms.contributors.redactions import write_redactions
from synapse_lite.rooms.contributors.relations import write_relations
from synapse_lite.rooms.contributors.room_summary import RoomSummaryContributor
from synapse_lite.rooms.contributors.search import forget_redacted
from synapse_lite.rooms.values import Contributor
from synapse_lite.storage.state import StateStore


def room_contributors(
    state: StateStore, server_name: str, *, forget_on_leave: bool
) -> tuple[Contributor, ...]:
    """Those that every room needs. `server_name` is ours; `forget_on_leave`: leaving a room forgets it."""
    return (
        write_redactions,
        CurrentStateContributor(state),
        MembershipsContributor(forget_on_leave),
        RoomSummaryContributor(state, server_name),
        write_relations,
        forget_redacted,
    )


HISTORY_CONTRIBUTORS: tuple[Contributor, ...] = (write_redactions, write_relations, forget_redacted)
"""Those of events that fill a gap in the past: what the room is now does not change, and nobody is notified."""

__all__ = ["HISTORY_CONTRIBUTORS", "room_contributors"]
