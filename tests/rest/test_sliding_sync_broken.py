"""Sliding sync for users of rooms of which something stored cannot be read: they get all others."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.handlers.sync.live_news import NewsReader
from synapse_lite.storage.database import Transaction
from tests.builders import SERVER
from tests.rest.conftest import BuildServer
from tests.rest.sliding_sync import ALL, BOB, LIST, id_of, say, sync, texts
from tests.rest.test_broken_rooms import DAMAGE_MEMBER, REPAIR
from tests.server import OPEN, TestServer, path_part


async def damage_member(server: TestServer, room: str) -> None:
    """What says what bob is in the room."""
    await server.database.transact(lambda txn: txn.execute(DAMAGE_MEMBER, (BOB, id_of(room))))


async def repair(server: TestServer) -> None:
    await server.database.transact(lambda txn: txn.execute(REPAIR))


@ensureDeferred
async def test_invites_and_rooms_that_one_was_put_out_of(build_server: BuildServer) -> None:
    """For who begins and for who goes on; they come once they can be read."""
    one = await build_server(**OPEN)
    alice, bob = await one.user("alice"), await one.user("bob")
    whole, left = await one.room(bob), await one.room(alice, preset="public_chat")
    await one.ok("POST", f"{left}/join", {}, bob)
    known = await sync(one, bob, ALL)
    invited = await one.room(alice, invite=[BOB])
    missed = await say(one, alice, left, "missed")
    await one.ok("POST", f"{left}/kick", {"user_id": BOB}, alice)
    for room in (invited, left):
        await damage_member(one, room)
    other = await build_server(bus=one.bus, **OPEN)  # which remembers nothing
    first = await sync(other, bob, {**ALL, "conn_id": "new"})
    assert first["rooms"].keys() == {id_of(whole)}
    assert other.core.metrics.get_sample_value("synapse_lite_broken_rooms") == 2
    for text in ("one", "two"):
        known = await sync(other, bob, ALL, known["pos"])
        assert known["rooms"].keys() <= {id_of(whole)}
        await say(other, bob, whole, text)
    await repair(one)
    known = await sync(other, bob, ALL, known["pos"])
    assert known["rooms"].keys() == {id_of(room) for room in (whole, invited, left)}
    shown = known["rooms"][id_of(left)]["timeline"]
    assert [event["event_id"] for event in shown[:-1]] == [missed]
    assert shown[-1]["content"]["membership"] == "leave"
    assert other.core.metrics.get_sample_value("synapse_lite_broken_rooms") == 0
    first = await sync(other, bob, {**ALL, "conn_id": "new"}, first["pos"])
    assert first["rooms"].keys() == {id_of(room) for room in (whole, invited, left)}


@ensureDeferred
async def test_who_waits(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What memory cannot answer the database does."""
    alice = await server.user("alice")
    whole = await server.room(alice)
    known = await sync(server, alice, ALL)
    known = await sync(server, alice, ALL, known["pos"])

    def fail(self: NewsReader, *arguments: Any) -> Any:
        raise ValueError("x")

    monkeypatch.setattr(NewsReader, "of", fail)
    await say(server, alice, whole, "hello")
    known = await sync(server, alice, ALL, known["pos"])
    assert texts(known["rooms"][id_of(whole)]) == ["hello"]


@ensureDeferred
async def test_rooms_of_a_space(server: TestServer) -> None:
    """A link that cannot be read, or is none, keeps no other from who filters by the space."""
    alice = await server.user("alice")
    space = id_of(await server.room(alice, creation_content={"type": "m.space"}))
    linked = [id_of(await server.room(alice)) for _ in range(7)]
    for room in linked:
        path = f"rooms/{space}/state/m.space.child/{path_part(room)}"
        await server.ok("PUT", path, {"via": [SERVER]}, alice)
    links = ("x{", "[]", "{}", '{"content": "x"}', '{"content": {"via": {"x": 1}}}')
    links += (
        '{"content": {"order": "\\ud800", "via": ["x"]}}',
        '{"content": {"order": "\\u0000", "via": ["x"]}}',
    )

    def damage(txn: Transaction) -> None:
        for room, json in zip(linked, links, strict=True):
            txn.execute(
                "UPDATE events SET json = %s WHERE type = 'm.space.child' AND state_key = %s", (json, room)
            )

    body = {"lists": {"all": {**LIST, "filters": {"spaces": [space]}}}}
    assert (await sync(server, alice, body))["lists"]["all"]["count"] == 7
    await server.database.transact(damage)
    assert (await sync(server, alice, body))["rooms"].keys() == {linked[-1]}
