"""What may be known of a room from outside: as directories, spaces and previews show it."""

from collections.abc import Collection, Mapping

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.restricted_joins import allowed_rooms
from synapse_lite.handlers.rooms import Rooms
from synapse_lite.matrix.auth_rules.state import JOIN_RULES
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.room_servers import has_waiting, is_in_room
from synapse_lite.storage.room_summary import RoomSummary, read_summaries

WORLD_READABLE = "world_readable"


def directory_entry(summary: RoomSummary) -> JsonObject:
    """`PublishedRoomsChunk` of the client-server API. Without a join rule a room is for the invited."""
    entry: JsonObject = {
        "room_id": summary.room_id,
        "num_joined_members": summary.joined,
        "world_readable": summary.history_visibility == WORLD_READABLE,
        "guest_can_join": summary.guest_access == "can_join",
        "join_rule": summary.join_rule or "invite",
    }
    for name in ("name", "topic", "canonical_alias", "avatar_url", "room_type"):
        value = getattr(summary, name)
        if value:
            entry[name] = value
    return entry


class RoomSummaries:
    def __init__(self, database: Database, rooms: Rooms, current: CurrentState) -> None:
        self._database = database
        self._rooms = rooms
        self._current = current

    async def summary(self, requester: Requester | None, room_id_or_alias: str) -> JsonObject:
        """`RoomSummary`, with the requester's `membership`; 404 `M_NOT_FOUND` for who may not know of the room."""
        user_id = None if requester is None else requester.user_id
        try:
            room = await self._rooms.resolve(room_id_or_alias)
        except MatrixError as error:
            if error.errcode == Errcode.INVALID_PARAM:
                raise
            raise _hidden() from None
        found = await self._database.read(self._read_one, room.nid, user_id)
        if found is None:
            raise _hidden()
        return found

    def read(
        self, txn: Transaction, room_nids: Collection[int], user_id: str | None
    ) -> dict[int, JsonObject]:
        """`RoomSummary` of the rooms that the user may know of, by nid. In a database thread.

        Decided by the current state each time: members and invited users, rooms that are open or may be knocked at,
        that admit the members of a room the user is in, or that anybody may read.
        """
        summaries = read_summaries(txn, room_nids)
        allowed = self._allowed_rooms(txn, summaries)
        memberships: Mapping[int, str] = {}
        own: Collection[str] = ()
        if user_id is not None:
            memberships = room_store.memberships_in(txn, room_nids, user_id)
            own = room_store.joined_of(txn, user_id, {one for some in allowed.values() for one in some})
        return {
            nid: _summary(summary, allowed.get(nid, []))
            for nid, summary in summaries.items()
            if _is_open(summary)
            or memberships.get(nid) in {"join", "invite"}
            or any(room_id in own for room_id in allowed.get(nid, []))
        }

    def read_for_server(
        self, txn: Transaction, room_nids: Collection[int], server_name: str
    ) -> dict[int, JsonObject]:
        """As `read`, of the rooms that some user of the server may know of: none that never lets them in."""
        summaries = {nid: one for nid, one in read_summaries(txn, room_nids).items() if one.federates}
        allowed = self._allowed_rooms(txn, summaries)
        nids = room_store.nids_of(txn, {one for some in allowed.values() for one in some})
        there = {room_id for room_id, nid in nids.items() if is_in_room(txn, nid, server_name)}
        return {
            nid: _summary(summary, allowed.get(nid, []))
            for nid, summary in summaries.items()
            if _is_open(summary)
            or is_in_room(txn, nid, server_name)
            or has_waiting(txn, nid, server_name)
            or not there.isdisjoint(allowed.get(nid, []))
        }

    def _read_one(self, txn: Transaction, room_nid: int, user_id: str | None) -> JsonObject | None:
        found = self.read(txn, [room_nid], user_id).get(room_nid)
        if found is not None and user_id is not None:
            membership = room_store.memberships_in(txn, [room_nid], user_id).get(room_nid, "leave")
            return {**found, "membership": membership}
        return found

    def _allowed_rooms(self, txn: Transaction, summaries: Mapping[int, RoomSummary]) -> dict[int, list[str]]:
        """Of restricted rooms the rooms whose members may join."""
        restricted = [nid for nid, one in summaries.items() if _is_restricted(one)]
        if not restricted:
            return {}
        nids = self._current.state.current(txn, [(nid, JOIN_RULES) for nid in restricted])
        events = self._current.events.load(txn, list(nids.values()))
        return {nid: allowed_rooms(events[event].event.content) for (nid, _), event in nids.items()}


class EveryRoom(RoomSummaries):
    """For administrators: whoever asks may know of every room."""

    def read(
        self,
        txn: Transaction,
        room_nids: Collection[int],
        user_id: str | None,  # noqa: ARG002 (decides for others)
    ) -> dict[int, JsonObject]:
        summaries = read_summaries(txn, room_nids)
        allowed = self._allowed_rooms(txn, summaries)
        return {nid: _summary(summary, allowed.get(nid, [])) for nid, summary in summaries.items()}


def _summary(summary: RoomSummary, allowed: list[str]) -> JsonObject:
    found = directory_entry(summary) | {"room_version": summary.version}
    if summary.encryption:
        found["encryption"] = summary.encryption
    if allowed:
        found["allowed_room_ids"] = allowed
    return found


def _is_open(summary: RoomSummary) -> bool:
    """Whether anybody may know of the room; join rules that its version does not have let nobody in."""
    version = ROOM_VERSIONS[summary.version]
    rules = {
        "public": True,
        "knock": version.knock,
        "knock_restricted": version.knock_restricted,
    }
    return rules.get(summary.join_rule or "", False) or summary.history_visibility == WORLD_READABLE


def _is_restricted(summary: RoomSummary) -> bool:
    version = ROOM_VERSIONS[summary.version]
    rules = {"restricted": version.restricted, "knock_restricted": version.knock_restricted}
    return rules.get(summary.join_rule or "", False)


def _hidden() -> MatrixError:
    return not_found("Room not found, or it may not be looked into")
