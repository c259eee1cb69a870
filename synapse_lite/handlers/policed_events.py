"""Events of ours for rooms that have a policy server: it is asked before they are in the room, or anywhere else."""

from attrs import frozen

from synapse_lite.errors import forbidden
from synapse_lite.federation.policy import PolicyServers
from synapse_lite.handlers.event_writer import Sender
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.policy import PolicyServer
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.rooms.heads import HeadReader
from synapse_lite.rooms.policy import PolicedError, UnsignedError, policy_for
from synapse_lite.rooms.receive import EventReceiver, Received
from synapse_lite.rooms.template import next_event
from synapse_lite.rooms.values import Sent, Write
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore, Standing
from synapse_lite.storage.state import StateStore

ATTEMPTS = 3
"""The room may name another policy server while the first one is asked."""


@frozen
class PolicedSender:
    """Sends as `writer` does, whose batches find out which rooms are policed: others cost nothing more.

    What is signed has its place in the room already. So such an event goes in as those of other servers do: beside what came meanwhile.
    """

    _writer: Sender
    _database: Database
    _events: EventStore
    _state: StateStore
    _heads: HeadReader
    _receiver: EventReceiver
    _policies: PolicyServers
    _signing_key: SigningKey

    async def send(self, write: Write) -> Sent:
        """As `EventWriter.send`; also what the policy server says against it, see `PolicyServers.sign`."""
        try:
            return await self._writer.send(write._replace(asks_policy=True))
        except PolicedError:
            return await self._send_signed(write)

    async def _send_signed(self, write: Write) -> Sent:
        for _ in range(ATTEMPTS):
            event, policy = await self._database.snapshot(self._build, write)
            if policy is None:
                return await self._writer.send(write)
            signed = await self._policies.sign(event, policy)
            try:
                stored = await self._receiver.receive(Received(write.room_nid, signed, request=write.request))
            except UnsignedError:
                continue
            if stored.standing is not Standing.ACCEPTED:
                raise forbidden("The room does not allow it any more")
            return stored
        raise PolicedError

    def _build(self, txn: Transaction, write: Write) -> tuple[Event, PolicyServer | None]:
        redacts = write.draft.redacts
        targets = {} if redacts is None else self._events.by_ids(txn, [redacts])
        event = next_event(txn, self._heads, self._signing_key, write, targets)
        return event, policy_for(txn, self._events, self._state, write.room_nid, write.draft)
