"""Reading the past of a room: pages, one event, the events around it."""

from collections.abc import Sequence

import orjson
from attrs import evolve, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError, not_found
from synapse_lite.handlers.auth import Requester
from synapse_lite.handlers.filters import EventFilter
from synapse_lite.handlers.rendering import render, render_all
from synapse_lite.handlers.tokens import write_token
from synapse_lite.handlers.visibility import Viewer, Visibility
from synapse_lite.storage import rooms, timeline
from synapse_lite.storage.branches import Room
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore, View
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.stream import read_position
from synapse_lite.storage.timeline import Entry, Span

MAX_LIMIT = 1000
HIDDEN_PAGE = 100  # how many events are read at once when some are hidden,
MAX_HIDDEN_PAGES = 10  # and how often, before the client is told to go on from there
MEMBER = "m.room.member"


@frozen
class Page:
    """`end` is where the next page begins; None when there is none."""

    views: Sequence[View]
    state: Sequence[View]
    start: int
    end: int | None


@frozen
class Context:
    """An event, those before it (newest first), those after it, and the state after the last one."""

    event: View
    before: Sequence[View]
    after: Sequence[View]
    state: Sequence[View]
    start: int
    end: int


class HistoryHandler:
    """GET /messages, /context and /event."""

    def __init__(
        self, database: Database, events: EventStore, state: StateStore, visibility: Visibility, clock: Clock
    ) -> None:
        self._database = database
        self._events = events
        self._state = state
        self._visibility = visibility
        self._clock = clock

    async def messages(
        self, requester: Requester, room_id: str, start: int | None, stop: int | None, *, backwards: bool,
        selection: EventFilter,
    ) -> JsonObject:  # fmt: skip
        """A page of at most `selection.limit` events (client-server API, "GET …/messages")."""
        page = await self._database.snapshot(
            self._page, room_id, requester.user_id, start, stop, backwards, selection
        )
        answer: JsonObject = {
            "chunk": self._render(requester, page.views),
            "start": write_token(page.start),
        }
        if page.end is not None:
            answer["end"] = write_token(page.end)
        if page.state:
            answer["state"] = self._render(requester, page.state)
        return answer

    async def event(self, requester: Requester, room_id: str, event_id: str) -> bytes:
        """One event, encoded; 404 `M_NOT_FOUND` when there is none, or the requester may not see it."""
        view = await self._database.snapshot(self._one, room_id, requester.user_id, event_id)
        return orjson.dumps(render(view, session=requester.session, now_ms=self._clock.now_ms()))

    async def context(
        self, requester: Requester, room_id: str, event_id: str, selection: EventFilter
    ) -> JsonObject:
        context = await self._database.snapshot(
            self._context, room_id, requester.user_id, event_id, selection
        )
        return {
            "event": render(context.event, session=requester.session, now_ms=self._clock.now_ms()),
            "events_before": self._render(requester, context.before),
            "events_after": self._render(requester, context.after),
            "state": self._render(requester, context.state),
            "start": write_token(context.start),
            "end": write_token(context.end),
        }

    def _render(self, requester: Requester, views: Sequence[View]) -> list[object]:
        return [*render_all(views, session=requester.session, now_ms=self._clock.now_ms())]

    # In a database thread

    def _page(
        self, txn: Transaction, room_id: str, user_id: str, start: int | None, stop: int | None, backwards: bool,
        selection: EventFilter,
    ) -> Page:  # fmt: skip
        room, viewer = self._look_into(txn, room_id, user_id)
        last = viewer.end(read_position(txn))
        if start is None:
            start = last if backwards else 0
        after, upto = (stop, start) if backwards else (start, stop)
        span = (room.nid, after or 0, last if upto is None else min(upto, last))
        nids, end = self._visible(txn, viewer, span, selection, backwards=backwards)
        views = self._events.views(txn, nids)
        lazy = selection.lazy_load_members and views
        state = self._senders(txn, views[0] if backwards else views[-1], views) if lazy else []
        return Page(views, state, start, end)

    def _context(
        self, txn: Transaction, room_id: str, user_id: str, event_id: str, selection: EventFilter
    ) -> Context:
        room, viewer = self._look_into(txn, room_id, user_id)
        view, position = self._visible_event(txn, viewer, room, event_id)
        last = viewer.end(read_position(txn))
        half = evolve(selection, limit=selection.limit // 2)
        nids, start = self._visible(txn, viewer, (room.nid, 0, position - 1), half, backwards=True)
        before = self._events.views(txn, nids)
        rest = evolve(selection, limit=selection.limit - len(before))
        nids, end = self._visible(txn, viewer, (room.nid, position, last), rest, backwards=False)
        after = self._events.views(txn, nids)
        shown = [*before, view, *after]
        state = self._state_after(txn, after[-1] if after else view, shown, selection)
        return Context(view, before, after, state, start or 0, last if end is None else end)

    def _one(self, txn: Transaction, room_id: str, user_id: str, event_id: str) -> View:
        try:
            room, viewer = self._look_into(txn, room_id, user_id)
        except MatrixError:
            raise not_found("Event not found.") from None
        return self._visible_event(txn, viewer, room, event_id)[0]

    def _look_into(self, txn: Transaction, room_id: str, user_id: str) -> tuple[Room, Viewer]:
        """403 `M_FORBIDDEN` for a room that the user may not look into."""
        room = rooms.room_by_id(txn, room_id)
        viewer = self._visibility.viewer(txn, room, user_id)
        assert room is not None  # noqa: S101 (`viewer` refuses unknown rooms)
        return room, viewer

    def _visible_event(self, txn: Transaction, viewer: Viewer, room: Room, event_id: str) -> tuple[View, int]:
        """The event and its position; 404 `M_NOT_FOUND` when the viewer may not see it."""
        stored = self._events.in_room(txn, room.room_id, event_id)
        position = timeline.positions_of(txn, [stored.nid]).get(stored.nid)
        if position is None or not self._visibility.only_visible(txn, viewer, [(position, stored.nid)]):
            raise not_found("Event not found.")
        return self._events.views(txn, [stored.nid])[0], position

    def _visible(
        self, txn: Transaction, viewer: Viewer, span: Span, selection: EventFilter, *, backwards: bool
    ) -> tuple[list[int], int | None]:
        """Up to `selection.limit` events of the span that the viewer may see, in the direction asked.

        And where to read on: None when there are no more. One event more than asked tells that; where
        some are hidden, more is read, but not for ever.
        """
        limit = selection.limit
        found: list[Entry] = []
        rest = span
        for size in (limit + 1, *[HIDDEN_PAGE] * MAX_HIDDEN_PAGES):
            entries = timeline.page(txn, rest, size, selection, backwards=backwards)
            found += self._visibility.only_visible(txn, viewer, entries)
            if len(entries) < size and len(found) <= limit:
                return [nid for _, nid in found], None
            rest = _beyond(entries[-1], span, backwards)
            if len(found) >= limit:
                break
        if len(found) > limit:
            rest = _beyond(found[limit - 1], span, backwards) if limit else span
        _, after, upto = rest
        return [nid for _, nid in found[:limit]], upto if backwards else after

    def _senders(self, txn: Transaction, newest: View, shown: Sequence[View]) -> list[View]:
        """The member events, after the newest event, of who sent those shown."""
        keys = {(MEMBER, view.stored.event.sender) for view in shown}
        return self._events.views(txn, list(self._state.at(txn, newest.stored.after_nid, keys).values()))

    def _state_after(
        self, txn: Transaction, newest: View, shown: Sequence[View], selection: EventFilter
    ) -> list[View]:
        """The state after the newest event; where members are loaded lazily, of them only who sent what is shown."""
        senders = {view.stored.event.sender for view in shown}
        nids = [
            nid
            for (kind, key), nid in self._state.whole(txn, newest.stored.after_nid).items()
            if kind != MEMBER or key in senders or not selection.lazy_load_members
        ]
        return self._events.views(txn, nids)


def _beyond(entry: Entry, span: Span, backwards: bool) -> Span:
    """What of the span comes after the entry, in the direction asked."""
    room_nid, after, upto = span
    return (room_nid, after, entry[0] - 1) if backwards else (room_nid, entry[0], upto)
