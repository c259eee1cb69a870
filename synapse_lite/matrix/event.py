"""Events: their format, building, hashing and signing (server-server API, "PDUs" and "Signing Events")."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Self

import attrs

from synapse_lite import canonical_json
from synapse_lite.canonical_json import MAX_SAFE_INTEGER, JsonObject
from synapse_lite.errors import Errcode, MatrixError, bad_json
from synapse_lite.matrix.redaction import redact
from synapse_lite.matrix.room_versions import RoomVersion
from synapse_lite.matrix.signing import SigningKey, encode_base64, encode_base64_url, signed_bytes

MAX_EVENT_BYTES = 65536
MAX_FIELD_BYTES = 255
MAX_PREV_EVENTS = 20
MAX_AUTH_EVENTS = 10

StateKey = tuple[str, str]
"""Type and state key: where an event stands in the state of its room."""

_NOT_HASHED = frozenset({"hashes", "signatures", "unsigned"})


@attrs.frozen
class Draft:
    """What somebody wants to say, before it has a place in the room.

    `redacts` is the target of a redaction, whatever the room version; `build_event` puts it where
    the version wants it. `origin_server_ts` is in milliseconds.
    """

    type: str
    sender: str
    content: JsonObject
    origin_server_ts: int
    state_key: str | None = None
    redacts: str | None = None


@attrs.frozen(eq=False)
class Event:
    """An event in its room; compared by identity.

    `pdu` is the federation form with hashes and signatures. It is never changed, and `content` is
    the same object as `pdu["content"]`.
    """

    event_id: str
    room_id: str
    version: RoomVersion = attrs.field(repr=lambda version: version.identifier)
    pdu: JsonObject = attrs.field(repr=False)
    type: str
    sender: str
    state_key: str | None
    content: JsonObject = attrs.field(repr=False)
    origin_server_ts: int = attrs.field(repr=False)
    depth: int = attrs.field(repr=False)
    prev_events: list[str] = attrs.field(repr=False)
    auth_events: list[str] = attrs.field(repr=False)
    redacts: str | None = attrs.field(repr=False)

    @classmethod
    def from_pdu(cls, pdu: JsonObject, version: RoomVersion, event_id: str | None = None) -> Self:
        """Trusts the shape of `pdu` (see `event_format.check_format` for what comes from outside)."""
        known_id = event_id if event_id is not None else "$" + reference_hash(pdu, version)
        content: JsonObject = pdu["content"]
        event_type: str = pdu["type"]
        return cls(
            known_id,
            pdu["room_id"] if "room_id" in pdu else "!" + known_id[1:],
            version,
            pdu,
            event_type,
            pdu["sender"],
            pdu.get("state_key"),
            content,
            pdu["origin_server_ts"],
            pdu["depth"],
            pdu["prev_events"],
            pdu["auth_events"],
            _redaction_target(pdu, content, version) if event_type == "m.room.redaction" else None,
        )

    @property
    def is_state(self) -> bool:
        return self.state_key is not None

    @property
    def key(self) -> StateKey:
        """`ValueError` when it is no state event."""
        if self.state_key is None:
            raise ValueError(f"{self.event_id} is not a state event")
        return (self.type, self.state_key)

    @property
    def membership(self) -> str | None:
        """The membership that an `m.room.member` event sets."""
        if self.type != "m.room.member":
            return None
        membership = self.content.get("membership")
        return membership if isinstance(membership, str) else None


def _redaction_target(pdu: JsonObject, content: JsonObject, version: RoomVersion) -> str | None:
    target = (content if version.redacts_in_content else pdu).get("redacts")
    return target if isinstance(target, str) else None


def content_hash(pdu: JsonObject) -> str:
    """Unpadded base64, for `hashes.sha256` ("Calculating the content hash for an event")."""
    hashed = {key: value for key, value in pdu.items() if key not in _NOT_HASHED}
    return encode_base64(sha256(canonical_json.encode(hashed)).digest())


def reference_hash(pdu: JsonObject, version: RoomVersion) -> str:
    """URL-safe base64: the event id without `$` ("Calculating the reference hash for an event")."""
    return encode_base64_url(sha256(signed_bytes(redact(pdu, version))).digest())


def build_event(
    draft: Draft,
    version: RoomVersion,
    room_id: str | None,
    prev_events: Sequence[str],
    auth_events: Sequence[str],
    depth: int,
    signing_key: SigningKey,
) -> Event:
    """Give a draft its place, hash and sign it.

    `room_id` is None for the create event of a room version whose room ids are hashes, only. Raises
    413 `M_TOO_LARGE`, and 400 `M_BAD_JSON` for what canonical JSON or our storage cannot hold. The
    content becomes part of the event and must not be changed afterwards. `depth` stays at its limit.
    """
    if room_id is None and not (version.room_id_is_hash and draft.type == "m.room.create"):
        raise ValueError("Only a create event whose hash is the room ID has no room ID")
    canonical_json.check_canonical(draft.content)
    pdu = _unsigned_pdu(draft, version, room_id)
    pdu["prev_events"] = list(prev_events)
    pdu["auth_events"] = list(auth_events)
    pdu["depth"] = min(depth, MAX_SAFE_INTEGER)
    check_fields(pdu)
    body = canonical_json.encode(pdu)
    pdu["hashes"] = {"sha256": encode_base64(sha256(body).digest())}
    # The signature and the reference hash cover the same bytes.
    essence = canonical_json.encode(redact(pdu, version))
    pdu["signatures"] = {signing_key.server_name: {signing_key.key_id: signing_key.sign_bytes(essence)}}
    check_size(_signed_size(body, pdu))
    return Event.from_pdu(pdu, version, "$" + encode_base64_url(sha256(essence).digest()))


def _unsigned_pdu(draft: Draft, version: RoomVersion, room_id: str | None) -> JsonObject:
    pdu: dict[str, Any] = {
        "type": draft.type,
        "sender": draft.sender,
        "content": draft.content,
        "origin_server_ts": draft.origin_server_ts,
    }
    if room_id is not None:
        pdu["room_id"] = room_id
    if draft.state_key is not None:
        pdu["state_key"] = draft.state_key
    if draft.redacts is not None:
        if version.redacts_in_content:
            pdu["content"] = {**draft.content, "redacts": draft.redacts}
        else:
            pdu["redacts"] = draft.redacts
    return pdu


def _signed_size(body: bytes, pdu: JsonObject) -> int:
    """The canonical size of `pdu`, given its encoding without hashes and signatures."""
    added = canonical_json.encode({"hashes": pdu["hashes"], "signatures": pdu["signatures"]})
    return len(body) + len(added) - 1  # one pair of braces goes, one comma comes


def check_size(size: int) -> None:
    if size > MAX_EVENT_BYTES:
        raise MatrixError(413, Errcode.TOO_LARGE, f"Event of {size} bytes is larger than {MAX_EVENT_BYTES}")


def check_fields(pdu: JsonObject) -> None:
    """Limits of single fields (client-server API, "Size limits"); 413 `M_TOO_LARGE` or 400 `M_BAD_JSON`."""
    for name in ("type", "state_key", "sender", "room_id"):
        text = pdu.get(name, "")
        if len(text.encode()) > MAX_FIELD_BYTES:
            raise MatrixError(413, Errcode.TOO_LARGE, f"{name!r} is longer than {MAX_FIELD_BYTES} bytes")
        if "\0" in text:  # PostgreSQL's text cannot hold it
            raise bad_json(f"{name!r} must not hold a NUL character")
    if len(pdu["prev_events"]) > MAX_PREV_EVENTS:
        raise bad_json(f"An event has at most {MAX_PREV_EVENTS} prev_events")
    if len(pdu["auth_events"]) > MAX_AUTH_EVENTS:
        raise bad_json(f"An event has at most {MAX_AUTH_EVENTS} auth_events")


def client_event(event: Event) -> JsonObject:
    """The form for clients, without `unsigned` (client-server API, "Room event format")."""
    shown = {
        "content": event.content,
        "event_id": event.event_id,
        "origin_server_ts": event.origin_server_ts,
        "room_id": event.room_id,
        "sender": event.sender,
        "type": event.type,
    }
    if event.state_key is not None:
        shown["state_key"] = event.state_key
    if event.redacts is not None:
        # Old clients look at the top level, new ones in the content, whatever the room version.
        shown["redacts"] = event.redacts
        if not event.version.redacts_in_content:
            shown["content"] = {**event.content, "redacts": event.redacts}
    return shown


def stripped_state(event: Event) -> JsonObject:
    """What somebody outside the room may see of a state event ("Stripped state")."""
    return {
        "content": event.content,
        "sender": event.sender,
        "state_key": event.state_key,
        "type": event.type,
    }


def redacted(event: Event) -> Event:
    """The same event, with only what survives a redaction."""
    return Event.from_pdu(redact(event.pdu, event.version), event.version, event.event_id)
