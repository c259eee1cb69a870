"""The oldest messages to devices, read once and in memory until there are more, or they are acknowledged."""

from collections.abc import Collection, Sequence

from attrs import frozen

from synapse_lite.handlers.shared_reads import SharedReads
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.stream import END, Change, Kind, devices_of
from synapse_lite.storage.to_device import Address, InboxMessage, read_inboxes

MAX_DELIVERED = 100  # messages in one answer
MAX_DELIVERED_BYTES = 1024 * 1024
REMEMBERED_BYTES = 32 * 1024 * 1024
EACH_BYTES = 500
"""What an inbox takes by itself, and a message in it beside its content."""
READ_AT_ONCE = 50  # inboxes, which are up to a mebibyte each


@frozen
class Inbox:
    """What a device may get in one answer; `is_all`: there are no more."""

    messages: Sequence[InboxMessage]
    is_all: bool

    @property
    def bytes_in_memory(self) -> int:
        """About so many."""
        return EACH_BYTES + sum(EACH_BYTES + len(message.content) for message in self.messages)

    def between(self, after: int, upto: int) -> "Inbox":
        """Those at after < position <= upto; whether these are all of them."""
        found = [message for message in self.messages if after < message.position <= upto]
        goes_on = any(message.position > upto for message in self.messages)
        return Inbox(found, self.is_all or goes_on)


class Inboxes:
    """Give `on_changes` every change, before those who wait wake."""

    def __init__(self, database: Database) -> None:
        self._inboxes: SharedReads[Address, Inbox] = SharedReads(
            database, _read, REMEMBERED_BYTES, lambda inbox: inbox.bytes_in_memory
        )
        self._seen = 0

    def on_changes(self, changes: Sequence[Change]) -> None:
        self._inboxes.forget_all([Address(*device) for device in devices_of(changes, {Kind.TO_DEVICE})])
        if changes:
            self._seen = changes[-1].position  # last: other threads look meanwhile

    def forget(self, address: Address) -> None:
        """Messages were added or deleted."""
        self._inboxes.forget(address)

    def are_none(self, address: Address, upto: int) -> bool:
        """Whether memory knows that nothing is kept for the device up to that position. For any thread."""
        if upto > self._seen:
            return False
        inbox = self.of(address)
        return inbox is not None and not any(one.position <= upto for one in inbox.messages)

    async def prepare(self, address: Address) -> None:
        """From now on `of` knows, until something changes."""
        await self._inboxes.of([address])

    def of(self, address: Address) -> Inbox | None:
        """None when memory cannot tell."""
        return self._inboxes.cached([address]).get(address)


def _read(txn: Transaction, addresses: Collection[Address]) -> dict[Address, Inbox]:
    found: dict[Address, Inbox] = {}
    every = list(addresses)
    for start in range(0, len(every), READ_AT_ONCE):
        some = every[start : start + READ_AT_ONCE]
        read = read_inboxes(txn, some, after=0, upto=END, limit=MAX_DELIVERED, max_bytes=MAX_DELIVERED_BYTES)
        found |= {address: Inbox(*waiting) for address, waiting in read.items()}
    return found
