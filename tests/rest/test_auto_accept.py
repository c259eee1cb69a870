"""Invites that are accepted for their users."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from synapse_lite.errors import MatrixError, UnavailableError
from synapse_lite.handlers.auto_accept import AUTO_ACCEPT, OLDEST_MS
from synapse_lite.handlers.invited_joins import PATIENCE_SECONDS
from synapse_lite.handlers.membership import Memberships
from synapse_lite.storage.stream import read_changes_of, read_position
from synapse_lite.tasks.actions.accept_invite import ACCEPT_INVITE, MAX_ATTEMPTS, AcceptInvite
from synapse_lite.tasks.followers import DatabaseFollower, Shard, Told
from synapse_lite.tasks.outcome import Done, Fail, Later
from tests.federation.tasks import run_pending
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer

ENABLED = {"enabled": True}
ALICE, BOB = "@alice:hs.test", "@bob:hs.test"


async def deliver_all(server: TestServer) -> None:
    """All that has ever happened, as to a follower that is new, or whose success was not written down."""
    (registered,) = [one for one in server.core.extensions.followers if one.spec is AUTO_ACCEPT]
    changes = await server.database.read(
        lambda txn: read_changes_of(txn, AUTO_ACCEPT.kinds, 0, read_position(txn), 10_000)
    )
    assert not isinstance(registered.handler, DatabaseFollower)
    await registered.handler.deliver(Told(changes, 0, Shard(0, 1), "key", 1))


async def joined(server: TestServer, token: str) -> set[str]:
    return set((await server.ok("GET", "joined_rooms", token=token))["joined_rooms"])


async def invite(server: TestServer, token: str, **body: Any) -> str:
    """The id of a new room to which bob is invited."""
    return (await server.room(token, invite=[BOB], **body)).removeprefix("rooms/")


@ensureDeferred
async def test_invites_are_accepted(build_server: BuildServer) -> None:
    """Once; direct chats are noted as such, beside those that the user has. Who leaves is not brought back."""
    server = await build_server(**OPEN, auto_accept_invites=ENABLED)
    alice, bob = await server.user("alice"), await server.user("bob")
    data = f"user/{BOB}/account_data/m.direct"
    await server.ok("PUT", data, {ALICE: ["!old:hs.test"], "@x:y": "odd"}, bob)
    room, chat = await invite(server, alice), await invite(server, alice, is_direct=True)
    await deliver_all(server)
    assert await joined(server, bob) == {room, chat}
    direct = await server.ok("GET", data, token=bob)
    assert direct == {ALICE: ["!old:hs.test", chat], "@x:y": "odd"}
    await server.ok("POST", f"rooms/{room}/leave", {}, bob)
    await deliver_all(server)
    assert await joined(server, bob) == {chat}
    assert await server.ok("GET", data, token=bob) == direct


@ensureDeferred
async def test_only_direct_chats(build_server: BuildServer) -> None:
    server = await build_server(**OPEN, auto_accept_invites={**ENABLED, "only_for_direct_messages": True})
    alice, bob = await server.user("alice"), await server.user("bob")
    await invite(server, alice)
    chat = await invite(server, alice, is_direct=True)
    await deliver_all(server)
    assert await joined(server, bob) == {chat}


@ensureDeferred
async def test_invites_that_wait_for_their_users(build_server: BuildServer) -> None:
    """Of those who are ignored; to users who may not act; and of long ago."""
    server = await build_server(**OPEN, auto_accept_invites=ENABLED)
    alice, bob = await server.user("alice"), await server.user("bob")
    await invite(server, alice)
    ignored = f"user/{BOB}/account_data/m.ignored_user_list"
    await server.ok("PUT", ignored, {"ignored_users": {ALICE: {}}}, bob)
    await deliver_all(server)
    await server.ok("PUT", ignored, {"ignored_users": {}}, bob)
    suspend = "UPDATE users SET suspended = {} WHERE user_id = '@bob:hs.test'"
    await server.database.transact(lambda txn: txn.execute(suspend.format(True)))
    await deliver_all(server)
    await server.database.transact(lambda txn: txn.execute(suspend.format(False)))
    server.clock.step(OLDEST_MS / 1000 + 1)
    await deliver_all(server)
    assert await joined(server, bob) == set()


async def run_task(server: TestServer) -> Any:
    """The outcome of a step of the task that accepts an invite; None: there is no such task."""
    return await run_pending(server, ACCEPT_INVITE, AcceptInvite(server.core.rooms.invited_joins.join))


@ensureDeferred
async def test_a_join_that_fails_for_the_moment(
    build_server: BuildServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again, later each time; what is refused for good is not."""
    server = await build_server(**OPEN, auto_accept_invites=ENABLED)
    alice = await server.user("alice")
    await server.user("bob")
    await invite(server, alice)
    errors = [MatrixError(502, "M_UNKNOWN", "away"), MatrixError(429, "M_LIMIT_EXCEEDED", "slow")]
    asked: list[str] = []

    async def join(_memberships: Any, _requester: Any, room_id: str) -> str:
        asked.append(room_id)
        raise errors[len(asked) % 2]

    monkeypatch.setattr("synapse_lite.handlers.membership.Memberships.join", join)
    await deliver_all(server)
    outcomes = [await run_task(server) for _ in range(MAX_ATTEMPTS)]
    pauses = [one.seconds for one in outcomes[:-1]]
    assert pauses == sorted(pauses)
    assert isinstance(outcomes[-1], Fail)
    assert len(asked) == MAX_ATTEMPTS + 1
    assert await run_task(server) is None
    errors[:] = [MatrixError(403, "M_FORBIDDEN", "no")] * 2
    await deliver_all(server)
    assert await run_task(server) is None


