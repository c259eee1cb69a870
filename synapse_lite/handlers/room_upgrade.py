"""Replacing a room by one of another version ("POST /_matrix/client/v3/rooms/{roomId}/upgrade")."""

from collections.abc import Mapping, Sequence

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, forbidden
from synapse_lite.handlers.canonical_alias import CANONICAL_ALIAS
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.handlers.rate_limits import check_user
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.room_creation import at_its_own_moment
from synapse_lite.handlers.room_plan import TOMBSTONE
from synapse_lite.handlers.rooms import Rooms, not_in_room
from synapse_lite.handlers.shadow_bans import unmade_room_id
from synapse_lite.handlers.suspension import check_not_suspended
from synapse_lite.handlers.upgrade_plan import UpgradePlan, plan_upgrade
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.matrix.auth_rules import AuthError
from synapse_lite.matrix.auth_rules.state import CREATE, POWER_LEVELS
from synapse_lite.matrix.event import Draft, StateKey, redacted
from synapse_lite.matrix.power_levels import creators
from synapse_lite.matrix.room_versions import ROOM_VERSIONS, RoomVersion
from synapse_lite.rooms.append import EventAppender, append_all
from synapse_lite.rooms.create import NewRoom, create_room
from synapse_lite.rooms.values import Write
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage import tasks as task_store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.heads import lock_heads
from synapse_lite.storage.rooms import Room
from synapse_lite.tasks.actions.carry_bans import CARRY_BANS, BanCarrier, CarryBansParams
from synapse_lite.tasks.queue import new_task

BANS_AT_ONCE = 500
"""So many are carried with the room; a task carries the others."""
QUIET_LEVEL = 50
"""What it takes in the old room to speak or to invite."""
ENDPOINT = "the upgrade of a room"


