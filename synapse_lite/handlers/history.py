"""Reading the past of a room: pages, one event, the events around it."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Protocol

import orjson
from attrs import evolve

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError, not_found
from synapse_lite.handlers.aggregations import Reader, with_aggregations
from synapse_lite.handlers.filters import EventFilter
from synapse_lite.handlers.history_values import Asked, Context, Page, above, beyond, end_of
from synapse_lite.handlers.missing_history import Filled
from synapse_lite.handlers.remembered_history import RememberedHistory
from synapse_lite.handlers.rendering import render, render_all, render_old
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.tokens import PageToken, in_room, write_token
from synapse_lite.handlers.visibility import Viewer, Visibility
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.types import MEMBER
from synapse_lite.storage import rooms, timeline
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore, View
from synapse_lite.storage.memory_only import NotInMemoryError, memory_only
from synapse_lite.storage.room_gaps import has_gap
from synapse_lite.storage.room_pages import RoomPage, read_page
from synapse_lite.storage.rooms import Room, RoomAccess
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.stream import END, START, Place
from synapse_lite.storage.timeline import Entry, Moment, Span

MAX_LIMIT = 1000
HIDDEN_PAGE = 100  # how many events are read at once when some are hidden,
PAGE_BYTES = 4 * 1024 * 1024
"""A page has no more than so much of events, however few that are."""
FEW = PAGE_BYTES // 2 // 65536  # events of at most 64 KiB, of which no page has too much
MAX_FILLS = 3
"""How often more history is fetched for one page."""
MAX_HIDDEN_PAGES = 10  # and how often, before the client is told to go on from there


class Missing(Protocol):
    """Brings in history that other servers have."""

    async def fill(self, room_id: str, low: Place, high: Place) -> Filled: ...


class Ignored(Protocol):
    """Whom a reader does not want to hear of."""

    async def of(self, user_id: str, /) -> frozenset[str]: ...


class HistoryHandler:
    """GET /messages, /context and /event."""

    def __init__(
        self,
        database: Database,
        events: EventStore,
        state: StateStore,
        visibility: Visibility,
        ignored: Ignored,
        missing: Missing,
        remembered: RememberedHistory,
        clock: Clock,
        *,
        in_old_form: bool = False,
    ) -> None:
        """`in_old_form`: events are shown as `render_old` does."""
        self._in_old_form = in_old_form
        self._database = database
        self._events = events
        self._state = state
        self._visibility = visibility
        self._ignored = ignored
        self._missing = missing
        self._remembered = remembered
        self._clock = clock

    async def messages(
        self, requester: Requester, room_id: str, start: PageToken, stop: PageToken, *, backwards: bool,
        selection: EventFilter,
    ) -> JsonObject:  # fmt: skip
        """A page of at most `selection.limit` events (client-server API, "GET …/messages")."""
        selection = await self._without_ignored(requester, selection)
        first, last = [await in_room(self._database, room_id, token) for token in (start, stop)]
        asked = Asked(room_id, requester.user_id, first, last, backwards, selection)
        page = self._recall(asked) or await self._read(asked)
        for _ in range(MAX_FILLS):
            if not page.lacks_some:
                break
            if await self._missing.fill(room_id, above(page.end), page.start) is Filled.NONE:
                page = evolve(page, end=page.end or page.last)
                break
            page = await self._read(asked)
        answer: JsonObject = {
            "chunk": self._render(requester, page.views, raw=selection.raw),
            "start": write_token(page.start),
        }
        if page.end is not None:
            answer["end"] = write_token(page.end)
        if page.state:
            answer["state"] = self._render(requester, page.state, raw=selection.raw)
        return answer

    async def event(self, requester: Requester, room_id: str, event_id: str) -> bytes:
        """One event, encoded; 404 `M_NOT_FOUND` when there is none, or the requester may not see it."""
        view = await self._database.snapshot(self._one, room_id, requester.user_id, event_id)
        return orjson.dumps(render(view, session=requester.session, now_ms=self._clock.now_ms()))

    async def event_of_any_room(self, requester: Requester, event_id: str) -> bytes:
        """As `event`, of whatever room."""
        room_id = await self._database.read(self._room_of, event_id)
        if room_id is None:
            raise not_found("Event not found.")
        return await self.event(requester, room_id, event_id)

    async def context(
        self, requester: Requester, room_id: str, event_id: str, selection: EventFilter
    ) -> JsonObject:
        selection = await self._without_ignored(requester, selection)
        read = partial(
            self._context, room_id=room_id, user_id=requester.user_id, event_id=event_id, selection=selection
        )
        context = await self._database.snapshot(read)
        low = START if context.start == START else above(context.start)
        if context.lacks_some and await self._missing.fill(room_id, low, context.end) is Filled.SOME:
            context = await self._database.snapshot(read)
        (event,) = self._render(requester, [context.event], raw=selection.raw)
        return {
            "event": event,
            "events_before": self._render(requester, context.before, raw=selection.raw),
            "events_after": self._render(requester, context.after, raw=selection.raw),
            "state": self._render(requester, context.state, raw=selection.raw),
            "start": write_token(context.start),
            "end": write_token(context.end),
        }

    async def near(self, requester: Requester, room_id: str, ts: int, *, backwards: bool) -> JsonObject:
        """The first event sent at `ts` (ms) or later, backwards the last one until then. What is missing around that
        time is asked for at other servers, as far as a few answers reach.

        404 `M_NOT_FOUND` when there is none that the requester may see.
        """
        read = partial(self._near, room_id=room_id, user_id=requester.user_id, ts=ts, backwards=backwards)
        event, hole = await self._database.snapshot(read)
        for _ in range(MAX_FILLS):
            if hole is None or await self._missing.fill(room_id, *hole) is not Filled.SOME:
                break
            event, hole = await self._database.snapshot(read)
        if event is None:
            raise not_found(f"Unable to find event from {ts} in direction {'b' if backwards else 'f'}")
        return {"event_id": event.event_id, "origin_server_ts": event.origin_server_ts}

    def _recall(self, asked: Asked) -> Page | None:
        """The page from memory; None when the database has to be asked."""
        known = self._remembered.find(asked)
        try:
            return None if known is None else self._shown(memory_only(), asked, known)
        except NotInMemoryError:
            return None

    async def _read(self, asked: Asked) -> Page:
        position = self._remembered.position
        read, page = await self._database.snapshot(self._page, asked)
        self._remembered.keep(asked, read, position)
        return page

    async def _without_ignored(self, requester: Requester, selection: EventFilter) -> EventFilter:
        ignored = await self._ignored.of(requester.user_id)
        return evolve(selection, ignored=ignored) if ignored else selection

    def _render(self, requester: Requester, views: Sequence[View], *, raw: bool) -> list[object]:
        now_ms = self._clock.now_ms()
        if self._in_old_form and not raw:
            return [render_old(view, now_ms=now_ms) for view in views]
        return [*render_all(views, session=requester.session, now_ms=now_ms, raw=raw)]

    # In a database thread

    def _page(self, txn: Transaction, asked: Asked) -> tuple[RoomPage, Page]:
        """With what was read of the room."""
        read = read_page(txn, asked.room_id, asked.user_id, asked.after, asked.upto, asked.selection.limit + 1,
                         asked.selection, backwards=asked.backwards)  # fmt: skip
        page = self._shown(txn, asked, read)
        assert read is not None  # noqa: S101 (there is access)
        return read, page

    def _shown(self, txn: Transaction, asked: Asked, read: RoomPage | None) -> Page:
        """What of that the reader gets to see."""
        start, selection, backwards = asked.start, asked.selection, asked.backwards
        access, viewer, now = self._admit(txn, None if read is None else read.access, asked.user_id)
        assert read is not None  # noqa: S101 (there is access)
        room, last = access.room, viewer.end(now)
        if start is None:
            start = last if backwards else START
        if not selection.takes_room(asked.room_id):
            return Page((), (), start, None, start)
        span = (room.nid, asked.after, min(asked.upto, last))
        concerns_all = read.newest is None or read.newest[0] <= last
        entries, end = self._visible(
            txn, viewer, span, selection, backwards=backwards, read=read.entries if concerns_all else None
        )
        fitting = self._fitting(txn, entries, PAGE_BYTES)
        if fitting < len(entries):
            rest = beyond(entries[fitting - 1], span, backwards=backwards)
            entries, end = entries[:fitting], end_of(rest, backwards=backwards)
        members = self._senders(txn, viewer, entries) if selection.lazy_load_members else []
        views, state = self._events.views_of_each(txn, [nid for _, nid in entries], members, read.marks)
        seen = self._as_seen(txn, viewer, room, entries, views, selection.ignored)
        last = entries[-1][0].before if entries else start
        lacks_some = backwards and access.has_gaps and has_gap(txn, room.nid, above(end), start)
        return Page(seen, state, start, end, last, lacks_some)

    def _context(
        self, txn: Transaction, room_id: str, user_id: str, event_id: str, selection: EventFilter
    ) -> Context:
        access, viewer, now = self._look_into(txn, room_id, user_id)
        room = access.room
        entry = self._visible_event(txn, viewer, room, event_id)
        place, last = entry[0], viewer.end(now)
        if not selection.takes_room(room_id):
            selection = evolve(selection, limit=0)
        half = evolve(selection, limit=selection.limit // 2)
        before, start = self._visible(txn, viewer, (room.nid, START, place.before), half, backwards=True)
        rest = evolve(selection, limit=selection.limit - len(before))
        after, end = self._visible(txn, viewer, (room.nid, place, last), rest, backwards=False)
        fitting = self._fitting(txn, before, PAGE_BYTES // 2)
        if fitting < len(before):
            before, start = before[:fitting], before[fitting - 1][0].before
        fitting = self._fitting(txn, after, PAGE_BYTES // 2)
        if fitting < len(after):
            after, end = after[:fitting], after[fitting - 1][0]
        state = self._state_after(txn, viewer, [*before[::-1], entry, *after], selection)
        shown = [entry, *before, *after]
        views, around = self._events.views_of_each(txn, [nid for _, nid in shown], state)
        seen = self._as_seen(txn, viewer, room, shown, views, selection.ignored)
        earlier, later = seen[1 : 1 + len(before)], seen[1 + len(before) :]
        around = [view for view in around if selection.takes_in(room_id, view.stored.event)]
        end = last if end is None else end
        lacks_some = access.has_gaps and has_gap(txn, room.nid, above(start), end)
        return Context(seen[0], earlier, later, around, start or START, end, lacks_some)

    def _room_of(self, txn: Transaction, event_id: str) -> str | None:
        stored = self._events.by_ids(txn, [event_id]).get(event_id)
        return None if stored is None else stored.event.room_id

    def _one(self, txn: Transaction, room_id: str, user_id: str, event_id: str) -> View:
        try:
            access, viewer, _ = self._look_into(txn, room_id, user_id)
        except MatrixError:
            raise not_found("Event not found.") from None
        entry = self._visible_event(txn, viewer, access.room, event_id)
        return self._as_seen(
            txn, viewer, access.room, [entry], self._events.views(txn, [entry[1]], as_parents=True)
        )[0]

    def _near(
        self, txn: Transaction, room_id: str, user_id: str, ts: int, backwards: bool
    ) -> tuple[Event | None, tuple[Place, Place] | None]:
        """The event, and the stretch of the history around that time if something in it is missing."""
        access, viewer, now = self._look_into(txn, room_id, user_id)
        moment = Moment(ts, END if backwards else 0)
        hole = self._hole_at(txn, access.room, moment, now) if access.has_gaps else None
        for size in (1, *[HIDDEN_PAGE] * MAX_HIDDEN_PAGES):
            found = timeline.page_by_time(txn, access.room.nid, moment, size, backwards=backwards)
            entries = [(place, one.event_nid) for one, place in found]
            seen = {nid for _, nid in self._visibility.only_visible(txn, viewer, entries)}
            first = next((one.event_nid for one, _ in found if one.event_nid in seen), None)
            if first is not None:
                return self._events.load(txn, [first])[first].event, hole
            if len(found) < size:
                break
            moment = found[-1][0]
        return None, hole

    def _hole_at(
        self, txn: Transaction, room: Room, moment: Moment, now: Place
    ) -> tuple[Place, Place] | None:
        """From the last event before the moment to the first one after it, unless nothing is missing there."""
        before = timeline.page_by_time(txn, room.nid, moment, 1, backwards=True)
        after = timeline.page_by_time(txn, room.nid, moment, 1, backwards=False)
        low, high = before[0][1] if before else START, after[0][1] if after else now
        return (low, high) if has_gap(txn, room.nid, low, high) else None

    def _as_seen(
        self, txn: Transaction, viewer: Viewer, room: Room, entries: Sequence[Entry], views: Sequence[View],
        ignored: Collection[str] = (),
    ) -> list[View]:  # fmt: skip
        """The views as the viewer may read them, with what relates to them."""
        seen = self._visibility.as_seen(txn, {room.nid: viewer}, entries, views)
        reader = Reader(viewer.user_id, {room.nid: viewer}, ignored)
        return with_aggregations(txn, self._events, self._visibility, seen, reader)

    def _look_into(self, txn: Transaction, room_id: str, user_id: str) -> tuple[RoomAccess, Viewer, Place]:
        """The room, the user's view of it, and the last position of the stream.

        403 `M_FORBIDDEN` for a room that the user may not look into.
        """
        return self._admit(txn, rooms.room_access(txn, room_id, user_id), user_id)

    def _admit(
        self, txn: Transaction, access: RoomAccess | None, user_id: str
    ) -> tuple[RoomAccess, Viewer, Place]:
        viewer = self._visibility.viewer(txn, access, user_id)
        assert access is not None  # noqa: S101 (`viewer` refuses unknown rooms)
        return access, viewer, Place(access.now)

    def _visible_event(self, txn: Transaction, viewer: Viewer, room: Room, event_id: str) -> Entry:
        """404 `M_NOT_FOUND` when the viewer may not see it, or a purge of the history took it."""
        stored = self._events.in_room(txn, room.room_id, event_id)
        place = timeline.shown_place(txn, stored.nid)
        if place is None or not self._visibility.only_visible(txn, viewer, [(place, stored.nid)]):
            raise not_found("Event not found.")
        return place, stored.nid

    def _visible(
        self, txn: Transaction, viewer: Viewer, span: Span, selection: EventFilter, *, backwards: bool,
        read: Sequence[Entry] | None = None,
    ) -> tuple[list[Entry], Place | None]:  # fmt: skip
        """Up to `selection.limit` events of the span that the viewer may see, in the direction asked; `read` are the
        first ones of all, and one more, where they are known.

        And where to read on: None when there are no more. One event more than asked tells that; where
        some are hidden, more is read, but not for ever.
        """
        limit = selection.limit
        found: list[Entry] = []
        rest = span
        for size in (limit + 1, *[HIDDEN_PAGE] * MAX_HIDDEN_PAGES):
            if read is None:
                entries = timeline.page(txn, rest, size, selection, backwards=backwards)
            else:
                entries, read = [*read], None
            found += self._visibility.only_visible(txn, viewer, entries)
            if len(entries) < size and len(found) <= limit:
                return found, None
            rest = beyond(entries[-1], span, backwards=backwards)
            if len(found) >= limit:
                break
        if len(found) > limit:
            rest = beyond(found[limit - 1], span, backwards=backwards) if limit else span
        return found[:limit], end_of(rest, backwards=backwards)

    def _fitting(self, txn: Transaction, entries: Sequence[Entry], most: int) -> int:
        """How many of the entries are shown for the bytes that they have."""
        if len(entries) <= FEW:
            return len(entries)
        return self._events.within_bytes(txn, [nid for _, nid in entries], most)

    def _senders(self, txn: Transaction, viewer: Viewer, entries: Sequence[Entry]) -> list[int]:
        """The member events, after the last of the events shown, of who sent them."""
        if not entries:
            return []
        events = self._events.load(txn, [nid for _, nid in entries])
        keys = {(MEMBER, stored.event.sender) for stored in events.values()}
        snapshot = self._visibility.state_at(txn, viewer, max(entries))
        return list(self._state.at(txn, snapshot, keys).values())

    def _state_after(
        self, txn: Transaction, viewer: Viewer, entries: Sequence[Entry], selection: EventFilter
    ) -> list[int]:
        """The state after the last event; where members are loaded lazily, of them only who sent what is shown."""
        events = self._events.load(txn, [nid for _, nid in entries])
        senders = {stored.event.sender for stored in events.values()}
        snapshot = self._visibility.state_at(txn, viewer, entries[-1])
        return [
            nid
            for (kind, key), nid in self._state.whole(txn, snapshot).items()
            if kind != MEMBER or key in senders or not selection.lazy_load_members
        ]
