"""Events: their format, building, hashing and signing (server-server API, "PDUs" and "Signing Events")."""

from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any, Self

import attrs
from nacl.signing import VerifyKey

from synapse_lite import canonical_json, ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import bad_json, too_large
from synapse_lite.matrix.redaction import redact
from synapse_lite.matrix.room_versions import RoomVersion
from synapse_lite.matrix.signing import (
    UNSIGNED_KEYS,
    SigningKey,
    encode_base64,
    encode_base64_url,
    verify_signature,
)
from synapse_lite.matrix.types import MEMBER

MAX_EVENT_BYTES = 65536
MAX_PREV_EVENTS = 20
MAX_AUTH_EVENTS = 10

StateKey = tuple[str, str]
"""Type and state key: where an event stands in the state of its room."""

Reference = str | list[Any]
"""How events name each other: by id, in room versions 1 and 2 `[event_id, {"sha256": hash}]`."""

EVENT_ID_LETTERS = 18  # of the random ids of room versions 1 and 2
_NOT_HASHED = UNSIGNED_KEYS | {"hashes"}


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
        known_id = event_id if event_id is not None else _event_id(pdu, version)
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
            referenced_ids(pdu["prev_events"], version),
            referenced_ids(pdu["auth_events"], version),
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

    @cached_property
    def reference(self) -> Reference:
        """What another event writes into its `prev_events` or `auth_events` to name this one."""
        if self.version.event_id_is_hash:
            return self.event_id
        return [self.event_id, {"sha256": reference_hash(self.pdu, self.version)}]

    @property
    def membership(self) -> str | None:
        """The membership that an `m.room.member` event sets."""
        if self.type != MEMBER:
            return None
        membership = self.content.get("membership")
        return membership if isinstance(membership, str) else None


def _redaction_target(pdu: JsonObject, content: JsonObject, version: RoomVersion) -> str | None:
    target = (content if version.redacts_in_content else pdu).get("redacts")
    return target if isinstance(target, str) else None


def referenced_ids(references: Sequence[Reference], version: RoomVersion) -> list[str]:
    """The event ids that `prev_events` or `auth_events` name."""
    if version.event_id_is_hash:
        return list(references)  # type: ignore[arg-type]  # ids alone in these versions
    return [reference[0] for reference in references]


def _event_id(pdu: JsonObject, version: RoomVersion) -> str:
    if not version.event_id_is_hash:
        event_id: str = pdu["event_id"]
        return event_id
    return id_by_essence(pdu, essence(pdu, version), version)


def id_by_essence(pdu: JsonObject, covered: bytes, version: RoomVersion) -> str:
    """The id of an event whose `essence` is known."""
    return "$" + _encode_hash(covered, version) if version.event_id_is_hash else str(pdu["event_id"])


def encode_event(value: JsonObject, version: RoomVersion) -> bytes:
    """Canonical JSON as far as the room version has it: up to 5, floats and large integers are allowed."""
    if version.strict_canonical_json:
        return canonical_json.encode(value)
    return canonical_json.encode_exact(value)


def _without(keys: frozenset[str], pdu: JsonObject) -> JsonObject:
    return {key: value for key, value in pdu.items() if key not in keys}


def content_hash(pdu: JsonObject, version: RoomVersion) -> str:
    """Unpadded base64, for `hashes.sha256` ("Calculating the content hash for an event")."""
    return encode_base64(sha256(encode_event(_without(_NOT_HASHED, pdu), version)).digest())


def reference_hash(pdu: JsonObject, version: RoomVersion) -> str:
    """Base64 ("Calculating the reference hash for an event"): from version 3 on the event id without `$`."""
    return _encode_hash(essence(pdu, version), version)


def essence(pdu: JsonObject, version: RoomVersion) -> bytes:
    """What a redaction leaves, without `signatures` and `unsigned`: the bytes of signature and reference hash."""
    return encode_event(_without(UNSIGNED_KEYS, redact(pdu, version)), version)


def completes(event: Event, copy: Event) -> bool:
    """Whether the event is the whole of what the copy has only as a redaction leaves it.

    Servers that may not show an event tell such copies of it, and of one whose hash is wrong one is made
    ("Validating hashes and signatures on received events").
    """
    if event.content == copy.content or event.pdu["hashes"] != copy.pdu["hashes"]:
        return False
    return event.pdu["hashes"].get("sha256") == content_hash(event.pdu, event.version) and essence(
        event.pdu, event.version
    ) == essence(copy.pdu, copy.version)


