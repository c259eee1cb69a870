"""The state of a room, as one user may see it.

Who is joined sees the current state, who left sees the state of that moment, and anybody sees the
current state of a world-readable room.
"""

from collections.abc import AsyncIterator, Iterable, Sequence

import orjson
from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import forbidden, not_found
from synapse_lite.federation.resync import TOPIC as WHOLE_ROOMS
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.handlers.rendering import render, render_all
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.rooms import Rooms, not_in_room
from synapse_lite.handlers.tokens import find_in_room, read_page_token
from synapse_lite.matrix.event import Event, redacted
from synapse_lite.matrix.types import MEMBER
from synapse_lite.matrix.visibility import HISTORY_VISIBILITY, may_see
from synapse_lite.replication.bus import Bus
from synapse_lite.replication.news import News
from synapse_lite.storage import last_leaves
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import View
from synapse_lite.storage.partial_rooms import is_partial
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.state import EMPTY

MEMBERS_SECONDS = 20.0
LOOK_SECONDS = 0.5
PAGE = 500  # events,
PAGE_BYTES = 1024 * 1024  # and bytes of them, that are in memory at once for one answer


@frozen
class MemberQuery:
    """Which members: at a sync token, with or without some membership."""

    at: str | None = None
    membership: str | None = None
    not_membership: str | None = None

    def wants(self, membership: str | None) -> bool:
        return self.membership in {None, membership} and self.not_membership != membership


@frozen
class _Viewpoint:
    """A snapshot; whether the viewer is or was joined; the event at which they left, when they did."""

    snapshot_nid: int
    was_joined: bool
    left_nid: int | None = None


