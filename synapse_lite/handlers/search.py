"""Searching in what has been said (client-server API, "Server Side Search")."""

from collections.abc import Collection, Mapping, Sequence

from attrs import evolve, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.handlers.aggregations import Reader, with_aggregations
from synapse_lite.handlers.filters import EventFilter
from synapse_lite.handlers.ignored_users import IgnoredUsers
from synapse_lite.handlers.rendering import render_all
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.search_highlights import highlights
from synapse_lite.handlers.search_pages import (
    RANK,
    RECENT,
    Cursor,
    read_cursor,
    read_page,
    write_cursor,
)
from synapse_lite.handlers.search_state import FoundStates
from synapse_lite.handlers.tokens import write_token
from synapse_lite.handlers.visibility import Viewer, Visibility
from synapse_lite.ids import is_room_id
from synapse_lite.matrix.types import CREATE, MEMBER
from synapse_lite.matrix.words import normalised, terms
from synapse_lite.storage import rooms, search, timeline
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore, View
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.search import FEW_ROOMS, Found, Hit, Page, Question
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.stream import END, Place
from synapse_lite.storage.timeline import Entry

MAX_LIMIT = 100
MAX_CONTEXT = 20
MAX_EVENTS = 500
"""So many results, with what is around them, are in one answer."""
MAX_UPGRADES = 20  # back from a room that is named
MAX_JUDGED = 500  # of the hits that are counted
ROOM, SENDER = "room_id", "sender"
GROUPS = (ROOM, SENDER)
ORDERS = (RANK, RECENT)
_BEEN_THERE = ("join", "leave", "ban")
_Sides = tuple[Sequence[Entry], Sequence[Entry]]
_Places = tuple[Sequence[Entry], Sequence[Entry], Sequence[Entry]]
"""A hit alone, what is before it and what is after it."""


@frozen
class Around:
    """How many events before and after a result are wanted, and whether the profiles of who sent them."""

    before: int
    after: int
    with_profiles: bool


@frozen
class SearchRequest:
    """`start` is a `next_batch`. `around` None: results alone."""

    text: str
    keys: Collection[str]
    order: str
    selection: EventFilter
    groups: Sequence[str] = ()
    around: Around | None = None
    with_state: bool = False
    start: str | None = None


@frozen
class _Context:
    before: Sequence[View]
    after: Sequence[View]
    start: Place
    end: Place
    profiles: JsonObject


@frozen
class _Found:
    count: int = 0
    words: Sequence[str] = ()
    hits: Sequence[Hit] = ()
    views: Sequence[View] = ()
    contexts: Sequence[_Context] = ()
    state: Mapping[str, Sequence[View]] = {}
    end: Cursor | None = None


@frozen
class _Scope:
    """The rooms of the answer, and the reader's view of them."""

    rooms: Mapping[int, Room]
    viewers: Mapping[int, Viewer]


