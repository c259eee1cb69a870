"""What a push gateway hears of what happens, and what it does not hear."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.actions.purge_history import PURGE_HISTORY, PurgeHistoryParams
from tests.gateway import Gateway
from tests.rest.conftest import BuildServer
from tests.rest.push.phone import Phone, build_phone
from tests.server import path_part, user_path
from tests.tasks.steps import Steps


@ensureDeferred
async def test_what_a_gateway_is_told(phone: Phone) -> None:
    """All that the specification names, once for each event; events that notify nobody are not pushed."""
    await phone.say("quiet", msgtype="m.notice")
    event_id = await phone.say("hello")
    told = await phone.heard()
    (device,) = told.pop("devices")
    pushed_at = device.pop("pushkey_ts")
    assert abs(pushed_at - phone.server.clock.now_ms() / 1000) < 1000
    assert device == {
        "app_id": "org.example.app", "pushkey": "key", "data": {"extra": 1}, "tweaks": {"sound": "default"}
    }  # fmt: skip
    assert told == {
        "event_id": event_id,
        "room_id": phone.room.removeprefix("rooms/"),
        "type": "m.room.message",
        "sender": "@bob:hs.test",
        "sender_display_name": "Bob",
        "room_name": "The room",
        "content": {"msgtype": "m.text", "body": "hello"},
        "counts": {"unread": 1},
        "prio": "high",
    }
    await phone.say("again", **{"m.mentions": {"user_ids": ["@alice:hs.test"]}})
    told = await phone.heard()
    assert told["content"]["body"] == "again"
    assert told["devices"][0]["tweaks"] == {"sound": "default", "highlight": True}
    assert told["counts"] == {"unread": 1}, "rooms are counted"
    other = await phone.server.ok("POST", "createRoom", {"invite": ["@alice:hs.test"]}, phone.bob)
    told = await phone.heard()
    assert (told["room_id"], told["user_is_target"]) == (other["room_id"], True)
    assert told["counts"] == {"unread": 2}


@pytest.mark.parametrize("is_asked_by", ["the app", "the operator"])
@ensureDeferred
async def test_ids_only(build_server: BuildServer, gateway: Gateway, is_asked_by: str) -> None:
    """Of content, sender and names nothing leaves the server."""
    options = {"push": {"include_content": False}} if is_asked_by == "the operator" else {}
    phone = await build_phone(build_server, gateway, **options)
    if is_asked_by == "the app":
        await phone.set(data={"url": gateway.url, "format": "event_id_only"})
    await phone.say("secret")
    told = await phone.heard()
    assert told.keys() == {"event_id", "room_id", "counts", "prio", "devices"}
    assert "secret" not in str(told)


@ensureDeferred
async def test_the_event_of_the_receipt_is_purged(phone: Phone) -> None:
    """What comes after it is pushed and counted as before."""
    await phone.read(await phone.say("read"))
    last = await phone.say("seen")
    await phone.read(last)
    await phone.follow()
    steps = Steps(phone.server.database)
    await steps.open()

    def depth(txn: Transaction) -> int:
        return int(txn.value("SELECT depth + 1 FROM events WHERE event_id = %s", (last,)))

    await phone.server.ok("PUT", f"{phone.room}/state/m.room.topic", {"topic": "x"}, phone.bob)
    params = PurgeHistoryParams(
        room_id=phone.room.removeprefix("rooms/"), depth=await steps.do(depth), delete_local_events=True
    )
    await steps.run(PURGE_HISTORY, params)
    assert await phone.server.refusal("GET", f"{phone.room}/event/{path_part(last)}", None, phone.alice) == (
        404,
        "M_NOT_FOUND",
    )
    await phone.say("later")
    told = await phone.heard()
    assert (told["content"]["body"], told["counts"]) == ("later", {"unread": 1})


@ensureDeferred
async def test_unreadable_rules_stop_nobody(phone: Phone) -> None:
    """Whatever is stored as the rules of a member, others send, and the member hears by the predefined rules."""
    broken = '{"own": {"override": [{"rule_id": 5}, "x"], "content": {"a": 1}}, "changed": "x"}'

    def corrupt(txn: Transaction) -> None:
        txn.execute(
            "INSERT INTO account_data (user_id, room_nid, type, json) VALUES (%s, 0, 'm.push_rules', %s)",
            ("@alice:hs.test", broken),
        )

    await phone.server.database.transact(corrupt)
    await phone.say("hello")
    assert (await phone.heard())["content"]["body"] == "hello"
    room_id = phone.room.removeprefix("rooms/")
    synced = await phone.server.ok("GET", "sync", None, phone.alice)
    assert synced["rooms"]["join"][room_id]["unread_notifications"]["notification_count"] == 1


@ensureDeferred
async def test_what_is_gone_meanwhile(phone: Phone) -> None:
    """What is redacted, ignored, muted, or in a room that one has left is not pushed."""
    redacted = await phone.say("redacted")
    await phone.server.ok("PUT", f"{phone.room}/redact/{path_part(redacted)}/r", {}, phone.bob)
    await phone.say("seen")
    assert (await phone.heard())["content"]["body"] == "seen"
    ignored = {"ignored_users": {"@bob:hs.test": {}}}
    list_path = user_path("alice", "account_data/m.ignored_user_list")
    await phone.server.ok("PUT", list_path, ignored, phone.alice)
    await phone.say("ignored")
    await phone.follow()
    await phone.server.ok("PUT", list_path, {"ignored_users": {}}, phone.alice)
    room_id = path_part(phone.room.removeprefix("rooms/"))
    await phone.server.ok("PUT", f"pushrules/global/room/{room_id}", {"actions": []}, phone.alice)
    await phone.say("muted")
    await phone.follow()
    await phone.server.ok("DELETE", f"pushrules/global/room/{room_id}", None, phone.alice)
    await phone.say("said before she left")
    await phone.server.ok("POST", f"{phone.room}/leave", {}, phone.alice)
    await phone.follow()
    await phone.server.ok("POST", f"{phone.room}/join", {}, phone.alice)
    await phone.say("last")
    told = await phone.heard()
    while "content" not in told:  # a badge
        told = await phone.gateway.next()
    assert told["content"]["body"] == "last"
