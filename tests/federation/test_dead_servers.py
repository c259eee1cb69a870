"""Rooms with thousands of servers that nobody can reach: what they cost has bounds, and a restart starts nothing anew."""

from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry
from pytest_twisted import ensureDeferred

from synapse_lite.handlers.federation.sending import FederationSender
from synapse_lite.handlers.federation.sending.sender import CONCURRENCY, PROBES
from synapse_lite.storage import outgoing
from synapse_lite.storage import sending as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.destinations import forget_destinations
from synapse_lite.storage.outgoing import OutgoingEdu
from synapse_lite.storage.sending import Backoff
from tests.federation.network import Network, Scripted
from tests.federation.remote_room import RemoteRoom, remote_room
from tests.federation.sending import Inbox, Sending
from tests.federation.test_sending import AWAY, rows, say
from tests.server import TestServer

MANY, SOME = 5000, 100
PUTS = "/_matrix/federation/v1/send/"


async def with_dead_servers(server: TestServer, room: RemoteRoom, count: int) -> None:
    """So many servers, each with one member, of which none can be reached."""

    def add(txn: Transaction) -> None:
        txn.execute(
            "INSERT INTO memberships (user_id, room_nid, membership, sender, event_nid)"
            " SELECT '@x:dead' || n || '.test', room_nid, 'join', '@x:dead' || n || '.test', event_nid"
            " FROM memberships JOIN rooms USING (room_nid), generate_series(1, %s) AS n"
            " WHERE room_id = %s AND user_id = %s",
            (count, room.room_id, room.user),
        )

    await server.database.transact(add)


def told(network: Network) -> list[str]:
    """The dead servers that were sent a transaction, in order."""
    return [name for name, _, path in network.asked if path.startswith(PUTS) and name.startswith("dead")]


async def count(server: TestServer, table: str) -> int:
    ((found,),) = await rows(server, f"SELECT count(*) FROM {table} WHERE server_name LIKE 'dead%'")
    return int(found)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many transactions each turn of the sender handed out."""
    found: list[int] = []
    turn = store.turn

    def counted(*arguments: object) -> object:
        handed = turn(*arguments)  # type: ignore[arg-type]
        found.append(len(handed))
        return handed

    monkeypatch.setattr(store, "turn", counted)
    return found


@ensureDeferred
async def test_5000_dead_servers(
    server: TestServer, other: Scripted, network: Network, turns: Sequence[int]
) -> None:
    """A message is one row for each; each is asked once, a hundred with a transaction; a new process asks nobody."""
    Inbox(other)
    sending = Sending(server)
    room, token = await remote_room(server, other)
    await sending.deliver()
    await with_dead_servers(server, room, MANY)
    await say(server, room, token, "hello")
    await sending.follow()
    assert await count(server, "outgoing_events") == MANY
    await sending.settled()
    assert len(told(network)) == len(set(told(network))) == MANY
    assert max(turns) <= CONCURRENCY + PROBES
    assert len(turns) < MANY / CONCURRENCY * 3
    network.asked.clear()
    old = sending.sender
    fresh = FederationSender(
        old._database, old._peers, old._bodies, old._bus, old._clock, CollectorRegistry(),
        backoff=Backoff(5000, 60_000, 2), timeout=60,
    )  # fmt: skip
    fresh.start()
    fresh.wake()
    await sending.settled()
    stopped = fresh.stop()
    assert stopped is not None
    await stopped
    assert told(network) == []
    assert await count(server, "destinations") == MANY


@ensureDeferred
async def test_the_queues_of_the_dead_do_not_grow(
    server: TestServer, other: Scripted, network: Network
) -> None:
    """After a minute a server costs the transaction that was on its way, and a row for each room, whatever is said in it."""
    Inbox(other)
    sending = Sending(server)
    room, token = await remote_room(server, other)
    await sending.deliver()
    await with_dead_servers(server, room, SOME)
    for number in range(6):
        await say(server, room, token, str(number))
        await sending.deliver()
        server.clock.advance(100)
        await sending.settled()
    assert (await count(server, "outgoing_events"), await count(server, "destination_rooms")) == (SOME, SOME)
    network.asked.clear()
    await say(server, room, token, *(f"more{number}" for number in range(20)))
    await sending.deliver()
    assert (await count(server, "outgoing_events"), await count(server, "destination_rooms")) == (SOME, SOME)
    assert told(network) == []


@ensureDeferred
async def test_what_is_told_beside_events_has_a_limit(
    server: TestServer, other: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of messages to devices of a server that is away the newest stay, and what was on its way."""
    monkeypatch.setattr(outgoing, "MAX_EDUS_KEPT", 3)
    inbox, sending = Inbox(other), Sending(server)
    inbox.answers += [AWAY] * 6
    edus = [OutgoingEdu([other.name], "m.direct_to_device", {"n": number}) for number in range(110)]
    await server.database.transact(outgoing.enqueue, [], edus)
    for _ in range(6):
        await sending.settled()
        server.clock.advance(200)
    await sending.settled()
    numbers = [edu["content"]["n"] for edu in inbox.edus]
    assert numbers == [*range(100), 107, 108, 109]


