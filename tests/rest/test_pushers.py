"""Pushers: the API, and what a push gateway hears."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_twisted
from attrs import define, evolve
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.handlers.push import PUSH, PushFollower, pushers
from synapse_lite.handlers.push.pushes import PushReader
from synapse_lite.handlers.push.recorder import Recorder
from synapse_lite.handlers.push.sender import RETRY_SECONDS
from synapse_lite.handlers.unread.reader import UnreadReader
from synapse_lite.storage import pushers as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.notices import Reader
from synapse_lite.storage.pushers import ClaimedPusher, Progress, PusherKey
from synapse_lite.storage.stream import read_changes_of, read_position
from synapse_lite.tasks.actions.purge_history import PURGE_HISTORY, PurgeHistoryParams
from synapse_lite.tasks.followers import Shard
from tests.gateway import Answer, Body, Gateway, accept
from tests.rest.conftest import BuildServer
from tests.rest.contention import locked_until_met
from tests.server import OPEN, TestServer, path_part, user_path
from tests.tasks.steps import Steps

REACHABLE = {**OPEN, "ip_range_whitelist": ["127.0.0.1"]}


def _pusher(url: str, **more: Any) -> dict[str, Any]:
    return {
        "app_id": "org.example.app",
        "pushkey": "key",
        "kind": "http",
        "app_display_name": "App",
        "device_display_name": "Phone",
        "lang": "en",
        "data": {"url": url, "extra": 1},
        **more,
    }


@ensureDeferred
async def test_pushers_are_bounded(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event is a request for each of them; one that is replaced is none more."""
    monkeypatch.setattr(pushers, "MAX_OF_USER", 1)
    token, path = await server.user("alice"), "pushers/set"
    gateway = "https://push.example/_matrix/push/v1/notify"
    for lang in ("en", "de"):
        await server.ok("POST", path, _pusher(gateway, lang=lang), token)
    assert await server.refusal("POST", path, _pusher(gateway, pushkey="more"), token) == (403, "M_FORBIDDEN")
    (kept,) = (await server.ok("GET", "pushers", None, token))["pushers"]
    assert (kept["pushkey"], kept["lang"]) == ("key", "de")


@ensureDeferred
async def test_a_key_has_one_user(server: TestServer) -> None:
    """Also when two take it at the same moment: the last one has it."""
    tokens = [await server.user(name) for name in ("alice", "bob")]
    gateway = "https://push.example/_matrix/push/v1/notify"
    async with locked_until_met(server, len(tokens), "SELECT FROM users", ()):
        taking = [
            Deferred.fromCoroutine(server.ok("POST", "pushers/set", _pusher(gateway), token))
            for token in tokens
        ]
    await gatherResults(taking)
    found = [(await server.ok("GET", "pushers", None, token))["pushers"] for token in tokens]
    assert sorted(map(len, found)) == [0, 1]


@define
class Phone:
    """Alice's, with a pusher; bob writes to her. `follow` does what the engine does with the follower."""

    server: TestServer
    gateway: Gateway
    alice: str
    bob: str
    room: str
    position: int = 0
    number: int = 0

    async def follow(self) -> None:
        (registered,) = [one for one in self.server.core.extensions.followers if one.spec is PUSH]
        follower: PushFollower = registered.handler

        def step(txn: Transaction) -> int:
            upto = read_position(txn)
            changes = read_changes_of(txn, PUSH.kinds, self.position, upto, 10_000)
            follower.follow(txn, changes, Shard(0, 1))
            return upto

        self.position = await self.server.database.transact(step)
        follower.committed()

    async def say(self, body: str = "hello", kind: str = "m.room.message", **more: Any) -> str:
        self.number += 1
        content = {"msgtype": "m.text", "body": body, **more}
        path = f"{self.room}/send/{kind}/{self.number}"
        event_id: str = (await self.server.ok("PUT", path, content, self.bob))["event_id"]
        return event_id

    async def heard(self) -> Body:
        """What the gateway is told of what has happened."""
        await self.follow()
        return await self.gateway.next()

    async def settled(self) -> None:
        """Until what the gateway answered is written down."""
        while await self.server.database.read(
            lambda txn: txn.value("SELECT count(*) FROM pushers WHERE claimed_until > 0")
        ):
            pass

    async def read(self, event_id: str) -> None:
        await self.server.ok("POST", f"{self.room}/receipt/m.read/{path_part(event_id)}", {}, self.alice)

    async def later(self, seconds: float) -> None:
        self.server.clock.advance(seconds)
        await self.follow()

    async def set(self, **more: Any) -> None:
        await self.server.ok("POST", "pushers/set", _pusher(self.gateway.url, **more), self.alice)

    async def pushers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.server.ok("GET", "pushers", None, self.alice))["pushers"]
        return found


