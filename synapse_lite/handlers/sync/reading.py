"""A sync result from the database: initial syncs, and what the memory of the stream cannot answer."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from attrs import define, field, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.sync.extras import (
    read_ephemeral,
    read_global_account_data,
    read_room_account_data,
)
from synapse_lite.handlers.sync.values import Invitation, RoomDelta, SyncRequest, SyncResult
from synapse_lite.handlers.visibility import Viewer, Visibility
from synapse_lite.matrix.event import redacted, stripped_state
from synapse_lite.storage import rooms, timeline
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent, View
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.stream import Change, Kind, quiet_changes, read_position

HEROES = 5
STRIPPED = (
    "m.room.create",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.encryption",
)
_GONE = {"leave", "ban"}


@frozen
class OwnChange:
    """What became of the user's membership of a room since the last sync.

    `position` and `last` are of the newest membership event, `before` is the membership at the last sync.
    """

    position: int
    last: StoredEvent
    before: str | None
    stayed: bool  # joined at the last sync, and all the time since


@define
class Windows:
    """Timelines that are being put together: entries by room nid, oldest first."""

    entries: dict[int, list[timeline.Entry]] = field(factory=dict)
    limited: set[int] = field(factory=set)
    starts: dict[int, int] = field(factory=dict)  # the position before the first entry


class SyncReader:
    """Reads whole results. The methods run in database threads, in a snapshot."""

    def __init__(self, events: EventStore, state: StateStore, visibility: Visibility) -> None:
        self._events = events
        self._state = state
        self._visibility = visibility

    def initial(self, txn: Transaction, request: SyncRequest, now_ms: int) -> SyncResult:
        """Everything, as for a client that knows nothing."""
        user_id = request.requester.user_id
        position = read_position(txn)
        wanted = {"join", "invite", "knock"} | (_GONE if request.filter.include_leave else set())
        found = rooms.memberships_of(txn, user_id, wanted)
        named = self._named(txn, request, [one.room_nid for one in found])
        by_kind: dict[str, dict[int, StoredEvent]] = {kind: {} for kind in wanted}
        members = self._events.load(txn, [one.event_nid for one in found])
        for one in found:
            if one.room_nid in named:
                by_kind[one.membership][one.room_nid] = members[one.event_nid]
        joined = self._whole_rooms(txn, request, named, by_kind["join"], position, now_ms)
        gone = {**by_kind.get("leave", {}), **by_kind.get("ban", {})}
        return SyncResult(
            position,
            list(joined.values()),
            list(self._whole_rooms(txn, request, named, gone, position, now_ms).values()),
            self._invitations(txn, named, by_kind["invite"]),
            self._invitations(txn, named, by_kind["knock"]),
            read_global_account_data(txn, request),
        )

    def since(self, txn: Transaction, request: SyncRequest, since: int, now_ms: int) -> SyncResult:
        """What changed after `since`."""
        user_id = request.requester.user_id
        position = read_position(txn)
        own = self._own_changes(txn, user_id, since, position)
        joined = {one.room_nid for one in rooms.memberships_of(txn, user_id, {"join"})}
        named = self._named(txn, request, joined | own.keys())
        steady = {nid for nid in joined if nid in named and (nid not in own or own[nid].stayed)}
        fresh = {nid: own[nid].last for nid in joined & own.keys() if nid in named and not own[nid].stayed}
        changes = quiet_changes(txn, user_id, steady, since, position)
        deltas = self._steady_rooms(txn, request, named, steady, since, position, changes, now_ms)
        if request.full_state:
            deltas |= self._full_state(txn, request, {nid: named[nid] for nid in steady}, deltas)
        deltas |= self._whole_rooms(txn, request, named, fresh, position, now_ms)
        left = {
            nid: change
            for nid, change in own.items()
            if nid in named and change.last.event.membership in _GONE
        }
        return SyncResult(
            position,
            list(deltas.values()),
            self._left_rooms(txn, request, named, left, since),
            self._invitations(txn, named, _with_membership(own, "invite")),
            self._invitations(txn, named, _with_membership(own, "knock")),
            read_global_account_data(txn, request) if _global_data_changed(changes) else [],
        )

    # Rooms

    def _named(self, txn: Transaction, request: SyncRequest, room_nids: Collection[int]) -> dict[int, str]:
        """Room nid to room id, for the rooms that the filter lets through."""
        found = rooms.rooms_by_nid(txn, room_nids)
        return {nid: room.room_id for nid, room in found.items() if request.filter.takes_room(room.room_id)}

    def _own_changes(self, txn: Transaction, user_id: str, since: int, position: int) -> dict[int, OwnChange]:
        rows = timeline.own_memberships(txn, user_id, since, position)
        events = self._events.load(txn, [nid for _, _, nid in rows])
        before = self._events.load(
            txn, [e.replaces_nid for e in events.values() if e.replaces_nid is not None]
        )
        found: dict[int, OwnChange] = {}
        for at, room_nid, nid in rows:
            last = events[nid]
            if room_nid in found:
                first = found[room_nid].before
                stayed = found[room_nid].stayed
            else:
                replaced = before.get(last.replaces_nid or 0)
                first = replaced.event.membership if replaced else None
                stayed = first == "join"
            found[room_nid] = OwnChange(at, last, first, stayed and last.event.membership == "join")
        return found

    def _steady_rooms(
        self, txn: Transaction, request: SyncRequest, named: Mapping[int, str], room_nids: Collection[int],
        since: int, position: int, changes: Sequence[Change], now_ms: int,
    ) -> dict[int, RoomDelta]:  # fmt: skip
        windows = self._windows(txn, request, room_nids, since, position)
        skipped = {
            nid: timeline.state_between(txn, nid, since, windows.starts[nid] + 1) for nid in windows.limited
        }
        ephemeral = read_ephemeral(txn, request, room_nids, changes, now_ms)
        with_data = {
            change.room_nid
            for change in changes
            if change.kind is Kind.ACCOUNT_DATA
            and change.room_nid is not None
            and change.room_nid in room_nids
        }
        data = read_room_account_data(txn, request, with_data)
        state = {
            nid: [*skipped.get(nid, ()), *self._lazy_members(txn, request, nid, windows)]
            for nid in windows.entries
        }
        views = self._views(txn, windows, state)
        members = {
            nid for nid in windows.entries if any(v.stored.event.membership for v in views[nid, "timeline"])
        }
        summaries = self._summaries(txn, request, members)
        deltas = {
            nid: RoomDelta(
                named[nid],
                views.get((nid, "timeline"), ()),
                nid in windows.limited,
                windows.starts.get(nid, position),
                [v for v in views.get((nid, "state"), ()) if request.filter.state.takes(v.stored.event)],
                data.get(nid, ()),
                ephemeral.get(nid, ()),
                summaries.get(nid),
            )
            for nid in {*windows.entries, *ephemeral, *data}
        }
        return {nid: delta for nid, delta in deltas.items() if not delta.is_empty}

    def _whole_rooms(
        self, txn: Transaction, request: SyncRequest, named: Mapping[int, str], members: Mapping[int, StoredEvent],
        position: int, now_ms: int,
    ) -> dict[int, RoomDelta]:  # fmt: skip
        """Rooms with all their state; `members` are the user's membership events."""
        if not members:
            return {}
        user_id = request.requester.user_id
        positions = timeline.positions_of(txn, [stored.nid for stored in members.values()])
        viewers = {
            nid: Viewer(user_id, stored.event.membership, positions[stored.nid])
            for nid, stored in members.items()
        }
        windows = self._windows(txn, request, members, 0, position, viewers)
        lazy = request.filter.state.lazy_load_members
        shown = None
        if lazy:
            everyone = self._events.load(txn, [nid for found in windows.entries.values() for _, nid in found])
            shown = {stored.event.sender for stored in everyone.values()} | {user_id}
        current = self._state.current_of_rooms(txn, members, shown)
        timelines = self._events.load(txn, [nid for found in windows.entries.values() for _, nid in found])
        state = {
            nid: _state_at_start(
                current.get(nid, {}), [timelines[e] for _, e in windows.entries.get(nid, ())]
            )
            for nid in members
        }
        views = self._views(txn, windows, state)
        ephemeral = read_ephemeral(txn, request, members, None, now_ms)
        data = read_room_account_data(txn, request, members)
        summaries = self._summaries(txn, request, members)
        return {
            nid: RoomDelta(
                named[nid],
                views.get((nid, "timeline"), ()),
                nid in windows.limited,
                windows.starts.get(nid, position),
                [v for v in views.get((nid, "state"), ()) if request.filter.state.takes(v.stored.event)],
                data.get(nid, ()),
                ephemeral.get(nid, ()),
                summaries.get(nid),
            )
            for nid in members
        }

    def _full_state(
        self,
        txn: Transaction,
        request: SyncRequest,
        named: Mapping[int, str],
        deltas: Mapping[int, RoomDelta],
    ) -> dict[int, RoomDelta]:
        """The steady rooms again, with all their state at the start of the timeline."""
        current = self._state.current_of_rooms(txn, named, None)
        whole = {}
        for nid, room_id in named.items():
            delta = deltas.get(nid, RoomDelta(room_id))
            at_start = _state_at_start(current.get(nid, {}), [view.stored for view in delta.timeline])
            views = self._events.views(txn, list(at_start))
            state = [view for view in views if request.filter.state.takes(view.stored.event)]
            whole[nid] = RoomDelta(
                room_id, delta.timeline, delta.limited, delta.prev_batch, state,
                delta.account_data, delta.ephemeral, delta.summary,
            )  # fmt: skip
        return whole

    def _left_rooms(
        self, txn: Transaction, request: SyncRequest, named: Mapping[int, str], left: Mapping[int, OwnChange],
        since: int,
    ) -> list[RoomDelta]:  # fmt: skip
        """Rooms that the user left since: what they saw until then, the leave last."""
        deltas = []
        for nid, change in left.items():
            if change.before == "join":
                windows = self._windows(txn, request, [nid], since, change.position)
            else:
                windows = Windows(
                    {nid: [(change.position, change.last.nid)]}, set(), {nid: change.position - 1}
                )
            start = windows.starts.get(nid, change.position)
            state = timeline.state_between(txn, nid, since, start + 1) if nid in windows.limited else []
            views = self._views(txn, windows, {nid: state})
            deltas.append(
                RoomDelta(
                    named[nid],
                    views.get((nid, "timeline"), ()),
                    nid in windows.limited,
                    start,
                    views.get((nid, "state"), ()),
                )
            )
        return deltas

    def _invitations(
        self, txn: Transaction, named: Mapping[int, str], members: Mapping[int, StoredEvent]
    ) -> list[Invitation]:
        wanted = [(nid, (kind, "")) for nid in members if nid in named for kind in STRIPPED]
        current = self._state.current(txn, wanted)
        inviters = [
            (nid, ("m.room.member", stored.event.sender)) for nid, stored in members.items() if nid in named
        ]
        current |= self._state.current(txn, inviters)
        events = self._events.load(txn, list(current.values()))
        redactions = self._events.redactions(txn, list(events))
        stripped: dict[int, list[JsonObject]] = {nid: [] for nid in members if nid in named}
        for (room_nid, _), nid in current.items():
            event = events[nid].event
            stripped[room_nid].append(stripped_state(redacted(event) if nid in redactions else event))
        return [
            Invitation(named[nid], [*state, stripped_state(members[nid].event)])
            for nid, state in stripped.items()
        ]

    # Pieces

    def _windows(
        self, txn: Transaction, request: SyncRequest, room_nids: Collection[int], since: int, position: int,
        viewers: Mapping[int, Viewer] | None = None,
    ) -> Windows:  # fmt: skip
        """The newest entries of each room, at most the filter's limit; with `viewers`, only what they may see."""
        selection = request.filter.timeline
        windows = Windows()
        found = timeline.windows(txn, room_nids, since, position, selection.limit + 1, selection)
        for nid, entries in found.items():
            seen = entries
            if viewers is not None:
                upto = viewers[nid].end(position)
                seen = self._visibility.only_visible(txn, viewers[nid], [e for e in entries if e[0] <= upto])
            if len(entries) > selection.limit:
                windows.limited.add(nid)
                seen = [entry for entry in seen if entry != entries[0]]
            windows.entries[nid] = seen
            first = seen[0][0] if seen else entries[-1][0] + 1
            windows.starts[nid] = first - 1
        return windows

    def _lazy_members(
        self, txn: Transaction, request: SyncRequest, room_nid: int, windows: Windows
    ) -> list[int]:
        """The membership events of the timeline's senders, where the filter loads members lazily."""
        if not request.filter.state.lazy_load_members:
            return []
        events = self._events.load(txn, [nid for _, nid in windows.entries[room_nid]])
        keys = {("m.room.member", stored.event.sender) for stored in events.values()}
        current = self._state.current(txn, [(room_nid, key) for key in keys])
        return [nid for nid in current.values() if nid not in events]

    def _views(
        self, txn: Transaction, windows: Windows, state: Mapping[int, Iterable[int]]
    ) -> dict[tuple[int, str], list[View]]:
        """Views of timelines and states, all read together."""
        wanted = {(nid, "timeline"): [event for _, event in found] for nid, found in windows.entries.items()}
        wanted |= {(nid, "state"): list(found) for nid, found in state.items()}
        nids = list({nid for found in wanted.values() for nid in found})
        views = {view.stored.nid: view for view in self._events.views(txn, nids)}
        return {key: [views[nid] for nid in found if nid in views] for key, found in wanted.items()}

    def _summaries(
        self, txn: Transaction, request: SyncRequest, room_nids: Collection[int]
    ) -> dict[int, JsonObject]:
        """Room summaries, for clients that load members lazily."""
        if not (request.filter.state.lazy_load_members and room_nids):
            return {}
        counts = rooms.count_members(txn, room_nids)
        heroes = rooms.heroes(txn, room_nids, request.requester.user_id, HEROES)
        return {
            nid: {
                "m.heroes": heroes.get(nid, []),
                "m.joined_member_count": counts[nid].get("join", 0),
                "m.invited_member_count": counts[nid].get("invite", 0),
            }
            for nid in room_nids
        }


def _state_at_start(current: Mapping[tuple[str, str], int], events: Iterable[StoredEvent]) -> list[int]:
    """The current state with the timeline's changes undone."""
    state = dict(current)
    undone = set()
    for stored in events:
        if stored.event.is_state and stored.event.key not in undone:
            undone.add(stored.event.key)
            state.pop(stored.event.key, None)
            if stored.replaces_nid is not None:
                state[stored.event.key] = stored.replaces_nid
    return list(state.values())


def _with_membership(own: Mapping[int, OwnChange], membership: str) -> dict[int, StoredEvent]:
    return {nid: change.last for nid, change in own.items() if change.last.event.membership == membership}


def _global_data_changed(changes: Iterable[Change]) -> bool:
    return any(change.kind is Kind.ACCOUNT_DATA and change.room_nid is None for change in changes)
