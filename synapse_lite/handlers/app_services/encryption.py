"""What application services need to encrypt as their users (MSC2409, MSC3202): messages to devices, device lists, counts of keys."""

from collections.abc import Collection, Iterator, Sequence

import orjson
from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.app_services.interest import Interest
from synapse_lite.matrix.app_service import AppService
from synapse_lite.storage import app_services
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.one_time_keys import KeyCounts, read_all_counts
from synapse_lite.storage.stream import Change, Kind, devices_of, with_devices
from synapse_lite.storage.to_device import Address, InboxMessage, delete_messages, read_inboxes

MESSAGES = "de.sorunome.msc2409.to_device"
DEVICE_LISTS = "org.matrix.msc3202.device_lists"
COUNTS = ("org.matrix.msc3202.device_one_time_key_counts", "org.matrix.msc3202.device_one_time_keys_count")
FALLBACK_KEYS = "org.matrix.msc3202.device_unused_fallback_key_types"
NO_KEYS = KeyCounts({}, ())
MAX_BYTES = 8 * 1024 * 1024
"""Of messages in a transaction."""

MAX_MESSAGES = 1000
"""For one device."""

INBOXES_AT_ONCE = 16
"""Of which so many bytes each are read."""

_KEYS = frozenset({Kind.KEY_COUNTS, Kind.KEYS_NEEDED})


def kinds_for(service: AppService) -> frozenset[Kind]:
    messages = {Kind.TO_DEVICE} if service.hears_devices else set()
    return frozenset(messages | (_KEYS | {Kind.DEVICE_LIST} if service.hears_keys else set()))


@frozen
class ServiceDevices:
    """Of one service."""

    service: AppService
    interest: Interest

    def read(
        self, txn: Transaction, changes: Sequence[Change], after: int, users: Collection[str]
    ) -> JsonObject:
        """Parts of a transaction. `users` are those of the service whom its events concern."""
        told = [with_devices(one) for one in changes]
        body: JsonObject = {}
        if self.service.hears_devices:
            body[MESSAGES] = self._messages(txn, told, after)
        if self.service.hears_keys:
            if changed := self._changed(txn, changes, after):
                body[DEVICE_LISTS] = {"changed": changed, "left": []}
            owners = {user_id for user_id, _ in devices_of(told, {Kind.TO_DEVICE, *_KEYS})}
            body |= self._counts(txn, {*users, *filter(self.service.has_user, owners)})
        return body

    def _messages(self, txn: Transaction, changes: Sequence[Change], after: int) -> list[JsonObject]:
        """Taken from the inboxes where the service keeps to the keys of its devices, which then ask by no other way: it is these
        messages, written down with the transaction, that it gets. What is too much at once waits there for the next one.
        """
        wanted = dict.fromkeys(devices_of(changes, {Kind.TO_DEVICE}))
        places = [Address(*place) for place in wanted if self.service.has_user(place[0])]
        upto = changes[-1].position
        found = list(_oldest(txn, places, 0 if self.service.hears_keys else after, upto))
        if self.service.hears_keys:
            for place, last in sorted({place: one.position for place, one in found}.items()):
                delete_messages(txn, *place, last)
        return [
            {
                "type": one.type,
                "sender": one.sender,
                "content": orjson.Fragment(one.content),
                "to_user_id": place.user_id,
                "to_device_id": place.device_id,
            }
            for place, one in sorted(found, key=lambda one: (one[1].position, one[0]))
        ]

    def _changed(self, txn: Transaction, changes: Sequence[Change], after: int) -> list[str]:
        """Whose devices are others than before: the service's users, and those who are in its rooms."""
        users = {one.user_id for one in changes if one.kind is Kind.DEVICE_LIST and one.user_id}
        return sorted(self.interest.users(txn, users, after)) if users else []

    def _counts(self, txn: Transaction, users: Collection[str]) -> JsonObject:
        """Of all devices of the users: one whose keys are all gone must hear of it."""
        if not users:
            return {}
        devices = app_services.device_ids(txn, users)
        if not devices:
            return {}
        kept = read_all_counts(txn, users)
        counts = {
            user_id: {device_id: kept[user_id].get(device_id, NO_KEYS) for device_id in device_ids}
            for user_id, device_ids in devices.items()
        }
        one_time = {
            user_id: {device_id: dict(one.one_time) for device_id, one in of.items()}
            for user_id, of in counts.items()
        }
        fallback = {
            user_id: {device_id: [*one.unused_fallback] for device_id, one in of.items()}
            for user_id, of in counts.items()
        }
        return {**dict.fromkeys(COUNTS, one_time), FALLBACK_KEYS: fallback}


def _oldest(
    txn: Transaction, places: Sequence[Address], after: int, upto: int
) -> Iterator[tuple[Address, InboxMessage]]:
    """Of each device in order, as many as may go together."""
    left = MAX_BYTES
    for start in range(0, len(places), INBOXES_AT_ONCE):
        some = places[start : start + INBOXES_AT_ONCE]
        inboxes = read_inboxes(txn, some, after=after, upto=upto, limit=MAX_MESSAGES, max_bytes=left)
        for place, waiting in inboxes.items():
            for one in waiting.messages:
                if left <= 0:
                    return
                left -= len(one.content)
                yield place, one
        if left <= 0:
            return
