"""Joining, inviting, leaving, kicking, banning, knocking, forgetting."""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, bad_json, forbidden, not_found
from synapse_lite.handlers.auth import Requester
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.handlers.membership_limits import MembershipLimits
from synapse_lite.handlers.restricted_joins import AUTHORISING_USER, authorising_user
from synapse_lite.handlers.room_profiles import shown_profile
from synapse_lite.handlers.rooms import Rooms, not_in_room
from synapse_lite.handlers.sender import Sender
from synapse_lite.handlers.suspension import check_not_suspended
from synapse_lite.matrix.event import Draft
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage.branches import Room, Write
from synapse_lite.storage.database import Database, Transaction

PRESENT = frozenset({"join", "invite", "knock"})
GUEST_ACCESS = ("m.room.guest_access", "")
MEMBER = "m.room.member"


@frozen
class _Entrance:
    """What decides about a join: the user's membership and profile, and who may admit them."""

    membership: str | None
    profile: JsonObject
    guests_may_join: bool
    authorising_user: str | None


class Memberships:
    """Whatever the rules of the room forbid is 403 `M_FORBIDDEN`. `server_name` is ours."""

    def __init__(
        self,
        database: Database,
        rooms: Rooms,
        current: CurrentState,
        sender: Sender,
        limits: MembershipLimits,
        clock: Clock,
        server_name: str,
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._current = current
        self._sender = sender
        self._limits = limits
        self._clock = clock
        self._server_name = server_name

    async def join(
        self, requester: Requester, room_id_or_alias: str, content: Mapping[str, Any] | None = None
    ) -> str:
        """The id of the room; `content` goes into the member event. Without it, joining again is no event."""
        room = await self._rooms.resolve(room_id_or_alias)
        entrance = await self._enter(requester, room)
        if content or entrance.membership != "join":
            await self._join(requester, room, entrance, content or {})
        return room.room_id

    async def knock(self, requester: Requester, room_id_or_alias: str, reason: str | None) -> str:
        check_not_suspended(requester, "Knocking on a room")
        room = await self._rooms.resolve(room_id_or_alias)
        self._limits.spend_join(requester.user_id, room.nid)
        profile = await self._database.read(shown_profile, requester.user_id)
        await self._set(requester, room, requester.user_id, {**profile, **_content("knock", reason)})
        return room.room_id

    async def invite(self, requester: Requester, room_id: str, target: str, reason: str | None) -> None:
        room = await self._rooms.require(room_id, requester.user_id)
        await self._invite(requester, room, target, _content("invite", reason))

    async def leave(self, requester: Requester, room_id: str, reason: str | None) -> None:
        """Also rejects an invite and withdraws a knock. 404 for an unknown room."""
        room = await self._rooms.find(room_id)
        if room is None:
            raise not_found("Not a known room")
        member = await self._database.read(room_store.membership_in, room.nid, requester.user_id)
        if member is not None and member.membership == "leave" and member.sender == requester.user_id:
            return
        await self._set(requester, room, requester.user_id, _content("leave", reason))

    async def kick(self, requester: Requester, room_id: str, target: str, reason: str | None) -> None:
        room, membership = await self._target(requester, room_id, target)
        if membership not in PRESENT:
            raise forbidden("The target user is not in the room")
        await self._set(requester, room, target, _content("leave", reason))

    async def ban(self, requester: Requester, room_id: str, target: str, reason: str | None) -> None:
        room, _ = await self._target(requester, room_id, target)
        await self._set(requester, room, target, _content("ban", reason))

    async def unban(self, requester: Requester, room_id: str, target: str, reason: str | None) -> None:
        """403 `M_BAD_STATE` for who is not banned."""
        room, membership = await self._target(requester, room_id, target)
        if membership != "ban":
            raise MatrixError(
                403, Errcode.BAD_STATE, f"Cannot unban user who was not banned (membership={membership})"
            )
        await self._set(requester, room, target, _content("leave", reason))

    async def forget(self, requester: Requester, room_id: str) -> None:
        """400 `M_UNKNOWN` while the user is in the room; forgetting what one does not know is no error."""
        room = await self._rooms.find(room_id)
        if room is not None:
            await self._database.transact(_forget, room, requester.user_id)

    async def change(self, requester: Requester, room_id: str, target: str, content: JsonObject) -> str:
        """A member event as the client wrote it (`PUT .../state/m.room.member/...`); its event id."""
        membership = content.get("membership")
        if not isinstance(membership, str):
            raise bad_json("'membership' must be a string")
        ids.check_user_id(target)
        room = await self._rooms.require(room_id, requester.user_id)
        if membership == "join" and target == requester.user_id:
            return await self._join(requester, room, await self._enter(requester, room), content)
        if membership == "invite":
            return await self._invite(requester, room, target, content)
        if membership == "knock":
            check_not_suspended(requester, "Knocking on a room")
        return await self._set(requester, room, target, content)

    async def _enter(self, requester: Requester, room: Room) -> _Entrance:
        """What is to know for a join, unless the user must not try."""
        check_not_suspended(requester, "Joining rooms")
        entrance = await self._database.read(self._entrance, room, requester.user_id)
        if requester.is_guest and not entrance.guests_may_join:
            raise MatrixError(403, "M_GUEST_ACCESS_FORBIDDEN", "Guest access not allowed")
        if entrance.membership != "join":
            self._limits.spend_join(requester.user_id, room.nid)
        return entrance

    async def _join(
        self, requester: Requester, room: Room, entrance: _Entrance, content: Mapping[str, Any]
    ) -> str:
        joined = {**entrance.profile, **content, "membership": "join"}
        joined.pop(AUTHORISING_USER, None)
        if entrance.authorising_user is not None:
            joined[AUTHORISING_USER] = entrance.authorising_user
        return await self._set(requester, room, requester.user_id, joined)

    async def _invite(self, requester: Requester, room: Room, target: str, content: Mapping[str, Any]) -> str:
        check_not_suspended(requester, "Inviting users")
        ids.check_user_id(target)
        membership, profile = await self._database.read(_invitation, room.nid, requester.user_id, target)
        if membership != "join":  # before the limits, which a stranger must not use up
            raise not_in_room(requester.user_id, room.room_id)
        self._limits.spend_invites(requester.user_id, [target], room.nid)
        return await self._set(requester, room, target, {**profile, **content})

    async def _target(self, requester: Requester, room_id: str, target: str) -> tuple[Room, str | None]:
        """The room, and the membership in it of somebody whom the requester, who is joined, acts upon."""
        ids.check_user_id(target)
        room = await self._rooms.require(room_id, requester.user_id)
        own, other = await self._database.read(_two_memberships, room.nid, requester.user_id, target)
        if own != "join":
            raise not_in_room(requester.user_id, room_id)
        return room, other

    async def _set(self, requester: Requester, room: Room, target: str, content: Mapping[str, Any]) -> str:
        draft = Draft(MEMBER, requester.user_id, dict(content), self._clock.now_ms(), target)
        stored = await self._sender.send(Write(room.nid, draft))
        return stored.event.event_id

    # In a database thread

    def _entrance(self, txn: Transaction, room: Room, user_id: str) -> _Entrance:
        membership = _membership(txn, room.nid, user_id)
        guest_access = self._current.read(txn, room.nid, [GUEST_ACCESS]).get(GUEST_ACCESS)
        return _Entrance(
            membership,
            shown_profile(txn, user_id),
            guest_access is not None and guest_access.content.get("guest_access") == "can_join",
            None
            if membership in {"join", "invite", "ban"}
            else authorising_user(txn, self._current, room, user_id, self._server_name),
        )


def _invitation(txn: Transaction, room_nid: int, issuer: str, target: str) -> tuple[str | None, JsonObject]:
    """The issuer's membership, and the profile of whom they invite."""
    return _membership(txn, room_nid, issuer), shown_profile(txn, target)


def _two_memberships(
    txn: Transaction, room_nid: int, first: str, second: str
) -> tuple[str | None, str | None]:
    return _membership(txn, room_nid, first), _membership(txn, room_nid, second)


def _membership(txn: Transaction, room_nid: int, user_id: str) -> str | None:
    member = room_store.membership_in(txn, room_nid, user_id)
    return None if member is None else member.membership


def _forget(txn: Transaction, room: Room, user_id: str) -> None:
    member = room_store.membership_in(txn, room.nid, user_id)
    if member is not None and member.membership in PRESENT:
        raise MatrixError(400, Errcode.UNKNOWN, f"User {user_id} in room {room.room_id}")
    room_store.forget(txn, room.nid, user_id)


def _content(membership: str, reason: str | None) -> JsonObject:
    return {"membership": membership} if reason is None else {"membership": membership, "reason": reason}
