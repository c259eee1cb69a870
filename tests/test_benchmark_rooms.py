"""Rooms that the benchmarks put into Synapse's database are rooms of their own, as it would have made them."""

import json
from typing import Any

import pytest

from benchmarks.synapse_rooms import Span, Template, copy
from synapse_lite.matrix.event import Draft, Event, build_event, verify_event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.signing import SigningKey, generate_signing_key

VERSION = ROOM_VERSIONS["12"]
ALICE = "@alice:bench.test"


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return generate_signing_key("bench.test")


def made(key: SigningKey) -> list[Event]:
    create = build_event(
        Draft("m.room.create", ALICE, {"room_version": "12"}, 1, ""), VERSION, None, [], [], 1, key
    )
    join = Draft("m.room.member", ALICE, {"membership": "join"}, 2, ALICE)
    event_id = create.event_id
    return [create, build_event(join, VERSION, create.room_id, [event_id], [], 2, key)]


def template(events: list[Event]) -> Template:
    room_id = events[0].room_id
    rows = {
        "events": [
            {"event_id": one.event_id, "room_id": room_id, "stream_ordering": at, "origin_server_ts": at}
            for at, one in enumerate(events, start=5)
        ],
        "event_json": [{"event_id": one.event_id, "json": text(one)} for one in events],
        "state_groups": [{"id": 3, "room_id": room_id}],
    }
    pdus = [{"event_id": one.event_id, "json": text(one)} for one in events]
    return Template(
        room_id, VERSION, rows, pdus, {"stream_ordering": Span(5, 2, 7), "state_group": Span(3, 1, 9)}
    )


def text(event: Event) -> str:
    return json.dumps({**event.pdu, "unsigned": {"age_ts": 1}})


def test_copies(key: SigningKey) -> None:
    """Signed events that hang together, with ids and numbers that no other room has."""
    events = made(key)
    found = [copy(template(events), key, number) for number in range(2)]
    room_ids = {events[0].room_id, *(room_id for room_id, _ in found)}
    assert len(room_ids) == 3
    for number, (room_id, rows) in enumerate(found):
        pdus: list[dict[str, Any]] = [json.loads(row["json"]) for row in rows["event_json"]]
        copied = [Event.from_pdu(pdu, VERSION) for pdu in pdus]
        assert [row["event_id"] for row in rows["events"]] == [one.event_id for one in copied]
        assert {one.room_id for one in copied} == {room_id} == {row["room_id"] for row in rows["events"]}
        assert copied[1].pdu["prev_events"] == [copied[0].event_id]
        assert [row["stream_ordering"] for row in rows["events"]] == [7 + 2 * number, 8 + 2 * number]
        assert [row["id"] for row in rows["state_groups"]] == [9 + number]
        for one in copied:
            verify_event(one.pdu, VERSION, "bench.test", key.key_id, key.verify_key)
