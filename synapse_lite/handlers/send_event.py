"""What users send into rooms: messages, state, redactions."""

from typing import Protocol

from attrs import frozen

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, forbidden, invalid_param, not_found
from synapse_lite.handlers.avatars import Avatars
from synapse_lite.handlers.canonical_alias import bad_alias, listed_aliases
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.handlers.event_writer import Sender
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.rooms import Rooms, not_in_room
from synapse_lite.handlers.shadow_bans import unsent_event_id
from synapse_lite.handlers.suspension import check_not_suspended
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.matrix.content_checks import check_redactable
from synapse_lite.matrix.event import Draft
from synapse_lite.matrix.power_levels import creators
from synapse_lite.matrix.relations import THREAD, Relation, check_relation
from synapse_lite.matrix.types import (
    AVATAR,
    CALL_INVITE,
    CANONICAL_ALIAS,
    CREATE,
    JOIN_RULES,
    MEMBER,
    POWER_LEVELS,
    REDACTION,
)
from synapse_lite.rooms.values import Write
from synapse_lite.storage import aliases as alias_store
from synapse_lite.storage import relations
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.event_transactions import ClientRequest, SentRequest, find_sent
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.rooms import Room

DOING = "Sending messages"
SEND, REDACT = "send", "redact"  # endpoints: each has transaction ids of its own


class Activity(Protocol):
    def note_activity(self, requester: Requester) -> None: ...


class MemberChanges(Protocol):
    async def change(self, requester: Requester, room_id: str, target: str, content: JsonObject) -> str: ...


@frozen
class SendingLimits:
    """`admin_redactions` limits the redactions of others' events."""

    messages: RateLimiter
    admin_redactions: RateLimiter


_PICTURES = {MEMBER: "avatar_url", AVATAR: "url"}
"""Where an event of the type names one."""


