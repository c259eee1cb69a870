"""A sync result from the stream in memory: the answer to most long polls, without the database.

It serves rooms in which the user was joined all the time. Whatever it cannot know it leaves to
`SyncReader` by answering None.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import frozen

from synapse_lite.handlers.retention import Retention
from synapse_lite.handlers.sync.joined import JoinedRooms
from synapse_lite.handlers.sync.live_news import News, NewsReader, Surroundings, surroundings
from synapse_lite.handlers.sync.live_state import LiveState, Member
from synapse_lite.handlers.sync.sections import RoomSection, Unknown, UserParts, by_section, gather, prepare
from synapse_lite.handlers.sync.state import at_start
from synapse_lite.handlers.sync.values import Part, RoomDelta, SyncRequest, SyncResult
from synapse_lite.handlers.sync.windows import Window
from synapse_lite.storage.state_deltas import Delta
from synapse_lite.storage.stream import Change, Place


@frozen
class LiveReader:
    news: NewsReader
    state: LiveState

    @property
    def retention(self) -> Retention:
        return self.news.retention

    async def since(
        self, request: SyncRequest, since: int, joined: JoinedRooms, *, only_news: bool = False
    ) -> SyncResult | None:
        """What changed after `since`, up to what the log has seen; None when memory cannot tell.

        `only_news`: nobody will see a result without news.
        """
        if request.filter.timeline.asks_who_relates:
            return None
        position = max(since, self.news.log.position)
        mine = self.news.changes(request, since, joined)
        if only_news and mine == [] and not request.left_messages:
            return SyncResult(position)
        news = None if mine is None else self.news.of(request, mine, joined.rooms)
        if news is None:
            return None
        state = await self._prepare(request, news)
        if any(member.position > position for member in state.members.values()):
            return None
        return self._result(request, news, state, position)

    async def _prepare(self, request: SyncRequest, news: News) -> Surroundings:
        await prepare(self.news.sections.user, request, news.changes)
        for room_section, changes in self._touched(news):
            await room_section.prepare(request, news.rooms, changes)
        return await surroundings(self.state, news, _senders(request, news))

    def _touched(self, news: News) -> Iterator[tuple[RoomSection, Sequence[Change]]]:
        """The sections of rooms that the changes concern, with theirs."""
        found = by_section(self.news.sections.room, news.changes)
        return ((section, changes) for section, changes in found if changes)

    def _result(
        self, request: SyncRequest, news: News, state: Surroundings, position: int
    ) -> SyncResult | None:
        user = UserParts.live(self.news.sections.user, request, news.changes, position)
        if isinstance(user, Unknown):
            return None
        found = []
        for room_section, changes in self._touched(news):
            by_room = room_section.live(request, news.rooms, changes)
            if isinstance(by_room, Unknown):
                return None
            found.append((room_section, by_room))
        shown = gather(found)
        deltas = [
            _delta(
                request,
                news,
                state,
                nid,
                position,
                {**self.news.sections.none, **shown.parts.get(nid, {})},
                nid in shown.news,
            )
            for nid in news.rooms
        ]
        return SyncResult(
            position,
            [delta for delta in deltas if not delta.is_empty],
            parts=user.parts,
            is_news=user.is_news,
            delivered=user.delivered,
        )


def _delta(
    request: SyncRequest, news: News, state: Surroundings, room_nid: int, position: int,
    parts: Mapping[str, Part], is_news: bool,
) -> RoomDelta:  # fmt: skip
    room_id = news.rooms[room_nid]
    window, before = _window(request, news, room_nid, position)
    if request.is_lazy:
        speakers = dict.fromkeys((room_nid, news.stored[nid].event.sender) for nid in window.nids)
        members = [state.members[speaker].nid for speaker in speakers]
        shown = {*window.nids, *before}
        before += [nid for nid in members if nid is not None and nid not in shown]
    takes = request.filter.state.takes_in
    views = [state.view(news, nid) for nid in before]
    return RoomDelta(
        room_id,
        [one._replace(membership="join") for nid in window.nids if (one := state.view(news, nid))],
        window.limited,
        window.start,
        [one for one in views if one and takes(room_id, one.stored.event)],
        parts,
        is_news,
    )


def _window(request: SyncRequest, news: News, room_nid: int, position: int) -> tuple[Window, list[int]]:
    """The timeline, and the state events that it does not show."""
    room_id, selection = news.rooms[room_nid], request.filter.timeline
    window, _ = news.window(room_nid, room_id, selection, position)
    states = [
        (at, news.stored[nid])
        for at, nid in news.entries.get(room_nid, ())
        if news.stored[nid].event.is_state
    ]
    deltas = [
        Delta(at.position, one.room_nid, one.event.key, one.nid, one.replaces_nid) for at, one in states
    ]
    upto = Place(position) if selection.hides_in(room_id) else window.start
    changed = at_start(deltas, set(window.nids), upto)
    return window, [nid for nid in changed if nid not in window.nids]


def _senders(request: SyncRequest, news: News) -> list[Member]:
    """Whose member events a client may need that loads members lazily."""
    if not request.is_lazy:
        return []
    senders: Iterable[Member] = (
        (nid, news.stored[event].event.sender) for nid in news.rooms for _, event in news.entries.get(nid, ())
    )
    return list(dict.fromkeys(senders))