def _encode_hash(hashed: bytes, version: RoomVersion) -> str:
    digest = sha256(hashed).digest()
    return encode_base64_url(digest) if version.event_id_is_url_safe else encode_base64(digest)


def verify_event(
    pdu: JsonObject, version: RoomVersion, server_name: str, key_id: str, verify_key: VerifyKey
) -> None:
    """Raises `SignatureError` unless the event carries a good signature of that server by that key."""
    verify_signature(pdu.get("signatures"), essence(pdu, version), server_name, key_id, verify_key)


def build_event(
    draft: Draft,
    version: RoomVersion,
    room_id: str | None,
    prev_events: Sequence[Reference],
    auth_events: Sequence[Reference],
    depth: int,
    signing_key: SigningKey,
) -> Event:
    """Give a draft its place, hash and sign it.

    `prev_events` and `auth_events` hold the `Event.reference` of other events. `room_id` is None for the create event of a room version whose room ids are hashes, only. Raises
    413 `M_TOO_LARGE`, and 400 `M_BAD_JSON` for what canonical JSON or our storage cannot hold. The
    content becomes part of the event and must not be changed afterwards. `depth` stays at its limit.
    """
    if room_id is None and not (version.room_id_is_hash and draft.type == "m.room.create"):
        raise ValueError("Only a create event whose hash is the room ID has no room ID")
    if version.strict_canonical_json:
        canonical_json.check_canonical(draft.content)
    else:
        canonical_json.check_storable(draft.content)
    pdu = _unsigned_pdu(draft, version, room_id)
    pdu["prev_events"] = list(prev_events)
    pdu["auth_events"] = list(auth_events)
    pdu["depth"] = min(depth, version.max_depth)
    if not version.event_id_is_hash:
        pdu["event_id"] = f"${ids.random_text(EVENT_ID_LETTERS)}:{signing_key.server_name}"
    check_fields(pdu)
    body = encode_event(pdu, version)
    if b"\\u0000" in body:
        canonical_json.check_no_nul(draft.content)
    pdu["hashes"] = {"sha256": encode_base64(sha256(body).digest())}
    # The signature and the reference hash cover the same bytes.
    signed = essence(pdu, version)
    pdu["signatures"] = {signing_key.server_name: {signing_key.key_id: signing_key.sign_bytes(signed)}}
    check_size(_signed_size(body, pdu))
    event_id = "$" + _encode_hash(signed, version) if version.event_id_is_hash else pdu["event_id"]
    return Event.from_pdu(pdu, version, event_id)


def add_signature(event: Event, signing_key: SigningKey) -> Event:
    """The event with our signature besides those that it has; 413 `M_TOO_LARGE` when it gets too large by it."""
    signature = signing_key.sign_bytes(essence(event.pdu, event.version))
    signatures = event.pdu["signatures"]
    own = {**signatures.get(signing_key.server_name, {}), signing_key.key_id: signature}
    pdu = {**event.pdu, "signatures": {**signatures, signing_key.server_name: own}}
    check_size(len(encode_event(pdu, event.version)))
    return attrs.evolve(event, pdu=pdu)


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
        raise too_large(f"Event of {size} bytes is larger than {MAX_EVENT_BYTES}")


def check_fields(pdu: JsonObject) -> None:
    """Limits of single fields (client-server API, "Size limits"); 413 `M_TOO_LARGE` or 400 `M_BAD_JSON`."""
    for name in ("type", "state_key", "sender", "room_id", "event_id"):
        ids.check_length(name, pdu.get(name, ""))
    if len(pdu["prev_events"]) > MAX_PREV_EVENTS:
        raise bad_json(f"An event has at most {MAX_PREV_EVENTS} prev_events")
    if len(pdu["auth_events"]) > MAX_AUTH_EVENTS:
        raise bad_json(f"An event has at most {MAX_AUTH_EVENTS} auth_events")


def client_event(event: Event) -> JsonObject:
    """The form for clients, without `unsigned` (client-server API, "Room event format")."""
    return {**event_in_room(event), "room_id": event.room_id}


def event_in_room(event: Event) -> JsonObject:
    """As `client_event`, for answers that say elsewhere in which room it is ("ClientEventWithoutRoomID")."""
    shown = {
        "content": event.content,
        "event_id": event.event_id,
        "origin_server_ts": event.origin_server_ts,
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
