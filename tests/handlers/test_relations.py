"""Events that relate to others: what may be sent, and what becomes of it."""

from typing import Any

from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, DeferredList

from synapse_lite.storage.database import Database
from tests.handlers.house import House, alice, bob, refusal

DUPLICATE = (400, "M_DUPLICATE_ANNOTATION")
UNRELATED = (400, "M_UNKNOWN")


def relation(rel_type: str, parent: str, **more: Any) -> dict[str, Any]:
    return {"m.relates_to": {"rel_type": rel_type, "event_id": parent, **more}}


class Relations(House):
    async def relate(self, room_id: str, rel_type: str, parent: str, who: Any = alice, **more: Any) -> str:
        self.sent = getattr(self, "sent", 0) + 1
        content = {"msgtype": "m.text", "body": "x", **relation(rel_type, parent, **more)}
        return await self.sending.message(who, room_id, "m.room.message", f"relate {self.sent}", content)

    async def react(self, room_id: str, parent: str, key: str = "👍", who: Any = alice) -> str:
        self.sent = getattr(self, "sent", 0) + 1
        content = relation("m.annotation", parent, key=key)
        return await self.sending.message(who, room_id, "m.reaction", f"react {self.sent}", content)

    async def stored(self) -> list[tuple[str, str, str | None]]:
        """Parent, type and key of what is stored, in order."""
        return await self.database.read(
            lambda txn: txn.rows("SELECT parent_id, rel_type, key FROM relations ORDER BY event_nid")
        )


@ensureDeferred
async def test_relations_are_stored(database: Database) -> None:
    """Whatever relates to an event of the room, in clear or encrypted; malformed relations are none."""
    house = Relations(database)
    room_id = await house.room()
    root = await house.say(room_id)
    await house.relate(room_id, "m.thread", root)
    await house.relate(room_id, "org.example.x", root)
    await house.react(room_id, root)
    secret = {"algorithm": "x", "ciphertext": "x", **relation("m.replace", root)}
    await house.sending.message(alice, room_id, "m.room.encrypted", "secret", secret)
    await house.relate(room_id, "", root)
    assert await house.stored() == [
        (root, "m.thread", None),
        (root, "org.example.x", None),
        (root, "m.annotation", "👍"),
        (root, "m.replace", None),
    ]


@ensureDeferred
async def test_parents_must_be_known(database: Database) -> None:
    """An unknown event, or one of another room, has no children; a key is needed."""
    house = Relations(database)
    room_id, elsewhere = await house.room(), await house.room()
    other = await house.say(elsewhere)
    for parent in ("$unknown", other):
        for rel_type in ("m.thread", "m.replace", "m.reference"):
            assert await refusal(house.relate(room_id, rel_type, parent)) == UNRELATED
        assert await refusal(house.react(room_id, parent)) == UNRELATED
    assert await refusal(house.react(elsewhere, other, "")) == (400, "M_INVALID_PARAM")
    assert await house.stored() == []


@ensureDeferred
async def test_threads_begin_at_unrelated_events(database: Database) -> None:
    """No thread in a thread, at an edit or at a reaction; other relations to those are fine."""
    house = Relations(database)
    room_id = await house.room()
    root = await house.say(room_id)
    reply = await house.relate(room_id, "m.thread", root)
    edit = await house.relate(room_id, "m.replace", root)
    reaction = await house.react(room_id, root)
    for parent in (reply, edit, reaction):
        assert await refusal(house.relate(room_id, "m.thread", parent)) == UNRELATED
    await house.react(room_id, reply)
    await house.relate(room_id, "m.replace", reply)


@ensureDeferred
async def test_nobody_reacts_twice(database: Database) -> None:
    """The same key of the same user to the same event: once, until it is redacted. A retry is the same event."""
    house = Relations(database)
    room_id = await house.room()
    await house.join(room_id, bob)
    root, second = await house.say(room_id), await house.say(room_id, txn_id="2")
    first = await house.react(room_id, root)
    assert await refusal(house.react(room_id, root)) == DUPLICATE
    await house.react(room_id, root, "👎")
    await house.react(room_id, root, who=bob)
    await house.react(room_id, second)
    again = relation("m.annotation", root, key="👍")
    assert await house.sending.message(alice, room_id, "m.reaction", "react 1", again) == first
    await house.sending.redact(alice, room_id, first, "redact", {})
    await house.react(room_id, root)
    assert await refusal(house.react(room_id, root)) == DUPLICATE


@ensureDeferred
async def test_one_of_two_equal_reactions_at_once(database: Database) -> None:
    """However many are sent together, one is written."""
    house = Relations(database)
    room_id = await house.room()
    root = await house.say(room_id)
    together = [Deferred.fromCoroutine(house.react(room_id, root)) for _ in range(5)]
    outcomes = await DeferredList(together, consumeErrors=True)
    assert sorted(done for done, _ in outcomes) == [False] * 4 + [True]
    failures: list[Any] = [result for done, result in outcomes if not done]
    assert {failure.value.errcode for failure in failures} == {DUPLICATE[1]}
    assert len(await house.stored()) == 1


@ensureDeferred
async def test_redacted_events_relate_to_nothing(database: Database) -> None:
    """The redaction of a child takes its relation away; that of the parent leaves its children."""
    house = Relations(database)
    room_id = await house.room()
    root = await house.say(room_id)
    reply = await house.relate(room_id, "m.thread", root)
    await house.relate(room_id, "m.thread", root)
    await house.sending.redact(alice, room_id, reply, "1", {})
    await house.sending.redact(alice, room_id, root, "2", {})
    assert await house.stored() == [(root, "m.thread", None)]
