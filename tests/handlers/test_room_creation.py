"""Creating rooms: presets, overrides, limits, all or nothing."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.handlers.room_plan import PRESETS, RoomRequest
from synapse_lite.ids import is_room_id
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.storage.database import Database
from tests.builders import ALICE, BOB, MALLORY
from tests.handlers.house import House, alice, bob, refusal, requester

VERSIONS = tuple(ROOM_VERSIONS)
LEVELS = ("m.room.power_levels", "")
CREATE = ("m.room.create", "")
SECOND = "@second:hs.test"


PRESET_STATES = [  # preset, join rule, guest access, level of invites
    ("private_chat", "invite", "can_join", 0),
    ("trusted_private_chat", "invite", "can_join", 0),
    ("public_chat", "public", None, 50),
]


@pytest.mark.parametrize("version", VERSIONS)
@ensureDeferred
async def test_presets(database: Database, version: str) -> None:
    """Each preset has its rules and levels; the creator rules the room, and in a trusted one so do the invited."""
    house = House(database)
    for expected in PRESET_STATES:
        await _check_preset(house, version, *expected)


async def _check_preset(
    house: House, version: str, preset: str, join_rule: str, guest_access: str | None, invite_level: int
) -> None:
    room_id = await house.room(preset=preset, room_version=version, invited=[BOB])
    state = await house.current(room_id)
    assert state["m.room.join_rules", ""] == {"join_rule": join_rule}
    expected = {"guest_access": guest_access} if guest_access else None
    assert state.get(("m.room.guest_access", "")) == expected
    assert state[LEVELS]["events"].get("m.call.invite") == (50 if preset == "public_chat" else None)
    assert state["m.room.history_visibility", ""] == {"history_visibility": "shared"}
    assert state[LEVELS]["invite"] == invite_level
    assert state["m.room.member", ALICE]["membership"] == "join"
    assert state["m.room.member", BOB] == {"membership": "invite"}
    create, levels = state[CREATE], state[LEVELS]
    assert create["room_version"] == version
    assert create.get("creator") == (ALICE if int(version) <= 10 else None)
    trusted = [BOB] if preset == "trusted_private_chat" else []
    if version == "12":
        assert room_id.startswith("!")
        assert ":" not in room_id
        assert create.get("additional_creators", []) == trusted
        assert levels["users"] == {}
        assert levels["events"]["m.room.tombstone"] == 150
    else:
        assert room_id.endswith(":hs.test")
        assert len(room_id) == len("!:hs.test") + 18
        assert "additional_creators" not in create
        assert levels["users"] == dict.fromkeys([ALICE, *trusted], 100)
        assert levels["events"]["m.room.tombstone"] == 100
    assert is_room_id(room_id)


@pytest.mark.parametrize("version", VERSIONS)
@ensureDeferred
async def test_everything_in_the_order_of_the_specification(database: Database, version: str) -> None:
    """Create, join, levels, alias, preset, initial state, name, topic, invites; each key is set once."""
    house = House(database)
    await house.account(ALICE, "Alice", "mxc://hs.test/a")
    await house.account(BOB, "Bob")
    room_id = await house.creation.create(
        alice,
        _request(
            room_version=version,
            alias_name="den",
            name="Den",
            topic="Foxes",
            invited=[BOB, BOB],
            is_direct=True,
            is_public=True,
            initial_state=[
                (("m.room.join_rules", ""), {"join_rule": "knock"}),
                (("m.room.topic", ""), {"topic": "overwritten"}),
                (("org.example", "key"), {"x": 1}),
            ],
        ),
    )
    events = await house.events(room_id)
    assert [event["type"] for event in events] == [
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
        "m.room.canonical_alias",
        "m.room.history_visibility",
        "m.room.join_rules",
        "org.example",
        "m.room.name",
        "m.room.topic",
        "m.room.member",
    ]
    state = await house.current(room_id)
    assert state["m.room.member", ALICE] == {
        "membership": "join",
        "displayname": "Alice",
        "avatar_url": "mxc://hs.test/a",
    }
    assert state["m.room.member", BOB] == {"membership": "invite", "displayname": "Bob", "is_direct": True}
    assert state["m.room.join_rules", ""] == {"join_rule": "knock"}
    assert state["m.room.topic", ""] == {
        "topic": "Foxes",
        "m.topic": {"m.text": [{"body": "Foxes"}]},
    }
    assert state["m.room.name", ""] == {"name": "Den"}
    assert state["m.room.canonical_alias", ""] == {"alias": "#den:hs.test"}
    assert await house.room_named("#den:hs.test") == room_id
    assert await house.aliases.is_listed(room_id)


@ensureDeferred
async def test_the_preset_follows_the_visibility(database: Database) -> None:
    """Public rooms are public chats and others private ones, and only the former are listed."""
    house = House(database)
    for is_public, join_rule in ((True, "public"), (False, "invite")):
        room_id = await house.room(preset=None, is_public=is_public)
        assert (await house.current(room_id))["m.room.join_rules", ""] == {"join_rule": join_rule}
        assert await house.aliases.is_listed(room_id) is is_public


@pytest.mark.parametrize("version", VERSIONS)
@ensureDeferred
async def test_creation_content(database: Database, version: str) -> None:
    """Further keys go into the create event; version and creator are the server's to say."""
    house = House(database)
    wishes = {"m.federate": False, "type": "m.space", "creator": MALLORY, "room_version": "9"}
    create = (await house.current(await house.room(room_version=version, creation_content=wishes)))[CREATE]
    creator = {"creator": ALICE} if int(version) <= 10 else {}
    assert create == {"m.federate": False, "type": "m.space", "room_version": version, **creator}


