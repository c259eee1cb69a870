"""Creating rooms: all events of a room's birth in one transaction, or none."""

from secrets import randbelow
from typing import Protocol

from attrs import frozen

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.config.rooms import RoomOptions
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.handlers.auth import Requester
from synapse_lite.handlers.membership_limits import MembershipLimits
from synapse_lite.handlers.room_plan import RoomPlan, RoomRequest, plan_room
from synapse_lite.handlers.room_profiles import shown_profile
from synapse_lite.handlers.sender import Appender, append_all
from synapse_lite.handlers.suspension import check_not_suspended
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.matrix.auth_rules import AuthError
from synapse_lite.matrix.event import Draft
from synapse_lite.matrix.room_versions import RoomVersion
from synapse_lite.storage import rooms
from synapse_lite.storage.branches import Room, Write
from synapse_lite.storage.database import Database, Transaction, UniqueViolation

ROOM_ID_LETTERS = 18
ATTEMPTS = 5
NEARBY_MS = 100
MEMBER = "m.room.member"


class Founder(Appender, Protocol):
    def found(self, txn: Transaction, create: Draft, version: RoomVersion, room_id: str | None) -> Room: ...


@frozen
class NewRoom:
    room_id: str
    alias: str | None


class RoomCreation:
    def __init__(
        self,
        database: Database,
        founder: Founder,
        creations: RateLimiter,
        limits: MembershipLimits,
        clock: Clock,
        options: RoomOptions,
    ) -> None:
        self._database = database
        self._founder = founder
        self._creations = creations
        self._limits = limits
        self._clock = clock
        self._options = options

    async def create(self, requester: Requester, request: RoomRequest) -> NewRoom:
        """Raises 400 `M_UNSUPPORTED_ROOM_VERSION`, `M_ROOM_IN_USE`, `M_INVALID_ROOM_STATE` when the rules
        of the new room forbid what is asked, and 429.
        """
        check_not_suspended(requester, "Creating rooms")
        self._creations.check(requester.user_id)
        plan = plan_room(request, requester.user_id, self._options)
        self._limits.spend_invites(requester.user_id, plan.invited)
        room = await self._found(plan, requester.user_id)
        return NewRoom(room.room_id, plan.alias)

    async def _found(self, plan: RoomPlan, creator: str) -> Room:
        """A room id that is a hash is the same for equal rooms that a user makes in one millisecond: the
        later ones try moments nearby.
        """
        created_ts = self._clock.now_ms()
        for _ in range(ATTEMPTS):
            try:
                return await self._database.transact(self._make, plan, creator, created_ts)
            except UniqueViolation:
                created_ts += 1 + randbelow(NEARBY_MS)
        raise MatrixError(503, Errcode.UNKNOWN, "Too many equal rooms at once, try again")

    def _make(self, txn: Transaction, plan: RoomPlan, creator: str, created_ts: int) -> Room:
        create = Draft("m.room.create", creator, plan.create, created_ts, "")
        room = self._founder.found(txn, create, plan.version, _room_id(plan.version, creator))
        if plan.alias is not None:
            _add_alias(txn, plan.alias, room, creator)
        if plan.is_public:
            rooms.set_public(txn, room.nid, public=True)
        drafts = [
            self._draft(creator, MEMBER, creator, {**shown_profile(txn, creator), "membership": "join"}),
            *(self._draft(creator, kind, key, content) for (kind, key), content in plan.state.items()),
            *(self._draft(creator, MEMBER, user, _invite(txn, user, plan)) for user in plan.invited),
        ]
        try:
            append_all(txn, self._founder, [Write(room.nid, draft) for draft in drafts])
        except AuthError as error:
            raise MatrixError(400, Errcode.INVALID_ROOM_STATE, error.message) from None
        return room

    def _draft(self, creator: str, kind: str, state_key: str, content: JsonObject) -> Draft:
        return Draft(kind, creator, content, self._clock.now_ms(), state_key)


def _room_id(version: RoomVersion, creator: str) -> str | None:
    """None where the id follows from the create event."""
    if version.room_id_is_hash:
        return None
    return f"!{ids.random_text(ROOM_ID_LETTERS)}:{ids.domain_of(creator)}"


def _add_alias(txn: Transaction, alias: str, room: Room, creator: str) -> None:
    try:
        rooms.add_alias(txn, alias, room.nid, creator)
    except MatrixError:
        raise MatrixError(400, Errcode.ALIAS_IN_USE, "Room alias already taken") from None


def _invite(txn: Transaction, user_id: str, plan: RoomPlan) -> JsonObject:
    content: JsonObject = {**shown_profile(txn, user_id), "membership": "invite"}
    if plan.is_direct:
        content["is_direct"] = True
    return content
