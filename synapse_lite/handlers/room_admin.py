"""What operators may see of rooms, and change about them, at once."""

from collections.abc import Mapping, Sequence

from attrs import frozen

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError, invalid_param, not_found
from synapse_lite.handlers.rendering import render_old
from synapse_lite.handlers.rooms import check_alias
from synapse_lite.matrix.event import redacted
from synapse_lite.storage import room_admin, room_closure, rooms
from synapse_lite.storage.branches import Room
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.room_admin import ORDERS, RoomRow, RoomSearch
from synapse_lite.storage.state import StateKey, StateStore

ORDER_NAMES = frozenset(ORDERS)

CREATE = ("m.room.create", "")
ENCRYPTION = ("m.room.encryption", "")
NAME = ("m.room.name", "")
CANONICAL_ALIAS = ("m.room.canonical_alias", "")
JOIN_RULES = ("m.room.join_rules", "")
GUEST_ACCESS = ("m.room.guest_access", "")
HISTORY_VISIBILITY = ("m.room.history_visibility", "")
AVATAR = ("m.room.avatar", "")
TOPIC = ("m.room.topic", "")
TOMBSTONE = ("m.room.tombstone", "")

LISTED = (CREATE, ENCRYPTION, NAME, CANONICAL_ALIAS, JOIN_RULES, GUEST_ACCESS, HISTORY_VISIBILITY)
DETAILED = (*LISTED, AVATAR, TOPIC, TOMBSTONE)

Contents = Mapping[StateKey, JsonObject]


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

    async def find(self, query: RoomQuery) -> JsonObject:
        """Synapse's words and types. 400 `M_INVALID_PARAM` for an empty search term."""
        if query.term == "":
            raise invalid_param("search_term cannot be an empty string")
        found, total = await self._database.snapshot(self._find, query)
        answer: JsonObject = {"rooms": found, "offset": query.offset, "total_rooms": total}
        if query.offset + query.limit < total:
            answer["next_batch"] = query.offset + query.limit
        if query.offset > 0:
            answer["prev_batch"] = max(0, query.offset - query.limit)
        return answer

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

    def _find(self, txn: Transaction, query: RoomQuery) -> tuple[list[JsonObject], int]:
        search = RoomSearch(query.term, query.public, query.empty)
        rows = room_admin.list_rooms(
            txn,
            search,
            query.order_by,
            turned=query.turned,
            offset=query.offset,
            limit=query.limit,
            server_name=self._server_name,
        )
        contents = self._contents(txn, [row.room_nid for row in rows], LISTED)
        shown = [_shown(row, contents[row.room_nid]) for row in rows]
        return shown, room_admin.count_rooms(txn, search)

    def _details(self, txn: Transaction, room_id: str) -> JsonObject:
        room = _known(txn, room_id)
        (row,) = room_admin.read_rooms(txn, [room.nid], self._server_name)
        contents = self._contents(txn, [room.nid], DETAILED)[room.nid]
        return {
            **_shown(row, contents),
            "avatar": _text(contents, AVATAR, "url"),
            "topic": _text(contents, TOPIC, "topic"),
            "joined_local_devices": room_admin.count_local_devices(txn, room.nid),
            "forgotten": room_admin.is_forgotten(txn, room.nid, self._server_name),
            "tombstoned": TOMBSTONE in contents,
            "replacement_room": _text(contents, TOMBSTONE, "replacement_room"),
        }

    def _members(self, txn: Transaction, room_id: str) -> list[str]:
        return [member.user_id for member in rooms.members(txn, _known(txn, room_id).nid, ["join"])]

    def _current(self, txn: Transaction, room_id: str, event_type: str | None) -> Sequence[object]:
        room = _known(txn, room_id)
        current = self._state.current_of_rooms(txn, [room.nid], None).get(room.nid, {})
        wanted = [nid for (kind, _), nid in current.items() if event_type in (None, kind)]
        now_ms = self._clock.now_ms()
        return [render_old(view, now_ms=now_ms) for view in self._events.views(txn, wanted)]

    def _contents(
        self, txn: Transaction, room_nids: Sequence[int], keys: Sequence[StateKey]
    ) -> dict[int, dict[StateKey, JsonObject]]:
        """What the current state of the rooms says, as clients see it."""
        current = self._state.current(txn, [(nid, key) for nid in room_nids for key in keys])
        views = {view.stored.nid: view for view in self._events.views(txn, list(current.values()))}
        found: dict[int, dict[StateKey, JsonObject]] = {nid: {} for nid in room_nids}
        for (room_nid, key), nid in current.items():
            if nid in views:
                event = views[nid].stored.event
                found[room_nid][key] = (event if views[nid].redaction is None else redacted(event)).content
        return found


def _shown(row: RoomRow, contents: Contents) -> JsonObject:
    """The fifteen fields of the list."""
    return {
        "room_id": row.room_id,
        "name": _text(contents, NAME, "name"),
        "canonical_alias": _text(contents, CANONICAL_ALIAS, "alias"),
        "joined_members": row.joined,
        "joined_local_members": row.joined_local,
        "version": row.version,
        "creator": row.creator,
        "encryption": _text(contents, ENCRYPTION, "algorithm"),
        "federatable": contents.get(CREATE, {}).get("m.federate") is not False,
        "public": row.is_public,
        "join_rules": _text(contents, JOIN_RULES, "join_rule"),
        "guest_access": _text(contents, GUEST_ACCESS, "guest_access"),
        "history_visibility": _text(contents, HISTORY_VISIBILITY, "history_visibility"),
        "state_events": row.state_events,
        "room_type": _text(contents, CREATE, "type"),
    }


def _text(contents: Contents, key: StateKey, name: str) -> str | None:
    value = contents.get(key, {}).get(name)
    return value if isinstance(value, str) else None


def _known(txn: Transaction, room_id: str) -> Room:
    room = rooms.room_by_id(txn, room_id)
    if room is None:
        raise not_found("Room not found")
    return room


def _named(txn: Transaction, room_id_or_alias: str) -> Room:
    if room_id_or_alias.startswith("#"):
        room_id = rooms.room_of_alias(txn, check_alias(room_id_or_alias))
        if room_id is None:
            raise not_found(f"Room alias {room_id_or_alias} not found")
        return _known(txn, room_id)
    if not ids.is_room_id(room_id_or_alias):
        raise MatrixError(400, "M_UNKNOWN", f"{room_id_or_alias[:80]} was not legal room ID or room alias")
    return _known(txn, room_id_or_alias)


def _extremities(txn: Transaction, room_id_or_alias: str) -> list[room_admin.Extremity]:
    return room_admin.extremities(txn, _named(txn, room_id_or_alias).nid)


def _keep_newest_extremity(txn: Transaction, room_id_or_alias: str) -> int:
    return room_admin.keep_newest_extremity(txn, _named(txn, room_id_or_alias).nid)