@ensureDeferred
async def test_additional_creators(database: Database) -> None:
    """Those asked for and the trusted invited, each once, never the creator; they may do everything."""
    house = House(database)
    room_id = await house.room(
        preset="trusted_private_chat",
        room_version="12",
        invited=[BOB, SECOND],
        creation_content={"additional_creators": [SECOND, ALICE]},
    )
    assert (await house.current(room_id))[CREATE]["additional_creators"] == [SECOND, BOB]
    await house.join(room_id, bob)
    await house.sending.state(bob, room_id, "m.room.power_levels", "", {"users": {MALLORY: 2**40}})


@pytest.mark.parametrize("version", ["10", "11"])
@ensureDeferred
async def test_power_levels_can_be_overridden(database: Database, version: str) -> None:
    """The request's levels beat the server's, which beat the preset's."""
    configured = {"public_chat": {"invite": 20, "kick": 30}, "private_chat": None}
    house = House(database, default_power_level_content_override=configured)
    room_id = await house.room(
        room_version=version, power_levels={"kick": 40, "users": {ALICE: 100, BOB: 50}, "events": {"x": 1}}
    )
    levels = (await house.current(room_id))[LEVELS]
    assert (levels["invite"], levels["kick"], levels["ban"]) == (20, 40, 50)
    assert levels["users"] == {ALICE: 100, BOB: 50}
    assert levels["events"] == {"x": 1}


TOMBSTONES: list[tuple[int, dict[str, int], int]] = [  # state_default, the request's levels, the outcome
    (50, {}, 150),
    (150, {}, 151),
    (60, {"m.room.tombstone": 70}, 70),
    (60, {"m.room.tombstone": 60}, 150),
]


@ensureDeferred
async def test_a_tombstone_is_above_the_state_default(database: Database) -> None:
    """In version 12 the level of tombstones is always above `state_default`, whatever is overridden."""
    house = House(database)
    for state_default, events, tombstone in TOMBSTONES:
        levels = {"state_default": state_default, "events": events}
        room_id = await house.room(room_version="12", power_levels=levels)
        assert (await house.current(room_id))[LEVELS]["events"] == {"m.room.tombstone": tombstone}


@ensureDeferred
async def test_encryption_by_default(database: Database) -> None:
    """New rooms are encrypted as the server's option says."""
    private = {"private_chat", "trusted_private_chat"}
    for setting, encrypted in ((False, set()), ("invite", private), ("all", set(PRESETS))):
        house = House(database, encryption_enabled_by_default_for_room_type=setting)
        for preset in PRESETS:
            state = await house.current(await house.room(preset=preset))
            assert (("m.room.encryption", "") in state) is (preset in encrypted)


