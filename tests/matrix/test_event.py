from hashlib import sha256
from typing import Any

import attrs
import canonicaljson
import pytest
import signedjson.key
import signedjson.sign
from hypothesis import given, settings
from hypothesis import strategies as st

from synapse_lite import canonical_json, ids
from synapse_lite.errors import MatrixError
from synapse_lite.matrix.event import (
    Draft,
    Event,
    Reference,
    build_event,
    client_event,
    content_hash,
    redacted,
    reference_hash,
    stripped_state,
    verify_event,
)
from synapse_lite.matrix.redaction import redact
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.signing import encode_base64, encode_base64_url
from tests.matrix.builders import ALICE, BOB, KEY, Room
from tests.matrix.test_canonical import VALUES
from tests.matrix.test_signing import DOMAIN_KEY

VERSIONS = list(ROOM_VERSIONS)
MINIMAL = {
    "room_id": "!x:domain",
    "sender": "@a:domain",
    "origin": "domain",
    "origin_server_ts": 1000000,
    "signatures": {},
    "hashes": {},
    "type": "X",
    "content": {},
    "prev_events": [],
    "auth_events": [],
    "depth": 3,
    "unsigned": {"age_ts": 1000000},
}
MESSAGE = {
    "content": {"body": "Here is the message content"},
    "event_id": "$0:domain",
    "origin": "domain",
    "origin_server_ts": 1000000,
    "type": "m.room.message",
    "room_id": "!r:domain",
    "sender": "@u:domain",
    "signatures": {},
    "unsigned": {"age_ts": 1000000},
}


def message(room: Room, **changes: Any) -> Event:
    draft = Draft("m.room.message", ALICE, {"body": "hi", "msgtype": "m.text"}, 1000)
    return build_event(attrs.evolve(draft, **changes), room.version, room.room_id, *edges(room), 2, KEY)


def edges(room: Room) -> tuple[list[Reference], list[Reference]]:
    return [room.reference("$p:a.example")], [room.reference("$a:a.example")]


@pytest.mark.parametrize(
    ("pdu", "sha256", "signature"),
    [
        (
            MINIMAL,
            "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
            "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
        ),
        (
            MESSAGE,
            "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
            "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
        ),
    ],
)
def test_event_signing_vectors(pdu: dict[str, object], sha256: str, signature: str) -> None:
    """Content hash and signature of the appendix (which keeps `origin`, as versions 1 to 10 do)."""
    for number in range(1, 11):
        version = ROOM_VERSIONS[str(number)]
        assert content_hash(pdu, version) == sha256
        hashed = pdu | {"hashes": {"sha256": sha256}}
        assert DOMAIN_KEY.sign(redact(hashed, version)) == signature


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("redacts", [None, "$target"])
def test_built_events_hash_and_verify(version: str, redacts: str | None) -> None:
    """A built event carries its content hash, a good signature and the id that others compute or read."""
    room = Room(version)
    event_type = "m.room.redaction" if redacts else "m.room.message"
    event = message(room, type=event_type, redacts=redacts)
    assert event.pdu["hashes"] == {"sha256": content_hash(event.pdu, room.version)}
    verify_event(event.pdu, room.version, "a.example", "ed25519:1", KEY.verify_key)
    assert Event.from_pdu(event.pdu, room.version).event_id == event.event_id
    assert (event.prev_events, event.auth_events) == (["$p:a.example"], ["$a:a.example"])
    assert event.redacts == redacts
    if int(version) <= 2:
        assert ids.is_given_event_id(event.event_id)
        assert event.pdu["event_id"] == event.event_id
    else:
        assert event.event_id == "$" + reference_hash(event.pdu, room.version)
        assert len(event.event_id) == 44
        assert "event_id" not in event.pdu


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("event_type", ["m.room.message", "m.room.aliases", "m.room.power_levels"])
def test_hashes_and_signatures_as_the_reference_libraries(version: str, event_type: str) -> None:
    """Canonical JSON of canonicaljson and signatures checked by signedjson agree with ours."""
    room = Room(version)
    content = {
        "body": "hi ü",
        "aliases": ["#x:y"],
        "users": {ALICE: 100},
        "big": {"list": [1, True, None, "é"]},
    }
    event = message(room, type=event_type, state_key="", content=content)
    bare = {key: value for key, value in event.pdu.items() if key not in {"hashes", "signatures"}}
    digest = sha256(canonicaljson.encode_canonical_json(bare)).digest()
    assert encode_base64(digest) == event.pdu["hashes"]["sha256"]
    kept = redact(event.pdu, room.version)
    key = signedjson.key.decode_verify_key_bytes("ed25519:1", bytes(KEY.verify_key))
    signedjson.sign.verify_signed_json(kept, "a.example", key)
    del kept["signatures"]
    digest = sha256(canonicaljson.encode_canonical_json(kept)).digest()
    if int(version) <= 2:
        assert event.reference == [event.event_id, {"sha256": encode_base64(digest)}]
    else:
        encode = encode_base64 if version == "3" else encode_base64_url
        assert event.reference == event.event_id == "$" + encode(digest)


