"""What administrators do to who is in a room, and who rules it. No rate limits: they act for the server."""

from collections.abc import Sequence

from attrs import frozen

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.handlers.event_writer import Sender
from synapse_lite.handlers.remote_members import RemoteMembers
from synapse_lite.handlers.remote_rooms import RemoteRooms
from synapse_lite.handlers.rooms import Rooms
from synapse_lite.matrix.auth_rules.state import JOIN_RULES, POWER_LEVELS
from synapse_lite.matrix.event import Draft
from synapse_lite.matrix.power_levels import CREATOR_LEVEL, PowerLevels
from synapse_lite.rooms.members import invite_draft, join_draft
from synapse_lite.rooms.values import Write
from synapse_lite.storage import accounts
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.rooms import Room


@frozen
class _Entry:
    """How somebody stands to a room, and whether only an invite lets them in."""

    membership: str | None
    needs_invite: bool


@frozen
class _Promotion:
    """`issuer` is whom the room obeys; `content` None: the levels say already what they should."""

    issuer: str
    content: JsonObject | None
    entry: _Entry


class RoomIntervention:
    """404 `M_NOT_FOUND` for an unknown room, 400 `M_UNKNOWN` for what names none. `server_name` is ours."""

    def __init__(
        self,
        database: Database,
        rooms: Rooms,
        current: CurrentState,
        sender: Sender,
        remote_rooms: RemoteRooms,
        remote_members: RemoteMembers,
        clock: Clock,
        server_name: str,
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._current = current
        self._sender = sender
        self._remote_rooms = remote_rooms
        self._remote_members = remote_members
        self._clock = clock
        self._server_name = server_name

    async def join(self, admin: str, user_id: str, room_id_or_alias: str, via: Sequence[str] = ()) -> str:
        """Bring a user of this server into a room, by the administrator's invite where one is needed; its id.

        400 `M_UNKNOWN` for a user of another server, 404 for one that there is not, 403 when the administrator
        cannot invite. `via` are servers that may know a room of others; errors as of `RemoteMembers.join`.
        """
        if not ids.is_local(ids.check_user_id(user_id), self._server_name):
            raise _bad_request("This endpoint can only be used with local users")
        _check_names_room(room_id_or_alias)
        target = await self._remote_rooms.locate(room_id_or_alias, user_id, via)
        if not target.is_ours:
            draft = await self._database.read(self._read_draft, user_id)
            if await self._remote_members.join(target, user_id, draft.content):
                return target.room_id
        room = await self._rooms.resolve(target.room_id)
        entry = await self._database.snapshot(self._read_join, room, user_id)
        if entry.needs_invite:
            await self._invite(room, admin, user_id)
        if entry.membership != "join":
            await self._send(room, await self._database.read(join_draft, user_id, self._clock.now_ms()))
        return room.room_id

    async def make_admin(self, user_id: str, room_id_or_alias: str) -> None:
        """Give the user the power of the most powerful member from this server, and invite them where needed.

        400 `M_UNKNOWN` when this server has nobody in the room, or nobody who may change the levels.
        """
        ids.check_user_id(user_id)
        room = await self._resolve(room_id_or_alias)
        promotion = await self._database.snapshot(self._read_promotion, room, user_id)
        if promotion.content is not None:
            kind, key = POWER_LEVELS
            await self._send(
                room, Draft(kind, promotion.issuer, promotion.content, self._clock.now_ms(), key)
            )
        if promotion.entry.needs_invite:
            await self._invite(room, promotion.issuer, user_id)

    async def _resolve(self, room_id_or_alias: str) -> Room:
        _check_names_room(room_id_or_alias)
        return await self._rooms.resolve(room_id_or_alias)

    async def _invite(self, room: Room, issuer: str, user_id: str) -> None:
        now_ms = self._clock.now_ms()
        draft = await self._database.read(invite_draft, issuer, user_id, now_ms, is_direct=False)
        if ids.is_local(user_id, self._server_name):
            await self._send(room, draft)
        else:
            await self._remote_members.invite(Write(room.nid, draft))

    async def _send(self, room: Room, draft: Draft) -> None:
        await self._sender.send(Write(room.nid, draft))

    # In a database thread

    def _read_draft(self, txn: Transaction, user_id: str) -> Draft:
        if accounts.find_account(txn, user_id) is None:
            raise not_found("User not found")
        return join_draft(txn, user_id, self._clock.now_ms())

    def _read_join(self, txn: Transaction, room: Room, user_id: str) -> _Entry:
        if accounts.find_account(txn, user_id) is None:
            raise not_found("User not found")
        return self._entry(txn, room, user_id)

    def _entry(self, txn: Transaction, room: Room, user_id: str) -> _Entry:
        member = room_store.membership_in(txn, room.nid, user_id)
        membership = None if member is None else member.membership
        rules = self._current.one(txn, room.nid, JOIN_RULES)
        is_public = rules is not None and rules.content.get("join_rule") == "public"
        return _Entry(membership, not is_public and membership not in {"join", "invite"})

    def _read_promotion(self, txn: Transaction, room: Room, user_id: str) -> _Promotion:
        levels = self._current.power_levels(txn, room.nid)
        issuer = self._most_powerful(txn, room, levels)
        kind, _ = POWER_LEVELS
        if levels.user(issuer) < levels.required(kind, is_state=True):
            raise _bad_request("No local admin user in room with power to update power levels.")
        level = CREATOR_LEVEL if issuer in levels.privileged else levels.user(issuer)
        content = (
            None if levels.user(user_id) >= level else self._promoted(txn, room, levels, user_id, int(level))
        )
        return _Promotion(issuer, content, self._entry(txn, room, user_id))

    def _most_powerful(self, txn: Transaction, room: Room, levels: PowerLevels) -> str:
        """Of those whose level is given, and of the others, who all have that of everybody."""
        named = [one for one in (*levels.privileged, *levels.users) if ids.is_local(one, self._server_name)]
        joined = sorted(room_store.joined_among(txn, room.nid, named))
        other = room_store.any_joined(txn, room.nid, self._server_name, named)
        if other is not None:
            joined.append(other)
        if not joined:
            raise _bad_request("Server not in room")
        return max(joined, key=levels.user)

    def _promoted(
        self, txn: Transaction, room: Room, levels: PowerLevels, user_id: str, level: int
    ) -> JsonObject:
        """The current levels, and that of the user."""
        event = self._current.one(txn, room.nid, POWER_LEVELS)
        content: JsonObject = {} if event is None else event.content
        users = {} if levels.version.privileged_creators and event is None else dict(levels.users)
        return {**content, "users": {**users, user_id: level}}


def _check_names_room(room_id_or_alias: str) -> None:
    if not (ids.is_room_alias(room_id_or_alias) or ids.is_room_id(room_id_or_alias)):
        raise _bad_request(f"{room_id_or_alias[:80]} was not legal room ID or room alias")


def _bad_request(message: str) -> MatrixError:
    return MatrixError(400, Errcode.UNKNOWN, message)
