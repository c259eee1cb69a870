"""Reading what relates to an event, and the threads of a room."""

from collections.abc import Callable, Collection, Sequence

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError, not_found
from synapse_lite.handlers.aggregations import Reader, with_aggregations
from synapse_lite.handlers.ignored_users import IgnoredUsers
from synapse_lite.handlers.rendering import render_all
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.tokens import PageToken, in_room, write_token
from synapse_lite.handlers.visibility import Viewer, Visibility
from synapse_lite.storage import relations, rooms, timeline
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore, View
from synapse_lite.storage.relations import RelationFilter
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.stream import START, Place
from synapse_lite.storage.timeline import Entry

MAX_LIMIT = 100
MAX_DEPTH = 3
"""So many steps from the parent `recurse` goes."""
MAX_HIDDEN_PAGES = (
    10  # so often more is read when some are hidden, before the client is told to go on from there
)


@frozen
class PageRequest:
    """`start` and `stop` are tokens as those of `/messages`; None: where the history ends."""

    limit: int
    start: PageToken = None
    stop: PageToken = None
    backwards: bool = True


@frozen
class _Asked:
    """The same by places. `ignored`: users of whom nothing is shown."""

    limit: int
    start: Place | None
    stop: Place | None
    backwards: bool
    ignored: Collection[str]


@frozen
class _Page:
    views: Sequence[View]
    end: Place | None


Read = Callable[[Place, Place], list[Entry]]
"""Entries at positions after < position <= upto, in the order of the page."""


class RelationsHandler:
    """Of users whom the reader ignores nothing is shown, nor counted."""

    def __init__(
        self,
        database: Database,
        events: EventStore,
        visibility: Visibility,
        ignored: IgnoredUsers,
        clock: Clock,
    ) -> None:
        self._database = database
        self._ignored = ignored
        self._events = events
        self._visibility = visibility
        self._clock = clock

    async def children(
        self,
        requester: Requester,
        room_id: str,
        parent_id: str,
        page: PageRequest,
        *,
        rel_type: str | None = None,
        event_type: str | None = None,
        recurse: bool = False,
    ) -> JsonObject:
        """The events (of this type, by this type of relation) that relate to the parent; 404 `M_NOT_FOUND` when the requester may not see that one."""
        wanted = RelationFilter(rel_type, event_type)
        asked = await self._asked(requester, room_id, page)
        found = await self._database.snapshot(
            self._children, requester.user_id, room_id, parent_id, wanted, asked, MAX_DEPTH if recurse else 1
        )
        depth = {"recursion_depth": MAX_DEPTH} if recurse else {}
        previous = {} if asked.start is None else {"prev_batch": write_token(asked.start)}
        return {**self._answer(requester, found), **previous, **depth}

    async def threads(
        self, requester: Requester, room_id: str, page: PageRequest, *, participated: bool
    ) -> JsonObject:
        """The roots of threads, that of the newest event first. `participated`: those that the user takes part in."""
        asked = await self._asked(requester, room_id, page)
        found = await self._database.snapshot(self._threads, requester.user_id, room_id, asked, participated)
        return self._answer(requester, found)

    async def _asked(self, requester: Requester, room_id: str, page: PageRequest) -> _Asked:
        start, stop = [await in_room(self._database, room_id, one) for one in (page.start, page.stop)]
        return _Asked(page.limit, start, stop, page.backwards, await self._ignored.of(requester.user_id))

    def _answer(self, requester: Requester, page: _Page) -> JsonObject:
        now = self._clock.now_ms()
        answer: JsonObject = {"chunk": render_all(page.views, session=requester.session, now_ms=now)}
        if page.end is not None:
            answer["next_batch"] = write_token(page.end)
        return answer

    # In a database thread

    def _children(
        self, txn: Transaction, user_id: str, room_id: str, parent_id: str, wanted: RelationFilter,
        page: _Asked, depth: int,
    ) -> _Page:  # fmt: skip
        try:
            room, viewer, now = self._look_into(txn, room_id, user_id)
        except MatrixError:
            raise not_found("Event not found.") from None
        parent = self._events.in_room(txn, room_id, parent_id)
        place = timeline.places_of(txn, [parent.nid]).get(parent.nid)
        if place is None or not self._visibility.only_visible(txn, viewer, [(place, parent.nid)]):
            raise not_found("Event not found.")

        def read(after: Place, upto: Place) -> list[Entry]:
            span, limit = (after, upto), page.limit + 1
            return relations.children(
                txn, room.nid, parent_id, wanted, span, limit, depth=depth, backwards=page.backwards
            )

        return self._page(txn, viewer, page, viewer.end(now), read, {})

    def _threads(
        self, txn: Transaction, user_id: str, room_id: str, page: _Asked, participated: bool
    ) -> _Page:
        room, viewer, now = self._look_into(txn, room_id, user_id)
        roots: dict[int, Place] = {}

        def read(_after: Place, upto: Place) -> list[Entry]:
            found = relations.threads(txn, room.nid, user_id if participated else None, upto, page.limit + 1)
            roots.update(timeline.places_of(txn, [nid for _, nid in found]))
            return found

        return self._page(txn, viewer, page, viewer.end(now), read, roots)

    def _page(
        self, txn: Transaction, viewer: Viewer, page: _Asked, last: Place, read: Read, places: dict[int, Place]
    ) -> _Page:  # fmt: skip
        """What the viewer may see of what is read, and where to go on. `places`: those that decide instead
        of those read.
        """
        after, upto = (page.stop, page.start) if page.backwards else (page.start, page.stop)
        after, upto = after or START, last if upto is None else min(upto, last)
        found: list[Entry] = []
        is_more = True
        for _ in range(MAX_HIDDEN_PAGES):
            entries = read(after, upto)
            visible = self._visibility.only_visible(
                txn, viewer, [(places.get(nid, place), nid) for place, nid in entries]
            )
            senders = self._events.load(txn, [nid for _, nid in visible])
            seen = {nid for nid, one in senders.items() if one.event.sender not in page.ignored}
            found += [entry for entry in entries if entry[1] in seen]
            is_more = len(entries) > page.limit
            if not is_more or len(found) > page.limit:
                break
            after, upto = (after, entries[-1][0].before) if page.backwards else (entries[-1][0], upto)
        end = upto if page.backwards else after
        if len(found) > page.limit:
            last_shown = found[page.limit - 1][0]
            end = last_shown.before if page.backwards else last_shown
        entries_shown = [(places.get(nid, place), nid) for place, nid in found[: page.limit]]
        views = self._events.views(txn, [nid for _, nid in entries_shown], as_parents=True)
        viewers = dict.fromkeys((view.stored.room_nid for view in views), viewer)
        seen_views = self._visibility.as_seen(txn, viewers, entries_shown, views)
        reader = Reader(viewer.user_id, viewers, page.ignored)
        shown = with_aggregations(txn, self._events, self._visibility, seen_views, reader)
        return _Page(shown, end if is_more or len(found) > page.limit else None)

    def _look_into(self, txn: Transaction, room_id: str, user_id: str) -> tuple[Room, Viewer, Place]:
        """The room, the user's view of it, and the last position of the stream; 403 `M_FORBIDDEN`."""
        access = rooms.room_access(txn, room_id, user_id)
        viewer = self._visibility.viewer(txn, access, user_id)
        assert access is not None  # noqa: S101 (`viewer` refuses unknown rooms)
        return access.room, viewer, Place(access.now)
