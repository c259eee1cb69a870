"""Sending messages, state and redactions."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.handlers.auth import Requester
from synapse_lite.storage.database import Database, Transaction
from tests.builders import ALICE, BOB, MALLORY
from tests.handlers.house import House, admin, alice, bob, decoded, mallory, refusal, requester

FORBIDDEN = (403, "M_FORBIDDEN")
NOT_FOUND = (404, "M_NOT_FOUND")
TIGHT = {"per_second": 1e-6, "burst_count": 1}
versions = pytest.mark.parametrize("version", ["10", "11", "12"])


async def is_redacted(house: House, event_id: str) -> bool:
    def read(txn: Transaction) -> bool:
        stored = house.world.events.by_ids(txn, [event_id])[event_id]
        return bool(house.world.events.redactions(txn, [stored.nid]))

    return await house.database.read(read)


@versions
@ensureDeferred
async def test_messages(database: Database, version: str) -> None:
    """A message is stored as sent; the same transaction id of the same device is the same event."""
    house = House(database)
    room_id = await house.room(room_version=version)
    await house.join(room_id, bob)
    first = await house.say(room_id, text="hello")
    assert (await house.events(room_id))[-1]["content"] == {"msgtype": "m.text", "body": "hello"}
    assert await house.say(room_id, text="hello again") == first
    others = [
        await house.say(room_id, txn_id="2"),
        await house.say(room_id, bob),
        await house.say(room_id, Requester(ALICE, "OTHER", "other session")),
    ]
    assert len({first, *others}) == 4


@ensureDeferred
async def test_strangers_send_nothing(database: Database) -> None:
    """Unknown rooms and rooms that one is not in give the same answer."""
    house = House(database)
    room_id = await house.room()
    for room in (room_id, "!unknown:hs.test", "!" + 43 * "x"):
        for doing in (
            house.say(room, mallory),
            house.sending.state(mallory, room, "m.room.topic", "", {}),
            house.sending.state(mallory, room, "m.room.member", BOB, {"membership": "invite"}),
            house.sending.redact(mallory, room, "$event", "1", {}),
        ):
            assert await refusal(doing) == FORBIDDEN
    assert await refusal(house.say("!bad", mallory)) == (400, "M_UNKNOWN")


@ensureDeferred
async def test_only_canonical_json_is_sent(database: Database) -> None:
    """Floats and integers beyond 2^53 are refused, in messages and in state."""
    house = House(database)
    room_id = await house.room()
    for value in (1.5, 2**53, -(2**53), {"deep": [0.0]}):
        content = {"x": value}
        assert await refusal(house.sending.message(alice, room_id, "t", "1", content)) == (400, "M_BAD_JSON")
        assert await refusal(house.sending.state(alice, room_id, "t", "", content)) == (400, "M_BAD_JSON")
    assert await refusal(house.say(room_id, text=70_000 * "x")) == (413, "M_TOO_LARGE")


@versions
@ensureDeferred
async def test_state(database: Database, version: str) -> None:
    """State needs its level; setting it again is the same event; the create event stands for ever."""
    house = House(database)
    room_id = await house.room(room_version=version)
    await house.join(room_id, bob)
    first = await house.sending.state(alice, room_id, "org.example", "key", {"x": 1})
    assert (await house.current(room_id))["org.example", "key"] == {"x": 1}
    assert await house.sending.state(alice, room_id, "org.example", "key", {"x": 1}) == first
    assert await house.sending.state(alice, room_id, "org.example", "key", {"x": 2}) != first
    assert await refusal(house.sending.state(bob, room_id, "m.room.topic", "", {"topic": "x"})) == FORBIDDEN
    create = (await house.current(room_id))["m.room.create", ""]
    assert await refusal(house.sending.state(alice, room_id, "m.room.create", "", create)) == FORBIDDEN
    await house.sending.state(alice, room_id, "m.room.member", MALLORY, {"membership": "invite"})
    assert await house.membership(room_id, MALLORY) == "invite"


@versions
@ensureDeferred
async def test_redactions(database: Database, version: str) -> None:
    """One's own events, any with the redact level, and those of this server's users for its admins."""
    house = House(database)
    room_id = await house.room(room_version=version)
    await house.join(room_id, bob, mallory, admin)
    own, other, third, fourth = [await house.say(room_id, bob, txn_id=str(n)) for n in range(4)]
    redaction = await house.sending.redact(bob, room_id, own, "own", {"reason": "typo", "redacts": "$x"})
    assert await house.sending.redact(bob, room_id, own, "own", {}) == redaction
    event = (await house.events(room_id))[-1]
    assert event["content"] == {"reason": "typo"} | ({} if version == "10" else {"redacts": own})
    assert event.get("redacts") == (own if version == "10" else None)
    assert await refusal(house.sending.redact(mallory, room_id, other, "1", {})) == FORBIDDEN
    await house.sending.redact(alice, room_id, other, "2", {})
    await house.sending.redact(admin, room_id, third, "3", {})
    await house.sending.message(alice, room_id, "m.room.redaction", "4", {"redacts": fourth})
    assert [await is_redacted(house, e) for e in (own, other, third, fourth)] == [True] * 4


@ensureDeferred
async def test_redactions_of_what_is_not_there(database: Database) -> None:
    """Unknown events, events of other rooms, and nothing at all: 404."""
    house = House(database)
    room_id, elsewhere = await house.room(), await house.room()
    event_id = await house.say(elsewhere)
    for target in ("$unknown", event_id):
        assert await refusal(house.sending.redact(alice, room_id, target, "1", {})) == NOT_FOUND
    assert await refusal(house.sending.message(alice, room_id, "m.room.redaction", "2", {})) == NOT_FOUND


@ensureDeferred
async def test_limits(database: Database) -> None:
    """Messages, state and own redactions share a limit; redactions of others' events have their own."""
    house = House(database, rc_message={"per_second": 1e-6, "burst_count": 3}, rc_admin_redaction=TIGHT)
    room_id = await house.room()
    await house.join(room_id, bob)
    events = [await house.say(room_id, bob, txn_id=str(n)) for n in range(3)]
    too_many = (429, "M_LIMIT_EXCEEDED")
    own = await house.say(room_id, alice)
    await house.sending.state(alice, room_id, "m.room.topic", "", {"topic": "x"})
    await house.sending.redact(alice, room_id, own, "own", {})
    await house.sending.redact(alice, room_id, events[0], "others", {})
    for doing in (
        house.say(room_id, alice, txn_id="last"),
        house.sending.state(alice, room_id, "m.room.topic", "", {"topic": "y"}),
        house.sending.redact(alice, room_id, own, "own again", {}),
        house.sending.redact(alice, room_id, events[1], "others again", {}),
    ):
        assert await refusal(doing) == too_many