class SendEvent:
    """Every method returns the id of the event. What the rules of the room forbid is 403 `M_FORBIDDEN`,
    also in a room that this server does not know. `server_name` is ours.
    """

    def __init__(
        self,
        database: Database,
        rooms: Rooms,
        current: CurrentState,
        sender: Sender,
        members: MemberChanges,
        avatars: Avatars,
        activity: Activity,
        limits: SendingLimits,
        clock: Clock,
        server_name: str,
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._current = current
        self._sender = sender
        self._members = members
        self._avatars = avatars
        self._activity = activity
        self._limits = limits
        self._clock = clock
        self._server_name = server_name

    async def message(
        self, requester: Requester, room_id: str, event_type: str, txn_id: str, content: JsonObject
    ) -> str:
        """400 `M_BAD_JSON` for a content that `check_content` or canonical JSON refuses, 413 `M_TOO_LARGE` for
        ids of more than 255 bytes, 400 `M_UNKNOWN` for a relation to nothing, `M_DUPLICATE_ANNOTATION`, 403 `M_FORBIDDEN`
        for a call that would ring in a public room. `txn_id`: see `Write`.
        """
        write = await self.prepare_message(requester, room_id, event_type, txn_id, content)
        return write if isinstance(write, str) else await self._send(requester, write)

    async def prepare_message(
        self, requester: Requester, room_id: str, event_type: str, txn_id: str, content: JsonObject
    ) -> Write | str:
        """As `message`, but nothing is sent yet; the id of the event of a redaction that was served."""
        if event_type == REDACTION:
            target_id = content.get("redacts")
            if not isinstance(target_id, str) or not ids.is_event_id(target_id):
                raise not_found("Could not find the event to redact")
            return await self._prepare_redaction(requester, room_id, target_id, txn_id, content, SEND)
        check_not_suspended(requester, DOING)
        requester.check_may_write()
        ids.check_length("txn_id", txn_id)
        await self._limits.messages.check(requester.user_id, limit=requester.message_limit)
        room = await self._rooms.require(room_id, requester.user_id)
        if event_type == CALL_INVITE:
            await self._database.read(self._check_call, room)
        relation = check_relation(content)
        if relation is not None:
            await self._database.read(self._check_parent, room, relation)
        draft = Draft(event_type, requester.user_id, content, requester.sent_ms(self._clock))
        return Write(room.nid, draft, ClientRequest(requester.session, SEND, txn_id))

    async def state(
        self, requester: Requester, room_id: str, event_type: str, state_key: str, content: JsonObject
    ) -> str:
        """As `message`; also 400 `M_BAD_ALIAS` and `M_INVALID_PARAM` for a bad canonical alias."""
        if event_type == MEMBER:
            await self._limits.messages.check(requester.user_id, limit=requester.message_limit)
            await self._avatars.check(content.get(_PICTURES[MEMBER]))
            return await self._members.change(requester, room_id, state_key, content)
        write = await self.prepare_state(requester, room_id, event_type, state_key, content)
        return await self._send(requester, write)

    async def prepare_state(
        self, requester: Requester, room_id: str, event_type: str, state_key: str, content: JsonObject
    ) -> Write:
        """As `state`, but nothing is sent yet. Not for memberships."""
        await self._limits.messages.check(requester.user_id, limit=requester.message_limit)
        if event_type in _PICTURES:
            await self._avatars.check(content.get(_PICTURES[event_type]))
        check_not_suspended(requester, "Changing a room")
        requester.check_may_write()
        room = await self._rooms.require(room_id, requester.user_id)
        if event_type == CANONICAL_ALIAS:
            await self._database.read(self._check_aliases, room, listed_aliases(content))
        if event_type == POWER_LEVELS and room.version.privileged_creators:
            await self._database.read(self._check_creators, room, content)
        draft = Draft(event_type, requester.user_id, content, requester.sent_ms(self._clock), state_key)
        return Write(room.nid, draft)

    async def redact(
        self, requester: Requester, room_id: str, target_id: str, txn_id: str, content: JsonObject
    ) -> str:
        """Own events, any with the `redact` level, any of this server's users for its administrators.

        404 `M_NOT_FOUND` when the room has no such event, 403 for a create event and a server ACL. A request that
        was served is answered with its event id, also when the target was purged since.
        """
        write = await self._prepare_redaction(requester, room_id, target_id, txn_id, content, REDACT)
        return write if isinstance(write, str) else await self._send(requester, write)

    async def _prepare_redaction(
        self, requester: Requester, room_id: str, target_id: str, txn_id: str, content: JsonObject, endpoint: str
    ) -> Write | str:  # fmt: skip
        ids.check_length("txn_id", txn_id)
        room = await self._rooms.require(room_id, requester.user_id)
        request = ClientRequest(requester.session, endpoint, txn_id)
        target = await self._database.read(self._target, room, requester.user_id, target_id, request)
        if isinstance(target, str):
            return target
        check_redactable(target.event.type)
        own = target.event.sender == requester.user_id
        if not own:
            check_not_suspended(requester, "Redacting other people's events")
        limiter = self._limits.messages if own else self._limits.admin_redactions
        await limiter.check(requester.user_id, limit=requester.message_limit)
        local = ids.is_local(target.event.sender, self._server_name)
        rest = {key: value for key, value in content.items() if key != "redacts"}
        draft = Draft(REDACTION, requester.user_id, rest, requester.sent_ms(self._clock), redacts=target_id)
        return Write(room.nid, draft, request, privileged=requester.is_admin and local)

    async def _send(self, requester: Requester, write: Write) -> str:
        if requester.shadow_banned:
            return unsent_event_id(write)
        self._activity.note_activity(requester)
        return (await self._sender.send(write)).event_id

    # In a database thread

    def _target(
        self, txn: Transaction, room: Room, user_id: str, event_id: str, request: ClientRequest
    ) -> StoredEvent | str:
        """The event to redact; where it is gone, the id of the event that the request sent while it was there."""
        member = room_store.membership_in(txn, room.nid, user_id)
        if member is None or member.membership != "join":
            raise not_in_room(user_id, room.room_id)
        try:
            return self._current.events.in_room(txn, room.room_id, event_id)
        except MatrixError:
            sent = self._sent_by(txn, (room.nid, request))
            if sent is None:
                raise
            return sent

    def _sent_by(self, txn: Transaction, request: SentRequest) -> str | None:
        found = find_sent(txn, [request])
        if not found:
            return None
        event_nid, event_id = found[request]
        return event_id or self._current.events.ids_of(txn, [event_nid]).get(event_nid)

    def _check_parent(self, txn: Transaction, room: Room, relation: Relation) -> None:
        """The parent is in the room, or known by others that relate to it; no thread begins within another."""
        parent = self._current.events.by_ids(txn, [relation.parent_id]).get(relation.parent_id)
        if parent is None:
            if not relations.has_children(txn, room.nid, relation.parent_id):
                raise MatrixError(400, Errcode.UNKNOWN, "Can't send relation to unknown event")
            return
        if parent.room_nid != room.nid:
            raise MatrixError(400, Errcode.UNKNOWN, "Relations must be in the same room")
        if relation.rel_type == THREAD and relations.is_related(txn, parent.nid):
            raise MatrixError(400, Errcode.UNKNOWN, "Cannot start threads from an event with a relation")

    def _check_creators(self, txn: Transaction, room: Room, content: JsonObject) -> None:
        """The levels of a room must not name its creators, who stand above them."""
        create = self._current.one(txn, room.nid, (CREATE, ""))
        users = content.get("users")
        if create is not None and isinstance(users, dict) and users.keys() & creators(create):
            raise invalid_param("The creators of a room must not be in 'users'")

    def _check_call(self, txn: Transaction, room: Room) -> None:
        """It would ring for everybody in a public room, also where somebody may send whatever they like."""
        key = (JOIN_RULES, "")
        rules = self._current.one(txn, room.nid, key)
        if rules is not None and rules.content.get("join_rule") == "public":
            raise forbidden("Call invites are not allowed in public rooms.")

    def _check_aliases(self, txn: Transaction, room: Room, aliases: list[str]) -> None:
        """Those that the room does not list yet must point to it."""
        key = (CANONICAL_ALIAS, "")
        before = self._current.read_known(txn, room.nid, [key]).get(key)
        listed = [] if before is None else _as_listed(before.content)
        for alias in aliases:
            if alias not in listed and alias_store.room_of_alias(txn, alias) != room.room_id:
                raise bad_alias(alias)


def _as_listed(content: JsonObject) -> list[object]:
    """What the current event lists, well-formed or not."""
    alternatives = content.get("alt_aliases")
    return [content.get("alias"), *(alternatives if isinstance(alternatives, list) else [])]
