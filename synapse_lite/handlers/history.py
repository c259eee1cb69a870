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
        room, viewer, now = self._look_into(txn, room_id, user_id)
        last = viewer.end(now)
        if start is None:
            start = last if backwards else 0
        after, upto = (stop, start) if backwards else (start, stop)
        span = (room.nid, after or 0, last if upto is None else min(upto, last))
        nids, end = self._visible(txn, viewer, span, selection, backwards=backwards)
        members = self._senders(txn, nids[::-1] if backwards else nids) if selection.lazy_load_members else []
        views, state = self._events.views_of_each(txn, nids, members)
        return Page(views, state, start, end)

    def _context(
        self, txn: Transaction, room_id: str, user_id: str, event_id: str, selection: EventFilter
    ) -> Context:
        room, viewer, now = self._look_into(txn, room_id, user_id)
        nid, position = self._visible_event(txn, viewer, room, event_id)
        last = viewer.end(now)
        half = evolve(selection, limit=selection.limit // 2)
        before, start = self._visible(txn, viewer, (room.nid, 0, position - 1), half, backwards=True)
        rest = evolve(selection, limit=selection.limit - len(before))
        after, end = self._visible(txn, viewer, (room.nid, position, last), rest, backwards=False)
        state = self._state_after(txn, [*before, nid, *after], selection)
        views = self._events.views_of_each(txn, [nid], before, after, state)
        return Context(views[0][0], views[1], views[2], views[3], start or 0, last if end is None else end)

    def _one(self, txn: Transaction, room_id: str, user_id: str, event_id: str) -> View:
        try:
            room, viewer, _ = self._look_into(txn, room_id, user_id)
        except MatrixError:
            raise not_found("Event not found.") from None
        nid, _ = self._visible_event(txn, viewer, room, event_id)
        return self._events.views(txn, [nid])[0]

    def _look_into(self, txn: Transaction, room_id: str, user_id: str) -> tuple[Room, Viewer, int]:
        """The room, the user's view of it, and the last position of the stream.

        403 `M_FORBIDDEN` for a room that the user may not look into.
        """
        standing = rooms.standing(txn, room_id, user_id)
        viewer = self._visibility.viewer(txn, standing, user_id)
        assert standing is not None  # noqa: S101 (`viewer` refuses unknown rooms)
        return standing.room, viewer, standing.now

    def _visible_event(self, txn: Transaction, viewer: Viewer, room: Room, event_id: str) -> tuple[int, int]:
        """The event's nid and position; 404 `M_NOT_FOUND` when the viewer may not see it."""
        stored = self._events.in_room(txn, room.room_id, event_id)
        position = timeline.positions_of(txn, [stored.nid]).get(stored.nid)
        if position is None or not self._visibility.only_visible(txn, viewer, [(position, stored.nid)]):
            raise not_found("Event not found.")
        return stored.nid, position

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

    def _senders(self, txn: Transaction, shown: Sequence[int]) -> list[int]:
        """The member events, after the last of the events shown, of who sent them."""
        events = self._events.load(txn, shown)
        newest = next((events[nid] for nid in reversed(shown) if nid in events), None)
        if newest is None:
            return []
        keys = {(MEMBER, stored.event.sender) for stored in events.values()}
        return list(self._state.at(txn, newest.after_nid, keys).values())

    def _state_after(self, txn: Transaction, shown: Sequence[int], selection: EventFilter) -> list[int]:
        """The state after the last event; where members are loaded lazily, of them only who sent what is shown."""
        events = self._events.load(txn, shown)
        senders = {stored.event.sender for stored in events.values()}
        return [
            nid
            for (kind, key), nid in self._state.whole(txn, events[shown[-1]].after_nid).items()
            if kind != MEMBER or key in senders or not selection.lazy_load_members
        ]


def _beyond(entry: Entry, span: Span, backwards: bool) -> Span:
    """What of the span comes after the entry, in the direction asked."""
    room_nid, after, upto = span
    return (room_nid, after, entry[0] - 1) if backwards else (room_nid, entry[0], upto)
