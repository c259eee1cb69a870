"""The number that an app shows: what counts, and when it is corrected."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Transaction
from tests.gateway import Body, Gateway
from tests.rest.conftest import BuildServer
from tests.rest.push.phone import Phone, build_phone
from tests.server import user_path


@ensureDeferred
async def test_invites_that_nobody_sees_do_not_count(phone: Phone) -> None:
    """Those of users whom one ignores, before or after they invite."""
    invite = {"invite": ["@alice:hs.test"]}
    carol, dave = await phone.server.user("carol"), await phone.server.user("dave")
    await phone.server.ok("POST", "createRoom", invite, carol)
    assert (await phone.heard())["counts"] == {"unread": 1}
    ignored = {"ignored_users": {"@carol:hs.test": {}, "@dave:hs.test": {}}}
    await phone.server.ok("PUT", user_path("alice", "account_data/m.ignored_user_list"), ignored, phone.alice)
    await phone.server.ok("POST", "createRoom", invite, dave)
    await phone.say()
    told = await phone.heard()
    assert (told["sender"], told["counts"]) == ("@bob:hs.test", {"unread": 1})


@ensureDeferred
async def test_badges(build_server: BuildServer, gateway: Gateway) -> None:
    """Reading elsewhere takes the number back, with one push for all that is read until then."""
    phone = await build_phone(build_server, gateway, push={"group_unread_count_by_room": False})
    sent = [await phone.say() for _ in range(2)]
    assert (await phone.heard())["counts"] == {"unread": 2}
    assert (await gateway.next())["counts"] == {"unread": 2}
    for event_id in sent:
        await phone.read(event_id)
    await phone.follow()
    await phone.later(5)
    told = await gateway.next()
    assert told["counts"] == {"unread": 0}
    assert told.keys() == {"counts", "prio", "devices"}
    await phone.say("later")
    assert (await phone.heard())["content"]["body"] == "later"
    assert gateway.requests == 4


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (user_path("alice", "account_data/m.ignored_user_list"), {"ignored_users": {"@bob:hs.test": {}}}),
        ("pushrules/global/override/.m.rule.master/enabled", {"enabled": True}),
    ],
)
@ensureDeferred
async def test_badges_of_what_does_not_count_any_more(phone: Phone, path: str, body: Body) -> None:
    """Whom one ignores and which rules one has changes the number, without an event; other account data do not."""
    await phone.say()
    assert (await phone.heard())["counts"] == {"unread": 1}
    await phone.settled()
    await phone.server.ok("PUT", user_path("alice", "account_data/org.example"), {"a": 1}, phone.alice)
    await phone.follow()
    assert await phone.server.database.read(_pending) == 0
    await phone.server.ok("PUT", path, body, phone.alice)
    await phone.follow()
    assert await phone.server.database.read(_pending) == 1
    await phone.later(5)
    assert (await phone.gateway.next())["counts"] == {"unread": 0}


def _pending(txn: Transaction) -> int:
    return int(txn.value("SELECT count(*) FROM pushers WHERE pending"))


@ensureDeferred
async def test_badges_count_what_is_there_to_read(phone: Phone) -> None:
    """Invites that wait, and rooms that one is in: neither what was declined, nor rooms that one was put out of."""
    server, alice = phone.server, "@alice:hs.test"
    closed = await server.room(phone.bob, preset="private_chat", invite=[alice])
    assert (await phone.heard())["counts"] == {"unread": 1}
    lost = await server.room(phone.bob, invite=[alice])
    assert (await phone.heard())["counts"] == {"unread": 2}
    await server.ok("POST", f"{lost}/join", {}, phone.alice)
    await server.ok("PUT", f"{lost}/send/m.room.message/1", {"msgtype": "m.text", "body": "x"}, phone.bob)
    assert (await phone.heard())["counts"] == {"unread": 2}
    await server.ok("POST", f"{closed}/leave", {}, phone.alice)
    await server.ok("POST", f"{lost}/kick", {"user_id": alice}, phone.bob)
    await server.ok("POST", f"{lost}/forget", {}, phone.alice)
    await phone.say()
    assert (await phone.heard())["counts"] == {"unread": 1}