BAD_WISHES: list[tuple[dict[str, Any], tuple[int, str]]] = [
    ({"room_version": "9999"}, (400, "M_UNSUPPORTED_ROOM_VERSION")),
    ({"preset": "party"}, (400, "M_BAD_JSON")),
    ({"alias_name": "a:b"}, (400, "M_INVALID_PARAM")),
    ({"alias_name": "a b"}, (400, "M_INVALID_PARAM")),
    ({"alias_name": ""}, (400, "M_INVALID_PARAM")),
    ({"invited": ["bob"]}, (400, "M_INVALID_PARAM")),
    ({"invited": [ALICE]}, (400, "M_INVALID_ROOM_STATE")),
    ({"creation_content": {"additional_creators": ["bob"]}}, (400, "M_INVALID_PARAM")),
    ({"creation_content": {"additional_creators": 1}}, (400, "M_BAD_JSON")),
    ({"creation_content": {"m.federate": "no"}}, (400, "M_BAD_JSON")),
    ({"creation_content": {"x": 1.5}}, (400, "M_BAD_JSON")),
    ({"power_levels": {"users": {ALICE: 100}}}, (400, "M_INVALID_ROOM_STATE")),
    ({"power_levels": {"users": {BOB: 1}}, "room_version": "11"}, (400, "M_BAD_JSON")),
    ({"power_levels": {"users": 1}, "room_version": "11"}, (400, "M_BAD_JSON")),
    ({"power_levels": {"ban": "high"}}, (400, "M_BAD_JSON")),
    ({"creation_content": {"predecessor": "x"}}, (400, "M_BAD_JSON")),
    ({"creation_content": {"type": 5}}, (400, "M_BAD_JSON")),
    ({"initial_state": [(("m.room.join_rules", ""), {"join_rule": ["public"]})]}, (400, "M_BAD_JSON")),
    ({"initial_state": [(("m.room.server_acl", ""), {"deny": ["*"]})]}, (400, "M_INVALID_PARAM")),
    ({"initial_state": [(("x\0", ""), {})]}, (400, "M_BAD_JSON")),
    ({"initial_state": [(("x", "y" * 256), {})]}, (413, "M_TOO_LARGE")),
    ({"initial_state": [(("x", ""), {"text": "a\0b"})]}, (400, "M_BAD_JSON")),
    ({"name": "a\0b"}, (400, "M_BAD_JSON")),
    (
        {"power_levels": {"users": {ALICE: 10}}, "room_version": "11", "name": "x"},
        (400, "M_INVALID_ROOM_STATE"),
    ),
    ({"initial_state": [(("m.room.create", ""), {})]}, (400, "M_INVALID_PARAM")),
    (
        {"initial_state": [(("m.room.canonical_alias", ""), {"alias": "#other:hs.test"})]},
        (400, "M_BAD_ALIAS"),
    ),
]


@ensureDeferred
async def test_bad_wishes_make_no_room(database: Database) -> None:
    """What cannot be is refused with a clear code, and leaves nothing behind."""
    house = House(database)
    for wishes, expected in BAD_WISHES:
        assert (wishes, await refusal(house.room(**{"room_version": "12", **wishes}))) == (wishes, expected)
    left = "SELECT (SELECT count(*) FROM rooms) + (SELECT count(*) FROM events) + (SELECT count(*) FROM room_aliases)"
    assert await database.read(lambda txn: txn.value(left)) == 0


@ensureDeferred
async def test_a_taken_alias(database: Database) -> None:
    """The second room of the same alias is not made."""
    house = House(database)
    await house.room(alias_name="den")
    assert await refusal(house.room(alias_name="den")) == (400, "M_ROOM_IN_USE")
    assert len(await house.rooms.joined(ALICE)) == 1


@ensureDeferred
async def test_equal_rooms_at_once_are_different_rooms(database: Database) -> None:
    """Rooms that differ in nothing but the moment get different ids, also in the same millisecond."""
    house = House(database)
    house.world.clock.now_ms = lambda: 1_700_000_000_000
    made = await gatherResults([Deferred.fromCoroutine(house.room(room_version="12")) for _ in range(4)])
    assert len(set(made)) == 4


@ensureDeferred
async def test_limits_of_creation_and_invites(database: Database) -> None:
    """A user makes so many rooms, and sends so many invites, and no more."""
    house = House(database, rc_room_creation={"per_second": 1e-6, "burst_count": 2})
    for _ in range(2):
        await house.room()
    assert await refusal(house.room()) == (429, "M_LIMIT_EXCEEDED")
    await house.room(bob)
    tight = {"per_second": 1e-6, "burst_count": 1}
    house = House(database, rc_invites={"per_issuer": tight})
    assert await refusal(house.room(invited=[BOB, SECOND])) == (429, "M_LIMIT_EXCEEDED")
    await house.room(invited=[BOB, BOB])
    assert await refusal(house.room(invited=[BOB])) == (429, "M_LIMIT_EXCEEDED")


@ensureDeferred
async def test_suspended_users_make_no_rooms(database: Database) -> None:
    """Suspension forbids it."""
    assert await refusal(House(database).room(requester(ALICE, suspended=True))) == (403, "M_USER_SUSPENDED")


def _request(**wishes: Any) -> RoomRequest:
    return RoomRequest(**{"preset": "public_chat", **wishes})
