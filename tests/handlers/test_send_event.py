"""Sending messages, state and redactions."""

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from synapse_lite.handlers.requester import Requester
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.history_purge import delete_events
from tests.builders import ALICE, BOB, MALLORY
from tests.handlers.house import House, admin, alice, bob, decoded, mallory, refusal, requester

FORBIDDEN = (403, "M_FORBIDDEN")
NOT_FOUND = (404, "M_NOT_FOUND")
TIGHT = {"per_second": 1e-6, "burst_count": 1}
versions = pytest.mark.parametrize("version", ["1", "3", "10", "11", "12"])


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
    send_create = house.sending.state(alice, room_id, "m.room.create", "", create)
    assert await refusal(send_create) == (400, "M_INVALID_PARAM")
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
    assert event["content"] == {"reason": "typo"} | ({} if int(version) <= 10 else {"redacts": own})
    assert event.get("redacts") == (own if int(version) <= 10 else None)
    assert await refusal(house.sending.redact(mallory, room_id, other, "1", {})) == FORBIDDEN
    await house.sending.redact(alice, room_id, other, "2", {})
    await house.sending.redact(admin, room_id, third, "3", {})
    await house.sending.message(alice, room_id, "m.room.redaction", "4", {"redacts": fourth})
    assert [await is_redacted(house, e) for e in (own, other, third, fourth)] == [True] * 4


@ensureDeferred
async def test_each_endpoint_has_its_own_transaction_ids(database: Database) -> None:
    """A message and a redaction with the same one are two requests."""
    house = House(database)
    room_id = await house.room()
    said = await house.say(room_id, txn_id="1")
    redaction = await house.sending.redact(alice, room_id, said, "1", {})
    assert redaction != said
    assert await is_redacted(house, said)
    assert await house.say(room_id, txn_id="1") == said
    assert await house.sending.redact(alice, room_id, said, "1", {}) == redaction


@ensureDeferred
async def test_a_retry_after_the_event_was_purged(database: Database) -> None:
    """It is answered with the id of the event that was sent, and sends none."""
    house = House(database)
    room_id = await house.room()
    said = await house.say(room_id, txn_id="1", text="old")
    await house.say(room_id, txn_id="2", text="new")

    def purge(txn: Transaction) -> None:
        delete_events(txn, [house.world.events.by_ids(txn, [said])[said].nid])

    await database.transact(purge)
    before = await house.events(room_id)
    assert await house.say(room_id, txn_id="1", text="old") == said
    assert await house.events(room_id) == before


@ensureDeferred
async def test_a_redaction_sent_again_after_its_target_was_purged(database: Database) -> None:
    """The first event's id, not that there is nothing to redact; also when the redaction is purged, too."""
    house = House(database)
    room_id = await house.room()
    said = await house.say(room_id)
    redaction = await house.sending.redact(alice, room_id, said, "r", {})
    for event_id in (said, redaction):

        def purge(txn: Transaction, event_id: str = event_id) -> None:
            delete_events(txn, [house.world.events.by_ids(txn, [event_id])[event_id].nid])

        await database.transact(purge)
        assert await house.sending.redact(alice, room_id, said, "r", {}) == redaction
    assert await refusal(house.sending.redact(alice, room_id, said, "other", {})) == NOT_FOUND


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
async def test_what_the_room_needs_cannot_be_redacted(database: Database) -> None:
    """Not the create event and not the server ACL, not even by an administrator."""
    house = House(database)
    room_id = await house.room()
    acl = await house.sending.state(alice, room_id, "m.room.server_acl", "", {"allow": ["*"]})
    create = (await house.events(room_id))[0]
    create_id = await database.read(
        lambda txn: txn.value("SELECT event_id FROM events WHERE type = %s", (create["type"],))
    )
    for target in (acl, create_id):
        for who in (alice, admin):
            await house.join(room_id, admin)
            assert await refusal(house.sending.redact(who, room_id, target, "1", {})) == FORBIDDEN


@ensureDeferred
async def test_creators_are_not_in_the_levels(database: Database) -> None:
    """In version 12 levels that name a creator are 400, also of an additional one; in version 11 they are fine."""
    house = House(database)
    room_id = await house.room(room_version="12", creation_content={"additional_creators": [BOB]})
    for creator in (ALICE, BOB):
        levels = house.sending.state(alice, room_id, "m.room.power_levels", "", {"users": {creator: 100}})
        assert await refusal(levels) == (400, "M_INVALID_PARAM")
    await house.sending.state(alice, room_id, "m.room.power_levels", "", {"users": {MALLORY: 100}})
    old = await house.room(room_version="11")
    await house.sending.state(alice, old, "m.room.power_levels", "", {"users": {ALICE: 100}})


@ensureDeferred
async def test_bad_content_disturbs_nobody(database: Database) -> None:
    """Whatever is wrong with an event is told to its sender; what others send at the same time is written."""
    house = House(database)
    room_id = await house.room()
    good = {"msgtype": "m.text", "body": "good"}
    bad = [
        house.sending.message(alice, room_id, "m.room.message", "x" * 256, good),
        house.sending.message(alice, room_id, "m.room.message", "nul\0", good),
        house.sending.message(alice, room_id, "x" * 256, "1", good),
        house.sending.message(alice, room_id, "m.room.message", "2", {"body": "no msgtype"}),
        house.sending.message(alice, room_id, "m.room.message", "3", {**good, "extra": ["a\0b"]}),
        house.sending.message(alice, room_id, "m.room.message", "4", {**good, "extra": 2**53}),
        house.sending.message(alice, room_id, "m.room.create", "5", {}),
        house.sending.state(alice, room_id, "x", "a\0", {}),
        house.sending.state(alice, room_id, "m.room.join_rules", "", {"join_rule": ["public"]}),
        house.sending.state(alice, room_id, "m.room.server_acl", "", {}),
        house.sending.state(alice, room_id, "m.room.member", BOB, {"membership": "invite", "third_party_invite": {"signed": {"token": "a\0"}}}),
    ]  # fmt: skip
    sends = [house.say(room_id, text=f"good {number}", txn_id=f"good {number}") for number in range(len(bad))]
    together = [Deferred.fromCoroutine(one) for pair in zip(bad, sends, strict=True) for one in pair]
    outcomes = await DeferredList(together, consumeErrors=True)
    for (refused, failure), (sent, _) in zip(outcomes[::2], outcomes[1::2], strict=True):
        assert not refused
        assert isinstance(failure, Failure)
        assert failure.value.status in {400, 413}, failure
        assert sent
    assert (
        await refusal(house.sending.message(alice, room_id, "m.room.redaction", "6", {"redacts": "$a\0"}))
        == NOT_FOUND
    )


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
