"""The state of a room, as one user may see it.

Who is joined sees the current state, who left sees the state of that moment, and anybody sees the
current state of a world-readable room.
"""

from collections.abc import Iterable

import orjson
from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import forbidden, not_found
from synapse_lite.handlers.auth import Requester
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.handlers.rendering import render, render_all
from synapse_lite.handlers.rooms import Rooms, not_in_room
from synapse_lite.handlers.tokens import read_token
from synapse_lite.matrix.event import Event, redacted
from synapse_lite.matrix.visibility import may_see
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage.branches import Room
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import View

VISIBILITY = ("m.room.history_visibility", "")
MEMBER = "m.room.member"


@frozen
class MemberQuery:
    """Which members: at a sync token, with or without some membership."""

    at: str | None = None
    membership: str | None = None
    not_membership: str | None = None

    def wants(self, event: Event) -> bool:
        return self.membership in {None, event.membership} and self.not_membership != event.membership


@frozen
class _Viewpoint:
    """A snapshot; whether the viewer is or was joined; the event at which they left, when they did."""

    snapshot_nid: int
    was_joined: bool
    left_nid: int | None = None


class RoomState:
    """Raises 403 `M_FORBIDDEN` for rooms that the requester may not look into, and for unknown ones."""

    def __init__(self, database: Database, rooms: Rooms, current: CurrentState, clock: Clock) -> None:
        self._database = database
        self._rooms = rooms
        self._current = current
        self._clock = clock

    async def all(self, requester: Requester, room_id: str) -> list[orjson.Fragment]:
        room = await self._rooms.require(room_id, requester.user_id)
        views = await self._database.read(self._read_all, room, requester.user_id)
        return self._render(views, requester)

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

    async def members(self, requester: Requester, room_id: str, query: MemberQuery) -> list[orjson.Fragment]:
        """Member events. 400 `M_INVALID_PARAM` when `query.at` is no sync token."""
        room = await self._rooms.require(room_id, requester.user_id)
        views = await self._database.read(self._read_members, room, requester.user_id, query)
        return self._render(views, requester)

    async def joined_members(self, requester: Requester, room_id: str) -> JsonObject:
        """Display name and avatar (null when not set) by user id; for those who are joined only."""
        room = await self._rooms.require(room_id, requester.user_id)
        views = await self._database.read(self._read_joined, room, requester.user_id)
        return {str(event.state_key): _profile(event.content) for event in map(_event, views)}

    async def _view(self, requester: Requester, room_id: str, event_type: str, state_key: str) -> View:
        room = await self._rooms.require(room_id, requester.user_id)
        view = await self._database.read(self._read_one, room, requester.user_id, (event_type, state_key))
        if view is None:
            raise not_found("Event not found.")
        return view

    def _render(self, views: Iterable[View], requester: Requester) -> list[orjson.Fragment]:
        return render_all(views, session=requester.session, now_ms=self._clock.now_ms())

    # In a database thread

    def _read_all(self, txn: Transaction, room: Room, user_id: str) -> list[View]:
        viewpoint = self._viewpoint(txn, room, user_id)
        nids = self._current.state.whole(txn, viewpoint.snapshot_nid)
        return self._current.events.views(txn, list(nids.values()))

    def _read_one(self, txn: Transaction, room: Room, user_id: str, key: tuple[str, str]) -> View | None:
        viewpoint = self._viewpoint(txn, room, user_id)
        nids = self._current.state.at(txn, viewpoint.snapshot_nid, [key])
        views = self._current.events.views(txn, list(nids.values()))
        return views[0] if views else None

    def _read_members(self, txn: Transaction, room: Room, user_id: str, query: MemberQuery) -> list[View]:
        viewpoint = self._viewpoint(txn, room, user_id)
        snapshot_nid = viewpoint.snapshot_nid
        if query.at is not None:
            snapshot_nid = self._snapshot_at(txn, room, user_id, viewpoint, query.at)
        whole = self._current.state.whole(txn, snapshot_nid)
        events = self._current.events.load(txn, [nid for (kind, _), nid in whole.items() if kind == MEMBER])
        wanted = [nid for nid, stored in events.items() if query.wants(stored.event)]
        return self._current.events.views(txn, wanted)

    def _read_joined(self, txn: Transaction, room: Room, user_id: str) -> list[View]:
        members = room_store.members(txn, room.nid, ["join"])
        if all(member.user_id != user_id for member in members):
            raise not_in_room(user_id, room.room_id)
        return self._current.events.views(txn, [member.event_nid for member in members])

    def _viewpoint(self, txn: Transaction, room: Room, user_id: str) -> _Viewpoint:
        member = room_store.membership_in(txn, room.nid, user_id)
        if member is not None and member.membership == "join":
            return _Viewpoint(room_store.head_snapshot(txn, room.nid), was_joined=True)
        if member is not None and not member.forgotten:
            departure = room_store.departure(txn, member.event_nid)
            if departure is not None:
                return _Viewpoint(departure.after_nid, was_joined=True, left_nid=departure.event_nid)
        visibility = self._current.read(txn, room.nid, [VISIBILITY]).get(VISIBILITY)
        if visibility is not None and visibility.content.get("history_visibility") == "world_readable":
            return _Viewpoint(room_store.head_snapshot(txn, room.nid), was_joined=False)
        raise forbidden(f"User {user_id} not in room {room.room_id}, and room previews are disabled")

    def _snapshot_at(
        self, txn: Transaction, room: Room, user_id: str, viewpoint: _Viewpoint, token: str
    ) -> int:
        position = read_token(token)
        snapshot_nid = room_store.snapshot_at(txn, room.nid, position, viewpoint.left_nid)
        if snapshot_nid is None or not self._may_see(txn, snapshot_nid, user_id, viewpoint):
            raise forbidden(
                f"User {user_id} not allowed to view events in room {room.room_id} at token {token}"
            )
        return snapshot_nid

    def _may_see(self, txn: Transaction, snapshot_nid: int, user_id: str, viewpoint: _Viewpoint) -> bool:
        """Whether the viewer may see what happened at the snapshot."""
        member = (MEMBER, user_id)
        nids = self._current.state.at(txn, snapshot_nid, [VISIBILITY, member])
        events = self._current.events.load(txn, list(nids.values()))
        state = {key: events[nid].event for key, nid in nids.items()}
        visibility = state[VISIBILITY].content.get("history_visibility") if VISIBILITY in state else None
        membership = state[member].membership if member in state else None
        known = visibility if isinstance(visibility, str) else None
        return may_see(known, membership, viewpoint.was_joined)


def _event(view: View) -> Event:
    return view.stored.event if view.redaction is None else redacted(view.stored.event)


def _profile(content: JsonObject) -> JsonObject:
    return {"display_name": content.get("displayname"), "avatar_url": content.get("avatar_url")}