@pytest.mark.parametrize("is_behind", [True, False])
@ensureDeferred
async def test_messages_to_devices_do_not_pile_up(
    server: TestServer, other: Scripted, monkeypatch: pytest.MonkeyPatch, is_behind: bool
) -> None:
    """Between two attempts to reach the server, nor for one that answers but is slow: what is on its way and the newest stay."""
    monkeypatch.setattr(outgoing, "MAX_EDUS_KEPT" if is_behind else "MAX_EDUS_QUEUED", 3, raising=False)
    messages = [OutgoingEdu([other.name], "m.direct_to_device", {"n": number}) for number in range(10)]
    await server.database.transact(outgoing.enqueue, [], messages[:2])
    state = "behind = %s, retry_at = 1e15, txn_id = 'x', txn_edu = (SELECT max(edu) FROM outgoing_edus)"
    await server.database.transact(lambda txn: txn.execute(f"UPDATE destinations SET {state}", (is_behind,)))
    for message in messages[2:]:
        await server.database.transact(outgoing.enqueue, [], [message])
    found = await rows(server, "SELECT (json::json->'content'->>'n')::int FROM outgoing_edus ORDER BY edu")
    assert [number for (number,) in found] == [0, 1, 7, 8, 9]


@ensureDeferred
async def test_what_has_passed_is_not_told_when_the_server_is_back(
    server: TestServer, other: Scripted
) -> None:
    """That somebody types, who has stopped while the server was away."""
    typing = [
        OutgoingEdu([other.name], "m.typing", {"typing": is_typing}, "typing", is_passing=True)
        for is_typing in (True, False)
    ]
    await server.database.transact(outgoing.enqueue, [], typing[:1])
    await server.database.transact(lambda txn: txn.execute("UPDATE destinations SET behind = TRUE"))
    await server.database.transact(outgoing.enqueue, [], typing[1:])
    assert await rows(server, "SELECT json FROM outgoing_edus") == []


@ensureDeferred
async def test_a_server_that_is_too_slow_catches_up(
    server: TestServer, other: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When too much waits for one that answers, it gets the newest event of each room instead."""
    monkeypatch.setattr(outgoing, "MAX_QUEUED", 60)
    inbox, sending = Inbox(other), Sending(server)
    room, token = await remote_room(server, other)
    await sending.deliver()
    inbox.clear()
    said = [str(number) for number in range(120)]
    await say(server, room, token, *said)
    await sending.deliver()
    assert inbox.texts == [*said[:50], said[-1]]
    assert await rows(server, "SELECT behind FROM destinations") == [(False,)]


@ensureDeferred
async def test_servers_that_share_no_room_are_forgotten(server: TestServer, other: Scripted) -> None:
    """Once the last of them has been told, or could not be for a week; others stay."""
    inbox, sending = Inbox(other), Sending(server)
    room, token = await remote_room(server, other)
    await sending.deliver()
    await with_dead_servers(server, room, 2)
    await say(server, room, token, "hello")
    await sending.deliver()
    before = server.clock.now_ms()

    async def forget(failing_before_ms: int) -> int:
        return await server.database.transact(forget_destinations, failing_before_ms, 100)

    assert await forget(before + 1) == 0
    await server.database.transact(
        lambda txn: txn.execute("DELETE FROM memberships WHERE user_id LIKE '@x:dead%%'")
    )
    assert await forget(0) == 0
    assert await forget(before + 1) == 2
    for table in ("destinations", "outgoing_events", "outgoing_edus", "destination_rooms"):
        assert await count(server, table) == 0
    await server.ok("POST", f"rooms/{room.room_id}/kick", {"user_id": room.user}, token)
    await sending.deliver()
    assert inbox.pdus[-1]["content"]["membership"] == "leave"
    assert await forget(0) == 1
    assert await rows(server, "SELECT FROM destinations") == []
