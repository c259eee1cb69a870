"""Invites to addresses of which the owner has been found (server-server API, "Third-party invites").

An identity server tells the homeserver of whoever has bound an address of the invites that wait for it. Each becomes an
invite of that user: in the room, where we are in it, or else by the server of whoever made it.
"""

import logging
from collections.abc import Sequence

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError, forbidden, not_found
from synapse_lite.federation.fetching import part
from synapse_lite.federation.inbound import InboundEvents
from synapse_lite.federation.peers import PeerError, Peers
from synapse_lite.handlers.federation.rooms import RoomGate
from synapse_lite.handlers.membership_limits import MembershipLimits
from synapse_lite.handlers.remote_members import RemoteMembers
from synapse_lite.ids import domain_of, is_local
from synapse_lite.matrix.event import Draft, Event
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.matrix.types import MEMBER, THIRD_PARTY_INVITE
from synapse_lite.rooms.heads import HeadReader
from synapse_lite.rooms.template import next_event
from synapse_lite.rooms.values import Write
from synapse_lite.storage import accounts, relayed_events
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import Standing
from synapse_lite.storage.room_servers import is_in_room
from synapse_lite.storage.rooms import Room, room_by_id

logger = logging.getLogger(__name__)

EXCHANGE = "/_matrix/federation/v1/exchange_third_party_invite"


@frozen
class ThirdPartyInvite:
    """`sender` has invited an address to the room, of which an identity server says in `signed` that it is that of `user_id`."""

    room_id: str
    sender: str
    user_id: str
    token: str
    signed: JsonObject

    def content(self, display_name: str) -> JsonObject:
        return {
            "membership": "invite",
            "third_party_invite": {"display_name": display_name, "signed": self.signed},
        }


class ThirdPartyInvites:
    def __init__(
        self,
        database: Database,
        gate: RoomGate,
        peers: Peers,
        members: RemoteMembers,
        inbound: InboundEvents,
        heads: HeadReader,
        limits: MembershipLimits,
        signing_key: SigningKey,
        clock: Clock,
    ) -> None:
        self._database = database
        self._gate = gate
        self._peers = peers
        self._members = members
        self._inbound = inbound
        self._heads = heads
        self._limits = limits
        self._signing_key = signing_key
        self._clock = clock

    async def bound(self, user_id: str, invites: Sequence[ThirdPartyInvite]) -> None:
        """An address of the user has been bound, for which these invites wait. One that fails does not stop the others.

        404 `M_NOT_FOUND` for a user that is not ours, 429 for one who is invited too often.
        """
        account = await self._database.read(accounts.find_account, user_id)
        if account is None or account.deactivated:
            raise not_found("User not found")
        for invite in invites:
            await self._limits.spend_received_invite(user_id)
            try:
                await self._pass_on(invite)
            except (MatrixError, PeerError) as error:
                logger.warning("%s is not invited to %s: %s", user_id, invite.room_id, error)

    async def exchange(self, origin: str, invite: ThirdPartyInvite) -> None:
        """Make the invite of a user of the server whom one of ours has invited by an address.

        403 `M_FORBIDDEN` for what the room does not allow, and for users of others; errors as of `RemoteMembers.invite`.
        """
        if domain_of(invite.user_id) != origin:
            raise forbidden("The invited user is not one of your server")
        if not is_local(invite.sender, self._signing_key.server_name):
            raise forbidden("Who made the invite is not a user of this server")
        served = await self._database.read(self._gate.find, origin, invite.room_id)
        write = await self._database.read(self._write, served.room, invite)
        await self._members.invite(write)

    async def _pass_on(self, invite: ThirdPartyInvite) -> None:
        room = await self._database.read(self._our_room, invite.room_id)
        if room is not None:
            await self._invite(room, invite)
            return
        event: JsonObject = {
            "type": MEMBER,
            "room_id": invite.room_id,
            "sender": invite.sender,
            "state_key": invite.user_id,
            "content": invite.content(""),
        }
        await self._peers.ask(domain_of(invite.sender), "PUT", f"{EXCHANGE}/{part(invite.room_id)}", event)

    async def _invite(self, room: Room, invite: ThirdPartyInvite) -> None:
        """In the room itself, where the event has to be signed by us, and told by us, whoever made the invite."""
        event = await self._database.transact(self._build, room, invite)
        stored = await self._inbound.receive(room, event, self._signing_key.server_name)
        if stored.standing is not Standing.ACCEPTED:
            raise forbidden("The room does not allow the invite")

    # In a database thread

    def _our_room(self, txn: Transaction, room_id: str) -> Room | None:
        room = room_by_id(txn, room_id)
        if room is None or not is_in_room(txn, room.nid, self._signing_key.server_name):
            return None
        return room

    def _build(self, txn: Transaction, room: Room, invite: ThirdPartyInvite) -> Event:
        event = next_event(txn, self._heads, self._signing_key, self._write(txn, room, invite))
        relayed_events.put_relayed(txn, event.event_id, self._clock.now_ms())
        return event

    def _write(self, txn: Transaction, room: Room, invite: ThirdPartyInvite) -> Write:
        """With the name that the one who made the invite gave the address."""
        key = (THIRD_PARTY_INVITE, invite.token)
        made = self._gate.current.one(txn, room.nid, key)
        if made is None:
            raise forbidden("No such invite waits in the room")
        content = invite.content(str(made.content.get("display_name", "")))
        return Write(room.nid, Draft(MEMBER, invite.sender, content, self._clock.now_ms(), invite.user_id))
