"""What concerns an application service (application service API, "Namespaces")."""

from collections.abc import Collection, Sequence

from synapse_lite.matrix.app_service import AppService
from synapse_lite.matrix.types import MEMBER
from synapse_lite.storage import app_services
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.rooms import rooms_by_nid

MAX_ROOMS = 20_000
"""In memory."""


class Interest:
    """Of one service. A room concerns it that is in its namespaces, that has an alias in them, or where a user of it is.

    Which rooms do, but for their aliases, is remembered as long as nobody else looks for the service.
    """

    def __init__(self, service: AppService, server_name: str) -> None:
        self._service = service
        self._server_name = server_name
        self._rooms: Cache[int, bool] = Cache(MAX_ROOMS)
        self._claim = -1

    def begin(self, claim: int) -> None:
        """To look at what comes next: under the same claim as before, or others have done so meanwhile."""
        if claim != self._claim:
            self._rooms = Cache(MAX_ROOMS)
        self._claim = claim

    def end(self, events: Collection[StoredEvent]) -> None:
        """These are looked at: the rooms that a user of the service has entered or left by them are others now."""
        moved = {one.room_nid for one in events if self._is_of_member(one)}
        self._rooms.remove_all(moved)

    def events(self, txn: Transaction, events: Sequence[StoredEvent], after: int) -> list[StoredEvent]:
        """Those that concern the service: by who sent them, whose membership they change, or their room."""
        own = {
            one.nid for one in events if self._service.has_user(one.event.sender) or self._is_of_member(one)
        }
        rooms = self.rooms(txn, {one.room_nid for one in events if one.nid not in own}, after)
        return [one for one in events if one.nid in own or one.room_nid in rooms]

    def users(self, txn: Transaction, user_ids: Collection[str], after: int) -> set[str]:
        """Those of the users who are of the service, or in a room that concerns it."""
        own = {user_id for user_id in user_ids if self._service.has_user(user_id)}
        joined = [*app_services.rooms_of_users(txn, {*user_ids} - own)] if len(own) < len(user_ids) else []
        rooms = self.rooms(txn, {nid for _, nid in joined}, after)
        return own | {user_id for user_id, nid in joined if nid in rooms}

    def rooms(self, txn: Transaction, room_nids: Collection[int], after: int) -> set[int]:
        """Those of the rooms that concern the service now, or did at some time since `after`."""
        known = self._rooms.find(room_nids)
        unknown = [nid for nid in room_nids if nid not in known]
        if unknown:
            concerned = self._concerned(txn, unknown, after)
            for nid in unknown:
                known[nid] = nid in concerned
                self._rooms.put(nid, known[nid])
        found = {nid for nid, concerns in known.items() if concerns}
        return found | self._with_alias(txn, [nid for nid in room_nids if nid not in found])

    def _with_alias(self, txn: Transaction, room_nids: Sequence[int]) -> set[int]:
        """Looked up each time: aliases come and go without an event."""
        if not self._service.aliases or not room_nids:
            return set()
        aliases = app_services.aliases_in(txn, room_nids)
        return {nid for nid, alias in aliases if self._service.has_alias(alias)}

    def _concerned(self, txn: Transaction, room_nids: Sequence[int], after: int) -> set[int]:
        service = self._service
        members = app_services.members_since(txn, room_nids, self._server_name, after)
        found = {nid for nid, user_id in members if service.has_user(user_id)}
        if service.rooms:
            found |= {
                nid for nid, room in rooms_by_nid(txn, room_nids).items() if service.has_room(room.room_id)
            }
        return found

    def _is_of_member(self, stored: StoredEvent) -> bool:
        event = stored.event
        return (
            event.type == MEMBER and event.state_key is not None and self._service.has_user(event.state_key)
        )
