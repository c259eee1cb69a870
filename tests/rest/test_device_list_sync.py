"""What /sync tells of the devices of others."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_twisted
from pytest_twisted import ensureDeferred

from tests.rest.conftest import BuildServer
from tests.rest.encrypting_clients import Client, client_of, room_of, up_to_date
from tests.server import OPEN, TestServer
from tests.signing import Identity


@pytest_twisted.async_yield_fixture
async def other_process(build_server: BuildServer, server: TestServer) -> AsyncIterator[TestServer]:
    """Another process of the same server, on the same bus."""
    yield await build_server(**OPEN, bus=server.bus)


@ensureDeferred
async def test_every_change_of_keys_reaches_those_who_share_a_room(server: TestServer) -> None:
    """Oneself and room mates, not strangers; whatever the room, encrypted or not; each change is one row."""
    alice, bob, eve = [await client_of(server, name, "D") for name in ("alice", "bob", "eve")]
    for _ in range(3):
        await room_of(alice, bob)
    await up_to_date(alice, bob, eve)
    identity = Identity.of(alice.user_id)
    second = await client_of(server, "alice", "D2", new=False)

    async def rows() -> Any:
        sql = "SELECT count(*) FROM stream WHERE kind = 8"
        return await server.database.read(lambda txn: txn.value(sql))

    changes = [
        ("POST", "keys/device_signing/upload", identity.upload),
        (
            "POST",
            "keys/signatures/upload",
            {alice.user_id: {"D": identity.self_signing.sign(alice.device.keys)}},
        ),
        (
            "POST",
            "keys/signatures/upload",
            {
                alice.user_id: {
                    identity.master.public_key: alice.device.signer.sign(identity.key("master")),
                }
            },
        ),
        ("PUT", "devices/D2", {"display_name": "name"}),
    ]
    assert await alice.lists() == ([alice.user_id], [])
    assert await bob.lists() == ([alice.user_id], [])
    for method, path, body in changes:
        count = await rows()
        await alice.do(method, path, body)
        assert await rows() == count + 1
        assert await bob.lists() == ([alice.user_id], [])
        assert await alice.lists() == ([alice.user_id], [])
    await second.do("POST", "logout", {})
    assert await bob.lists() == ([alice.user_id], [])
    assert await eve.lists() == ([], [])


@ensureDeferred
async def test_a_change_of_keys_ends_the_polls_of_room_mates(
    server: TestServer, other_process: TestServer
) -> None:
    """In this process and in another one; a stranger's poll goes on."""
    alice, bob, eve = [await client_of(server, name, "D") for name in ("alice", "bob", "eve")]
    far = await client_of(other_process, "carol", "D")
    await room_of(alice, bob, Client(server, far.user_id, far.device, far.token))
    await up_to_date(alice, bob, eve, far)
    await up_to_date(bob, eve, far)
    polls = [await client.poll() for client in (bob, far, eve)]
    await alice.do("POST", "keys/device_signing/upload", Identity.of(alice.user_id).upload)
    for poll in polls[:2]:
        assert (await poll)["device_lists"] == {"changed": [alice.user_id], "left": []}
    assert not polls[2].called
    server.clock.advance(30)
    await polls[2]


@ensureDeferred
async def test_only_the_signer_hears_of_a_signature_on_somebody_else(server: TestServer) -> None:
    """Their other devices ask again for the keys of whom they verified; nobody else does."""
    alice, bob = [await client_of(server, name, "D") for name in ("alice", "bob")]
    mine, theirs = Identity.of(alice.user_id), Identity.of(bob.user_id)
    for client, identity in ((alice, mine), (bob, theirs)):
        await client.do("POST", "keys/device_signing/upload", identity.upload)
    await room_of(alice, bob)
    await up_to_date(alice, bob)
    waiting = await alice.poll()
    signed = mine.user_signing.sign(theirs.key("master"))
    body = {bob.user_id: {theirs.master.public_key: signed}}
    assert await alice.do("POST", "keys/signatures/upload", body) == {"failures": {}}
    assert (await waiting)["device_lists"]["changed"] == [bob.user_id]
    assert await bob.lists() == ([], [])