def test_given_ids_are_unique() -> None:
    """In versions 1 and 2 the same draft at the same place gets an id of its own each time."""
    room = Room("2")
    assert message(room).event_id != message(room).event_id


@pytest.mark.parametrize("version", ["1", "3", "5"])
@pytest.mark.parametrize("value", [1.5, 1e16, 1e-7, 10**30, -(10**30), 2**63])
def test_numbers_of_old_versions(version: str, value: float) -> None:
    """Up to version 5, events of others with floats and large integers hash as the reference library has it."""
    room = Room(version)
    event = message(room)
    pdu = {key: value for key, value in event.pdu.items() if key not in {"hashes", "signatures"}}
    pdu = canonical_json.decode_exact(canonical_json.dump(pdu | {"content": {"n": value}}))
    expected = encode_base64(sha256(canonicaljson.encode_canonical_json(pdu)).digest())
    assert content_hash(pdu, room.version) == expected
    shown = Event.from_pdu(pdu, room.version, "$x")
    assert canonical_json.decode_exact(canonical_json.dump(client_event(shown)))["content"] == {"n": value}


def test_floats_of_own_users() -> None:
    """Up to version 5 our users may send floats; integers that JavaScript rounds, never."""
    assert message(Room("5"), content={"n": 1.5}).content == {"n": 1.5}
    for version in VERSIONS:
        with pytest.raises(MatrixError, match="out of range"):
            message(Room(version), content={"n": [2**53]})


def test_attributes_are_those_of_the_pdu() -> None:
    """An event shows the fields of its federation form."""
    room = Room("11")
    event = room.build(BOB, "m.room.member", {"membership": "join"}, BOB, prev=["$p"])
    assert event.pdu.keys() == {
        "auth_events", "content", "depth", "hashes", "origin_server_ts", "prev_events", "room_id",
        "sender", "signatures", "state_key", "type",
    }  # fmt: skip
    assert (event.type, event.sender, event.key) == ("m.room.member", BOB, ("m.room.member", BOB))
    assert (event.is_state, event.membership, event.depth) == (True, "join", 5)
    assert (event.prev_events, event.content) == (["$p"], {"membership": "join"})
    assert event.room_id == event.pdu["room_id"]


def test_only_state_has_a_key() -> None:
    """A message is no state, even though the empty state key is one."""
    room = Room("11")
    assert not message(room).is_state
    assert message(room).membership is None
    assert message(room, state_key="").is_state
    with pytest.raises(ValueError, match="not a state event"):
        _ = message(room).key


def test_room_id_of_version_12() -> None:
    """The room is named by the hash of its create event, which does not carry the name."""
    room = Room("12")
    assert "room_id" not in room.create.pdu
    assert room.room_id == "!" + room.create.event_id[1:]
    assert Event.from_pdu(room.create.pdu, room.version).room_id == room.room_id
    assert room.state["m.room.member", ALICE].pdu["room_id"] == room.room_id


@pytest.mark.parametrize(("version", "event_type"), [("11", "m.room.create"), ("12", "m.room.message")])
def test_other_events_need_a_room(version: str, event_type: str) -> None:
    """Only a create event of version 12 comes without a room id."""
    with pytest.raises(ValueError, match="no room ID"):
        build_event(Draft(event_type, ALICE, {}, 1, ""), ROOM_VERSIONS[version], None, [], [], 1, KEY)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["age", "age_ts", "redacted_because"]), VALUES))
def test_event_id_does_not_depend_on_unsigned(unsigned: dict[str, object]) -> None:
    """What others add to `unsigned` or `signatures` leaves the event id as it is."""
    event = message(Room("12"))
    changed = event.pdu | {"unsigned": unsigned, "signatures": {"b.example": {}}}
    assert Event.from_pdu(changed, event.version).event_id == event.event_id


def test_largest_event() -> None:
    """65536 bytes of canonical JSON with signatures pass, one more does not."""
    room = Room("12")
    room_for_text = 65536 - len(canonical_json.encode(message(room, content={"body": ""}).pdu))
    largest = message(room, content={"body": "x" * room_for_text})
    assert len(canonical_json.encode(largest.pdu)) == 65536
    with pytest.raises(MatrixError) as caught:
        message(room, content={"body": "x" * (room_for_text + 1)})
    assert (caught.value.status, caught.value.errcode) == (413, "M_TOO_LARGE")