@pytest_twisted.async_yield_fixture
async def gateway() -> AsyncIterator[Gateway]:
    started = Gateway()
    started.start()
    yield started
    await started.stop()


async def _phone(build_server: BuildServer, gateway: Gateway, **options: Any) -> Phone:
    server = await build_server(**REACHABLE, **options)
    alice, bob = [await server.user(name) for name in ("alice", "bob")]
    await server.ok("PUT", f"profile/{path_part('@bob:hs.test')}/displayname", {"displayname": "Bob"}, bob)
    room = await server.room(bob, name="The room")
    await server.ok("POST", f"{room}/join", {}, alice)
    phone = Phone(server, gateway, alice, bob, room)
    await phone.set()
    return phone


@pytest_twisted.async_yield_fixture
async def phone(build_server: BuildServer, gateway: Gateway) -> AsyncIterator[Phone]:
    yield await _phone(build_server, gateway)


@ensureDeferred
async def test_the_list(phone: Phone) -> None:
    """What was set is listed and replaced by the same key; kind null deletes."""
    listed = {**_pusher(phone.gateway.url)}
    assert await phone.pushers() == [listed]
    await phone.set(profile_tag="x", lang="fr")
    assert await phone.pushers() == [{**listed, "profile_tag": "x", "lang": "fr"}]
    for kind in (None, None):
        await phone.server.ok(
            "POST", "pushers/set", {"kind": kind, "app_id": listed["app_id"], "pushkey": "key"}, phone.alice
        )
        assert await phone.pushers() == []
    mail = _pusher("", kind="email", app_id="m.email", pushkey="alice@example.org", data={})
    await phone.server.ok("POST", "pushers/set", mail, phone.alice)
    assert await phone.pushers() == [mail]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"kind": "pigeon"}, "M_INVALID_PARAM"),
        ({"app_id": "x" * 65}, "M_INVALID_PARAM"),
        ({"pushkey": "x" * 513}, "M_INVALID_PARAM"),
        ({"pushkey": 1}, "M_BAD_JSON"),
        ({"lang": None}, "M_BAD_JSON"),
        ({"data": {}}, "M_INVALID_PARAM"),
        ({"data": {"url": "https://example.org/elsewhere"}}, "M_INVALID_PARAM"),
        ({"data": {"url": "ftp://example.org/_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
        ({"data": {"url": "https://[/_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
        (
            {"data": {"url": "https://example.org/_matrix/push/v1/notify", "format": "all"}},
            "M_INVALID_PARAM",
        ),
        ({"append": 1}, "M_BAD_JSON"),
    ],
)
@ensureDeferred
async def test_bad_pushers(server: TestServer, change: dict[str, Any], expected: str) -> None:
    """Refused, and nothing is stored."""
    alice = await server.user("alice")
    body = {**_pusher("https://example.org/_matrix/push/v1/notify"), **change}
    assert await server.refusal("POST", "pushers/set", body, alice) == (400, expected)
    for name in ("kind", "app_id", "pushkey", "app_display_name", "device_display_name", "lang", "data"):
        less = {key: value for key, value in body.items() if key != name and key not in change}
        assert await server.refusal("POST", "pushers/set", less, alice) == (400, "M_MISSING_PARAM")
    assert (await server.ok("GET", "pushers", None, alice))["pushers"] == []


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


@pytest.mark.parametrize("is_asked_by", ["the app", "the operator"])
@ensureDeferred
async def test_ids_only(build_server: BuildServer, gateway: Gateway, is_asked_by: str) -> None:
    """Of content, sender and names nothing leaves the server."""
    options = {"push": {"include_content": False}} if is_asked_by == "the operator" else {}
    phone = await _phone(build_server, gateway, **options)
    if is_asked_by == "the app":
        await phone.set(data={"url": gateway.url, "format": "event_id_only"})
    await phone.say("secret")
    told = await phone.heard()
    assert told.keys() == {"event_id", "room_id", "counts", "prio", "devices"}
    assert "secret" not in str(told)


@ensureDeferred
async def test_badges(build_server: BuildServer, gateway: Gateway) -> None:
    """Reading elsewhere takes the number back, with one push for all that is read until then."""
    phone = await _phone(build_server, gateway, push={"group_unread_count_by_room": False})
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
async def test_mail_is_for_the_account(phone: Phone) -> None:
    """It outlives the session that asked for it."""
    mail = _pusher("", kind="email", app_id="m.email", pushkey="alice@example.org", data={})
    await phone.server.ok("POST", "pushers/set", mail, phone.alice)
    await phone.server.ok("POST", "logout", {}, phone.alice)
    again = await phone.server.core.accounts.access_tokens.open("@alice:hs.test")
    assert (await phone.server.ok("GET", "pushers", None, again.token))["pushers"] == [mail]


@ensureDeferred
async def test_rejected_keys(phone: Phone) -> None:
    """A pusher whose key the gateway rejects is gone; one that was set anew meanwhile stays."""
    rejects = True

    def answer(_body: Body) -> Answer:
        return 200, {"rejected": ["key", "other"] if rejects else []}, {}

    phone.gateway.answer = answer
    await phone.say()
    await phone.heard()
    while await phone.pushers():
        pass
    await phone.set()
    rejects = False
    await phone.say("new")
    assert (await phone.heard())["content"]["body"] == "new"
    assert len(await phone.pushers()) == 1


@ensureDeferred
async def test_a_gateway_that_fails(phone: Phone) -> None:
    """It is left alone for a while, whatever happens meanwhile; then it gets the newest, without what is read."""
    phone.gateway.answer = lambda _: (500, {}, {})
    first = await phone.say("first")
    await phone.heard()
    await phone.settled()
    for number in range(15):
        await phone.say(str(number))
        await phone.follow()
    assert phone.gateway.requests == 1
    await phone.read(first)
    phone.gateway.answer = accept
    await phone.later(3)
    told = [(await phone.gateway.next())["content"]["body"] for _ in range(10)]
    assert told == [str(number) for number in range(5, 15)]


@ensureDeferred
async def test_a_gateway_that_asks_for_patience(phone: Phone) -> None:
    """429: as long as it says."""
    phone.gateway.answer = lambda _: (429, {}, {"Retry-After": "600"})
    await phone.say("first")
    await phone.heard()
    await phone.settled()
    phone.gateway.answer = accept
    for seconds in (60, 300):
        await phone.later(seconds)
        await phone.say(str(seconds))
        await phone.follow()
    assert phone.gateway.requests == 1
    await phone.later(500)
    assert (await phone.gateway.next())["content"]["body"] == "first"


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


@ensureDeferred
async def test_pushers_end_with_their_device(phone: Phone) -> None:
    """Logging out ends them; somebody else with the same key takes it over, unless they append."""
    carol = await phone.server.user("carol")
    for append, left in ((True, 1), (False, 0)):
        await phone.server.ok("POST", "pushers/set", _pusher(phone.gateway.url, append=append), carol)
        assert len(await phone.pushers()) == left
    await phone.set(append=True)
    again = await phone.server.core.accounts.access_tokens.open("@alice:hs.test")
    await phone.server.ok("POST", "logout", {}, phone.alice)
    assert (await phone.server.ok("GET", "pushers", None, again.token))["pushers"] == []
    assert len((await phone.server.ok("GET", "pushers", None, carol))["pushers"]) == 1


@ensureDeferred
async def test_a_claim_is_for_one(phone: Phone) -> None:
    """What happens while somebody pushes is pushed after that; a dead one's claim ends, and loses nothing."""
    phone.gateway.answer = lambda _: (500, {}, {})
    await phone.say()
    await phone.heard()
    await phone.settled()
    now_ms = phone.server.clock.now_ms() + 3_600_000
    database = phone.server.database
    (claimed,) = await database.transact(store.claim_pushers, now_ms, 10)
    await phone.say()
    await phone.follow()
    assert await database.transact(store.claim_pushers, now_ms, 10) == []
    await database.transact(store.record, [Progress(claimed, claimed.pushed_upto, 0, is_done=True)])
    (again,) = await database.transact(store.claim_pushers, now_ms, 10)
    (late,) = await database.transact(store.claim_pushers, now_ms + store.CLAIM_MS, 10)
    assert again == late
    queued = (await database.read(store.queued_for, {"@alice:hs.test": late.pushed_upto}))["@alice:hs.test"]
    assert len(queued) == 2
    await database.transact(store.record, [Progress(late, queued[-1].position, 0, is_done=True)])
    assert await database.transact(store.claim_pushers, now_ms + 10 * store.CLAIM_MS, 10) == []
    assert await database.read(store.queued_for, {"@alice:hs.test": 0}) == {"@alice:hs.test": []}


@ensureDeferred
async def test_pushers_of_one_user(phone: Phone) -> None:
    """Each is told what it has not been told, whatever another one has."""
    await phone.say("early")
    await phone.heard()
    await phone.settled()
    await phone.set(pushkey="fresh", append=True)
    await phone.say("news")
    await phone.follow()
    told = [await phone.gateway.next() for _ in range(2)]
    assert {(one["devices"][0]["pushkey"], one["content"]["body"]) for one in told} == {
        ("key", "news"),
        ("fresh", "news"),
    }


@ensureDeferred
async def test_what_is_pushed_at_once_is_written_at_once(
    phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes while a transaction runs waits for one more; who was set anew meanwhile learns it."""
    written = []

    def record(txn: Transaction, progress: Sequence[Progress]) -> set[PusherKey]:
        written.append(len(progress))
        return store_record(txn, progress)

    store_record = store.record
    monkeypatch.setattr(store, "record", record)
    for number in range(3):
        await phone.set(pushkey=str(number), append=True)
    await phone.server.database.transact(
        lambda txn: txn.execute("UPDATE pushers SET pending = TRUE, work = 1 WHERE pushkey <> 'key'")
    )
    claimed: list[ClaimedPusher] = await phone.server.database.transact(
        store.claim_pushers, phone.server.clock.now_ms(), 10
    )
    first, second, third = claimed
    recorder = Recorder(phone.server.database)
    progress = [Progress(one, 7, 1, is_done=True) for one in (first, second, evolve(third, version=0))]
    told = [Deferred.fromCoroutine(recorder.record(one)) for one in progress]
    assert await gatherResults(told) == [True, True, False]
    assert written == [1, 2]
    left = await phone.server.database.read(
        lambda txn: txn.rows("SELECT pushkey FROM pushers WHERE pending AND pushed_upto <> 7")
    )
    assert left == [(third.pusher.pushkey,)]


async def _two_phones(phone: Phone) -> None:
    """Carol has one, too, and bob writes to both."""
    carol = await phone.server.user("carol")
    await phone.server.ok("POST", f"{phone.room}/join", {}, carol)
    await phone.server.ok("POST", "pushers/set", _pusher(phone.gateway.url, pushkey="carol's"), carol)
    await phone.say("news")


@ensureDeferred
async def test_what_cannot_be_read_of_one_user(phone: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps nobody else from what there is for them; it is tried again later."""

    def count(_self: UnreadReader, _txn: Transaction, _rules: object, reader: Reader, *_: Any) -> Any:
        if reader.user_id == "@alice:hs.test":
            raise ValueError("a row of theirs cannot be read")
        return {}

    monkeypatch.setattr(UnreadReader, "count_after", count)
    await _two_phones(phone)
    told = await phone.heard()
    assert (told["devices"][0]["pushkey"], told["content"]["body"]) == ("carol's", "news")
    monkeypatch.undo()
    await phone.settled()
    await phone.later(RETRY_SECONDS)
    told = await phone.gateway.next()
    assert (told["devices"][0]["pushkey"], told["content"]["body"]) == ("key", "news")


@ensureDeferred
async def test_what_there_is_for_several_users_is_read_together(
    phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One user more is one statement more: that which counts."""
    asked = []
    work_for = PushReader.work_for

    def watched(reader: PushReader, txn: Transaction, claimed: Sequence[ClaimedPusher], now_ms: int) -> Any:
        numbers = []
        for some in (claimed[:1], claimed):
            with monkeypatch.context() as patch:
                number = _counted(patch)
                work_for(reader, txn, some, now_ms)
                numbers.append(len(number))
        asked.append((len(claimed), *numbers))
        return work_for(reader, txn, claimed, now_ms)

    monkeypatch.setattr(PushReader, "work_for", watched)
    await _two_phones(phone)
    await phone.heard()
    await phone.gateway.next()
    ((users, one, two),) = asked
    assert (users, two) == (2, one + 1)


def _counted(patch: pytest.MonkeyPatch) -> list[str]:
    """The statements that are read from now on."""
    sent: list[str] = []
    rows = Transaction.rows

    def counting(txn: Transaction, sql: str, arguments: Any = ()) -> Any:
        sent.append(sql)
        return rows(txn, sql, arguments)

    patch.setattr(Transaction, "rows", counting)
    return sent
