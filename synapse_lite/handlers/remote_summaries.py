"""What may be known from outside of rooms that this server is not in, as others tell it."""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.federation.peers import PeerError
from synapse_lite.federation.queries import Queries
from synapse_lite.handlers.remote_rooms import RemoteRooms, Target
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.room_summary import RoomSummaries
from synapse_lite.ids import is_room_id
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage.database import Database, Transaction

MAX_SERVERS = 3
MAX_COUNT = 2**53 - 1
_OPEN = frozenset({"public", "knock", "knock_restricted"})
_FIELDS: Mapping[str, type] = {
    "name": str, "topic": str, "canonical_alias": str, "avatar_url": str, "room_type": str, "room_version": str,
    "encryption": str, "allowed_room_ids": list,
}  # fmt: skip


@frozen
class RemoteSummaries:
    _database: Database
    _ours: RoomSummaries
    _rooms: RemoteRooms
    _queries: Queries

    async def summary(self, requester: Requester | None, room_id_or_alias: str, via: list[str]) -> JsonObject:
        """As `RoomSummaries.summary`; for who has an account, `via` are servers to ask about a room of others."""
        if requester is None:
            return await self._ours.summary(None, room_id_or_alias)
        try:
            target = await self._rooms.locate(room_id_or_alias, requester.user_id, via)
        except MatrixError as error:
            if error.errcode == Errcode.INVALID_PARAM:
                raise
            raise _hidden() from None
        if target.is_ours:
            return await self._ours.summary(requester, target.room_id)
        for server in target.servers[:MAX_SERVERS]:
            try:
                answer = await self._queries.hierarchy(server, target.room_id, suggested_only=False)
            except PeerError:
                continue
            return await self._database.read(self._shown, requester.user_id, target, answer["room"])
        raise _hidden()

    def _shown(self, txn: Transaction, user_id: str, target: Target, told: JsonObject) -> JsonObject:
        summary = summary_of(target.room_id, told)
        if target.room_id not in known_to(txn, user_id, {target.room_id: summary}):
            raise _hidden()
        room = target.room
        memberships = {} if room is None else room_store.memberships_in(txn, [room.nid], user_id)
        return {**summary, "membership": "leave" if room is None else memberships.get(room.nid, "leave")}


def summary_of(room_id: str, told: JsonObject) -> JsonObject:
    """What is well-formed in the summary of a room that another server tells."""
    summary: JsonObject = {
        "room_id": room_id,
        "num_joined_members": _count(told.get("num_joined_members")),
        "world_readable": told.get("world_readable") is True,
        "guest_can_join": told.get("guest_can_join") is True,
        "join_rule": str(told.get("join_rule", "invite")),
    }
    summary |= {name: told[name] for name, kind in _FIELDS.items() if isinstance(told.get(name), kind)}
    told_ids = summary.pop("allowed_room_ids", [])
    allowed = [one for one in told_ids if isinstance(one, str) and is_room_id(one)]
    if allowed:
        summary["allowed_room_ids"] = allowed
    return summary


def known_to(txn: Transaction, user_id: str, summaries: Mapping[str, JsonObject]) -> dict[str, JsonObject]:
    """Those of the rooms (by id) that the user may know of. In a database thread.

    The user may know less than this server: a room that is not open is for who may enter it.
    """
    memberships: dict[int, str] = {}
    nids = room_store.nids_of(txn, summaries)
    if nids:
        memberships = room_store.memberships_in(txn, nids.values(), user_id)
    allowed = {one for summary in summaries.values() for one in summary.get("allowed_room_ids", ())}
    own = room_store.joined_of(txn, user_id, allowed)
    return {
        room_id: summary
        for room_id, summary in summaries.items()
        if summary["join_rule"] in _OPEN
        or summary["world_readable"]
        or memberships.get(nids.get(room_id, 0)) in {"join", "invite"}
        or not own.isdisjoint(summary.get("allowed_room_ids", ()))
    }


def _count(told: Any) -> int:
    return told if type(told) is int and 0 <= told <= MAX_COUNT else 0


def _hidden() -> MatrixError:
    return not_found("Room not found, or it may not be looked into")
