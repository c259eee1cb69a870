"""What an application service hears beside events: who reads, who types, who is there (application service API, "Pushing ephemeral data")."""

from collections.abc import Iterator, Sequence

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.app_services.interest import Interest
from synapse_lite.matrix.app_service import AppService
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.ephemeral import changed_receipt, typing
from synapse_lite.storage.presence import presence_told
from synapse_lite.storage.rooms import rooms_by_nid
from synapse_lite.storage.stream import Change, Kind

_KINDS = frozenset({Kind.TYPING, Kind.RECEIPT, Kind.PRIVATE_RECEIPT, Kind.PRESENCE})


def kinds_for(service: AppService) -> frozenset[Kind]:
    return _KINDS if service.ephemeral_keys else frozenset()


@frozen
class Beside:
    """Of one service."""

    service: AppService
    interest: Interest

    def read(self, txn: Transaction, changes: Sequence[Change], after: int, now_ms: int) -> list[JsonObject]:
        in_rooms = self._heard(txn, [one for one in changes if self._is_told(one)], after)
        told = rooms_by_nid(txn, {nid for one in in_rooms if (nid := one.room_nid) is not None})
        typed = typing(txn, told, now_ms) if told else {}
        types = {one.room_nid for one in in_rooms if one.kind is Kind.TYPING}
        return [
            *_receipts(
                [one for one in in_rooms if one.kind is not Kind.TYPING],
                {nid: room.room_id for nid, room in told.items()},
            ),
            *(
                {"type": "m.typing", "room_id": room.room_id, "content": {"user_ids": typed.get(nid, [])}}
                for nid, room in told.items()
                if nid in types
            ),
            *self._presence(txn, changes, after, now_ms),
        ]

    def _heard(self, txn: Transaction, changes: Sequence[Change], after: int) -> list[Change]:
        """Those in rooms that concern the service then."""
        rooms = {nid for one in changes if (nid := one.room_nid) is not None}
        stays = self.interest.stays(txn, rooms, after)
        return [
            one for one in changes if one.room_nid is not None and stays[one.room_nid].holds_at(one.position)
        ]

    def _is_told(self, change: Change) -> bool:
        """Of what is said in rooms: what somebody has read in private, only to the service whose user that is."""
        if change.kind is Kind.PRIVATE_RECEIPT:
            return self.service.has_user(change.user_id or "")
        return change.kind in {Kind.TYPING, Kind.RECEIPT}

    def _presence(
        self, txn: Transaction, changes: Sequence[Change], after: int, now_ms: int
    ) -> Iterator[JsonObject]:
        newest = {
            one.user_id: presence_told(one) for one in changes if one.kind is Kind.PRESENCE and one.user_id
        }
        told = self.interest.users(txn, newest, after) if newest else ()
        return (presence.event(user_id, now_ms) for user_id, presence in newest.items() if user_id in told)


def _receipts(changes: Sequence[Change], room_ids: dict[int, str]) -> Iterator[JsonObject]:
    """Of each room one, with the newest of each user."""
    found: dict[str, JsonObject] = {}
    for change in changes:
        if change.room_nid not in room_ids:
            continue
        receipt = changed_receipt(change)
        data: JsonObject = {"ts": receipt.ts}
        if receipt.thread_id:
            data["thread_id"] = receipt.thread_id
        content = found.setdefault(room_ids[change.room_nid], {})
        of_type = content.setdefault(receipt.event_id, {}).setdefault(receipt.receipt_type, {})
        of_type[receipt.user_id] = data
    for room_id, content in found.items():
        yield {"type": "m.receipt", "room_id": room_id, "content": content}
