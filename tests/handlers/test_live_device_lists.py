"""Whose devices changed, told from memory."""

from types import SimpleNamespace
from typing import Any, cast

from synapse_lite.handlers.sync.device_lists import DeviceListsSection
from synapse_lite.handlers.sync.joined import JoinedRooms
from synapse_lite.matrix.event import Draft, build_event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.signing import generate_signing_key
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.stream import Change, Kind
from tests.builders import ALICE, BOB, SERVER

ROOM_NID, JOIN_NID, LEAVE_NID = 1, 1, 2
KEY = generate_signing_key(SERVER)


def member(nid: int, membership: str, replaces_nid: int | None) -> StoredEvent:
    draft = Draft("m.room.member", BOB, {"membership": membership}, 0, BOB)
    event = build_event(draft, ROOM_VERSIONS["11"], "!room:hs.test", [], [], 1, KEY)
    return StoredEvent(nid, ROOM_NID, event, 1, 1, replaces_nid)


def test_who_changed_their_keys_and_left_has_left() -> None:
    """By the time of the answer memory knows of both. A client that asked for the keys would hear of no change after them."""
    rooms = {ALICE: JoinedRooms(2, {ROOM_NID: "!room:hs.test"}), BOB: JoinedRooms(2, {})}
    stored = {JOIN_NID: member(JOIN_NID, "join", None), LEAVE_NID: member(LEAVE_NID, "leave", JOIN_NID)}
    section = DeviceListsSection(
        cast(Any, SimpleNamespace(known=rooms.get)), cast(Any, SimpleNamespace(cached=lambda _: stored))
    )
    changes = [
        Change(1, Kind.DEVICE_LIST, user_id=BOB),
        Change(2, Kind.EVENT, room_nid=ROOM_NID, event_nid=LEAVE_NID, user_id=BOB),
    ]
    request = cast(Any, SimpleNamespace(user_id=ALICE))
    assert section.live(request, changes) == {"changed": [], "left": [BOB]}
