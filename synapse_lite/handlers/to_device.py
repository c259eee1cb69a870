"""Messages from device to device (client-server API, "Send-to-Device messaging")."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from synapse_lite import canonical_json
from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import too_large
from synapse_lite.handlers.dropped_messages import DroppedMessages
from synapse_lite.handlers.federation.sending.messages import Texts, outgoing_messages
from synapse_lite.handlers.federation.sending.recipients import Recipients
from synapse_lite.handlers.requester import Requester
from synapse_lite.ids import is_local
from synapse_lite.storage import to_device
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.outgoing import OutgoingEdu, enqueue
from synapse_lite.storage.to_device import Address
from synapse_lite.storage.writer import Writer

ALL_DEVICES = "*"
MAX_MESSAGE_BYTES = 64 * 1024
MAX_DEVICES = 10_000
MAX_BYTES = 16 * 1024 * 1024
"""Of all messages of a request, one meant for many devices counted for each: others wait while they are written."""

SHARED_COMMIT_MESSAGES = 20
"""A request with more of them has a transaction of its own: others do not wait for it."""

Contents = Mapping[str, Mapping[str, JsonObject]]  # by user and device


class ToDevice:
    """`wake` is called when there is something for other servers."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        clock: Clock,
        recipients: Recipients,
        wake: Callable[[], None],
        dropped: DroppedMessages,
    ) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock
        self._recipients = recipients
        self._wake = wake
        self._dropped = dropped

    async def send(self, requester: Requester, message_type: str, txn_id: str, contents: Contents) -> None:
        """Put the messages into the inboxes of devices that exist; the same request again sends nothing.

        Those for users of other servers go into the queues of their servers. Of a shadow-banned user, only their own devices get any.

        413 `M_TOO_LARGE` for a message that is larger than an event may be, and for more than `MAX_DEVICES` or
        `MAX_BYTES` of this server, those meant by "*" among them; then none is sent.
        """
        texts, remote = self._texts(contents)
        if requester.shadow_banned:
            texts = {user_id: of_user for user_id, of_user in texts.items() if user_id == requester.user_id}
            remote = {}
        edus = outgoing_messages(requester.user_id, message_type, remote)
        told = [edu for edu in edus if self._recipients.among(edu.servers)]
        is_small = sum(map(len, contents.values())) <= SHARED_COMMIT_MESSAGES
        transact = self._writer.submit if is_small else self._database.transact
        dropped = await transact(_send, requester, message_type, txn_id, texts, told, self._clock.now_ms())
        self._dropped.note(dropped)
        if told:
            self._wake()

    def _texts(self, contents: Contents) -> tuple[Texts, Texts]:
        """For users of this server, and for those of others."""
        local: dict[str, Mapping[str, str]] = {}
        remote: dict[str, Mapping[str, str]] = {}
        server_name = self._recipients.server_name
        for user_id, devices in contents.items():
            of_server = local if is_local(user_id, server_name) else remote
            of_server[user_id] = {device_id: _text(content) for device_id, content in devices.items()}
        return local, remote

    async def acknowledge(self, user_id: str, device_id: str, upto: int) -> None:
        """The device has the messages up to a position of the stream: they are deleted."""
        await self._writer.submit(to_device.delete_messages, user_id, device_id, upto)


def _send(
    txn: Transaction,
    requester: Requester,
    message_type: str,
    txn_id: str,
    texts: Texts,
    edus: Sequence[OutgoingEdu],
    now_ms: int,
) -> Mapping[Address, int]:
    """How many older messages were dropped for it."""
    if not to_device.begin_transaction(txn, requester.session, message_type, txn_id, now_ms):
        return {}
    to_all = [user_id for user_id, of_user in texts.items() if ALL_DEVICES in of_user]
    devices = to_device.devices_of(txn, to_all) if to_all else {}
    addressed = list(_addressed(texts, devices))
    if len(addressed) > MAX_DEVICES:
        raise too_large(f"More than {MAX_DEVICES} devices are addressed")
    if sum(len(text) for _, text in addressed) > MAX_BYTES:
        raise too_large(f"The messages are larger than {MAX_BYTES} bytes together")
    dropped = to_device.put_messages(txn, requester.user_id, message_type, addressed)
    enqueue(txn, (), edus)
    return dropped


def _addressed(texts: Texts, devices: Mapping[str, list[str]]) -> Iterator[tuple[Address, str]]:
    """`devices` are those of the users to all of whose devices there is a message; one by name has its own."""
    for user_id, of_user in texts.items():
        for device_id in devices.get(user_id, ()):
            if device_id not in of_user:
                yield Address(user_id, device_id), of_user[ALL_DEVICES]
        for device_id, text in of_user.items():
            if device_id != ALL_DEVICES:
                yield Address(user_id, device_id), text


def _text(content: JsonObject) -> str:
    data = canonical_json.encode(content)
    if len(data) > MAX_MESSAGE_BYTES:
        raise too_large(f"A message is larger than {MAX_MESSAGE_BYTES} bytes")
    return data.decode()
