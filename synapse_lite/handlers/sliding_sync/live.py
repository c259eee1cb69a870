"""An answer of sliding sync from the stream in memory: what most clients get that have been waiting.

It serves who asks for what they asked for before, of rooms that they know as they want them. Whatever it cannot
know it leaves to `SlidingReader` by answering None.
"""

from collections.abc import Mapping

from attrs import evolve, frozen

from synapse_lite.handlers.sliding_sync.bump_stamps import BUMPING, BumpStamps
from synapse_lite.handlers.sliding_sync.extensions import merged_parts, write_room_extensions
from synapse_lite.handlers.sliding_sync.lists import Windows, most_shown, spaces_asked
from synapse_lite.handlers.sliding_sync.live_extensions import LiveExtensions
from synapse_lite.handlers.sliding_sync.reading import ReadAnswer, SlidingReader
from synapse_lite.handlers.sliding_sync.scene import Listed, Scene
from synapse_lite.handlers.sliding_sync.summaries import SHOWN
from synapse_lite.handlers.sliding_sync.timelines import people
from synapse_lite.handlers.sliding_sync.values import RoomConfig, SlidingRequest, SlidingResult, SlidingRoom
from synapse_lite.handlers.sync.joined import JoinedRooms
from synapse_lite.handlers.sync.live_news import News, NewsReader, Surroundings, surroundings
from synapse_lite.handlers.sync.live_state import LiveState, Member
from synapse_lite.handlers.sync.values import SyncRequest
from synapse_lite.handlers.sync.windows import Window
from synapse_lite.matrix.relations import relation_of
from synapse_lite.matrix.types import MEMBER
from synapse_lite.storage.sliding_sync import SlidingPosition

MOST_SHOWN = 20_000  # rooms in windows: more are found and written in a database thread
Timelines = dict[int, Window]  # by room nid


@frozen
class LiveSlidingReader:
    reader: SlidingReader
    news: NewsReader
    state: LiveState
    extensions: LiveExtensions
    bumps: BumpStamps

    async def since(
        self, request: SlidingRequest, base: SlidingPosition, joined: JoinedRooms
    ) -> ReadAnswer | None:
        """What is new for a client that asks for the same as before; None when memory cannot tell."""
        v3, position = request.as_sync(base.position), self.news.log.position
        changes = self.news.changes(v3, base.position, joined) if base.position <= position else None
        view = self._view(request, base) if changes is not None else None
        found = None if changes is None else self.news.of(v3, changes, joined.rooms)
        if found is None or view is None:
            return None
        wanted = view.windows.wanted
        news = evolve(found, rooms={nid: one for nid, one in found.rooms.items() if nid in wanted})
        timelines = _timelines(v3, news, wanted, position)
        if not _is_plain(news, timelines):
            return None
        await self.extensions.prepare(request, v3, news, wanted)
        around = await surroundings(self.state, news, _speakers(news, timelines, wanted))
        bumps = await self.bumps.known.of([nid for nid in timelines if _bumped(news, nid) is None])
        if any(member.position > position for member in around.members.values()):
            return None
        live = _Live(news, timelines, around, bumps, v3.user_id, position)
        return self._answer(request, v3, view, live)

    def _view(self, request: SlidingRequest, base: SlidingPosition) -> "_View | None":
        """None where the client has to be told of rooms that it does not know as it wants them."""
        listing = self.reader.listings.live(request.user_id, self.news.log)
        if listing is None or spaces_asked(request) or most_shown(request, listing) > MOST_SHOWN:
            return None
        windows = self.reader.settled.windows(request, listing)
        if not self.reader.settled.has(base, windows):
            sent = self.reader.known(base)
            if (
                sent is None
                or not Scene(base.position, listing.rooms, listing.standing.gone, windows, sent).is_settled
            ):
                return None
            self.reader.settled.add(base, windows)
        return _View(listing.rooms, windows)

    def _answer(
        self, request: SlidingRequest, v3: SyncRequest, view: "_View", live: "_Live"
    ) -> ReadAnswer | None:
        windows = view.windows
        of_user = self.extensions.of_user(request, v3, live.news, live.position)
        of_rooms = self.extensions.of_rooms(v3, live.news, windows.wanted)
        counts = self.extensions.counts(v3, live.news)
        if of_user is None or of_rooms is None or counts is None:
            return None
        rooms = [
            evolve(
                live.room(nid, view) or SlidingRoom(room_id, "join"),
                counts=counts.get(nid),
                summary={"is_dm": True} if room_id in windows.direct else {},
                lists=windows.lists.get(nid, ()),
            )
            for nid, room_id in live.news.rooms.items()
            if live.shows(nid) or nid in counts
        ]
        parts, is_news = of_user
        result = SlidingResult(
            live.position,
            windows.shown,
            rooms,
            merged_parts(parts, write_room_extensions(of_rooms, live.news.rooms)),
            is_news or bool(rooms) or any(of_rooms.values()),
        )
        return ReadAnswer(result, {})