class SearchHandler:
    def __init__(
        self,
        database: Database,
        events: EventStore,
        state: StateStore,
        visibility: Visibility,
        ignored: IgnoredUsers,
        clock: Clock,
        *,
        enabled: bool,
    ) -> None:
        self._database = database
        self._events = events
        self._state = state
        self._found_states = FoundStates(events, state)
        self._visibility = visibility
        self._ignored = ignored
        self._clock = clock
        self._enabled = enabled

    async def search(self, requester: Requester, wanted: SearchRequest) -> JsonObject:
        """The `room_events` of an answer; 400 when searching is switched off, or for a foreign `next_batch`."""
        if not self._enabled:
            raise MatrixError(400, Errcode.UNKNOWN, "Search is disabled on this homeserver")
        start = None if wanted.start is None else read_cursor(wanted.start)
        ignored = await self._ignored.of(requester.user_id)
        wanted = evolve(wanted, selection=evolve(wanted.selection, ignored=ignored))
        found = await self._database.snapshot(self._search, requester.user_id, wanted, start)
        return self._answer(requester, wanted, found)

    def _answer(self, requester: Requester, wanted: SearchRequest, found: _Found) -> JsonObject:
        def render(views: Sequence[View]) -> list[object]:
            return [*render_all(views, session=requester.session, now_ms=self._clock.now_ms())]

        results: list[JsonObject] = [
            {"rank": hit.rank, "result": event}
            for hit, event in zip(found.hits, render(found.views), strict=True)
        ]
        for result, context in zip(results, found.contexts, strict=False):
            result["context"] = {
                "events_before": render(context.before),
                "events_after": render(context.after),
                "start": write_token(context.start),
                "end": write_token(context.end),
                **(
                    {"profile_info": context.profiles}
                    if wanted.around and wanted.around.with_profiles
                    else {}
                ),
            }
        answer: JsonObject = {"count": found.count, "highlights": [*found.words], "results": results}
        if wanted.groups:
            answer["groups"] = {key: _grouped(found.views, key) for key in wanted.groups}
        if wanted.with_state:
            answer["state"] = {room_id: render(views) for room_id, views in found.state.items()}
        if found.end is not None:
            answer["next_batch"] = write_cursor(found.end)
        return answer

    # In a database thread

    def _search(self, txn: Transaction, user_id: str, wanted: SearchRequest, start: Cursor | None) -> _Found:
        asked = terms(normalised(wanted.text))
        named = wanted.selection.rooms or ()
        own = rooms.rooms_of(txn, user_id, _BEEN_THERE, named if len(named) <= FEW_ROOMS else ())
        mine = own.rooms
        taken = self._rooms(txn, {nid: room for nid, (room, _) in mine.items()}, wanted.selection)
        if not asked or not taken:
            return _Found(words=highlights(asked))
        question = Question(asked, sorted(taken), wanted.keys, wanted.selection, own.now)
        viewers: dict[int, Viewer] = {}

        def look_into(room_nids: Collection[int]) -> None:
            nids = {nid: mine[nid][1] for nid in set(room_nids) - viewers.keys()}
            if not nids:
                return
            events = self._events.load(txn, list(nids.values()))
            members = {nid: events[event] for nid, event in nids.items() if event in events}
            viewers.update(self._visibility.viewers(txn, user_id, members, own.standings))

        def visible(found: Found) -> set[int]:
            look_into(found.counts)
            return self._visible(txn, viewers, found.hits)

        start = start or Cursor(question.upto)
        page = read_page(txn, question, wanted.selection.limit, wanted.order, start, visible)
        states: Mapping[int, Sequence[int]] = {}
        if wanted.with_state:
            page, states = self._found_states.fitting(txn, viewers, page)
        scope = _Scope(taken, viewers)
        hits, results, contexts = self._shown(txn, scope, user_id, wanted, [hit for hit, _ in page.hits])
        given = start.given + len(hits)
        if page.end is None:
            count = given
        elif start.count is not None:
            count = max(given, start.count)
        else:
            counts = search.count(txn, question, page.found)
            look_into(counts)
            count = max(given, self._count(txn, viewers, question, counts))
        return _Found(
            count,
            highlights(asked, results),
            hits,
            results,
            contexts,
            {taken[nid].room_id: views for nid, views in self._found_states.views(txn, states).items()},
            page.end and evolve(page.end, given=given, count=count),
        )

    def _shown(
        self, txn: Transaction, scope: _Scope, user_id: str, wanted: SearchRequest, hits: Sequence[Hit]
    ) -> tuple[list[Hit], list[View], list[_Context]]:
        """The hits that are not redacted, as the reader may see them, and what is around each, if that is asked for."""
        around = wanted.around
        found = [
            ([hit.entry], *sides)
            for hit, sides in zip(hits, self._around(txn, scope, hits, wanted), strict=True)
        ]
        members = self._members(txn, scope, found) if around and around.with_profiles else [[] for _ in hits]
        views, profiles = self._views(txn, scope, user_id, wanted.selection.ignored, found, members)
        # The index may hold what has been redacted a moment ago.
        shown = [number for number, hit in enumerate(hits) if views[hit.event_nid].redaction is None]
        contexts = [_context(found[number], views, members[number], profiles) for number in shown]
        left = [hits[number] for number in shown]
        return left, [views[hit.event_nid] for hit in left], contexts if around else []

    def _rooms(self, txn: Transaction, known: Mapping[int, Room], selection: EventFilter) -> dict[int, Room]:
        """Of the known rooms those that are asked for; with a room that is named, those that it replaces."""
        found = {nid: room for nid, room in known.items() if selection.takes_room(room.room_id)}
        if selection.rooms is None or found.keys() == known.keys():
            return found
        seen, newest = set(found), set(found)
        for _ in range(MAX_UPGRADES):
            replaced = self._replaced_by(txn, newest)
            newest = {*rooms.nids_of(txn, replaced).values()} - seen if replaced else set()
            if not newest:
                break
            seen |= newest
        older = {nid: known[nid] for nid in seen - found.keys() if nid in known}
        return found | {nid: room for nid, room in older.items() if room.room_id not in selection.not_rooms}

    def _replaced_by(self, txn: Transaction, room_nids: Collection[int]) -> list[str]:
        """The ids of the rooms of which the rooms say that they replace them."""
        nids = self._state.current(txn, [(nid, (CREATE, "")) for nid in room_nids])
        creations = self._events.load(txn, list(nids.values())).values()
        claims = [stored.event.content.get("predecessor") for stored in creations]
        ids = [claim.get("room_id") for claim in claims if isinstance(claim, dict)]
        return [one for one in ids if isinstance(one, str) and is_room_id(one)]

    def _count(
        self, txn: Transaction, viewers: Mapping[int, Viewer], question: Question, counts: Mapping[int, int]
    ) -> int:
        """How many of the hits the reader may see; of rooms that hide something the newest are looked at."""
        doubtful = [nid for nid in counts if nid in viewers and not viewers[nid].sees_all]
        sure = sum(counts[nid] for nid in counts if nid in viewers and viewers[nid].sees_all)
        if not doubtful:
            return sure
        limit = min(MAX_JUDGED, sum(counts[nid] for nid in doubtful))
        found = search.find(txn, evolve(question, room_nids=doubtful), Page(limit))
        return sure + len(self._visible(txn, viewers, found.hits))

    def _visible(self, txn: Transaction, viewers: Mapping[int, Viewer], hits: Sequence[Hit]) -> set[int]:
        by_room: dict[int, list[Entry]] = {}
        for hit in hits:
            if hit.room_nid in viewers:
                by_room.setdefault(hit.room_nid, []).append(hit.entry)
        return self._visibility.seen(txn, viewers, by_room)

    def _around(
        self, txn: Transaction, scope: _Scope, hits: Sequence[Hit], wanted: SearchRequest
    ) -> Sequence[_Sides]:
        """What the reader may see before and after each, nearest first: of all as many statements as there would be of one."""
        if wanted.around is None or not hits:
            return [([], []) for _ in hits]
        everything = EventFilter(ignored=wanted.selection.ignored)
        places = [
            (hit.room_nid, Place(hit.position), scope.viewers[hit.room_nid].end(Place(END))) for hit in hits
        ]
        found = timeline.around(txn, places, (wanted.around.before, wanted.around.after), everything)
        by_room: dict[int, list[Entry]] = {}
        for hit, (before, after) in zip(hits, found, strict=True):
            by_room.setdefault(hit.room_nid, []).extend((*before, *after))
        visible = self._visibility.seen(
            txn, scope.viewers, {nid: sorted({*of}) for nid, of in by_room.items()}
        )
        return [
            ([one for one in before if one[1] in visible], [one for one in after if one[1] in visible])
            for before, after in found
        ]

    def _members(self, txn: Transaction, scope: _Scope, found: Sequence[_Places]) -> list[list[int]]:
        """For each hit the member events of those who sent what is shown with it: as they were at the hit."""
        events = self._events.load(txn, {nid for sides in found for side in sides for _, nid in side})
        keys = [{(MEMBER, events[nid].event.sender) for side in sides for _, nid in side} for sides in found]
        snapshots = [
            self._visibility.state_at(txn, scope.viewers[events[nid].room_nid], (place, nid))
            for ((place, nid),), _, _ in found
        ]
        states = self._state.at_each(txn, set(snapshots), set().union(*keys))
        return [
            [states[snapshot][key] for key in sorted(some) if key in states[snapshot]]
            for snapshot, some in zip(snapshots, keys, strict=True)
        ]

    def _views(
        self, txn: Transaction, scope: _Scope, user_id: str, ignored: Collection[str], found: Sequence[_Places],
        members: Sequence[Sequence[int]],
    ) -> tuple[Mapping[int, View], Mapping[int, View]]:  # fmt: skip
        """Of what was found, as the reader may see it, and of the member events; by nid."""
        entries = list(dict.fromkeys(entry for sides in found for side in sides for entry in side))
        views, state = self._events.views_of_each(
            txn, [nid for _, nid in entries], [*{nid for some in members for nid in some}]
        )
        seen = self._visibility.as_seen(txn, scope.viewers, entries, views)
        reader = Reader(user_id, scope.viewers, ignored)
        seen = with_aggregations(txn, self._events, self._visibility, seen, reader)
        return {view.stored.nid: view for view in seen}, {view.stored.nid: view for view in state}


def _context(
    found: _Places, views: Mapping[int, View], members: Sequence[int], profiles: Mapping[int, View]
) -> _Context:
    ((place, _),), before, after = found
    return _Context(
        [views[nid] for _, nid in before],
        [views[nid] for _, nid in after],
        before[-1][0].before if before else place.before,
        after[-1][0] if after else place,
        {_name(profiles[nid]): _profile(profiles[nid]) for nid in members if nid in profiles},
    )


def _name(member: View) -> str:
    return str(member.stored.event.state_key)


def _profile(member: View) -> JsonObject:
    content = member.stored.event.content
    names = () if member.redaction is not None else ("displayname", "avatar_url")
    return {name: content[name] for name in names if isinstance(content.get(name), str)}


def _grouped(views: Sequence[View], key: str) -> JsonObject:
    """The ids of the results by room or sender; groups in the order of their first results."""
    groups: dict[str, list[str]] = {}
    for view in views:
        event = view.stored.event
        groups.setdefault(event.room_id if key == ROOM else event.sender, []).append(event.event_id)
    return {name: {"results": ids, "order": number} for number, (name, ids) in enumerate(groups.items(), 1)}
