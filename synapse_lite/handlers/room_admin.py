"""What operators may see of rooms, and change about them, at once."""

from collections.abc import Sequence
from functools import partial

from attrs import frozen

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, invalid_param, not_found
from synapse_lite.handlers.long_lists import LongLists
from synapse_lite.handlers.rendering import render_old
from synapse_lite.handlers.rooms import check_alias
from synapse_lite.matrix.event import redacted
from synapse_lite.storage import aliases as alias_store
from synapse_lite.storage import room_admin, room_closure, rooms
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.room_admin import ORDERS, RoomSearch
from synapse_lite.storage.room_summary import RoomSummary, read_summaries
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.state import StateStore

ORDER_NAMES = frozenset(ORDERS)

TOMBSTONE = ("m.room.tombstone", "")


@frozen
class RoomQuery:
    """A page of the list: `order_by` is one of `ORDER_NAMES`, `turned` the other way round.

    `term`: part of the name or of the canonical alias, or the room id. None means any room.
    """

    term: str | None
    public: bool | None
    empty: bool | None
    order_by: str
    turned: bool
    offset: int
    limit: int


class RoomAdmin:
    """The admin API's views of rooms. An unknown room is 404 `M_NOT_FOUND`. `server_name` is ours."""

    def __init__(
        self, database: Database, events: EventStore, state: StateStore, clock: Clock, server_name: str
    ) -> None:
        self._database = database
        self._events = events
        self._state = state
        self._clock = clock
        self._server_name = server_name
        self._lists = LongLists(database, clock)

    async def find(self, query: RoomQuery) -> JsonObject:
        """Synapse's words and types. 400 `M_INVALID_PARAM` for an empty search term."""
        if query.term == "":
            raise invalid_param("search_term cannot be an empty string")
        search = RoomSearch(query.term, query.public, query.empty)
        wanted = room_admin.long_list(search, query.order_by, turned=query.turned)
        read = partial(room_admin.list_rooms, offset=query.offset, limit=query.limit)
        found, total = await self._lists.page(wanted, query.offset, read)
        rooms = [_shown(summary) for summary in found]
        answer: JsonObject = {"rooms": rooms, "offset": query.offset, "total_rooms": total}
        if query.offset + query.limit < total:
            answer["next_batch"] = query.offset + query.limit
        if query.offset > 0:
            answer["prev_batch"] = max(0, query.offset - query.limit)
        return answer

    async def check_known(self, room_id: str) -> None:
        """404 `M_NOT_FOUND` for a room that this server does not know."""
        await self._database.read(_known, room_id)

    async def details(self, room_id: str) -> JsonObject:
        return await self._database.snapshot(self._details, room_id)

    async def members(self, room_id: str) -> list[str]:
        """Who is joined."""
        return await self._database.snapshot(self._members, room_id)

    async def state(self, room_id: str, event_type: str | None) -> Sequence[object]:
        """The current state events, encoded; with `event_type` those of this type."""
        return await self._database.snapshot(self._current, room_id, event_type)

    async def block_status(self, room_id: str) -> JsonObject:
        """The room may be unknown; 400 for what is no room id."""
        user_id = await self._database.read(room_closure.blocked_by, ids.check_room_id(room_id))
        return {"block": False} if user_id is None else {"block": True, "user_id": user_id}

    async def block(self, room_id: str, user_id: str) -> None:
        await self._database.transact(room_closure.block_room, ids.check_room_id(room_id), user_id)

    async def unblock(self, room_id: str) -> None:
        await self._database.transact(room_closure.unblock_room, ids.check_room_id(room_id))

    async def extremities(self, room_id_or_alias: str) -> list[JsonObject]:
        found = await self._database.snapshot(_extremities, room_id_or_alias)
        return [
            {
                "event_id": one.event_id,
                "state_group": one.snapshot_nid,
                "depth": one.depth,
                "received_ts": one.received_ts,
            }
            for one in found
        ]

    async def keep_newest_extremity(self, room_id_or_alias: str) -> int:
        """How many were let go."""
        return await self._database.transact(_keep_newest_extremity, room_id_or_alias)

    # In a database thread

    def _details(self, txn: Transaction, room_id: str) -> JsonObject:
        room = _known(txn, room_id)
        summary = read_summaries(txn, [room.nid])[room.nid]
        tombstone = self._tombstone(txn, room.nid)
        replacement = tombstone and tombstone.get("replacement_room")
        return {
            **_shown(summary),
            "avatar": summary.avatar_url,
            "topic": summary.topic,
            "joined_local_devices": room_admin.count_local_devices(txn, room.nid),
            "forgotten": room_admin.is_forgotten(txn, room.nid, self._server_name),
            "tombstoned": tombstone is not None,
            "replacement_room": replacement if isinstance(replacement, str) else None,
        }

    def _members(self, txn: Transaction, room_id: str) -> list[str]:
        return [member.user_id for member in rooms.members(txn, _known(txn, room_id).nid, ["join"])]

    def _current(self, txn: Transaction, room_id: str, event_type: str | None) -> Sequence[object]:
        room = _known(txn, room_id)
        current = self._state.current_of_rooms(txn, [room.nid], None).get(room.nid, {})
        wanted = [nid for (kind, _), nid in current.items() if event_type in (None, kind)]
        now_ms = self._clock.now_ms()
        return [render_old(view, now_ms=now_ms) for view in self._events.views(txn, wanted)]

    def _tombstone(self, txn: Transaction, room_nid: int) -> JsonObject | None:
        """The content of the room's tombstone, as clients see it."""
        nids = self._state.current(txn, [(room_nid, TOMBSTONE)])
        views = self._events.views(txn, list(nids.values()))
        if not views:
            return None
        event = views[0].stored.event
        return (event if views[0].redaction is None else redacted(event)).content


def _shown(summary: RoomSummary) -> JsonObject:
    """The fifteen fields of the list."""
    return {
        "room_id": summary.room_id,
        "name": summary.name,
        "canonical_alias": summary.canonical_alias,
        "joined_members": summary.joined,
        "joined_local_members": summary.joined_local,
        "version": summary.version,
        "creator": summary.creator,
        "encryption": summary.encryption,
        "federatable": summary.federates,
        "public": summary.is_public,
        "join_rules": summary.join_rule,
        "guest_access": summary.guest_access,
        "history_visibility": summary.history_visibility,
        "state_events": summary.state_events,
        "room_type": summary.room_type,
    }


def _known(txn: Transaction, room_id: str) -> Room:
    room = rooms.room_by_id(txn, room_id)
    if room is None:
        raise not_found("Room not found")
    return room


def _named(txn: Transaction, room_id_or_alias: str) -> Room:
    if room_id_or_alias.startswith("#"):
        room_id = alias_store.room_of_alias(txn, check_alias(room_id_or_alias))
        if room_id is None:
            raise not_found(f"Room alias {room_id_or_alias} not found")
        return _known(txn, room_id)
    if not ids.is_room_id(room_id_or_alias):
        raise MatrixError(
            400, Errcode.UNKNOWN, f"{room_id_or_alias[:80]} was not legal room ID or room alias"
        )
    return _known(txn, room_id_or_alias)


def _extremities(txn: Transaction, room_id_or_alias: str) -> list[room_admin.Extremity]:
    return room_admin.extremities(txn, _named(txn, room_id_or_alias).nid)


def _keep_newest_extremity(txn: Transaction, room_id_or_alias: str) -> int:
    return room_admin.keep_newest_extremity(txn, _named(txn, room_id_or_alias).nid)
