"""How clients learned of rooms before /sync (client-server API, "GET /initialSync", "GET /events"): a few still ask so."""

import logging
from collections.abc import Sequence

import orjson
from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError
from synapse_lite.handlers.filters import EventFilter
from synapse_lite.handlers.history import HistoryHandler
from synapse_lite.handlers.ignored_users import read_ignored
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.room_state import RoomState
from synapse_lite.handlers.sync.filters import SyncFilters
from synapse_lite.handlers.sync.handler import SyncHandler
from synapse_lite.handlers.sync.receipts import receipt_events
from synapse_lite.handlers.sync.values import SyncRequest
from synapse_lite.handlers.tokens import write_token
from synapse_lite.storage import account_data, presence, rooms
from synapse_lite.storage.account_data import GLOBAL
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.ephemeral import receipts
from synapse_lite.storage.stream import Place, read_position

logger = logging.getLogger(__name__)

MAX_ROOMS = 500  # in one answer
MAX_PRESENCE = 1000
GONE = ("leave", "ban")


@frozen
class OldSync:
    database: Database
    state: RoomState
    history: HistoryHandler
    sync: SyncHandler
    filters: SyncFilters
    clock: Clock

    async def room(self, requester: Requester, room_id: str, limit: int) -> JsonObject:
        """One room: its state, the newest `limit` events, oldest first, and what belongs to the user. 403 as for its state."""
        state = [event async for page in self.state.all(requester, room_id) for event in page]
        page = await self.history.messages(
            requester, room_id, None, None, backwards=True, selection=EventFilter(limit=limit)
        )
        beside = await self.database.snapshot(self._beside, requester.user_id, room_id)
        start = page.get("end", page["start"])
        messages = {"chunk": page["chunk"][::-1], "start": start, "end": page["start"]}
        return {"room_id": room_id, "state": state, "messages": messages, **beside}

    async def everything(self, requester: Requester, limit: int, *, with_left: bool) -> JsonObject:
        """Of the rooms of the user the first 500, with `with_left` those too that they left."""
        memberships = ("join", "invite", *(GONE if with_left else ()))
        found = await self.database.snapshot(self._overview, requester.user_id, memberships)
        shown = []
        for room_id, membership, inviter in found.pop("memberships"):
            if membership == "invite":
                shown.append({"room_id": room_id, "membership": membership, "inviter": inviter})
                continue
            try:
                shown.append(await self.room(requester, room_id, limit))
            except MatrixError:
                logger.info("%s has gone while %s asked for it", room_id, requester.user_id)
        return {**found, "rooms": shown}

    async def events(self, requester: Requester, since: int | None, timeout_ms: int) -> JsonObject:
        """What happened in the user's rooms, or will within the time."""
        if since is None:
            since = await self.database.read(read_position)
        every = await self.filters.read(requester.user_id, None)
        answer = orjson.loads(await self.sync.sync(SyncRequest(requester, since, timeout_ms, every)))
        joined: JsonObject = answer.get("rooms", {}).get("join", {})
        chunk = [
            {**event, "room_id": room_id}
            for room_id, room in joined.items()
            for event in room["timeline"]["events"]
        ]
        return {"chunk": chunk, "start": write_token(Place(since)), "end": answer["next_batch"]}

    # In a database thread

    def _beside(self, txn: Transaction, user_id: str, room_id: str) -> JsonObject:
        room = rooms.room_by_id(txn, room_id)
        if room is None:
            return {}
        member = rooms.membership_in(txn, room.nid, user_id)
        data = account_data.account_data_of(txn, user_id, [room.nid]).get(room.nid, {})
        of_members = (
            {} if member is None or member.membership != "join" else self._of_members(txn, user_id, room.nid)
        )
        return {
            **({} if member is None else {"membership": member.membership}),
            "visibility": "public" if rooms.is_public(txn, room.nid) else "private",
            "account_data": [{"type": kind, "content": content} for kind, content in data.items()],
            **of_members,
        }

    def _of_members(self, txn: Transaction, user_id: str, room_nid: int) -> JsonObject:
        """What nobody else sees."""
        ignored = read_ignored(txn, user_id)
        found = receipts(txn, [room_nid], user_id)
        return {
            "receipts": receipt_events(one for one in found if one.user_id not in ignored),
            "presence": self._presence(txn, user_id, [room_nid]),
        }

    def _presence(self, txn: Transaction, user_id: str, room_nids: Sequence[int]) -> list[JsonObject]:
        found = presence.presence_in(txn, user_id, room_nids, MAX_PRESENCE, with_offline=False)
        now_ms, ignored = self.clock.now_ms(), read_ignored(txn, user_id)
        return [one.event(other, now_ms) for other, one in found.items() if other not in ignored]

    def _overview(self, txn: Transaction, user_id: str, memberships: Sequence[str]) -> JsonObject:
        found = rooms.memberships_of(txn, user_id, memberships)[:MAX_ROOMS]
        named = rooms.rooms_by_nid(txn, [one.room_nid for one in found])
        joined = [one.room_nid for one in found if one.membership == "join"]
        data = account_data.account_data_of(txn, user_id, [GLOBAL]).get(GLOBAL, {})
        return {
            "end": write_token(Place(read_position(txn))),
            "presence": self._presence(txn, user_id, joined),
            "account_data": [{"type": kind, "content": content} for kind, content in data.items()],
            "memberships": [
                (named[one.room_nid].room_id, one.membership, one.sender)
                for one in found
                if one.room_nid in named
            ],
        }
