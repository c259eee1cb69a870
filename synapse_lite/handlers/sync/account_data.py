"""Account data in /sync: the user's own, and that of their rooms."""

from collections.abc import Collection, Mapping, Sequence

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.filters import EventFilter
from synapse_lite.handlers.push_rules import PUSH_RULES, shown_push_rules
from synapse_lite.handlers.sync.sections import NO_EVENTS, UNKNOWN, RoomSection, SyncSection, Unknown
from synapse_lite.handlers.sync.values import Reading, RoomIds, SyncRequest
from synapse_lite.storage.account_data import GLOBAL, account_data_of
from synapse_lite.storage.stream import Change, Kind

KINDS = frozenset({Kind.ACCOUNT_DATA})


class GlobalAccountData(SyncSection):
    """Of the types that changed what is stored now; to begin with and with `full_state`, all of it and the push rules.

    `follows_threads` as of `PushRules`.
    """

    key = "account_data"
    kinds = KINDS

    def __init__(self, *, follows_threads: bool = False) -> None:
        self._follows_threads = follows_threads

    def initial(self, reading: Reading) -> JsonObject | None:
        stored = account_data_of(reading.txn, reading.request.user_id, [GLOBAL]).get(GLOBAL, {})
        return _events(self._shown(reading, {PUSH_RULES: {}, **stored}), reading.request.filter.account_data)

    def since(self, reading: Reading, changes: Sequence[Change]) -> JsonObject | None:
        if reading.request.full_state:
            return self.initial(reading)
        types = _types(changes, None)
        if not types:
            return None
        stored = account_data_of(reading.txn, reading.request.user_id, [GLOBAL], types).get(GLOBAL, {})
        return _events(
            self._shown(reading, _with_deleted(stored, types)), reading.request.filter.account_data
        )

    def live(self, request: SyncRequest, changes: Sequence[Change]) -> JsonObject | Unknown | None:
        types = _types(changes, None)
        return UNKNOWN if any(request.filter.account_data.takes_type(one) for one in types) else None

    def _shown(self, reading: Reading, stored: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
        """Push rules are stored as what differs from the predefined ones."""
        if PUSH_RULES not in stored:
            return stored
        user_id, rules = reading.request.user_id, stored[PUSH_RULES]
        shown = shown_push_rules(user_id, rules, follows_threads=self._follows_threads)
        return {**stored, PUSH_RULES: shown}


class RoomAccountData(RoomSection):
    """The same of rooms: tags, the read marker …"""

    key = "account_data"
    extension = "account_data"
    kinds = KINDS
    none = NO_EVENTS

    def read(
        self, reading: Reading, rooms: RoomIds, changes: Sequence[Change] | None
    ) -> Mapping[int, JsonObject]:
        wanted = reading.request.filter.room_account_data
        nids = {nid for nid, room_id in rooms.items() if wanted.takes_room(room_id)}
        changed = {nid: _types(changes, nid) for nid in nids} if changes is not None else None
        if changed is not None:
            nids = {nid for nid in nids if changed[nid]}
        if not nids:
            return {}
        types = None if changed is None else set().union(*changed.values())
        stored, found = account_data_of(reading.txn, reading.request.user_id, nids, types), {}
        for nid in nids:
            entries = stored.get(nid, {})
            part = _events(entries if changed is None else _with_deleted(entries, changed[nid]), wanted)
            if part is not None:
                found[nid] = part
        return found

    def live(
        self, request: SyncRequest, rooms: RoomIds, changes: Sequence[Change]
    ) -> Mapping[int, JsonObject] | Unknown:
        takes = request.filter.room_account_data.takes_room
        changed = {change.room_nid for change in changes} & rooms.keys()
        return UNKNOWN if any(takes(rooms[nid]) for nid in changed if nid is not None) else {}


def _with_deleted(stored: Mapping[str, JsonObject], changed: Collection[str]) -> dict[str, JsonObject]:
    """The contents of the types that changed; what is not there any more is empty (MSC3391)."""
    return {kind: stored.get(kind, {}) for kind in sorted(changed)}


def _types(changes: Sequence[Change], room_nid: int | None) -> set[str]:
    return {change.key for change in changes if change.room_nid == room_nid and change.key is not None}


def _events(entries: Mapping[str, JsonObject], wanted: EventFilter) -> JsonObject | None:
    """None when there are none."""
    events = [
        {"type": kind, "content": content} for kind, content in entries.items() if wanted.takes_type(kind)
    ]
    return {"events": events} if events else None