class RoomState:
    """Raises 403 `M_FORBIDDEN` for rooms that the requester may not look into, and for unknown ones."""

    def __init__(
        self, database: Database, rooms: Rooms, current: CurrentState, bus: Bus, clock: Clock
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._current = current
        self._bus = bus
        self._clock = clock

    async def all(self, requester: Requester, room_id: str) -> AsyncIterator[list[orjson.Fragment]]:
        """In pages, none of which is too large for the memory."""
        room = await self._rooms.require(room_id, requester.user_id)
        nids = await self._database.read(self._find_all, room, requester.user_id)
        async for views in self._pages(nids):
            yield self._render(views, requester)

    async def content(
        self, requester: Requester, room_id: str, event_type: str, state_key: str
    ) -> JsonObject:
        """404 `M_NOT_FOUND` when there is no such state."""
        view = await self._view(requester, room_id, event_type, state_key)
        return _event(view).content

    async def event(
        self, requester: Requester, room_id: str, event_type: str, state_key: str
    ) -> orjson.Fragment:
        view = await self._view(requester, room_id, event_type, state_key)
        return render(view, session=requester.session, now_ms=self._clock.now_ms())

    async def members(
        self, requester: Requester, room_id: str, query: MemberQuery
    ) -> AsyncIterator[list[orjson.Fragment]]:
        """Member events, in pages as `all`. 400 `M_INVALID_PARAM` when `query.at` is no sync token."""
        room = await self._rooms.require(room_id, requester.user_id)
        await self._wait_for_members(room)
        nids = await self._database.read(self._find_members, room, requester.user_id, query)
        async for views in self._pages(nids):
            yield self._render(views, requester)

    async def joined_members(self, requester: Requester, room_id: str) -> AsyncIterator[JsonObject]:
        """Display name and avatar (null when not set) by user id, in pages as `all`; for those who are joined only."""
        room = await self._rooms.require(room_id, requester.user_id)
        await self._wait_for_members(room)
        nids = await self._database.read(self._find_joined, room, requester.user_id)
        async for views in self._pages(nids):
            yield {str(event.state_key): _profile(event.content) for event in map(_event, views)}

    async def _wait_for_members(self, room: Room) -> None:
        """Of a room that was entered without them; who has waited long enough is told those that are known."""
        deadline = self._clock.monotonic() + MEMBERS_SECONDS
        with News(self._bus, self._clock, WHOLE_ROOMS) as news:
            while await self._database.read(is_partial, room.nid) and self._clock.monotonic() < deadline:
                await news.wait(LOOK_SECONDS)

    async def _pages(self, nids: Sequence[int]) -> AsyncIterator[list[View]]:
        done = 0
        while done < len(nids):
            page = nids[done : done + PAGE]
            views, read = await self._database.read(self._read_page, page)
            done += read
            yield views

    async def _view(self, requester: Requester, room_id: str, event_type: str, state_key: str) -> View:
        room = await self._rooms.require(room_id, requester.user_id)
        view = await self._database.read(self._read_one, room, requester.user_id, (event_type, state_key))
        if view is None:
            raise not_found("Event not found.")
        return view

    def _render(self, views: Iterable[View], requester: Requester) -> list[orjson.Fragment]:
        return render_all(views, session=requester.session, now_ms=self._clock.now_ms())

    # In a database thread

    def _read_page(self, txn: Transaction, nids: Sequence[int]) -> tuple[list[View], int]:
        """The first of the events, and how many of the nids that were."""
        fitting = self._current.events.within_bytes(txn, nids, PAGE_BYTES)
        return self._current.events.views(txn, nids[:fitting]), fitting

    def _find_all(self, txn: Transaction, room: Room, user_id: str) -> list[int]:
        viewpoint = self._viewpoint(txn, room, user_id)
        return list(self._current.state.whole(txn, viewpoint.snapshot_nid).values())

    def _read_one(self, txn: Transaction, room: Room, user_id: str, key: tuple[str, str]) -> View | None:
        viewpoint = self._viewpoint(txn, room, user_id)
        nids = self._current.state.at(txn, viewpoint.snapshot_nid, [key])
        views = self._current.events.views(txn, list(nids.values()))
        return views[0] if views else None

    def _find_members(self, txn: Transaction, room: Room, user_id: str, query: MemberQuery) -> list[int]:
        viewpoint = self._viewpoint(txn, room, user_id)
        snapshot_nid = viewpoint.snapshot_nid
        if query.at is not None:
            snapshot_nid = self._snapshot_at(txn, room, user_id, viewpoint, query.at)
        whole = self._current.state.whole(txn, snapshot_nid)
        nids = [nid for (kind, _), nid in whole.items() if kind == MEMBER]
        if query.membership is None and query.not_membership is None:
            return nids
        memberships = self._current.events.memberships(txn, nids)
        return [nid for nid in nids if nid in memberships and query.wants(memberships[nid])]

    def _find_joined(self, txn: Transaction, room: Room, user_id: str) -> list[int]:
        members = room_store.members(txn, room.nid, ["join"])
        if all(member.user_id != user_id for member in members):
            raise not_in_room(user_id, room.room_id)
        return [member.event_nid for member in members]

    def _viewpoint(self, txn: Transaction, room: Room, user_id: str) -> _Viewpoint:
        member = room_store.membership_in(txn, room.nid, user_id)
        if member is not None and member.membership == "join":
            return _Viewpoint(room_store.head_snapshot(txn, room.nid), was_joined=True)
        if member is not None and not member.forgotten:
            departure = last_leaves.last_leave(txn, member.event_nid)
            if departure is not None:
                return _Viewpoint(departure.after_nid, was_joined=True, left_nid=departure.event_nid)
        if self._current.is_world_readable(txn, room.nid):
            return _Viewpoint(room_store.head_snapshot(txn, room.nid), was_joined=False)
        raise forbidden(f"User {user_id} not in room {room.room_id}, and room previews are disabled")

    def _snapshot_at(
        self, txn: Transaction, room: Room, user_id: str, viewpoint: _Viewpoint, token: str
    ) -> int:
        place = find_in_room(txn, room.room_id, read_page_token(token))
        if place is None:
            return viewpoint.snapshot_nid
        snapshot_nid = room_store.snapshot_at(txn, room.nid, place, viewpoint.left_nid)
        if snapshot_nid is None and viewpoint.was_joined:
            return EMPTY  # before the room began, as where a timeline that shows all of it starts
        if snapshot_nid is None or not self._may_see(txn, snapshot_nid, user_id, viewpoint):
            raise forbidden(
                f"User {user_id} not allowed to view events in room {room.room_id} at token {token}"
            )
        return snapshot_nid

    def _may_see(self, txn: Transaction, snapshot_nid: int, user_id: str, viewpoint: _Viewpoint) -> bool:
        """Whether the viewer may see what happened at the snapshot."""
        member = (MEMBER, user_id)
        nids = self._current.state.at(txn, snapshot_nid, [HISTORY_VISIBILITY, member])
        events = self._current.events.load(txn, list(nids.values()))
        state = {key: events[nid].event for key, nid in nids.items()}
        said = state.get(HISTORY_VISIBILITY)
        visibility = None if said is None else said.content.get("history_visibility")
        membership = state[member].membership if member in state else None
        known = visibility if isinstance(visibility, str) else None
        return may_see(known, membership, viewpoint.was_joined)


def _event(view: View) -> Event:
    return view.stored.event if view.redaction is None else redacted(view.stored.event)


def _profile(content: JsonObject) -> JsonObject:
    return {"display_name": content.get("displayname"), "avatar_url": content.get("avatar_url")}