@frozen
class _View:
    """The rooms of the user, and those in the windows."""

    listed: Listed
    windows: Windows


@frozen
class _Live:
    """All that an answer is made of, as far as it belongs to rooms."""

    news: News
    timelines: Timelines
    around: Surroundings
    bumps: Mapping[int, int | None]
    user_id: str
    position: int

    def shows(self, nid: int) -> bool:
        return nid in self.timelines

    def room(self, nid: int, view: _View) -> SlidingRoom | None:
        """None where no event is new."""
        if not self.shows(nid):
            return None
        window, news, listed = self.timelines[nid], self.news, view.listed[nid]
        views = [self.around.view(news, one) for one in window.nids]
        states = [self.around.view(news, one) for one in self._state(nid, view)]
        stamp = _bumped(news, nid) or self.bumps[nid]
        return SlidingRoom(
            listed.room_id,
            "join",
            required_state=[one for one in states if one is not None],
            timeline=[one._replace(membership="join") for one in views if one is not None],
            limited=window.limited,
            prev_batch=window.start,
            num_live=len(window.entries),
            bump_stamp=max(0, listed.position if stamp is None else stamp),
        )

    def _state(self, nid: int, view: _View) -> list[int]:
        """What changed and is wanted, and the members of whom the timeline speaks."""
        config = view.windows.wanted[nid]
        wanted = [
            one
            for key, one in self.news.final_state(nid).items()
            if config.wants(key, self.user_id) or (config.is_lazy and key[0] == MEMBER)
        ]
        members = _people(self.news, self.timelines, nid) if config.is_lazy else ()
        found = [self.around.members[one].nid for one in members]
        return list(dict.fromkeys([*wanted, *(one for one in found if one is not None)]))


def _timelines(v3: SyncRequest, news: News, wanted: Mapping[int, RoomConfig], position: int) -> Timelines:
    found = {}
    for nid, room_id in news.rooms.items():
        selection = evolve(v3.filter.timeline, limit=wanted[nid].timeline_limit)
        window, chosen = news.window(nid, room_id, selection, position)
        if chosen:
            found[nid] = window
    return found


def _is_plain(news: News, timelines: Timelines) -> bool:
    """Whether no event changes how its room looks, nor what is to be told of another one in the timelines."""
    events = [news.stored[nid].event for room in news.rooms for _, nid in news.entries.get(room, ())]
    shown = {news.stored[nid].event.event_id for window in timelines.values() for nid in window.nids}
    relations = [relation_of(event.content) for event in events]
    return (
        not news.redactions
        and not any(event.type in SHOWN for event in events)
        and not any(one is not None and one.parent_id in shown for one in relations)
    )


def _bumped(news: News, nid: int) -> int | None:
    """Where the last event is by which lists are sorted."""
    at = [place.position for place, one in news.entries[nid] if news.stored[one].event.type in BUMPING]
    return at[-1] if at else None


def _people(news: News, timelines: Timelines, nid: int) -> list[Member]:
    return [(nid, user_id) for user_id in people(timelines[nid], news.stored)] if nid in timelines else []


def _speakers(news: News, timelines: Timelines, wanted: Mapping[int, RoomConfig]) -> list[Member]:
    """Whose member events those need who load members lazily."""
    return [one for nid in timelines if wanted[nid].is_lazy for one in _people(news, timelines, nid)]
