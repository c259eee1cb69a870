"""Creating rooms: all events of a room's birth in one transaction, or none."""

from collections.abc import Callable, Sequence
from secrets import randbelow
from typing import Concatenate, ParamSpec, TypeVar

from attrs import evolve
from twisted.internet.defer import DeferredSemaphore

from synapse_lite.clock import Clock
from synapse_lite.config.rooms import RoomOptions
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.handlers.app_services.queries import ServiceQueries
from synapse_lite.handlers.app_services.services import AppServices
from synapse_lite.handlers.at_once import all_at_once
from synapse_lite.handlers.directory_rules import DirectoryRules
from synapse_lite.handlers.invite_permission import check_invitable, check_may_invite
from synapse_lite.handlers.membership_limits import MembershipLimits
from synapse_lite.handlers.rate_limits import check_user
from synapse_lite.handlers.remote_members import RemoteMembers
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.room_plan import RoomPlan, RoomRequest, plan_room
from synapse_lite.handlers.suspension import check_not_suspended
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.ids import domain_of, is_local
from synapse_lite.matrix.auth_rules import AuthError
from synapse_lite.rooms.append import EventAppender
from synapse_lite.rooms.create import NewRoom, create_room
from synapse_lite.rooms.members import invite_draft
from synapse_lite.rooms.values import Write
from synapse_lite.storage import aliases as alias_store
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage.database import Database, Transaction, UniqueViolation
from synapse_lite.storage.rooms import Room

P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS = 5
INVITED_AT_ONCE = 10  # users of other servers, each of whose servers is asked
NEARBY_MS = 100


class RoomCreation:
    def __init__(
        self,
        database: Database,
        appender: EventAppender,
        creations: RateLimiter,
        limits: MembershipLimits,
        services: AppServices,
        service_queries: ServiceQueries,
        remote_members: RemoteMembers,
        clock: Clock,
        options: RoomOptions,
    ) -> None:
        self._database = database
        self._appender = appender
        self._creations = creations
        self._limits = limits
        self._services = services
        self._service_queries = service_queries
        self._remote_members = remote_members
        self._clock = clock
        self._options = options
        self._rules = DirectoryRules.of(options)

    async def create(self, requester: Requester, request: RoomRequest) -> str:
        """The id of the new room. Raises 400 `M_UNSUPPORTED_ROOM_VERSION`, `M_ROOM_IN_USE`, `M_INVALID_ROOM_STATE` when the rules
        of the new room forbid what is asked, 403 for an alias that the operator's rules deny or a user who wants no invites, and 429. A room
        that these rules do not let be published is made, and not published. Where an invited user's server refuses, or
        does not answer, the room is there, and the error tells of that: see `RemoteMembers.invite`.
        """
        check_not_suspended(requester, "Creating rooms")
        requester.check_may_write()
        await check_user(self._creations, requester)
        if requester.shadow_banned:
            request = evolve(request, invited=())
        plan = plan_room(request, requester.user_id, self._options)
        if requester.shadow_banned:
            plan = evolve(plan, is_public=False)
        if plan.invited:
            check_may_invite(requester, admins_only=self._options.block_non_admin_invites)
        ours = domain_of(requester.user_id)
        here = evolve(plan, invited=tuple(one for one in plan.invited if is_local(one, ours)))
        if here.invited:
            await self._database.read(check_invitable, here.invited)
        if plan.alias is not None:
            self._services.check_alias(plan.alias, requester.service)
        await self._limits.spend_invites(requester, plan.invited)
        await all_at_once(self._service_queries.find_user(one) for one in here.invited)
        room = await at_its_own_moment(
            self._database, self._clock, self._make_by_rules, here, requester.user_id
        )
        far = [one for one in plan.invited if not is_local(one, ours)]
        await self._invite(room, requester.user_id, far, is_direct=plan.is_direct)
        return room.room_id

    async def _invite(self, room: Room, sender: str, user_ids: Sequence[str], *, is_direct: bool) -> None:
        """Users of other servers, all of them; then the first refusal is raised."""
        places = DeferredSemaphore(INVITED_AT_ONCE)

        async def invite(user_id: str) -> MatrixError | None:
            async with places:
                draft = await self._database.read(
                    invite_draft,
                    sender,
                    user_id,
                    self._clock.now_ms(),
                    is_direct=is_direct,
                    shows_profile=self._options.include_profile_data_on_invite,
                )
                try:
                    await self._remote_members.invite(Write(room.nid, draft))
                except MatrixError as refusal:
                    return refusal
            return None

        for refusal in await all_at_once(invite(user_id) for user_id in user_ids):
            if refusal is not None:
                raise refusal

    def _make_by_rules(self, txn: Transaction, created_ts: int, plan: RoomPlan, creator: str) -> Room:
        room = self.make(txn, created_ts, evolve(plan, is_public=False), creator)
        if plan.alias is not None:
            self._rules.check_alias(creator, plan.alias, room.room_id)
        aliases = () if plan.alias is None else (plan.alias,)
        if plan.is_public and self._rules.may_publish(creator, aliases, room.room_id):
            room_store.set_public(txn, room.nid, public=True)
        return room

    def make(self, txn: Transaction, created_ts: int, plan: RoomPlan, creator: str) -> Room:
        """In a database thread, for `at_its_own_moment`, whatever the operator's rules say; 400 as `create`."""
        state = [(kind, key, content) for (kind, key), content in plan.state.items()]
        new = NewRoom(
            creator,
            plan.version,
            plan.create,
            created_ts,
            state,
            plan.invited,
            plan.is_direct,
            self._options.include_profile_data_on_invite,
        )
        if plan.alias is not None and alias_store.room_of_alias(txn, plan.alias) is not None:
            raise _alias_taken()
        try:
            room = create_room(txn, self._appender, self._clock, new)
        except AuthError as error:
            raise MatrixError(400, Errcode.INVALID_ROOM_STATE, error.message) from None
        if plan.alias is not None:
            _add_alias(txn, plan.alias, room, creator)
        if plan.is_public:
            room_store.set_public(txn, room.nid, public=True)
        return room


async def at_its_own_moment(
    database: Database, clock: Clock, make: Callable[Concatenate[Transaction, int, P], T], *args: P.args,
    **kwargs: P.kwargs,
) -> T:  # fmt: skip
    """What `make` returns, called with the time (ms) of the new room's create event, in a transaction.

    A room id that is a hash is the same for equal rooms that a user makes in one millisecond: the
    later ones try moments nearby.
    """
    created_ts = clock.now_ms()
    for _ in range(ATTEMPTS):
        try:
            return await database.transact(make, created_ts, *args, **kwargs)
        except UniqueViolation:
            created_ts += 1 + randbelow(NEARBY_MS)
    raise MatrixError(503, Errcode.UNKNOWN, "Too many equal rooms at once, try again")


def _add_alias(txn: Transaction, alias: str, room: Room, creator: str) -> None:
    try:
        alias_store.add_alias(txn, alias, room.nid, creator)
    except MatrixError:
        raise _alias_taken() from None


def _alias_taken() -> MatrixError:
    return MatrixError(400, Errcode.ALIAS_IN_USE, "Room alias already taken")