@ensureDeferred
async def test_no_invite_waits_for_a_slow_server(
    build_server: BuildServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The join goes on; a task looks what became of it, which leaves alone who has rejected the invite meanwhile."""
    server = await build_server(**OPEN, auto_accept_invites=ENABLED)
    alice, bob = await server.user("alice"), await server.user("bob")
    slow, room = await invite(server, alice), await invite(server, alice)
    join, answer, asked = Memberships.join, Deferred[None](), []

    async def wait(memberships: Memberships, requester: Any, room_id: str) -> str:
        asked.append(room_id)
        if room_id == slow:
            await answer
        return await join(memberships, requester, room_id)

    monkeypatch.setattr(Memberships, "join", wait)
    delivering = Deferred.fromCoroutine(deliver_all(server))
    while room not in await joined(server, bob) or slow not in asked:
        await deferLater(reactor, 0.01)
    server.clock.advance(PATIENCE_SECONDS)
    await delivering
    assert await joined(server, bob) == {room}
    later = Deferred.fromCoroutine(run_task(server))
    while not later.called:
        await deferLater(reactor, 0.01)
        server.clock.advance(PATIENCE_SECONDS)
    assert isinstance(await later, Later)
    answer.callback(None)
    while await joined(server, bob) != {room, slow}:
        await deferLater(reactor, 0.01)
    assert await run_task(server) == Done({})
    assert asked.count(slow) == 1


@ensureDeferred
async def test_a_direct_chat_that_is_entered_by_a_process_that_dies(
    build_server: BuildServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the join: it is among the direct chats all the same."""
    server = await build_server(**OPEN, auto_accept_invites=ENABLED)
    alice, bob = await server.user("alice"), await server.user("bob")
    chat = await invite(server, alice, is_direct=True)
    join = Memberships.join

    async def die(memberships: Memberships, requester: Any, room_id: str) -> str:
        await join(memberships, requester, room_id)
        raise CancelledError

    monkeypatch.setattr(Memberships, "join", die)
    with pytest.raises(CancelledError):
        await deliver_all(server)
    monkeypatch.undo()
    await deliver_all(server)
    assert await joined(server, bob) == {chat}
    direct = await server.ok("GET", f"user/{BOB}/account_data/m.direct", token=bob)
    assert direct == {ALICE: [chat]}


@ensureDeferred
async def test_a_room_that_breaks_our_code(
    build_server: BuildServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its invite waits for its user; nobody else's does, and the follower does not stand still."""
    server = await build_server(**OPEN, auto_accept_invites=ENABLED)
    alice, bob = await server.user("alice"), await server.user("bob")
    broken, room = await invite(server, alice), await invite(server, alice)
    join = Memberships.join

    async def fail(memberships: Memberships, requester: Any, room_id: str) -> str:
        if room_id == broken:
            raise KeyError(room_id)
        return await join(memberships, requester, room_id)

    monkeypatch.setattr(Memberships, "join", fail)
    await deliver_all(server)
    assert await joined(server, bob) == {room}


@ensureDeferred
async def test_a_room_that_cannot_be_read(build_server: BuildServer) -> None:
    """It is left out, by a process that has not read it before."""
    one = await build_server(**OPEN, auto_accept_invites=ENABLED)
    alice, bob = await one.user("alice"), await one.user("bob")
    broken, room = await invite(one, alice), await invite(one, alice)
    damage = "UPDATE events SET json = 'x' || json WHERE room_nid = (SELECT room_nid FROM rooms WHERE room_id = %s)"
    await one.database.transact(lambda txn: txn.execute(damage, (broken,)))
    other = await build_server(**OPEN, auto_accept_invites=ENABLED)
    await deliver_all(other)
    assert await joined(other, bob) == {room}


@ensureDeferred
async def test_it_is_off_unless_it_is_switched_on(server: TestServer) -> None:
    assert AUTO_ACCEPT not in [one.spec for one in server.core.extensions.followers]


@ensureDeferred
async def test_one_that_fails_ends_behind_the_others(
    build_server: BuildServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is delivered again must not meet what is still on its way."""
    server = await build_server(**OPEN, auto_accept_invites=ENABLED)
    alice = await server.user("alice")
    await server.user("bob")
    for _ in range(2):
        await invite(server, alice)
    asked: list[Deferred[None]] = []

    async def join(_memberships: Memberships, _requester: Any, _room_id: str) -> str:
        asked.append(Deferred())
        await asked[-1]
        raise UnavailableError

    monkeypatch.setattr(Memberships, "join", join)
    delivery = Deferred.fromCoroutine(deliver_all(server))
    while len(asked) < 2:
        await deferLater(reactor, 0.01)
    asked[0].callback(None)
    assert not delivery.called
    asked[1].callback(None)
    with pytest.raises(UnavailableError):
        await delivery
