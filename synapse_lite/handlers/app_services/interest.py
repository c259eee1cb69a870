"""What concerns an application service (application service API, "Namespaces")."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from attrs import frozen

from synapse_lite.matrix.app_service import AppService
from synapse_lite.matrix.types import MEMBER
from synapse_lite.storage import app_services
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.rooms import rooms_by_nid
from synapse_lite.storage.stream import Change, Kind

MAX_ROOMS = 20_000
"""In memory."""

ROOMS_AT_ONCE = 20
"""Of which all local members are read: each may have very many."""

NOW = 2**63 - 1
"""A position behind all others."""

_MOVING = frozenset({Kind.EVENT, Kind.STATE})


@frozen
class Stay:
    """When a room concerns the service: `first`, and behind each of the positions `turns` the contrary of before.

    `witness`: a user of it who is there; whoever else moves, it concerns the service still.
    """

    first: bool
    turns: Sequence[int] = ()
    witness: str | None = None

    def holds_at(self, position: int) -> bool:
        """Before what happens at the position itself."""
        return self.first ^ (sum(turn < position for turn in self.turns) % 2 == 1)


_ALWAYS = Stay(True)


class Interest:
    """Of one service. A room concerns it that is in its namespaces, that has an alias in them, or as long as a user of it is there.

    Which rooms do, but for their aliases, is remembered as long as nobody else looks for the service, and none of its users moves.
    """

    def __init__(self, service: AppService, server_name: str) -> None:
        self._service = service
        self._server_name = server_name
        self._rooms: Cache[int, Stay] = Cache(MAX_ROOMS)
        self._claim = -1

    def begin(self, claim: int, changes: Iterable[Change]) -> None:
        """To look at these changes next: under the same claim as before, or others have done so meanwhile."""
        if claim != self._claim:
            self._rooms = Cache(MAX_ROOMS)
        self._claim = claim
        self._rooms.remove_all(
            {nid for one in changes if (nid := one.room_nid) is not None and self._moves(one)}
        )

    def events(
        self, txn: Transaction, events: Sequence[tuple[int, StoredEvent]], after: int
    ) -> list[StoredEvent]:
        """Those, each with its position, that concern the service: by who sent them, whose membership they change, or their room then."""
        rooms = {one.room_nid for _, one in events if not self._is_own(one)}
        stays = self.stays(txn, rooms, after)
        return [
            one for position, one in events if self._is_own(one) or stays[one.room_nid].holds_at(position)
        ]

    def users(self, txn: Transaction, user_ids: Collection[str], after: int) -> set[str]:
        """Those of the users who are of the service, or in a room that concerns it."""
        own = {user_id for user_id in user_ids if self._service.has_user(user_id)}
        joined = [*app_services.rooms_of_users(txn, {*user_ids} - own)] if len(own) < len(user_ids) else []
        stays = self.stays(txn, {nid for _, nid in joined}, after)
        return own | {user_id for user_id, nid in joined if stays[nid].holds_at(NOW)}

    def stays(self, txn: Transaction, room_nids: Collection[int], after: int) -> dict[int, Stay]:
        """Of each of the rooms, for positions behind `after`."""
        stays = self._rooms.find(room_nids)
        unknown = [nid for nid in room_nids if nid not in stays]
        for start in range(0, len(unknown), ROOMS_AT_ONCE):
            stays |= self._read(txn, unknown[start : start + ROOMS_AT_ONCE], after)
        others = [nid for nid, stay in stays.items() if stay.turns or not stay.first]
        return stays | dict.fromkeys(self._with_alias(txn, others), _ALWAYS)

    def _read(self, txn: Transaction, room_nids: Collection[int], after: int) -> Mapping[int, Stay]:
        service = self._service
        joined, moves = app_services.members(txn, room_nids, self._server_name, after)
        inside: dict[int, set[str]] = {nid: set() for nid in room_nids}
        for nid, user_id in joined:
            if service.has_user(user_id):
                inside[nid].add(user_id)
        turns: dict[int, list[int]] = {nid: [] for nid in room_nids}
        for move in moves:  # back in time
            users = inside[move.room_nid]
            if service.has_user(move.user_id):
                was = bool(users)
                (users.add if move.was_in else users.discard)(move.user_id)
                if bool(users) != was:
                    turns[move.room_nid].append(move.position)
        named = self._named(txn, room_nids)
        found = {
            nid: _ALWAYS
            if nid in named
            else Stay(bool(inside[nid]), turns[nid], next(iter(inside[nid]), None))
            for nid in room_nids
        }
        for nid, stay in found.items():
            if not stay.turns:
                self._rooms.put(nid, stay)
        return found

    def _named(self, txn: Transaction, room_nids: Collection[int]) -> set[int]:
        if not self._service.rooms:
            return set()
        rooms = rooms_by_nid(txn, room_nids)
        return {nid for nid, room in rooms.items() if self._service.has_room(room.room_id)}

    def _with_alias(self, txn: Transaction, room_nids: Sequence[int]) -> set[int]:
        """Looked up each time: aliases come and go without an event."""
        if not self._service.aliases or not room_nids:
            return set()
        aliases = app_services.aliases_in(txn, room_nids)
        return {nid for nid, alias in aliases if self._service.has_alias(alias)}

    def _moves(self, change: Change) -> bool:
        """Whether what is known of the room may no longer be so behind the change."""
        if change.kind not in _MOVING:
            return False
        if change.user_id is None:  # state of others, or of many at once
            return change.kind is Kind.STATE
        known = self._rooms.get(change.room_nid or 0)
        if known is None or not self._service.has_user(change.user_id):
            return False
        return known.witness is None or known.witness == change.user_id

    def _is_own(self, stored: StoredEvent) -> bool:
        event = stored.event
        if self._service.has_user(event.sender):
            return True
        return (
            event.type == MEMBER and event.state_key is not None and self._service.has_user(event.state_key)
        )
