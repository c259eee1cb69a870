from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synapse_lite import canonical_json
from synapse_lite.errors import MatrixError
from synapse_lite.matrix.event import (
    Draft,
    Event,
    build_event,
    client_event,
    content_hash,
    redacted,
    reference_hash,
    stripped_state,
)
from synapse_lite.matrix.redaction import redact
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.signing import verify_signed_json
from tests.matrix.builders import ALICE, BOB, KEY, Room
from tests.matrix.test_canonical import VALUES
from tests.matrix.test_signing import DOMAIN_KEY

VERSIONS = sorted(ROOM_VERSIONS)
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
    return build_event(attrs.evolve(draft, **changes), room.version, room.room_id, ["$p"], ["$a"], 2, KEY)


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
    """Content hash and signature of the appendix (which keeps `origin`, as version 10 does)."""
    assert content_hash(pdu) == sha256
    hashed = pdu | {"hashes": {"sha256": sha256}}
    assert DOMAIN_KEY.sign(redact(hashed, ROOM_VERSIONS["10"])) == signature


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("redacts", [None, "$target"])
def test_built_events_hash_and_verify(version: str, redacts: str | None) -> None:
    """A built event carries its content hash, a good signature and the id that others compute."""
    room = Room(version)
    event_type = "m.room.redaction" if redacts else "m.room.message"
    event = message(room, type=event_type, redacts=redacts)
    assert event.pdu["hashes"] == {"sha256": content_hash(event.pdu)}
    verify_signed_json(redact(event.pdu, room.version), "a.example", "ed25519:1", KEY.verify_key)
    assert event.event_id == "$" + reference_hash(event.pdu, room.version)
    assert len(event.event_id) == 44
    assert Event.from_pdu(event.pdu, room.version).event_id == event.event_id
    assert event.redacts == redacts
    assert "event_id" not in event.pdu


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


def test_depth_stays_at_its_limit() -> None:
    """A room whose depth has reached the largest integer goes on at that depth."""
    room = Room("12")
    draft = Draft("m.room.message", ALICE, {}, 1)
    event = build_event(draft, room.version, room.room_id, ["$p"], [], 2**53, KEY)
    assert event.depth == event.pdu["depth"] == 2**53 - 1


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
    assert ("redacts" in event.content) == (version != "10")
    assert ("redacts" in event.pdu) == (version == "10")
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
    assert gone.event_id == event.event_id == "$" + reference_hash(gone.pdu, room.version)
    assert gone.content == {}
    assert event.content["body"] == "hi"
    assert redacted(room.create).room_id == room.room_id


def test_events_are_equal_by_identity() -> None:
    """Two events with the same content are two events."""
    room = Room("12")
    event = message(room)
    assert event != Event.from_pdu(event.pdu, room.version)
    assert len({event, event}) == 1
