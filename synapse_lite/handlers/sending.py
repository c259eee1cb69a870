"""What users send into rooms: messages, state, redactions."""

from typing import Protocol

from attrs import frozen

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import forbidden, not_found
from synapse_lite.handlers.auth import Requester
from synapse_lite.handlers.canonical_alias import CANONICAL_ALIAS, bad_alias, listed_aliases
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.handlers.rooms import Rooms, not_in_room
from synapse_lite.handlers.sender import Sender
from synapse_lite.handlers.suspension import check_not_suspended
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.matrix.event import Draft
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage.branches import Room, Write
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import StoredEvent

DOING = "Sending messages"


class MemberChanges(Protocol):
    async def change(self, requester: Requester, room_id: str, target: str, content: JsonObject) -> str: ...


@frozen
class SendingLimits:
    """`admin_redactions` limits the redactions of others' events."""

    messages: RateLimiter
    admin_redactions: RateLimiter


class Sending:
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
        limits: SendingLimits,
        clock: Clock,
        server_name: str,
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._current = current
        self._sender = sender
        self._members = members
        self._limits = limits
        self._clock = clock
        self._server_name = server_name

    async def message(
        self, requester: Requester, room_id: str, event_type: str, txn_id: str, content: JsonObject
    ) -> str:
        """400 `M_BAD_JSON` for a content that canonical JSON cannot hold. `txn_id`: see `Write`."""
        if event_type == "m.room.redaction":
            return await self._send_redaction(requester, room_id, txn_id, content)
        check_not_suspended(requester, DOING)
        self._limits.messages.check(requester.user_id)
        room = await self._rooms.require(room_id, requester.user_id)
        draft = Draft(event_type, requester.user_id, content, self._clock.now_ms())
        stored = await self._sender.send(Write(room.nid, draft, requester.session, txn_id))
        return stored.event.event_id

    async def state(
        self, requester: Requester, room_id: str, event_type: str, state_key: str, content: JsonObject
    ) -> str:
        """As `message`; also 400 `M_BAD_ALIAS` and `M_INVALID_PARAM` for a bad canonical alias."""
        self._limits.messages.check(requester.user_id)
        if event_type == "m.room.member":
            return await self._members.change(requester, room_id, state_key, content)
        check_not_suspended(requester, "Changing a room")
        if event_type == "m.room.create":
            raise forbidden("A room is created only once")
        room = await self._rooms.require(room_id, requester.user_id)
        if event_type == CANONICAL_ALIAS:
            await self._database.read(self._check_aliases, room, listed_aliases(content))
        draft = Draft(event_type, requester.user_id, content, self._clock.now_ms(), state_key)
        stored = await self._sender.send(Write(room.nid, draft))
        return stored.event.event_id

    async def redact(
        self, requester: Requester, room_id: str, target_id: str, txn_id: str, content: JsonObject
    ) -> str:
        """Own events, any with the `redact` level, any of this server's users for its administrators.

        404 `M_NOT_FOUND` when the room has no such event.
        """
        room = await self._rooms.require(room_id, requester.user_id)
        target = await self._database.read(self._target, room, requester.user_id, target_id)
        own = target.event.sender == requester.user_id
        if not own:
            check_not_suspended(requester, "Redacting other people's events")
        (self._limits.messages if own else self._limits.admin_redactions).check(requester.user_id)
        local = ids.domain_of(target.event.sender) == self._server_name
        rest = {key: value for key, value in content.items() if key != "redacts"}
        draft = Draft("m.room.redaction", requester.user_id, rest, self._clock.now_ms(), redacts=target_id)
        write = Write(room.nid, draft, requester.session, txn_id, privileged=requester.is_admin and local)
        return (await self._sender.send(write)).event.event_id

    async def _send_redaction(
        self, requester: Requester, room_id: str, txn_id: str, content: JsonObject
    ) -> str:
        target_id = content.get("redacts")
        if not isinstance(target_id, str):
            raise not_found("Could not find the event to redact")
        return await self.redact(requester, room_id, target_id, txn_id, content)

    # In a database thread

    def _target(self, txn: Transaction, room: Room, user_id: str, event_id: str) -> StoredEvent:
        member = room_store.membership_in(txn, room.nid, user_id)
        if member is None or member.membership != "join":
            raise not_in_room(user_id, room.room_id)
        return self._current.events.in_room(txn, room.room_id, event_id)

    def _check_aliases(self, txn: Transaction, room: Room, aliases: list[str]) -> None:
        """Those that the room does not list yet must point to it."""
        key = (CANONICAL_ALIAS, "")
        before = self._current.read(txn, room.nid, [key]).get(key)
        listed = [] if before is None else _as_listed(before.content)
        for alias in aliases:
            if alias not in listed and room_store.room_of_alias(txn, alias) != room.room_id:
                raise bad_alias(alias)


def _as_listed(content: JsonObject) -> list[object]:
    """What the current event lists, well-formed or not."""
    alternatives = content.get("alt_aliases")
    return [content.get("alias"), *(alternatives if isinstance(alternatives, list) else [])]