@ensureDeferred
async def test_who_comes_and_goes_is_listed_for_both(server: TestServer) -> None:
    """The first common room makes `changed`, the end of the last one `left`; `/keys/changes` agrees."""
    alice, bob = [await client_of(server, name, "D") for name in ("alice", "bob")]
    first = await room_of(alice)
    await up_to_date(alice, bob)
    start = alice.since

    async def seen() -> list[tuple[list[str], list[str]]]:
        return [await alice.lists(), await bob.lists()]

    new, gone, nothing = ([bob.user_id], []), ([], [bob.user_id]), ([], [])
    await bob.do("POST", f"{first}/join", {})
    assert await seen() == [new, ([alice.user_id], [])]
    second = await room_of(alice, bob)
    assert await seen() == [nothing, nothing]
    await bob.do("POST", f"{first}/leave", {})
    assert await seen() == [nothing, nothing]
    await alice.do("POST", f"{second}/leave", {})
    assert await seen() == [gone, ([], [alice.user_id])]
    await alice.do("POST", f"{second}/join", {})
    assert await seen() == [new, ([alice.user_id], [])]
    await bob.do("POST", f"{second}/leave", {})
    assert await seen() == [gone, ([], [alice.user_id])]
    path = f"keys/changes?from={start}&to={alice.since}"
    assert await alice.do("GET", path) == {"changed": [], "left": []}
    await bob.do("POST", f"{first}/join", {})
    await alice.sync()
    path = f"keys/changes?from={start}&to={alice.since}"
    assert await alice.do("GET", path) == {"changed": [bob.user_id], "left": []}


@ensureDeferred
async def test_who_left_and_came_oneself(server: TestServer) -> None:
    """Whom one left behind has `left`, not who was gone before one came; one's own keys are among the changes."""
    alice, bob, carol, dave = [
        await client_of(server, name, "D") for name in ("alice", "bob", "carol", "dave")
    ]
    common, hall = await room_of(bob, alice), await room_of(dave, carol)
    await up_to_date(alice)
    start = alice.since
    await alice.do("POST", f"{common}/leave", {})
    await carol.do("POST", f"{hall}/leave", {})
    await alice.do("POST", f"{hall}/join", {})
    await alice.do("PUT", "devices/D", {"display_name": "name"})
    assert await alice.lists() == ([alice.user_id, dave.user_id], [bob.user_id])
    path = f"keys/changes?from={start}&to={alice.since}"
    assert await alice.do("GET", path) == {"changed": [alice.user_id, dave.user_id], "left": [bob.user_id]}


@ensureDeferred
async def test_comings_and_goings_are_told_from_memory(server: TestServer) -> None:
    """A poll that waits hears of the first and of the last common room; a change of profile is neither."""
    alice, bob = [await client_of(server, name, "D") for name in ("alice", "bob")]
    room = await room_of(alice)
    await up_to_date(alice, bob)
    await up_to_date(alice)
    waiting = await alice.poll()
    await bob.do("POST", f"{room}/join", {})
    assert (await waiting)["device_lists"] == {"changed": [bob.user_id], "left": []}
    waiting = await alice.poll()
    await bob.do("PUT", f"profile/{bob.user_id}/displayname", {"displayname": "Bob"})
    assert "device_lists" not in await waiting
    waiting = await alice.poll()
    await bob.do("POST", f"{room}/leave", {})
    assert (await waiting)["device_lists"] == {"changed": [], "left": [bob.user_id]}


@ensureDeferred
async def test_a_change_during_a_common_absence_is_not_missed(server: TestServer) -> None:
    """Leave, change keys, come back between two syncs: the keys are asked for again."""
    alice, bob = [await client_of(server, name, "D") for name in ("alice", "bob")]
    room = await room_of(alice, bob)
    await up_to_date(alice, bob)
    await bob.do("POST", f"{room}/leave", {})
    await bob.do("POST", "keys/device_signing/upload", Identity.of(bob.user_id).upload)
    await bob.do("POST", f"{room}/join", {})
    assert await alice.lists() == ([bob.user_id], [])
    assert await server.refusal("GET", "keys/changes?from=s1", token=alice.token) == (400, "M_MISSING_PARAM")
    assert await server.refusal("GET", "keys/changes?from=x&to=s1", token=alice.token) == (
        400,
        "M_INVALID_PARAM",
    )
