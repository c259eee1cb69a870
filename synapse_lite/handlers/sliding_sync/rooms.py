"""What is new in the rooms of a sliding sync, each with a few statements for all of them. Runs in database threads."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from attrs import frozen

from synapse_lite.handlers.aggregations import Reader, with_aggregations
from synapse_lite.handlers.prejoin_state import PrejoinState
from synapse_lite.handlers.sliding_sync.bump_stamps import read_bump_stamps
from synapse_lite.handlers.sliding_sync.summaries import AVATAR, NAME, SHOWN, SummaryReader, look_of
from synapse_lite.handlers.sliding_sync.timelines import TimelineReader, Windows, people
from synapse_lite.handlers.sliding_sync.values import ANY, RoomConfig, SlidingRoom
from synapse_lite.handlers.sync.departures import made_up_leave
from synapse_lite.handlers.sync.invitations import read_invitations
from synapse_lite.handlers.sync.values import Reading
from synapse_lite.handlers.sync.windows import Window
from synapse_lite.handlers.visibility import Viewer, Visibility
from synapse_lite.matrix.event import StateKey
from synapse_lite.matrix.types import MEMBER
from synapse_lite.storage.events import EventStore, View
from synapse_lite.storage.room_lists import ListedRoom
from synapse_lite.storage.room_summary import looks_redacted
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.state_deltas import Delta, deltas_in
from synapse_lite.storage.stream import Place

Found = dict[int, SlidingRoom]  # by room nid
States = dict[int, list[int]]  # nids of state events, by room nid


@frozen
class Known:
    """A joined room that the client has up to `upto`, `config` is what it was sent with."""

    upto: int
    config: RoomConfig


@frozen
class JoinedRooms:
    """The rooms of an answer that the user is in: those that start anew, and the others."""

    fresh: Collection[int]
    known: Mapping[int, Known]
    deltas: Mapping[int, Sequence[Delta]]


class SlidingRoomReader:
    def __init__(
        self, events: EventStore, state: StateStore, visibility: Visibility, prejoin: PrejoinState
    ) -> None:
        self._events = events
        self._prejoin = prejoin
        self._state = state
        self._visibility = visibility
        self._timelines = TimelineReader(events, state, visibility)
        self._summaries = SummaryReader(events, state)

    def sort(self, reading: Reading, rooms: Collection[int], known: Mapping[int, Known]) -> JoinedRooms:
        """Who left and came back starts anew."""
        deltas = deltas_in(reading.txn, [(nid, one.upto, reading.position) for nid, one in known.items()])
        own = {
            nid: [delta.event_nid for delta in of_room if delta.key == (MEMBER, reading.request.user_id)]
            for nid, of_room in deltas.items()
        }
        events = self._events.load(reading.txn, {nid or 0 for nids in own.values() for nid in nids})
        back = {
            room
            for room, nids in own.items()
            if any(nid not in events or events[nid].event.membership != "join" for nid in nids)
        }
        stayed = {nid: one for nid, one in known.items() if nid not in back}
        return JoinedRooms([nid for nid in rooms if nid not in stayed], stayed, deltas)

    def joined(
        self,
        reading: Reading,
        rooms: Mapping[int, ListedRoom],
        joined: JoinedRooms,
        configs: Mapping[int, RoomConfig],
    ) -> Found:
        limits = {nid: configs[nid].timeline_limit for nid in rooms}
        expanded = {nid for nid, one in joined.known.items() if limits[nid] > one.config.timeline_limit}
        members = self._events.load(
            reading.txn, [rooms[nid].member_nid for nid in (*joined.fresh, *expanded)]
        )
        begun = {
            nid: members[rooms[nid].member_nid]
            for nid in (*joined.fresh, *expanded)
            if rooms[nid].member_nid in members
        }
        windows = {
            **self._timelines.whole(reading, begun, limits),
            **self._timelines.since(
                reading,
                {nid: one.upto for nid, one in joined.known.items() if nid not in expanded},
                limits,
            ),
        }
        events = self._timelines.load(reading, windows)
        states = self._states(reading, joined, configs, windows)
        changed = {
            nid
            for nid in rooms
            if nid in begun
            or any(delta.key[0] in SHOWN for delta in joined.deltas.get(nid, ()))
            or any(events[one].event.type in SHOWN for one in _nids(windows, nid))
        }
        changed |= _redacted(reading, joined.known, changed)
        summaries = self._summaries.read(reading, changed, ())
        unset = _unset(joined, configs, reading.request.user_id)
        shown = {
            nid for nid in rooms if nid in begun or windows.get(nid) or states.get(nid) or unset.get(nid)
        }
        shown |= changed
        bumps = read_bump_stamps(reading.txn, shown, reading.position)
        timelines = self._shown(reading, windows, None)
        state_views = self._views(reading, states)
        found: Found = {}
        for nid in shown:
            window = windows.get(nid)
            found[nid] = SlidingRoom(
                rooms[nid].room_id,
                "join",
                initial=nid in joined.fresh,
                expanded=nid in expanded,
                required_state=state_views.get(nid, ()),
                timeline=timelines.get(nid, ()),
                limited=window.limited if window else None,
                prev_batch=window.start if window else None,
                num_live=_live(reading, window) if window else None,
                summary=summaries.get(nid, {}),
                bump_stamp=max(0, bumps.get(nid, rooms[nid].position)),
                unset=unset.get(nid, ()),
            )
        return found

    def invited(self, reading: Reading, rooms: Mapping[int, ListedRoom]) -> Found:
        """Invites and knocks."""
        if not rooms:
            return {}
        events = self._events.load(reading.txn, [one.member_nid for one in rooms.values()])
        members = {nid: events[one.member_nid] for nid, one in rooms.items() if one.member_nid in events}
        names = {nid: one.room_id for nid, one in rooms.items()}
        stripped = {
            one.room_id: one.events for one in read_invitations(reading, self._prejoin, names, members)
        }
        summaries = self._summaries.read(reading, (), [nid for nid, one in rooms.items() if one.is_known])
        return {
            nid: SlidingRoom(
                one.room_id,
                one.membership,
                initial=True,
                invite_state=stripped[one.room_id],
                summary=summaries.get(nid, {}),
                bump_stamp=max(0, one.position),
            )
            for nid, one in rooms.items()
            if one.room_id in stripped
        }

    def departed(
        self,
        reading: Reading,
        rooms: Mapping[int, ListedRoom],
        known: Mapping[int, int],
        configs: Mapping[int, RoomConfig],
    ) -> Found:
        """Rooms that the user is out of (`known`: the client was told of them up to there), as they were until then: nothing is read of what they are now."""
        events = self._events.load(reading.txn, [one.member_nid for one in rooms.values()])
        members = {nid: events[one.member_nid] for nid, one in rooms.items() if one.member_nid in events}
        viewers = self._visibility.viewers(reading.txn, reading.request.user_id, members)
        limits = {nid: configs[nid].timeline_limit for nid in viewers}
        windows = self._timelines.until_departure(
            reading, viewers, {nid: known.get(nid, 0) for nid in viewers}, limits
        )
        states: States = {}
        looks: States = {}
        for nid, viewer in viewers.items():
            states[nid] = [rooms[nid].member_nid]
            if nid not in known and viewer.left_at.position >= 0:
                then = self._left(reading, viewer, configs[nid])
                looks[nid] = [then[key] for key in (NAME, AVATAR) if key in then]
                own = (MEMBER, viewer.user_id)
                states[nid] += [
                    event
                    for key, event in then.items()
                    if key != own and configs[nid].wants(key, viewer.user_id)
                ]
        timelines = self._shown(reading, windows, viewers)
        state_views = self._views(reading, states)
        look_views = self._views(reading, looks)
        return {
            nid: SlidingRoom(
                rooms[nid].room_id,
                rooms[nid].membership,
                initial=nid not in known,
                required_state=state_views.get(nid, ()),
                timeline=timelines.get(nid, ()),
                limited=window.limited,
                prev_batch=window.start,
                num_live=_live(reading, window),
                summary=look_of(look_views.get(nid, ())),
                bump_stamp=max(0, rooms[nid].position),
            )
            for nid, window in windows.items()
        }

    def removed(self, reading: Reading, rooms: Iterable[tuple[str, int, int]]) -> list[SlidingRoom]:
        """Rooms that know nothing of the user any more: (room id, position, time)."""
        return [
            SlidingRoom(
                room_id,
                "leave",
                required_state=[leave],
                timeline=[leave],
                limited=True,
                prev_batch=Place(position).before,
                num_live=1,
                bump_stamp=position,
            )
            for room_id, position, ts in rooms
            for leave in [made_up_leave(reading.request.user_id, room_id, position, ts)]
        ]

    # State

    def _left(self, reading: Reading, viewer: Viewer, config: RoomConfig) -> Mapping[StateKey, int]:
        """What the state was when the user left, as far as something of it is wanted."""
        keys = config.keys(viewer.user_id)
        if keys is None:
            return self._state.whole(reading.txn, viewer.left_state)
        return self._state.at(reading.txn, viewer.left_state, {NAME, AVATAR, *keys})

    def _states(
        self, reading: Reading, joined: JoinedRooms, configs: Mapping[int, RoomConfig], windows: Windows
    ) -> States:
        """Of rooms that start anew all that is wanted; of others what changed, or was not wanted before."""
        user_id = reading.request.user_id
        events = self._timelines.load(reading, windows)
        speakers = {
            nid: people(windows[nid], events) if configs[nid].is_lazy and nid in windows else set()
            for nid in (*joined.fresh, *joined.known)
        }
        grown = {nid for nid, one in joined.known.items() if configs[nid].wants_more_than(one.config)}
        current = self._current(reading, {*joined.fresh, *grown}, configs, speakers)
        states: States = {}
        for nid in (*joined.fresh, *joined.known):
            old = joined.known[nid].config if nid in joined.known else RoomConfig()
            states[nid] = [
                event
                for key, event in current.get(nid, {}).items()
                if (configs[nid].wants(key, user_id) and not old.wants(key, user_id))
                or (key[0] == MEMBER and key[1] in speakers[nid])
            ]
        for nid in joined.known:
            states[nid] += self._changed(joined.deltas.get(nid, ()), configs[nid], user_id)
        told = [
            (nid, (MEMBER, user))
            for nid, users in speakers.items()
            if nid in joined.known and nid not in grown
            for user in users
        ]
        for (nid, _), event in self._state.current(reading.txn, told).items():
            states[nid].append(event)
        return {nid: list(dict.fromkeys(found)) for nid, found in states.items() if found}

    def _changed(self, deltas: Sequence[Delta], config: RoomConfig, user_id: str) -> list[int]:
        before = {delta.key: delta.previous_nid for delta in reversed(deltas)}
        after = {delta.key: delta.event_nid for delta in deltas}
        return [
            nid
            for key, nid in after.items()
            if nid is not None
            and nid != before[key]
            and (config.wants(key, user_id) or (config.is_lazy and key[0] == MEMBER))
        ]

    def _current(
        self,
        reading: Reading,
        room_nids: Collection[int],
        configs: Mapping[int, RoomConfig],
        speakers: Mapping[int, Collection[str]],
    ) -> dict[int, dict[tuple[str, str], int]]:
        """The current state; all members only of rooms of which they are wanted."""
        crowds = {nid for nid in room_nids if _wants_everybody(configs[nid])}
        found = self._state.current_of_rooms(reading.txn, crowds, None) if crowds else {}
        others = set(room_nids) - crowds
        if others:
            named = {key for nid in others for _, key in configs[nid].patterns}
            users = named.union({reading.request.user_id}, *(speakers[nid] for nid in others))
            found |= self._state.current_of_rooms(reading.txn, others, users)
        return found

    # Events

    def _views(self, reading: Reading, states: States) -> dict[int, list[View]]:
        found = {
            view.stored.nid: view
            for view in self._events.views(reading.txn, [nid for nids in states.values() for nid in nids])
        }
        return {room: [found[nid] for nid in nids if nid in found] for room, nids in states.items()}

    def _shown(
        self, reading: Reading, windows: Windows, viewers: Mapping[int, Viewer] | None
    ) -> dict[int, list[View]]:
        """The timelines. `viewers` None: of rooms that the user is in."""
        entries = [entry for window in windows.values() for entry in window.entries]
        views = self._events.views(reading.txn, [nid for _, nid in entries], as_parents=viewers is None)
        request = reading.request
        if viewers is None:
            viewers = self._viewers_of(reading, windows)
            views = self._visibility.as_seen(reading.txn, viewers, entries, views)
            reader = Reader(request.user_id, viewers, request.ignored)
            views = with_aggregations(reading.txn, self._events, self._visibility, views, reader)
        else:
            views = self._visibility.as_seen(reading.txn, viewers, entries, views)
        found = {view.stored.nid: view for view in views}
        return {room: [found[nid] for nid in window.nids if nid in found] for room, window in windows.items()}

    def _viewers_of(self, reading: Reading, windows: Windows) -> dict[int, Viewer]:
        user_id = reading.request.user_id
        current = self._state.current(reading.txn, [(nid, (MEMBER, user_id)) for nid in windows])
        events = self._events.load(reading.txn, list(current.values()))
        members = {nid: events[event] for (nid, _), event in current.items() if event in events}
        return self._visibility.viewers(reading.txn, user_id, members)


def _redacted(reading: Reading, known: Mapping[int, Known], changed: Collection[int]) -> set[int]:
    """Rooms, besides those that have `changed`, that look otherwise by a redaction, which no timeline may show."""
    others = {nid: one.upto for nid, one in known.items() if nid not in changed}
    return looks_redacted(reading.txn, others) if others else set()


def _unset(joined: JoinedRooms, configs: Mapping[int, RoomConfig], user_id: str) -> dict[int, list[StateKey]]:
    """State that the client knows, and that is set no longer."""
    found = {}
    for nid in joined.known:
        deltas = joined.deltas.get(nid, ())
        before = {delta.key: delta.previous_nid for delta in reversed(deltas)}
        after = {delta.key: delta.event_nid for delta in deltas}
        gone = [
            key
            for key, event in after.items()
            if event is None and before[key] is not None and configs[nid].wants(key, user_id)
        ]
        if gone:
            found[nid] = gone
    return found


def _nids(windows: Mapping[int, Window], room_nid: int) -> Sequence[int]:
    return windows[room_nid].nids if room_nid in windows else ()


def _live(reading: Reading, window: Window) -> int:
    """How many events are newer than the client's position; none for who had none."""
    return sum(1 for place, _ in window.entries if 0 < reading.since < place.position)


def _wants_everybody(config: RoomConfig) -> bool:
    return any(kind in {MEMBER, ANY} and key == ANY for kind, key in config.patterns)
