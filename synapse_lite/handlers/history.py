"""Reading the past of a room: pages, one event, the events around it."""

from collections.abc import Sequence

import orjson
from attrs import evolve, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import not_found
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

MAX_LIMIT = 1000
MAX_READS = 20  # how often a page whose events are all hidden is filled up


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
        view, _ = await self._database.snapshot(self._one, room_id, requester.user_id, event_id)
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

    def _page(
        self, txn: Transaction, room_id: str, user_id: str, start: int | None, stop: int | None, backwards: bool,
        selection: EventFilter,
    ) -> Page:  # fmt: skip
        room = rooms.room_by_id(txn, room_id)
        viewer = self._visibility.viewer(txn, room, user_id)
        assert room is not None  # noqa: S101 (`viewer` refuses unknown rooms)
        last = viewer.end(read_position(txn))
        if start is None:
            start = last if backwards else 0
        lower, upper = (stop or 0, min(start, last)) if backwards else (start, min(stop or last, last))
        entries, end = self._visible_entries(txn, room, viewer, lower, upper, backwards, selection)
        views = self._events.views(txn, [nid for _, nid in entries])
        if selection.contains_url is not None:
            views = [view for view in views if selection.takes(view.stored.event)]
        state = self._senders(txn, room, views) if selection.lazy_load_members else []
        return Page(views, state, start, end)

    def _visible_entries(
        self, txn: Transaction, room: Room, viewer: Viewer, lower: int, upper: int, backwards: bool,
        selection: EventFilter,
    ) -> tuple[list[timeline.Entry], int | None]:  # fmt: skip
        """Up to `limit` visible entries in the direction asked, and where to go on; hidden ones do not count."""
        found: list[timeline.Entry] = []
        for _ in range(MAX_READS):
            wanted = selection.limit - len(found)
            if backwards:
                entries = timeline.page_backwards(txn, room.nid, upper, lower, wanted, selection)
            else:
                entries = timeline.page_forwards(txn, room.nid, lower, upper, wanted, selection)
            found += self._visibility.only_visible(txn, viewer, entries)
            if len(entries) < wanted:
                return found, None
            if backwards:
                upper = entries[-1][0] - 1
            else:
                lower = entries[-1][0]
            if len(found) == selection.limit:
                break
        return found, upper if backwards else lower

    def _one(
        self, txn: Transaction, room_id: str, user_id: str, event_id: str
    ) -> tuple[View, timeline.Entry]:
        room = rooms.room_by_id(txn, room_id)
        viewer = self._visibility.viewer(txn, room, user_id)
        stored = self._events.in_room(txn, room_id, event_id)
        entry = (timeline.positions_of(txn, [stored.nid])[stored.nid], stored.nid)
        if not self._visibility.only_visible(txn, viewer, [entry]):
            raise not_found("Event not found.")
        return self._events.views(txn, [stored.nid])[0], entry

    def _context(
        self, txn: Transaction, room_id: str, user_id: str, event_id: str, selection: EventFilter
    ) -> Context:
        view, (position, _) = self._one(txn, room_id, user_id, event_id)
        room = Room(view.stored.room_nid, room_id, view.stored.event.version)
        viewer = self._visibility.viewer(txn, room, user_id)
        last = viewer.end(read_position(txn))
        half = evolve(selection, limit=selection.limit // 2)
        before, start = self._visible_entries(txn, room, viewer, 0, position - 1, True, half)
        rest = evolve(selection, limit=max(0, selection.limit - len(before)))
        after, end = self._visible_entries(txn, room, viewer, position, last, False, rest)
        views_before = self._events.views(txn, [nid for _, nid in before])
        views_after = self._events.views(txn, [nid for _, nid in after])
        newest = (views_after or [view])[-1]
        shown = [*views_before, view, *views_after]
        if selection.lazy_load_members:
            members = {("m.room.member", shown_view.stored.event.sender) for shown_view in shown}
            state = {
                key: nid
                for key, nid in self._state.whole(txn, newest.stored.after_nid).items()
                if key[0] != "m.room.member" or key in members
            }
        else:
            state = self._state.whole(txn, newest.stored.after_nid)
        return Context(
            view,
            views_before,
            views_after,
            self._events.views(txn, list(state.values())),
            0 if start is None else start,
            last if end is None else end,
        )

    def _senders(self, txn: Transaction, room: Room, views: Sequence[View]) -> list[View]:
        """The membership events of the senders."""
        keys = {("m.room.member", view.stored.event.sender) for view in views}
        current = self._state.current(txn, [(room.nid, key) for key in keys])
        return self._events.views(txn, list(current.values()))
