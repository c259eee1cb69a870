"""Reading rooms as a member does, and looking for anything of the spammer that is still there."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import attrs
import orjson

from synapse_lite.cli.demo.connection import Connection
from synapse_lite.cli.demo.traffic import room_path

_PAGE = 500
# What redaction leaves (Matrix specification, "Redactions"); everything else is content.
_KEPT = {"m.room.member": {"membership", "join_authorised_via_users_server", "third_party_invite"}}


@attrs.frozen
class Reading:
    """What a member sees of a room. `messages`: of the spammer; `others`: of everyone else, unredacted."""

    events: int
    messages: int
    redacted: int
    others: int
    readable: tuple[str, ...]


def read_events(connection: Connection, room_id: str) -> Iterator[Mapping[str, Any]]:
    """The whole room, newest first."""
    parameters = {"dir": "b", "limit": str(_PAGE)}
    while True:
        page = connection.call("GET", f"{room_path(room_id, 'messages')}?{urlencode(parameters)}")
        yield from page["chunk"]
        if "end" not in page:
            return
        parameters["from"] = page["end"]


def examine(events: Iterable[Mapping[str, Any]], suspect: str, marker: str) -> Reading:
    """`readable`: ids of events that show anything of the suspect, or that should be redacted and are not.

    The marker may be in no event of anyone, wherever in it.
    """
    number = messages = redacted = others = 0
    readable = []
    for event in events:
        number += 1
        is_redacted = "redacted_because" in event.get("unsigned", {})
        if event["sender"] == suspect:
            messages += event["type"] == "m.room.message"
            redacted += is_redacted
        else:
            others += event["type"] == "m.room.message" and not is_redacted
        if marker.encode() in orjson.dumps(event) or (
            event["sender"] == suspect and _is_readable(event, is_redacted=is_redacted)
        ):
            readable.append(event["event_id"])
    return Reading(number, messages, redacted, others, tuple(readable))


def _is_readable(event: Mapping[str, Any], *, is_redacted: bool) -> bool:
    if event["type"] == "m.room.redaction":
        return False
    must_be_redacted = "state_key" not in event or event["content"].get("membership") == "join"
    return bool(event["content"].keys() - _KEPT.get(event["type"], set())) or (
        must_be_redacted and not is_redacted
    )