@pytest.mark.parametrize(
    ("changes", "status", "errcode"),
    [
        ({"type": "x" * 256}, 413, "M_TOO_LARGE"),
        ({"type": "ä" * 128}, 413, "M_TOO_LARGE"),
        ({"state_key": "x" * 256}, 413, "M_TOO_LARGE"),
        ({"sender": "@" + "x" * 255}, 413, "M_TOO_LARGE"),
        ({"type": "a\0b"}, 400, "M_BAD_JSON"),
        ({"state_key": "\0"}, 400, "M_BAD_JSON"),
        ({"content": {"a": 1.5}}, 400, "M_BAD_JSON"),
        ({"content": {"a": 2**53}}, 400, "M_BAD_JSON"),
    ],
)
def test_limits(changes: dict[str, Any], status: int, errcode: str) -> None:
    """What the specification or our storage cannot hold is refused in clear words."""
    with pytest.raises(MatrixError) as caught:
        message(Room("12"), **changes)
    assert (caught.value.status, caught.value.errcode) == (status, errcode)


def test_fields_of_255_bytes_pass() -> None:
    """The limit itself is allowed."""
    assert message(Room("12"), type="x" * 255, state_key="ä" * 127).is_state


@pytest.mark.parametrize(("prev", "auth"), [(21, 1), (1, 11)])
def test_too_many_edges(prev: int, auth: int) -> None:
    """An event has at most 20 previous and 10 auth events."""
    room = Room("12")
    draft = Draft("m.room.message", ALICE, {}, 1)
    build_event(draft, room.version, room.room_id, ["$p"] * 20, ["$a"] * 10, 2, KEY)
    with pytest.raises(MatrixError) as caught:
        build_event(draft, room.version, room.room_id, ["$p"] * prev, ["$a"] * auth, 2, KEY)
    assert caught.value.errcode == "M_BAD_JSON"


@pytest.mark.parametrize(
    ("version", "limit"), [("1", 2**63 - 1), ("5", 2**63 - 1), ("6", 2**53 - 1), ("12", 2**53 - 1)]
)
def test_depth_stays_at_its_limit(version: str, limit: int) -> None:
    """A room whose depth has reached the largest integer goes on at that depth."""
    room = Room(version)
    draft = Draft("m.room.message", ALICE, {}, 1)
    event = build_event(draft, room.version, room.room_id, *edges(room), limit + 1, KEY)
    assert event.depth == event.pdu["depth"] == limit


def test_client_form() -> None:
    """Clients see neither hashes nor the graph; the room id is always there."""
    room = Room("12")
    assert client_event(room.create) == {
        "content": {"room_version": "12"},
        "event_id": room.create.event_id,
        "origin_server_ts": room.create.origin_server_ts,
        "room_id": room.room_id,
        "sender": ALICE,
        "state_key": "",
        "type": "m.room.create",
    }
    assert "state_key" not in client_event(message(room))


@pytest.mark.parametrize("version", VERSIONS)
def test_client_form_of_redactions(version: str) -> None:
    """Clients find the target at the top level and in the content, whatever the version."""
    room = Room(version)
    event = message(room, type="m.room.redaction", content={"reason": "spam"}, redacts="$target")
    assert ("redacts" in event.content) == (int(version) >= 11)
    assert ("redacts" in event.pdu) == (int(version) < 11)
    shown = client_event(event)
    assert shown["redacts"] == "$target"
    assert shown["content"] == {"reason": "spam", "redacts": "$target"}


def test_stripped_state() -> None:
    """Invited users see four fields of a state event."""
    room = Room("11")
    assert stripped_state(room.state["m.room.member", ALICE]) == {
        "content": {"membership": "join"},
        "sender": ALICE,
        "state_key": ALICE,
        "type": "m.room.member",
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_redacted_event_keeps_its_id(version: str) -> None:
    """A redacted event is the same event without its content; its id still fits its hash."""
    room = Room(version)
    event = message(room)
    gone = redacted(event)
    assert gone.event_id == event.event_id == Event.from_pdu(gone.pdu, room.version).event_id
    assert gone.reference == event.reference
    assert gone.content == {}
    assert event.content["body"] == "hi"
    assert redacted(room.create).room_id == room.room_id


def test_events_are_equal_by_identity() -> None:
    """Two events with the same content are two events."""
    room = Room("12")
    event = message(room)
    assert event != Event.from_pdu(event.pdu, room.version)
    assert len({event, event}) == 1