@ensureDeferred
async def test_suspended_users(database: Database) -> None:
    """They send nothing and redact nothing but their own events."""
    house = House(database)
    room_id = await house.room()
    await house.join(room_id, bob)
    own, other = await house.say(room_id, bob), await house.say(room_id, alice)
    suspended = requester(BOB, suspended=True)
    for doing in (
        house.say(room_id, suspended, txn_id="2"),
        house.sending.state(suspended, room_id, "x", "", {}),
        house.sending.redact(suspended, room_id, other, "3", {}),
    ):
        assert await refusal(doing) == (403, "M_USER_SUSPENDED")
    await house.sending.redact(suspended, room_id, own, "4", {})


@ensureDeferred
async def test_canonical_aliases_point_to_the_room(database: Database) -> None:
    """New ones must, those that are listed already may be anything; both kinds must be aliases."""
    house = House(database)
    room_id, elsewhere = await house.room(alias_name="here"), await house.room(alias_name="there")

    async def put(**content: object) -> str:
        return await house.sending.state(alice, room_id, "m.room.canonical_alias", "", content)

    for bad in ("#there:hs.test", "#none:hs.test", "#none:other.test"):
        assert await refusal(put(alias=bad)) == (400, "M_BAD_ALIAS")
        assert await refusal(put(alias="#here:hs.test", alt_aliases=[bad])) == (400, "M_BAD_ALIAS")
    for malformed in (
        {"alias": 1},
        {"alias": "here"},
        {"alt_aliases": "x"},
        {"alt_aliases": ["#a b:hs.test"]},
    ):
        assert await refusal(put(**malformed)) == (400, "M_INVALID_PARAM")
    await house.aliases.add(alice, "#second:hs.test", room_id)
    await put(alias="#here:hs.test", alt_aliases=["#second:hs.test"])
    await database.transact(
        lambda txn: txn.execute("DELETE FROM room_aliases WHERE alias = '#second:hs.test'")
    )
    await put(alias="#second:hs.test")
    await put()
    assert await refusal(put(alias="#second:hs.test")) == (400, "M_BAD_ALIAS")
    assert decoded(await house.state.content(alice, elsewhere, "m.room.canonical_alias", "")) == {
        "alias": "#there:hs.test"
    }
