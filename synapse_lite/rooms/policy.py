"""Whether a room has a policy server that must be asked about its events (server-server API, "Policy Servers")."""

from collections.abc import Mapping

from synapse_lite.errors import Errcode, MatrixError, SynapseLiteError
from synapse_lite.matrix.event import Draft, Event, StateKey
from synapse_lite.matrix.policy import POLICY, PolicyServer, is_exempt, read_policy
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.room_servers import is_in_room
from synapse_lite.storage.state import StateStore


class UnsignedError(SynapseLiteError):
    """The policy server of the room has to be asked before anything more can be said about the event."""

    def __init__(self, policy: PolicyServer) -> None:
        self.policy = policy
        super().__init__(f"{policy.server_name} has not signed the event")


class PolicedError(MatrixError):
    """The write is for a room that names a policy server: see `Write.asks_policy`."""

    def __init__(self) -> None:
        super().__init__(403, Errcode.FORBIDDEN, "The policy server of the room has to be asked first")


def is_policed(draft: Draft, state: Mapping[StateKey, Event]) -> bool:
    """Whether a policy server is named for such an event; it may have nobody in the room, which makes it none."""
    return not is_exempt(draft.type, draft.state_key) and read_policy(state.get(POLICY)) is not None


def policy_in_force(txn: Transaction, room_nid: int, event: Event | None) -> PolicyServer | None:
    """Whom the event names, a room's current `m.room.policy`, if one of its users is joined."""
    policy = read_policy(event)
    return policy if policy is not None and is_in_room(txn, room_nid, policy.server_name) else None


def policy_for(
    txn: Transaction, events: EventStore, state: StateStore, room_nid: int, draft: Draft
) -> PolicyServer | None:
    """Who has to be asked about the next event of a room; None: nobody."""
    if is_exempt(draft.type, draft.state_key):
        return None
    nids = state.current(txn, [(room_nid, POLICY)])
    stored = events.load(txn, list(nids.values()))
    return policy_in_force(txn, room_nid, next((one.event for one in stored.values()), None))
