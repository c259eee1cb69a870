"""What application services are told (application service API, "Pushing events")."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from synapse_lite.handlers.app_services.deliveries import follower_of
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.followers import NobodyListensError
from synapse_lite.tasks.queue import TOPIC as TASKS
from tests.app_service import AppServiceProcess
from tests.rest.app_services import Bridge, open_bridges
from tests.rest.conftest import BuildServer
from tests.server import path_part


@pytest_twisted.async_yield_fixture
async def services() -> AsyncIterator[list[AppServiceProcess]]:
    services = [AppServiceProcess("bridge"), AppServiceProcess("other")]
    for service in services:
        service.start()
    yield services
    for service in services:
        await service.stop()


@pytest_twisted.async_yield_fixture
async def bridge(
    services: list[AppServiceProcess], build_server: BuildServer, tmp_path: Path
) -> AsyncIterator[Bridge]:
    (bridge,) = await open_bridges(build_server, tmp_path, services[:1], receive_ephemeral=True)
    yield bridge


async def say(bridge: Bridge, room: str, text: str, token: str) -> str:
    content = {"msgtype": "m.text", "body": text}
    answer = await bridge.server.ok("PUT", f"{room}/send/m.room.message/{path_part(text)}", content, token)
    return str(answer["event_id"])


async def invite(bridge: Bridge, room: str, user_id: str, token: str) -> None:
    await bridge.server.ok("POST", f"{room}/invite", {"user_id": user_id}, token)


@pytest_twisted.ensureDeferred
async def test_a_room_is_told_from_the_ghosts_join_to_its_leave(bridge: Bridge) -> None:
    alice = await bridge.server.register("alice")
    room, ghost = await bridge.server.room(alice), await bridge.ghost("ghost")
    await say(bridge, room, "before", alice)
    await invite(bridge, room, ghost, alice)
    await say(bridge, room, "only invited", alice)
    await bridge.deliver()
    assert [event["content"]["membership"] for event in bridge.service.events] == ["invite"]
    await bridge.act(ghost, "POST", f"{room}/join", {})
    await say(bridge, room, "with it", alice)
    await bridge.act(
        ghost, "PUT", f"{room}/send/m.room.message/own", {"msgtype": "m.text", "body": "its own"}
    )
    await say(bridge, room, "just before the leave", alice)
    await bridge.act(ghost, "POST", f"{room}/leave", {})
    await say(bridge, room, "without it", alice)
    await bridge.deliver()
    assert bridge.service.said == ["with it", "its own", "just before the leave"]
    await say(bridge, room, "much later", alice)
    await bridge.deliver()
    assert "much later" not in bridge.service.said
    members = [e["content"]["membership"] for e in bridge.service.events if e["type"] == "m.room.member"]
    assert members == ["invite", "join", "leave"]


@pytest_twisted.ensureDeferred
async def test_what_concerns_nobody_of_it_is_not_told(bridge: Bridge) -> None:
    alice = await bridge.server.register("alice")
    room = await bridge.server.room(alice)
    await say(bridge, room, "among us", alice)
    await bridge.deliver()
    assert not bridge.service.asked


@pytest_twisted.ensureDeferred
async def test_its_own_user_counts_and_needs_no_registration(bridge: Bridge) -> None:
    room = await bridge.server.room(bridge.token)
    await bridge.deliver()
    created = bridge.service.events[0]
    assert created["type"] == "m.room.create"
    assert created["sender"] == created["user_id"] == f"@bridgebot:{bridge.server.name}"
    assert created["room_id"] == room.removeprefix("rooms/")


@pytest_twisted.ensureDeferred
async def test_rooms_and_aliases_of_its_namespaces(
    services: list[AppServiceProcess], build_server: BuildServer, tmp_path: Path
) -> None:
    aliases = {"aliases": [{"regex": "#_shared_.*", "exclusive": False}]}
    (bridge,) = await open_bridges(build_server, tmp_path, services[:1], namespaces=aliases)
    alice = await bridge.server.register("alice")
    room = await bridge.server.room(alice)
    await say(bridge, room, "without alias", alice)
    await bridge.deliver()
    assert not bridge.service.asked
    alias = path_part(f"#_shared_room:{bridge.server.name}")
    await bridge.server.ok("PUT", f"directory/room/{alias}", {"room_id": room.removeprefix("rooms/")}, alice)
    other = await bridge.server.room(alice, room_alias_name="_shared_other")
    await say(bridge, other, "in a room with an alias", alice)
    await say(bridge, room, "with an alias meanwhile", alice)
    await bridge.deliver()
    assert bridge.service.said == ["in a room with an alias", "with an alias meanwhile"]
    await bridge.server.ok("DELETE", f"directory/room/{alias}", None, alice)
    await say(bridge, room, "without alias again", alice)
    await bridge.deliver()
    assert len(bridge.service.said) == 2
    rooms = {"rooms": [{"regex": room.removeprefix("rooms/"), "exclusive": False}]}
    (second,) = await open_bridges(build_server, tmp_path, services[1:], namespaces=rooms)
    await second.skip()
    await second.act(f"@otherbot:{second.server.name}", "GET", "account/whoami")
    bob = await second.server.register("bob")
    await second.server.ok("POST", f"{room}/join", {}, bob)
    await say(second, room, "in a named room", bob)
    await second.deliver()
    assert second.service.said == ["in a named room"]


@pytest_twisted.ensureDeferred
async def test_the_same_transaction_again_until_it_has_arrived(bridge: Bridge) -> None:
    alice = await bridge.server.register("alice")
    room, ghost = await bridge.server.room(alice), await bridge.ghost("ghost")
    await bridge.act(ghost, "POST", f"{room}/join", {})
    await bridge.deliver()
    event_id = await say(bridge, room, "secret", alice)
    answers: list[Any] = [
        None,
        None,
        (500, {}),
        (200, {}),
    ]  # a kept connection that closes is tried once more
    bridge.service.answer = lambda _asked: answers.pop(0)
    bridge.service.asked.clear()
    told = await bridge.told()
    assert told is not None
    with pytest.raises(NobodyListensError, match="takes no transaction"):
        await bridge.hand(told)
    await bridge.server.ok("PUT", f"{room}/redact/{path_part(event_id)}/1", {}, alice)
    with pytest.raises(NobodyListensError, match="answers a transaction with 500"):
        await bridge.hand(told)
    await bridge.hand(told)
    bodies = [one.body for one in bridge.service.transactions]
    assert len({one.txn_id for one in bridge.service.transactions}) == 1
    assert bodies == [bodies[0]] * 4
    await bridge.hand(told)  # as after a crash before the position was written down
    assert len(bridge.service.asked) == 4
    assert all(one.token == "hs_bridge" for one in bridge.service.asked)


@pytest_twisted.ensureDeferred
async def test_what_is_told_is_not_kept(bridge: Bridge) -> None:
    await bridge.server.room(bridge.token)
    await bridge.deliver()
    rows = await bridge.server.database.read(
        lambda txn: txn.rows("SELECT body FROM app_service_transactions")
    )
    assert rows == [(None,)]


@pytest_twisted.ensureDeferred
async def test_a_redacted_message_is_told_without_its_text(bridge: Bridge) -> None:
    room = await bridge.server.room(bridge.token)
    event_id = await say(bridge, room, "secret", bridge.token)
    await bridge.server.ok("PUT", f"{room}/redact/{path_part(event_id)}/1", {}, bridge.token)
    await bridge.deliver()
    (message,) = [event for event in bridge.service.events if event["type"] == "m.room.message"]
    assert message["content"] == {}
    assert "secret" not in str(bridge.service.asked)


@pytest_twisted.ensureDeferred
async def test_an_invite_says_which_room_it_is(bridge: Bridge) -> None:
    alice = await bridge.server.register("alice")
    room, ghost = await bridge.server.room(alice, name="Tea"), await bridge.ghost("ghost")
    await invite(bridge, room, ghost, alice)
    await bridge.deliver()
    (event,) = bridge.service.events
    assert event["state_key"] == ghost
    assert event["invite_room_state"] == event["unsigned"]["invite_room_state"]
    shown = {one["type"]: one["content"] for one in event["invite_room_state"]}
    assert shown["m.room.name"] == {"name": "Tea"}
    assert {"m.room.create", "m.room.member", "m.room.join_rules"} <= shown.keys()


@pytest_twisted.ensureDeferred
async def test_state_tells_what_it_replaces_as_old_services_read_it(bridge: Bridge) -> None:
    room = await bridge.server.room(bridge.token)
    for topic in ("one", "two"):
        await bridge.server.ok("PUT", f"{room}/state/m.room.topic", {"topic": topic}, bridge.token)
    await bridge.deliver()
    event = bridge.service.events[-1]
    assert event["prev_content"] == event["unsigned"]["prev_content"] == {"topic": "one"}
    assert event["age"] == event["unsigned"]["age"]


@pytest_twisted.ensureDeferred
async def test_who_types_and_reads_in_its_rooms_is_told(bridge: Bridge) -> None:
    server, alice = bridge.server, await bridge.server.register("alice")
    room, ghost = await server.room(alice), await bridge.ghost("ghost")
    elsewhere = await server.room(alice)
    await bridge.act(ghost, "POST", f"{room}/join", {})
    for place in (room, elsewhere):
        event_id = await say(bridge, place, "read me", alice)
        await server.ok("POST", f"{place}/receipt/m.read/{path_part(event_id)}", {}, alice)
        await server.ok("POST", f"{place}/receipt/m.read.private/{path_part(event_id)}", {}, alice)
        await server.ok(
            "PUT",
            f"{place}/typing/{path_part(f'@alice:{server.name}')}",
            {"typing": True, "timeout": 9000},
            alice,
        )
    await bridge.deliver()
    (typing,) = bridge.service.ephemeral("m.typing")
    assert typing["room_id"] == room.removeprefix("rooms/")
    assert typing["content"] == {"user_ids": [f"@alice:{server.name}"]}
    (receipt,) = bridge.service.ephemeral("m.receipt")
    assert receipt["room_id"] == room.removeprefix("rooms/")
    ((_, by_type),) = receipt["content"].items()
    assert list(by_type) == ["m.read"]


@pytest_twisted.ensureDeferred
async def test_who_is_there_is_told_of_those_beside_its_users(bridge: Bridge) -> None:
    server = bridge.server
    alice, bob = await server.register("alice"), await server.register("bob")
    room, ghost = await server.room(alice), await bridge.ghost("ghost")
    await bridge.act(ghost, "POST", f"{room}/join", {})
    for name, token in (("alice", alice), ("bob", bob)):
        path = f"presence/{path_part(f'@{name}:{server.name}')}/status"
        await server.ok("PUT", path, {"presence": "online", "status_msg": "tea"}, token)
    await bridge.deliver()
    told = {one["sender"]: one["content"]["status_msg"] for one in bridge.service.ephemeral("m.presence")}
    assert told == {f"@alice:{server.name}": "tea"}


@pytest_twisted.ensureDeferred
async def test_many_changes_are_many_transactions_in_order(bridge: Bridge) -> None:
    room = await bridge.server.room(bridge.token)
    await bridge.deliver()
    bridge.service.asked.clear()
    texts = [f"message {number}" for number in range(130)]
    for text in texts:
        await say(bridge, room, text, bridge.token)
    await bridge.deliver()
    assert bridge.service.said == texts
    assert [len(one.body["events"]) for one in bridge.service.transactions] == [100, 30]


@pytest_twisted.ensureDeferred
async def test_what_it_knows_of_rooms_holds_only_without_a_gap(bridge: Bridge) -> None:
    """Another process has told it what lies between: a ghost came meanwhile."""
    alice = await bridge.server.register("alice")
    room, ghost = await bridge.server.room(alice), await bridge.ghost("ghost")
    await bridge.deliver()
    await bridge.act(ghost, "POST", f"{room}/join", {})
    await bridge.skip()
    await say(bridge, room, "after the gap", alice)
    await bridge.deliver()
    assert bridge.service.said == ["after the gap"]


@pytest_twisted.ensureDeferred
async def test_each_service_hears_its_own(
    services: list[AppServiceProcess], build_server: BuildServer, tmp_path: Path
) -> None:
    first, second = await open_bridges(build_server, tmp_path, services)
    await say(first, await first.server.room(first.token), "to one", first.token)
    await say(second, await second.server.room(second.token), "to the other", second.token)
    for bridge in (first, second):
        await bridge.deliver()
    assert [first.service.said, second.service.said] == [["to one"], ["to the other"]]


@pytest_twisted.ensureDeferred
async def test_a_service_that_speaks_is_tried_again_at_once(bridge: Bridge) -> None:
    """As after its restart: it does not wait until the pause is over."""
    server, (name,) = (
        bridge.server,
        [follower_of(one).name for one in bridge.server.core.accounts.services.all],
    )
    heard: list[str | None] = []
    server.bus.subscribe(TASKS, heard.append)

    def wait(txn: Transaction) -> None:
        store.register_followers(txn, {(name, 0): True})
        txn.execute("UPDATE followers SET attempt = 5, run_at = now_ms() + 3600000")

    await server.database.transact(wait)
    await server.ok("GET", "account/whoami", None, bridge.token)
    assert await server.database.read(lambda txn: txn.value("SELECT run_at FROM followers")) == 0
    assert len(heard) == 1
    await server.database.transact(wait)
    await server.ok("GET", "account/whoami", None, bridge.token)
    assert len(heard) == 1  # a busy one is looked up now and then only
