"""Invites of users of this server by those of others, and the end of them (server-server API, "Inviting to a room")."""

from collections.abc import Mapping
from typing import Any

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, bad_json, forbidden, invalid_param, not_found
from synapse_lite.federation.inbound import InboundEvents
from synapse_lite.federation.pdus import PduChecker, read_pdu
from synapse_lite.federation.peers import PeerError
from synapse_lite.federation.shown_rooms import read_shown
from synapse_lite.handlers.app_services.queries import ServiceQueries
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.handlers.federation.acl import check_acl
from synapse_lite.handlers.invite_permission import check_invitable
from synapse_lite.handlers.membership_limits import MembershipLimits
from synapse_lite.ids import domain_of, is_local, is_user_id
from synapse_lite.matrix.event import Event, add_signature
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.matrix.types import CREATE, MEMBER
from synapse_lite.rooms.outside import OutsideMembership, OutsideMemberships
from synapse_lite.storage import accounts
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import Standing
from synapse_lite.storage.room_closure import blocked_by
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.sent_knocks import sent_among

OLD_VERSION = "1"
"""Of rooms of which a server of old does not tell the version."""
_OUT = frozenset({"leave", "ban"})
_WAITING = frozenset({"invite", "knock"})


class ServedInvites:
    def __init__(
        self,
        database: Database,
        current: CurrentState,
        checker: PduChecker,
        inbound: InboundEvents,
        outside: OutsideMemberships,
        limits: MembershipLimits,
        services: ServiceQueries,
        signing_key: SigningKey,
        *,
        only_admins_invite: bool,
    ) -> None:
        self._database = database
        self._current = current
        self._checker = checker
        self._inbound = inbound
        self._outside = outside
        self._limits = limits
        self._services = services
        self._signing_key = signing_key
        self._only_admins_invite = only_admins_invite

    async def invite(
        self, origin: str, room_id: str, event_id: str, body: Mapping[str, Any], version_id: str
    ) -> JsonObject:
        """The invite with our signature; `body` has `event` and `invite_room_state`.

        400 `M_INCOMPATIBLE_ROOM_VERSION` before anything is looked at, 400 `M_INVALID_PARAM` for a room of version 12
        without a create event that makes its id, 403 `M_FORBIDDEN` for what nobody may, 403 `M_INVITE_BLOCKED`
        for a user who wants none, 404 for one that there is not.
        """
        if self._only_admins_invite:
            raise forbidden("This server does not accept room invites")
        version = ROOM_VERSIONS.get(version_id)
        if version is None:
            raise MatrixError(
                400,
                Errcode.INCOMPATIBLE_ROOM_VERSION,
                "This server does not know this version of rooms",
                {"room_version": version_id},
            )
        event = read_pdu(body.get("event"), version)
        self._check_invite(event, origin, room_id, event_id)
        shown = await read_shown(self._checker, body.get("invite_room_state"), version, room_id)
        if version.room_id_is_hash and not any(one["type"] == CREATE for one in shown):
            raise invalid_param("There is no create event of the room in 'invite_room_state'")
        signed = add_signature(await self._checker.check(event.pdu, version, room_id), self._signing_key)
        await self._services.find_user(str(event.state_key))
        room = await self._database.read(self._admit, origin, room_id, str(event.state_key))
        await self._limits.spend_received_invite(str(event.state_key))
        if not await self._outside.put(OutsideMembership(signed, origin, shown)):
            await self._receive(room, signed, origin)
        return {"event": signed.pdu}

    async def withdraw(self, room: Room, event: Event, origin: str) -> None:
        """An event of a room that we are not in: it counts when it takes back what the user is there."""
        if await self._database.read(self._is_withdrawal, room, event):
            await self._outside.put(OutsideMembership(event, origin))

    async def _receive(self, room: Room | None, event: Event, origin: str) -> None:
        """Into the room, of which somebody of ours is a member: its rules decide."""
        if room is None:
            raise not_found("Unknown room")
        try:
            stored = await self._inbound.receive(room, event, origin)
        except PeerError as error:
            raise MatrixError(400, Errcode.UNKNOWN, str(error)) from None
        if stored.standing is not Standing.ACCEPTED:
            raise forbidden("The room does not allow the invite")

    def _check_invite(self, event: Event, origin: str, room_id: str, event_id: str) -> None:
        """Nobody gets a signature of ours under anything else than an invite of their own."""
        if event.type != MEMBER or event.membership != "invite":
            raise bad_json("The event must be a member event of membership 'invite'")
        if event.room_id != room_id:
            raise bad_json("The event is of another room")
        if event.event_id != event_id:
            raise invalid_param("The event id in the path is not that of the event")
        if domain_of(event.sender) != origin:
            raise forbidden("The sender is not a user of your server")
        target = event.state_key or ""
        if not is_user_id(target) or not is_local(target, self._signing_key.server_name):
            raise bad_json("The invited user is not one of this server")

    # In a database thread

    def _admit(self, txn: Transaction, origin: str, room_id: str, user_id: str) -> Room | None:
        """The room, as far as it is known. Raises what speaks against an invite to it."""
        account = accounts.find_account(txn, user_id)
        if account is None or account.deactivated:
            raise not_found("User not found")
        check_invitable(txn, [user_id])
        if blocked_by(txn, room_id) is not None:
            raise forbidden("This room has been blocked on this server")
        room = room_store.room_by_id(txn, room_id)
        if room is not None:
            check_acl(txn, self._current, room.nid, [origin])
        return room

    def _is_withdrawal(self, txn: Transaction, room: Room, event: Event) -> bool:
        """It names the invite, or the knock, that it ends: who made it knows the room.

        A knock that has no answer yet is nothing that is known of the user, unless something was faster that came of it.
        """
        user_id = event.state_key
        if event.membership not in _OUT or user_id is None:
            return False
        if not is_local(user_id, self._signing_key.server_name):
            return False
        named = {*event.auth_events, *event.prev_events}
        known = self._waiting(txn, room, user_id)
        if known is not None and known.event_id in named:
            return True
        knocks = sent_among(txn, room.nid, user_id, named)
        return bool(knocks) and (known is None or knocks.isdisjoint([*known.auth_events, *known.prev_events]))

    def _waiting(self, txn: Transaction, room: Room, user_id: str) -> Event | None:
        """The invite or the knock of somebody who waits outside."""
        member = room_store.membership_in(txn, room.nid, user_id)
        if member is None or member.membership not in _WAITING:
            return None
        return self._current.events.load(txn, [member.event_nid])[member.event_nid].event
