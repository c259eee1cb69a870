"""What other servers tell beside events (server-server API, "EDUs"): written in the transaction that takes them."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from attrs import frozen

from synapse_lite.canonical_json import MAX_SAFE_INTEGER, JsonObject, check_storable, encode
from synapse_lite.clock import Clock
from synapse_lite.errors import bad_json, forbidden
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.handlers.dropped_messages import DroppedMessages
from synapse_lite.handlers.federation.acl import shuts_out
from synapse_lite.handlers.to_device import MAX_MESSAGE_BYTES
from synapse_lite.ids import domain_of, is_local, is_room_id, is_user_id
from synapse_lite.storage import rooms, to_device
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.ephemeral import Receipt, put_receipt, set_typing
from synapse_lite.storage.remote_keys import note_change, sharing_users
from synapse_lite.storage.stream import Kind
from synapse_lite.storage.to_device import Address

TYPING_MS = 30_000  # until somebody who is said to type, does no more
MAX_RECEIPTS = 1000  # of one EDU
MAX_MESSAGES = 2000
MAX_TEXT = 255

Handle = Callable[[Transaction, str, JsonObject], None]
"""Called with the origin and the content; raises `MatrixError` for an EDU that is dropped."""


@frozen
class Edus:
    """`more` are handlers of other features, by type."""

    current: CurrentState
    clock: Clock
    server_name: str
    dropped: DroppedMessages
    more: Mapping[str, Handle]

    def handle(self, txn: Transaction, origin: str, edu_type: str, content: JsonObject) -> None:
        """Those of unknown types are ignored, as the specification asks."""
        handlers: Mapping[str, Handle] = {
            "m.typing": self._typing,
            "m.receipt": self._receipts,
            "m.direct_to_device": self._to_device,
            "m.device_list_update": self._devices_changed,
            "m.signing_key_update": self._devices_changed,
            **self.more,
        }
        if edu_type in handlers:
            handlers[edu_type](txn, origin, content)

    def _typing(self, txn: Transaction, origin: str, content: JsonObject) -> None:
        user_id = _user_of(origin, content.get("user_id"))
        room = self._room(txn, origin, content.get("room_id"))
        if room is not None and rooms.joined_among(txn, room.nid, [user_id]):
            now = self.clock.now_ms()
            is_typing = content.get("typing") is True
            set_typing(txn, room.nid, user_id, now + TYPING_MS if is_typing else 0, now)

    def _receipts(self, txn: Transaction, origin: str, content: JsonObject) -> None:
        told = _receipts_told(origin, content)
        for room_id, room in rooms.rooms_by_id(txn, told).items():
            if shuts_out(txn, self.current, room.nid, origin):
                continue
            for user_id in rooms.joined_among(txn, room.nid, told[room_id]):
                for receipt in _receipts_of(room.nid, user_id, told[room_id][user_id]):
                    put_receipt(txn, receipt)

    def _to_device(self, txn: Transaction, origin: str, content: JsonObject) -> None:
        sender, message_type, messages = (content.get(key) for key in ("sender", "type", "messages"))
        message_id = _text(content.get("message_id"))
        _user_of(origin, sender)
        if not isinstance(messages, dict):
            raise bad_json("'messages' must be an object")
        # As a session of a client: the same message id of the same server is the same message.
        if not to_device.begin_transaction(
            txn, f"server {origin}", _text(message_type), message_id, self.clock.now_ms()
        ):
            return
        local = {
            user_id: devices
            for user_id, devices in messages.items()
            if isinstance(devices, dict) and is_user_id(user_id) and is_local(user_id, self.server_name)
        }
        known = to_device.devices_of(txn, local)
        addressed = list(_addressed(local, known))[:MAX_MESSAGES]
        self.dropped.note(to_device.put_messages(txn, str(sender), str(message_type), addressed))

    def _devices_changed(self, txn: Transaction, origin: str, content: JsonObject) -> None:
        """Who encrypts for the user asks for the keys again, and so do we. Of strangers nobody needs to hear."""
        user_id = _user_of(origin, content.get("user_id"))
        if sharing_users(txn, [user_id], self.server_name):
            note_change(txn, user_id)
            txn.publish(Kind.DEVICE_LIST, user_id=user_id)

    def _room(self, txn: Transaction, origin: str, room_id: Any) -> rooms.Room | None:
        """None for an unknown room, and one that shuts the origin out."""
        is_id = isinstance(room_id, str) and is_room_id(room_id)
        room = rooms.room_by_id(txn, room_id) if is_id else None
        return None if room is None or shuts_out(txn, self.current, room.nid, origin) else room


def _addressed(
    messages: Mapping[str, Mapping[str, Any]], devices: Mapping[str, list[str]]
) -> Iterator[tuple[Address, str]]:
    """Without what is larger than our own users may send: it would be kept for each device."""
    for user_id, of_user in messages.items():
        for device_id in devices.get(user_id, ()):
            message = of_user.get(device_id, of_user.get("*"))
            if isinstance(message, dict):
                check_storable(message)
                text = encode(message)
                if len(text) <= MAX_MESSAGE_BYTES:
                    yield Address(user_id, device_id), text.decode()


def _receipts_told(origin: str, content: JsonObject) -> dict[str, dict[str, Any]]:
    """By room what users of the server are said to have read: of so many as one EDU may tell of, whatever rooms it names."""
    told: dict[str, dict[str, Any]] = {}
    left = MAX_RECEIPTS
    for room_id, of_room in content.items():
        read = of_room.get("m.read") if isinstance(of_room, dict) else None
        if isinstance(read, dict) and is_room_id(room_id):
            users = [one for one in islice(read, left) if is_user_id(one) and domain_of(one) == origin]
            left -= min(left, len(read))
            if users:
                told[room_id] = {user_id: read[user_id] for user_id in users}
    return told


def _receipts_of(room_nid: int, user_id: str, said: Any) -> Iterator[Receipt]:
    data = said.get("data") if isinstance(said, dict) else None
    event_ids = said.get("event_ids") if isinstance(said, dict) else None
    if not isinstance(data, dict) or not isinstance(event_ids, list) or not event_ids:
        return
    thread_id, ts = data.get("thread_id", ""), data.get("ts")
    if not isinstance(ts, int) or isinstance(ts, bool) or abs(ts) > MAX_SAFE_INTEGER:
        return
    if _is_text(event_ids[0]) and _is_text(thread_id):
        yield Receipt(room_nid, user_id, "m.read", thread_id, event_ids[0], ts)


def _user_of(origin: str, user_id: Any) -> str:
    """403 `M_FORBIDDEN` for a user of another server."""
    if not isinstance(user_id, str) or not is_user_id(user_id) or domain_of(user_id) != origin:
        raise forbidden("A server speaks for its own users only")
    return user_id


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT and "\0" not in value


def _text(value: Any) -> str:
    if not _is_text(value):
        raise bad_json(f"A text of at most {MAX_TEXT} characters is needed")
    return str(value)
