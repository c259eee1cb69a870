"""Messages to devices of other servers' users (server-server API, "Send-to-device messaging")."""

from collections.abc import Iterator, Mapping

import orjson

from synapse_lite.canonical_json import JsonObject
from synapse_lite.ids import domain_of, random_text
from synapse_lite.storage.outgoing import OutgoingEdu

TO_DEVICE = "m.direct_to_device"
MAX_BYTES = 256 * 1024
"""Of one EDU, if it holds more than one message: some servers do not take large ones."""

Texts = Mapping[str, Mapping[str, str]]  # JSON by user and device


def outgoing_messages(sender: str, message_type: str, texts: Texts) -> Iterator[OutgoingEdu]:
    """Each with an id of its own, so that it is taken once."""
    by_server: dict[str, list[tuple[str, str, str]]] = {}
    for user_id, of_user in texts.items():
        for device_id, text in of_user.items():
            by_server.setdefault(domain_of(user_id), []).append((user_id, device_id, text))
    for server, messages in by_server.items():
        for part in _parts(messages):
            content: JsonObject = {
                "sender": sender,
                "type": message_type,
                "message_id": random_text(32),
                "messages": {},
            }
            for user_id, device_id, text in part:
                content["messages"].setdefault(user_id, {})[device_id] = orjson.Fragment(text)
            yield OutgoingEdu([server], TO_DEVICE, content)


def _parts(messages: list[tuple[str, str, str]]) -> Iterator[list[tuple[str, str, str]]]:
    part: list[tuple[str, str, str]] = []
    size = 0
    for message in messages:
        if part and size + len(message[2]) > MAX_BYTES:
            yield part
            part, size = [], 0
        part.append(message)
        size += len(message[2])
    if part:
        yield part