class RoomUpgrade:
    """The new room, the tombstone and all that moves with it (`rooms.contributors.successions`) are one transaction."""

    def __init__(
        self,
        database: Database,
        rooms: Rooms,
        current: CurrentState,
        appender: EventAppender,
        creations: RateLimiter,
        clock: Clock,
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._current = current
        self._appender = appender
        self._creations = creations
        self._clock = clock
        self._bans = BanCarrier(appender, current.events, clock)

    async def upgrade(
        self, requester: Requester, room_id: str, new_version: str, additional_creators: Sequence[str]
    ) -> str:
        """The id of the new room; of several upgrades at once all get the one that the first has made, and who asks
        for the same again gets the same.

        400 `M_UNSUPPORTED_ROOM_VERSION`, 403 `M_FORBIDDEN` for who may not write the tombstone, and 429.
        """
        check_not_suspended(requester, "Upgrading rooms")
        requester.check_may_write()
        version = ROOM_VERSIONS.get(new_version)
        if version is None:
            raise MatrixError(
                400, Errcode.UNSUPPORTED_ROOM_VERSION, "Your homeserver does not support this room version"
            )
        for user_id in additional_creators:
            ids.check_user_id(user_id)
        room = await self._rooms.require(room_id, requester.user_id)
        await check_user(self._creations, requester)
        if requester.shadow_banned:
            await self._database.read(self._check_may, room, requester.user_id)
            return unmade_room_id(requester.user_id)
        owners = additional_creators if version.privileged_creators else ()
        successor = await self._database.read(self._successor, room)
        return await at_its_own_moment(
            self._database, self._clock, self._upgrade, room, requester.user_id, version, owners, successor
        )

    # In a database thread

    def _upgrade(
        self,
        txn: Transaction,
        created_ts: int,
        old: Room,
        user_id: str,
        version: RoomVersion,
        owners: Sequence[str],
        known_successor: str | None,
    ) -> str:
        lock_heads(txn, [old.nid], even_closed=False)
        self._check_may(txn, old, user_id)
        successor = self._successor(txn, old)
        if successor is not None and (
            successor != known_successor or self._is_repeated(txn, old, successor, user_id, version, owners)
        ):
            return successor
        create, state = self._current.read(txn, old.nid, [CREATE])[CREATE], self._read_state(txn, old)
        last = room_store.last_event_id(txn, old.nid)
        plan = plan_upgrade(create, state, version, user_id, owners, last)
        new = self._create(txn, plan, user_id, created_ts)
        self._carry_bans(txn, old, new, user_id)
        if plan.levels is not None:
            append_all(txn, self._appender, [self._write(new, user_id, POWER_LEVELS, plan.levels)])
        self._close(txn, old, new, user_id, state)
        return new.room_id

    def _successor(self, txn: Transaction, room: Room) -> str | None:
        """The id of the room that has replaced it."""
        tombstone = self._current.read(txn, room.nid, [(TOMBSTONE, "")]).get((TOMBSTONE, ""))
        replacement = None if tombstone is None else tombstone.content.get("replacement_room")
        return replacement if isinstance(replacement, str) else None

    def _is_repeated(
        self, txn: Transaction, old: Room, successor: str, user_id: str, version: RoomVersion,
        owners: Sequence[str],
    ) -> bool:  # fmt: skip
        """Whether the user has made that room by the same upgrade, and is in it: then they have not got the answer."""
        new = room_store.room_by_id(txn, successor)
        member = None if new is None else room_store.membership_in(txn, new.nid, user_id)
        if new is None or member is None or member.membership != "join":
            return False
        create = self._current.one(txn, new.nid, CREATE)
        predecessor = None if create is None else create.content.get("predecessor")
        return (
            create is not None
            and create.sender == user_id
            and create.version == version
            and creators(create) == {user_id, *owners}
            and isinstance(predecessor, dict)
            and predecessor.get("room_id") == old.room_id
        )

    def _check_may(self, txn: Transaction, room: Room, user_id: str) -> None:
        member = room_store.membership_in(txn, room.nid, user_id)
        if member is None or member.membership != "join":
            raise not_in_room(user_id, room.room_id)
        levels = self._current.power_levels(txn, room.nid)
        if levels.user(user_id) < levels.required(TOMBSTONE, is_state=True):
            raise forbidden("You don't have permission to upgrade this room")

    def _read_state(self, txn: Transaction, room: Room) -> dict[StateKey, JsonObject]:
        """As it may be read now; without members."""
        nids = self._current.state.current_of_rooms(txn, [room.nid], members=()).get(room.nid, {})
        views = self._current.events.views(txn, sorted(nids.values()))
        shown = [
            view.stored.event if view.redaction is None else redacted(view.stored.event) for view in views
        ]
        return {event.key: event.content for event in shown}

    def _create(self, txn: Transaction, plan: UpgradePlan, user_id: str, created_ts: int) -> Room:
        new = NewRoom(user_id, plan.version, plan.create, created_ts, plan.state)
        try:
            return create_room(txn, self._appender, self._clock, new)
        except AuthError as error:
            raise MatrixError(400, Errcode.INVALID_ROOM_STATE, error.message) from None

    def _carry_bans(self, txn: Transaction, old: Room, new: Room, user_id: str) -> None:
        """Before anybody can join; of very many the rest follows."""
        found = self._bans.carry(txn, old.nid, new.nid, user_id, "", BANS_AT_ONCE)
        if found.last is not None:
            params = CarryBansParams(
                old_room_id=old.room_id, new_room_id=new.room_id, sender=user_id, after=found.last
            )
            task = new_task(CARRY_BANS, params, requester=user_id, endpoint=ENDPOINT)
            task_store.enqueue(txn, task)

    def _close(
        self, txn: Transaction, old: Room, new: Room, user_id: str, state: Mapping[StateKey, JsonObject]
    ) -> None:
        """The tombstone, which must be; then, as far as the user may, the room loses its alias and falls silent."""
        tombstone = {"body": "This room has been replaced", "replacement_room": new.room_id}
        append_all(txn, self._appender, [self._write(old, user_id, (TOMBSTONE, ""), tombstone)])
        writes = []
        if state.get((CANONICAL_ALIAS, "")):
            writes.append(self._write(old, user_id, (CANONICAL_ALIAS, ""), {}))
        levels = self._current.power_levels(txn, old.nid)
        quiet = max(QUIET_LEVEL, levels.users_default + 1)
        silenced = {
            **state.get(POWER_LEVELS, {}),
            "events_default": max(quiet, levels.events_default),
            "invite": max(quiet, levels.invite),
        }
        if POWER_LEVELS in state:
            writes.append(self._write(old, user_id, POWER_LEVELS, silenced))
        self._appender.append(txn, writes)

    def _write(self, room: Room, user_id: str, key: StateKey, content: JsonObject) -> Write:
        kind, state_key = key
        return Write(room.nid, Draft(kind, user_id, content, self._clock.now_ms(), state_key))
