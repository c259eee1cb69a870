"""Messages to the device in /sync: kept until the next `since` says that the device has them."""

from collections.abc import Sequence

from synapse_lite.handlers.inboxes import MAX_DELIVERED, MAX_DELIVERED_BYTES, Inbox, Inboxes
from synapse_lite.handlers.sync.sections import UNKNOWN, Preparing, SyncSection, Unknown
from synapse_lite.handlers.sync.values import Delivered, Part, Reading, SyncRequest
from synapse_lite.handlers.to_device import ToDevice
from synapse_lite.storage.stream import Change, Kind
from synapse_lite.storage.to_device import Address, read_messages


class ToDeviceSection(SyncSection):
    """The oldest messages. What the answer carries is named in its token, and deleted when that comes back.

    A token is also good when it comes again, or late: its messages are gone, later ones are delivered again.
    """

    key = "to_device"
    kinds = frozenset({Kind.TO_DEVICE})

    def __init__(self, to_device: ToDevice, inboxes: Inboxes) -> None:
        self._to_device = to_device
        self._inboxes = inboxes

    def initial(self, reading: Reading) -> Delivered | None:
        return self._stored(reading)

    def since(self, reading: Reading, changes: Sequence[Change]) -> Delivered | None:  # noqa: ARG002
        return self._stored(reading)

    def prepare(self, request: SyncRequest, changes: Sequence[Change]) -> Preparing | None:
        is_of_interest = changes or request.left_messages or request.since is None
        if request.device_id is None or not is_of_interest:
            return None
        return self._inboxes.prepare(Address(request.user_id, request.device_id))

    def live(self, request: SyncRequest, changes: Sequence[Change]) -> Part | Delivered | Unknown | None:
        if request.device_id is None or not (changes or request.left_messages):
            return None
        inbox = self._inboxes.of(Address(request.user_id, request.device_id))
        if inbox is None:
            return UNKNOWN
        # What came after the changes at hand comes with the next ones.
        upto = max([request.since or 0, *(change.position for change in changes)])
        found = inbox.between(request.delivered or 0, upto)
        return UNKNOWN if not (found.messages or found.is_all) else _delivered(found)

    async def acknowledge(self, request: SyncRequest) -> None:
        """Clients of sliding sync do so at each request: mostly there is nothing to delete."""
        if request.delivered is None or request.device_id is None:
            return
        address = Address(request.user_id, request.device_id)
        await self._inboxes.prepare(address)
        if not self._inboxes.are_none(address, request.delivered):
            await self._to_device.acknowledge(request.user_id, request.device_id, request.delivered)
            self._inboxes.forget(address)

    def _stored(self, reading: Reading) -> Delivered | None:
        request = reading.request
        if request.device_id is None:
            return None
        address = Address(request.user_id, request.device_id)
        if self._inboxes.are_none(address, reading.position):
            return None
        found = read_messages(
            reading.txn,
            address,
            after=request.delivered or 0,
            upto=reading.position,
            limit=MAX_DELIVERED if request.most_messages is None else request.most_messages,
            max_bytes=MAX_DELIVERED_BYTES,
        )
        return _delivered(Inbox(*found))


def _delivered(inbox: Inbox) -> Delivered | None:
    if not inbox.messages:
        return None
    events = [message.event() for message in inbox.messages]
    return Delivered({"events": events}, None if inbox.is_all else inbox.messages[-1].position)
