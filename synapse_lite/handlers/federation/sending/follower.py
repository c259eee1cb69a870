"""Who has to hear of a change, is put into the queues of their servers, once, in the order of the stream."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from attrs import frozen

from synapse_lite.handlers.federation.sending.edus import KINDS as EDU_KINDS
from synapse_lite.handlers.federation.sending.recipients import Recipients
from synapse_lite.ids import domain_of, is_local
from synapse_lite.matrix.types import MEMBER
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.outgoing import FOLLOWER, OutgoingEdu, OutgoingEvent, enqueue, events_beside
from synapse_lite.storage.relayed_events import relayed_among
from synapse_lite.storage.room_servers import servers_before
from synapse_lite.storage.stream import Change, Kind
from synapse_lite.tasks.followers import FollowerSpec, Shard

FEDERATION = FollowerSpec(
    FOLLOWER, frozenset({Kind.EVENT, Kind.PRESENCE, *EDU_KINDS}), batch=500, pause_seconds=0.05
)

MOST_BESIDE = 20
"""So many of the newest events that a join does not follow are sent after it: by them its server finds the rest."""

TellMore = Callable[[Transaction, Sequence[Change]], list[OutgoingEdu]]
"""What other servers are told beside events, of changes of the kinds of the follower."""


@frozen
class FederationFollower:
    """The follower `FEDERATION`. `wake` is called on the reactor when there may be something to send."""

    events: EventStore
    recipients: Recipients
    wake: Callable[[], None]
    more: Sequence[TellMore] = ()

    def follow(self, txn: Transaction, changes: Sequence[Change], _shard: Shard) -> bool:
        edus = [edu for tell in self.more for edu in tell(txn, changes)]
        return enqueue(txn, [*self._outgoing(txn, changes)], edus)

    def committed(self) -> None:
        self.wake()

    def _outgoing(self, txn: Transaction, changes: Sequence[Change]) -> Iterator[OutgoingEvent]:
        """In the order of the stream."""
        by_room: dict[int, list[int]] = {}
        for change in changes:
            if change.kind is Kind.EVENT and change.room_nid is not None:
                by_room.setdefault(change.room_nid, []).append(change.position)
        if not by_room:
            return
        servers = servers_before(txn, by_room)
        positions = {
            change.event_nid: change.position
            for change in changes
            if change.kind is Kind.EVENT and change.event_nid is not None
            if self._concerns_others(change, servers[change.position])
        }
        for stored in self._ours(txn, positions) if positions else ():
            position = positions[stored.nid]
            told = self._told(stored, servers[position])
            if told:
                yield OutgoingEvent(position, stored.room_nid, stored.nid, told)
            if stored.event.membership == "join" and domain_of(stored.event.sender) not in servers[position]:
                yield from self._said_meanwhile(txn, stored, position)

    def _said_meanwhile(self, txn: Transaction, join: StoredEvent, position: int) -> Iterator[OutgoingEvent]:
        """What entered the room while another server's user did: the first of that server, which nobody else tells of it."""
        told = self.recipients.among({domain_of(join.event.sender)})
        if not told:
            return
        beside = events_beside(txn, join.room_nid, join.event.prev_events, position, MOST_BESIDE)
        for at, event_nid in beside:
            yield OutgoingEvent(at, join.room_nid, event_nid, told)

    def _concerns_others(self, change: Change, servers: Collection[str]) -> bool:
        """False only for what no other server is told: most events of most servers, which need not be read for that.

        The change names whose membership came into force; with a `key` it may be one that did not.
        """
        of_other = change.user_id is not None and not is_local(change.user_id, self.recipients.server_name)
        return of_other or change.key is not None or bool(self.recipients.among(servers))

    def _ours(self, txn: Transaction, positions: Mapping[int, int]) -> list[StoredEvent]:
        """Events of our users, and those that came into the room through us."""
        stored = self.events.load(txn, list(positions))
        others = {
            one.event_id
            for one in stored.values()
            if not is_local(one.event.sender, self.recipients.server_name)
        }
        relayed = relayed_among(txn, others) if others else set()
        return [
            stored[nid]
            for nid in positions
            if nid in stored and (stored[nid].event_id not in others or stored[nid].event_id in relayed)
        ]

    def _told(self, stored: StoredEvent, servers: Collection[str]) -> Collection[str]:
        """Those in the room, but for its sender's own; and that of a user who is no longer invited or let knock."""
        event = stored.event
        told = set(servers)
        if event.type == MEMBER and event.membership in {"leave", "ban"} and event.state_key:
            told.add(domain_of(event.state_key))
        return self.recipients.among(told - {domain_of(event.sender)})
