"""Joining, inviting, leaving, kicking, banning, knocking, forgetting."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, bad_json, forbidden, guests_forbidden, not_found
from synapse_lite.handlers.app_services.queries import ServiceQueries
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.handlers.event_writer import Sender
from synapse_lite.handlers.invite_permission import check_invitable, check_may_invite
from synapse_lite.handlers.membership_limits import MembershipLimits
from synapse_lite.handlers.remote_members import RemoteMembers
from synapse_lite.handlers.remote_rooms import RemoteRooms, Target
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.restricted_joins import (
    AUTHORISING_USER,
    authorising_user,
    knows_allowed_rooms,
)
from synapse_lite.handlers.room_complexity import ComplexityLimit
from synapse_lite.handlers.rooms import Rooms, not_in_room
from synapse_lite.handlers.shadow_bans import unsent_event_id
from synapse_lite.handlers.suspension import check_not_suspended
from synapse_lite.matrix.auth_rules.state import JOIN_RULES
from synapse_lite.matrix.event import Draft
from synapse_lite.matrix.guest_access import GUEST_ACCESS, lets_guests_in
from synapse_lite.matrix.redact_on_ban import REDACT_EVENTS
from synapse_lite.matrix.types import MEMBER
from synapse_lite.rooms.members import SHOWN_FIELDS, shown_profile
from synapse_lite.rooms.values import Write
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage import server_notices
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.rooms import Room

PRESENT = frozenset({"join", "invite", "knock"})


@frozen
class _JoinCheck:
    """What decides about a join: the user's membership and profile, and who may admit them.

    `asks_others`: only another server can say whether they may join; `refusal` is why none of ours can let them in.
    """

    membership: str | None
    profile: JsonObject
    guests_may_join: bool
    authorising_user: str | None = None
    asks_others: bool = False
    refusal: MatrixError | None = None


class Memberships:
    """Whatever the rules of the room forbid is 403 `M_FORBIDDEN`; to bring in, or to kick, who is banned is 403
    `M_BAD_STATE`. `server_name` is ours. `own_profiles`: users may show themselves otherwise in a room. `shows_invited`:
    invites show whom they are for.
    """

    def __init__(
        self,
        database: Database,
        rooms: Rooms,
        current: CurrentState,
        sender: Sender,
        limits: MembershipLimits,
        remote_rooms: RemoteRooms,
        remote_members: RemoteMembers,
        complexity: ComplexityLimit,
        services: ServiceQueries,
        clock: Clock,
        server_name: str,
        *,
        only_admins_invite: bool,
        own_profiles: bool,
        shows_invited: bool,
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._remote_rooms = remote_rooms
        self._remote_members = remote_members
        self._complexity = complexity
        self._services = services
        self._current = current
        self._sender = sender
        self._limits = limits
        self._clock = clock
        self._server_name = server_name
        self._only_admins_invite = only_admins_invite
        self._own_profiles = own_profiles
        self._shows_invited = shows_invited

    async def join(
        self, requester: Requester, room_id_or_alias: str, content: Mapping[str, Any] | None = None,
        via: Sequence[str] = (),
    ) -> str:  # fmt: skip
        """The id of the room; `content` goes into the member event. Without it, joining again is no event.

        Of a room of others, `via` are servers that may be in it. Errors as of `RemoteRooms.locate`, `RemoteMembers.join`.
        Who is shadow-banned comes without a word, as they go and knock.
        """
        if requester.shadow_banned:
            content = None
        target = await self._remote_rooms.locate(room_id_or_alias, requester.user_id, via)
        if target.is_ours or await self._join_elsewhere(requester, target, content or {}) is None:
            await self._join_ours(requester, target, content)
        return target.room_id

    async def knock(
        self, requester: Requester, room_id_or_alias: str, reason: str | None, via: Sequence[str] = ()
    ) -> str:
        check_not_suspended(requester, "Knocking on a room")
        requester.check_may_write()
        target = await self._remote_rooms.locate(room_id_or_alias, requester.user_id, via)
        profile = await self._database.read(shown_profile, requester.user_id)
        content = {**profile, **_content("knock", _own_words(requester, reason))}
        if target.is_ours:
            room = await self._rooms.require(target.room_id, requester.user_id)
            known = await self._database.read(_membership, room.nid, requester.user_id)
            _check_not_banned(requester.user_id, known)
            await self._limits.spend_join(requester, room.nid)
            await self._set(requester, room, requester.user_id, content)
        else:
            await self._limits.spend_remote_join(requester)
            await self._remote_members.knock(target, requester.user_id, content)
        return target.room_id

    async def invite(self, requester: Requester, room_id: str, target: str, reason: str | None) -> None:
        room = await self._rooms.require(room_id, requester.user_id)
        await self._invite(requester, room, target, _content("invite", reason))

    async def leave(self, requester: Requester, room_id: str, reason: str | None) -> None:
        """Also rejects an invite and withdraws a knock. 404 for an unknown room."""
        await self._remote_members.joined(room_id, requester.user_id)
        room = await self._rooms.find(room_id)
        if room is None:
            raise not_found("Not a known room")
        member = await self._database.read(room_store.membership_in, room.nid, requester.user_id)
        if member is None or member.membership != "join":
            await self._remote_members.forgo(room, requester.user_id)
        if member is not None and member.membership == "leave" and member.sender == requester.user_id:
            return
        target = await self._remote_rooms.known(room, requester.user_id)
        content = _content("leave", _own_words(requester, reason))
        if not target.is_ours:
            if member is None or member.membership not in PRESENT:
                return
            if await self._remote_members.leave(target, requester.user_id, content):
                return
        await self._set(requester, room, requester.user_id, content)

    async def kick(
        self, requester: Requester, room_id: str, target: str, reason: str | None, *, redacts: bool = False
    ) -> None:
        """`redacts`: all that the target has sent there, if the requester may do so."""
        room, membership = await self._target(requester, room_id, target)
        _check_not_banned(target, membership)
        if membership not in PRESENT:
            raise forbidden("The target user is not in the room")
        await self._set(requester, room, target, _content("leave", reason, redacts=redacts))

    async def ban(
        self, requester: Requester, room_id: str, target: str, reason: str | None, *, redacts: bool = False
    ) -> None:
        """`redacts` as of `kick`."""
        room, _ = await self._target(requester, room_id, target)
        await self._set(requester, room, target, _content("ban", reason, redacts=redacts))

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
            known = await self._remote_rooms.known(room, requester.user_id)
            return await self._join(requester, known, await self._enter(requester, room), content)
        if membership == "invite":
            return await self._invite(requester, room, target, content)
        if membership == "knock":
            check_not_suspended(requester, "Knocking on a room")
            requester.check_may_write()
        return await self._set(requester, room, target, content)

    async def _enter(self, requester: Requester, room: Room) -> _JoinCheck:
        """What is to know for a join, unless the user must not try."""
        check_not_suspended(requester, "Joining rooms")
        if not requester.may_write and not await self._is_of_notices(room, requester.user_id):
            requester.check_may_write()
        check = await self._database.read(self._check_join, room, requester.user_id)
        _check_not_banned(requester.user_id, check.membership)
        if requester.is_guest and not check.guests_may_join:
            raise guests_forbidden()
        if check.membership != "join":
            await self._limits.spend_join(requester, room.nid)
        return check

    async def _is_of_notices(self, room: Room, user_id: str) -> bool:
        """Whether it is where the user is asked to agree to the terms."""
        return await self._database.read(server_notices.is_notices_room, user_id, room.nid)

    async def _join_ours(
        self, requester: Requester, target: Target, content: Mapping[str, Any] | None
    ) -> None:
        room = await self._rooms.require(target.room_id, requester.user_id)
        check = await self._enter(requester, room)
        if content and check.membership == "join":
            await self._limits.messages.check(requester.user_id, limit=requester.message_limit)
        if content or check.membership != "join":
            await self._join(requester, target, check, content or {})

    async def _join(
        self, requester: Requester, target: Target, check: _JoinCheck, content: Mapping[str, Any]
    ) -> str:
        """The event's id; of a join that another server had to let in, the room's newest one may be another by now."""
        joined = self._joined(check.profile, content)
        if check.asks_others and target.servers:
            await self._remote_members.join(target, requester.user_id, joined, even_ours=True)
            return await self._database.read(self._own_event_id, target, requester.user_id)
        if check.refusal is not None:
            raise check.refusal
        if check.authorising_user is not None:
            joined[AUTHORISING_USER] = check.authorising_user
        room = await self._rooms.require(target.room_id, requester.user_id)
        return await self._set(requester, room, requester.user_id, joined)

    async def _join_elsewhere(
        self, requester: Requester, target: Target, content: Mapping[str, Any]
    ) -> str | None:
        """The room's id; None when somebody of this server is in it by now."""
        check_not_suspended(requester, "Joining rooms")
        requester.check_may_write()
        if requester.is_guest:
            raise guests_forbidden()
        await self._limits.spend_remote_join(requester)
        is_checked = not self._complexity.concerns(requester) or await self._complexity.check(target)
        profile = await self._database.read(shown_profile, requester.user_id)
        entered = await self._remote_members.join(
            target, requester.user_id, self._joined(profile, content), whole=not is_checked
        )
        if entered and not is_checked:
            await self._leave_if_too_complex(requester, target.room_id)
        return target.room_id if entered else None

    async def _leave_if_too_complex(self, requester: Requester, room_id: str) -> None:
        try:
            await self._complexity.check_entered(room_id)
        except MatrixError:
            await self.leave(requester, room_id, None)
            raise

    async def _invite(self, requester: Requester, room: Room, target: str, content: Mapping[str, Any]) -> str:
        check_not_suspended(requester, "Inviting users")
        check_may_invite(requester, admins_only=self._only_admins_invite)
        requester.check_may_write()
        ids.check_user_id(target)
        profile = await self._database.read(_invitation, room, requester.user_id, target)
        await self._limits.spend_invites(requester, [target], room.nid)
        if await self._services.find_user(target):
            profile = await self._database.read(shown_profile, target)
        content = {**(profile if self._shows_invited else {}), **content}
        if ids.is_local(target, self._server_name) or requester.shadow_banned:
            return await self._set(requester, room, target, content)
        draft = Draft(MEMBER, requester.user_id, content, requester.sent_ms(self._clock), target)
        return (await self._remote_members.invite(Write(room.nid, draft))).event_id

    async def _target(self, requester: Requester, room_id: str, target: str) -> tuple[Room, str | None]:
        """The room, and the membership in it of somebody whom the requester, who is joined, acts upon."""
        ids.check_user_id(target)
        room = await self._rooms.require(room_id, requester.user_id)
        own, other = await self._database.read(_two_memberships, room.nid, requester.user_id, target)
        if own != "join":
            raise not_in_room(requester.user_id, room_id)
        await self._limits.messages.check(requester.user_id, limit=requester.message_limit)
        return room, other

    def _joined(self, profile: JsonObject, content: Mapping[str, Any]) -> JsonObject:
        chosen = {
            name: value
            for name, value in content.items()
            if name != AUTHORISING_USER and (self._own_profiles or name not in SHOWN_FIELDS)
        }
        return {**profile, **chosen, "membership": "join"}

    async def _set(self, requester: Requester, room: Room, target: str, content: Mapping[str, Any]) -> str:
        draft = Draft(MEMBER, requester.user_id, dict(content), requester.sent_ms(self._clock), target)
        write = Write(room.nid, draft)
        if requester.shadow_banned and target != requester.user_id:
            return unsent_event_id(write)
        return (await self._sender.send(write)).event_id

    # In a database thread

    def _check_join(self, txn: Transaction, room: Room, user_id: str) -> _JoinCheck:
        membership = _membership(txn, room.nid, user_id)
        guest_access = self._current.one(txn, room.nid, GUEST_ACCESS)
        check = _JoinCheck(
            membership,
            shown_profile(txn, user_id),
            lets_guests_in(guest_access),
        )
        if membership in {"join", "invite", "ban"}:
            return check
        try:
            found = authorising_user(txn, self._current, room, user_id, self._server_name)
        except MatrixError as refusal:
            return evolve(check, asks_others=True, refusal=refusal)
        rules = self._current.one(txn, room.nid, JOIN_RULES)
        asks_others = (
            found is None
            and rules is not None
            and not knows_allowed_rooms(txn, rules.content, self._server_name)
        )
        return evolve(check, authorising_user=found, asks_others=asks_others)

    def _own_event_id(self, txn: Transaction, target: Target, user_id: str) -> str:
        member = None if target.room is None else room_store.membership_in(txn, target.room.nid, user_id)
        if member is None:
            raise not_found("Unknown room")
        return self._current.events.ids_of(txn, [member.event_nid])[member.event_nid]


def _check_not_banned(user_id: str, membership: str | None) -> None:
    """403 `M_BAD_STATE`, by which clients know that an unban is to come first."""
    if membership == "ban":
        raise MatrixError(403, Errcode.BAD_STATE, f"{user_id} is banned from the room")


def _invitation(txn: Transaction, room: Room, issuer: str, target: str) -> JsonObject:
    """The profile of whom the issuer invites. Raises what speaks against it, before the limits, which a stranger must not use up."""
    membership, other = _two_memberships(txn, room.nid, issuer, target)
    if membership != "join":
        raise not_in_room(issuer, room.room_id)
    _check_not_banned(target, other)
    check_invitable(txn, [target])
    return shown_profile(txn, target)


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


def _own_words(requester: Requester, reason: str | None) -> str | None:
    return None if requester.shadow_banned else reason


def _content(membership: str, reason: str | None, *, redacts: bool = False) -> JsonObject:
    content: JsonObject = {"membership": membership}
    if reason is not None:
        content["reason"] = reason
    if redacts:
        content[REDACT_EVENTS] = True
    return content
