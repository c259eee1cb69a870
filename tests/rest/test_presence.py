"""Who is there, over HTTP."""

from collections.abc import Collection
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.matrix.presence import Presence
from synapse_lite.storage import rooms
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.deactivation import delete_owned
from synapse_lite.storage.presence import put_told
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer, path_part

ALICE, BOB, CAROL = (f"@{name}:hs.test" for name in ("alice", "bob", "carol"))


def status(user_id: str) -> str:
    return f"presence/{path_part(user_id)}/status"


async def seen(server: TestServer, token: str, since: str | None = None, more: str = "") -> dict[str, Any]:
    """What /sync tells of presence: the contents by sender; and where to go on, as `since`."""
    start_at = "" if since is None else f"&since={since}"
    answer = await server.ok("GET", f"sync?set_presence=offline{start_at}{more}", None, token)
    events = answer.get("presence", {"events": []})["events"]
    assert {event["type"] for event in events} <= {"m.presence"}
    return {"since": answer["next_batch"], **{event["sender"]: event["content"] for event in events}}


async def friends(server: TestServer, *names: str) -> list[str]:
    """The tokens of new users, who are in one room."""
    tokens = [await server.user(name) for name in names]
    room = await server.room(tokens[0])
    for token in tokens[1:]:
        await server.ok("POST", f"{room}/join", {}, token)
    return tokens


async def beat(server: TestServer) -> None:
    await server.core.rooms.presence.beat()


@ensureDeferred
async def test_who_shares_a_room_sees_what_one_says(server: TestServer) -> None:
    """The state and the words for it; strangers are told nothing, and nobody speaks for others."""
    alice, bob = await friends(server, "alice", "bob")
    stranger = await server.user("mallory")
    since = (await seen(server, bob))["since"]
    away = {"presence": "unavailable", "status_msg": "lunch"}
    assert await server.ok("PUT", status(ALICE), away, alice) == {}
    told = await seen(server, bob, since)
    assert told[ALICE] == {**away, "currently_active": False, "last_active_ago": pytest.approx(0, abs=1000)}
    assert (await server.ok("GET", status(ALICE), None, bob))["status_msg"] == "lunch"
    assert (await server.ok("GET", status(ALICE), None, alice))["presence"] == "unavailable"
    assert ALICE not in await seen(server, bob, told["since"])
    assert (await seen(server, bob))[ALICE]["presence"] == "unavailable"
    assert ALICE not in await seen(server, stranger)
    assert await server.refusal("GET", status(ALICE), None, stranger) == (403, "M_FORBIDDEN")
    assert await server.refusal("GET", status("@nobody:hs.test"), None, bob) == (403, "M_FORBIDDEN")
    assert await server.refusal("PUT", status(ALICE), away, bob) == (403, "M_FORBIDDEN")
    for body, errcode in (
        ({}, "M_MISSING_PARAM"),
        ({"presence": 1}, "M_BAD_JSON"),
        ({"presence": "asleep"}, "M_INVALID_PARAM"),
        ({"presence": "online", "status_msg": "x" * 3000}, "M_INVALID_PARAM"),
    ):
        assert await server.refusal("PUT", status(ALICE), body, alice) == (400, errcode)


@ensureDeferred
async def test_asking_for_news_says_that_one_is_there(server: TestServer) -> None:
    """Unless `set_presence` says otherwise; for half a minute after the last time."""
    alice, bob = await friends(server, "alice", "bob")
    since = (await seen(server, bob))["since"]
    await server.ok("GET", "sync?set_presence=offline", None, alice)
    assert ALICE not in await seen(server, bob, since)
    own = await server.ok("GET", "sync", None, alice)
    assert [event["sender"] for event in own["presence"]["events"]] == [ALICE]
    told = await seen(server, bob, since)
    assert (told[ALICE]["presence"], told[ALICE]["currently_active"]) == ("online", True)
    server.clock.advance(29)
    await beat(server)
    assert ALICE not in await seen(server, bob, told["since"])
    server.clock.advance(2)
    await beat(server)
    told = await seen(server, bob, told["since"])
    assert told[ALICE]["presence"] == "offline"
    assert "currently_active" not in told[ALICE]
    assert ALICE not in await seen(server, bob)


@ensureDeferred
async def test_who_does_nothing_is_away(server: TestServer) -> None:
    """Active for a minute, there for five; a message brings them back."""
    alice, bob = await friends(server, "alice", "bob")
    told = await seen(server, bob)
    found = []
    for _ in range(26):
        await server.ok("GET", "sync", None, alice)
        await beat(server)
        told = await seen(server, bob, told["since"])
        if ALICE in told:
            found.append((told[ALICE]["presence"], told[ALICE]["currently_active"]))
        server.clock.advance(15)
    assert found == [("online", True), ("online", False), ("unavailable", False)]
    room = (await server.ok("GET", "joined_rooms", None, alice))["joined_rooms"][0]
    said = {"msgtype": "m.text", "body": "back"}
    await server.ok("PUT", f"rooms/{room}/send/m.room.message/1", said, alice)
    await server.core.writer.submit(lambda _: None)  # what was noted is written before
    told = await seen(server, bob, told["since"])
    assert (told[ALICE]["presence"], told[ALICE]["currently_active"]) == ("online", True)


@ensureDeferred
async def test_the_device_that_is_most_there_decides(server: TestServer) -> None:
    """Each device has its own word; polls in turns change nothing for others."""
    alice, bob = await friends(server, "alice", "bob")
    phone = (await server.core.accounts.access_tokens.open(ALICE)).token
    told = await seen(server, bob)
    await server.ok("GET", "sync", None, alice)
    await server.ok("GET", "sync?set_presence=unavailable", None, phone)
    told = await seen(server, bob, told["since"])
    assert told[ALICE]["presence"] == "online"
    for _ in range(3):
        await server.ok("GET", "sync", None, alice)
        await server.ok("GET", "sync?set_presence=unavailable", None, phone)
        told = await seen(server, bob, told["since"])
        assert ALICE not in told


@ensureDeferred
async def test_who_is_busy(build_server: BuildServer) -> None:
    """More than online, however idle, on whatever process the client asks for news; until it says something else."""
    server = await build_server(**OPEN)
    other = await build_server(**OPEN, clock=server.clock, bus=server.bus)
    alice, bob = await friends(server, "alice", "bob")
    phone = (await server.core.accounts.access_tokens.open(ALICE)).token
    busy = {"presence": "org.matrix.msc3026.busy", "status_msg": "in a call"}
    await server.ok("PUT", status(ALICE), busy, alice)
    for asked in (server, other, server):
        await asked.ok("GET", "sync", None, alice)
        await asked.ok("GET", "sync?set_presence=unavailable", None, alice)
    await server.ok("GET", "sync", None, phone)
    assert (await seen(server, bob))[ALICE].items() >= busy.items()
    for _ in range(25):
        server.clock.advance(15)
        await server.ok("GET", "sync", None, alice)
        await beat(server)
    told = (await seen(server, bob))[ALICE]
    assert (told["presence"], told["currently_active"]) == (busy["presence"], False)
    await other.ok("PUT", status(ALICE), {"presence": "online"}, alice)
    for asked in (server, other):
        await asked.ok("GET", "sync", None, alice)
        assert (await seen(server, bob))[ALICE]["presence"] == "online"
    await server.ok("PUT", status(ALICE), busy, phone)
    await server.ok("PUT", status(ALICE), {"presence": "offline"}, alice)
    server.clock.advance(31)
    while ALICE in await seen(server, bob):  # both processes look at it by themselves, too
        await beat(server)


@ensureDeferred
async def test_a_poll_ends_at_leisure_for_others_never_for_oneself(server: TestServer) -> None:
    """What a friend becomes ends a wait within moments; who asks from two devices waits all the same."""
    alice, bob = await friends(server, "alice", "bob")
    since = (await seen(server, bob))["since"]
    poll = Deferred.fromCoroutine(server.ok("GET", f"sync?timeout=30000&since={since}", None, bob))
    await _until_waiting(server, BOB)
    assert not poll.called
    await server.ok("PUT", status(ALICE), {"presence": "online"}, alice)
    assert not poll.called
    server.clock.advance(0.2)
    answer = await poll
    assert ALICE in {event["sender"] for event in answer["presence"]["events"]}


async def _until_waiting(server: TestServer, user_id: str) -> None:
    while not server.core.log.waiters.of_users([user_id]):
        turn: Deferred[None] = Deferred()
        server.core.reactor.callLater(0.01, turn.callback, None)
        await turn


@ensureDeferred
async def test_who_comes_into_a_room_and_who_is_there(server: TestServer) -> None:
    """Both see each other from then on."""
    (alice,) = await friends(server, "alice")
    bob = await server.user("bob")
    room = await server.room(alice)
    await server.ok("PUT", status(ALICE), {"presence": "online"}, alice)
    await server.ok("PUT", status(BOB), {"presence": "unavailable"}, bob)
    of_alice, of_bob = await seen(server, alice), await seen(server, bob)
    assert BOB not in of_alice
    assert ALICE not in of_bob
    await server.ok("POST", f"{room}/join", {}, bob)
    assert (await seen(server, alice, of_alice["since"]))[BOB]["presence"] == "unavailable"
    assert (await seen(server, bob, of_bob["since"]))[ALICE]["presence"] == "online"


@ensureDeferred
async def test_filters_and_ignored_users(server: TestServer) -> None:
    """Whom one does not want to see one does not see."""
    alice, bob = await friends(server, "alice", "bob")
    await server.ok("PUT", status(ALICE), {"presence": "online"}, alice)
    assert ALICE in await seen(server, bob)
    for wanted in ('{"presence":{"types":[]}}', f'{{"presence":{{"not_senders":["{ALICE}"]}}}}'):
        assert ALICE not in await seen(server, bob, more=f"&filter={path_part(wanted)}")
    ignored = {"ignored_users": {ALICE: {}}}
    await server.ok("PUT", f"user/{path_part(BOB)}/account_data/m.ignored_user_list", ignored, bob)
    assert ALICE not in await seen(server, bob)


@ensureDeferred
async def test_off_nothing_is_kept(build_server: BuildServer) -> None:
    """Neither what is said nor who polls; untracked, what is known is shown."""
    for enabled, state in ((False, "offline"), ("untracked", "online")):
        server = await build_server(**OPEN, presence={"enabled": enabled})
        names = [f"{name}{state}" for name in ("alice", "bob")]
        alice, bob = await friends(server, *names)
        user_id = f"@{names[0]}:hs.test"
        await server.ok("PUT", status(user_id), {"presence": "unavailable"}, alice)
        await server.ok("GET", "sync", None, alice)
        assert await server.database.read(_rows) == 0
        await server.database.transact(put_told, user_id, Presence("online"), server.clock.now_ms())
        assert (await server.ok("GET", status(user_id), None, bob))["presence"] == state
        assert (user_id in await seen(server, bob)) == (state == "online")
        await server.database.transact(lambda txn: txn.execute("DELETE FROM presence"))


def _rows(txn: Transaction) -> int:
    return int(txn.value("SELECT (SELECT count(*) FROM presence) + (SELECT count(*) FROM presence_claims)"))


@ensureDeferred
async def test_rooms_that_do_not_count(build_server: BuildServer) -> None:
    """Who shares only a room of `exclude_rooms_from_presence` sees nothing."""
    server = await build_server(**OPEN)
    alice, bob = await friends(server, "alice", "bob")
    (room_id,) = (await server.ok("GET", "joined_rooms", None, alice))["joined_rooms"]
    other = await build_server(**OPEN, exclude_rooms_from_presence=[room_id], bus=server.bus)
    await server.ok("PUT", status(ALICE), {"presence": "online"}, alice)
    assert ALICE in await seen(server, bob)
    assert ALICE not in await seen(other, bob)
    assert await other.refusal("GET", status(ALICE), None, bob) == (403, "M_FORBIDDEN")


@ensureDeferred
async def test_how_often_one_may_say_so(build_server: BuildServer) -> None:
    """What is too much is refused in words, and left out of polls without a word."""
    server = await build_server(**OPEN, rc_presence={"per_user": {"per_second": 0.1, "burst_count": 1}})
    alice, bob = await friends(server, "alice", "bob")
    away = {"presence": "unavailable"}
    await server.ok("PUT", status(ALICE), away, alice)
    assert await server.refusal("PUT", status(ALICE), away, alice) == (429, "M_LIMIT_EXCEEDED")
    told = await seen(server, bob)
    for state in ("online", "unavailable", "online", "unavailable"):
        await server.ok("GET", f"sync?set_presence={state}", None, alice)
    told = await seen(server, bob, told["since"])
    assert told[ALICE]["presence"] == "online"
    server.clock.advance(10)
    await server.ok("GET", "sync?set_presence=unavailable", None, alice)
    assert (await seen(server, bob, told["since"]))[ALICE]["presence"] == "unavailable"


@ensureDeferred
async def test_a_dead_process_takes_its_users_with_it(build_server: BuildServer) -> None:
    """Those whom another one serves stay; one that was only slow says again what it had said."""
    one = await build_server(**OPEN)
    other = await build_server(**OPEN, bus=one.bus)
    alice, bob, carol = await friends(one, "alice", "bob", "carol")
    for server, token in ((one, alice), (one, bob), (other, bob)):
        await server.ok("GET", "sync", None, token)
    told = await seen(other, carol)
    assert {told[ALICE]["presence"], told[BOB]["presence"]} == {"online"}
    await one.database.transact(_expire, one.core.rooms.presence._process)
    await beat(other)
    told = await seen(other, carol, told["since"])
    assert told[ALICE]["presence"] == "offline"
    assert BOB not in told
    await beat(one)
    assert (await seen(other, carol, told["since"]))[ALICE]["presence"] == "online"


def _expire(txn: Transaction, process: str) -> None:
    txn.execute("UPDATE presence_processes SET expires_at = 0 WHERE process = %s", (process,))


@ensureDeferred
async def test_who_is_deactivated_is_forgotten(server: TestServer) -> None:
    """What is kept of presence is one's own, and goes with the account."""
    (alice,) = await friends(server, "alice")
    await server.ok("PUT", status(ALICE), {"presence": "online", "status_msg": "private"}, alice)

    def delete(txn: Transaction) -> None:
        while delete_owned(txn, ALICE, 10):
            pass

    await server.database.transact(delete)
    assert (
        await server.database.read(
            lambda txn: txn.value("SELECT count(*) FROM presence WHERE user_id = %s", (ALICE,))
        )
        == 0
    )


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Of whom the rooms are read, statement by statement."""
    asked: list[list[str]] = []
    read = rooms.joined_rooms_of

    def observed(txn: Transaction, user_ids: Collection[str]) -> Any:
        asked.append(sorted(user_ids))
        return read(txn, user_ids)

    monkeypatch.setattr(rooms, "joined_rooms_of", observed)
    return asked


async def _strangers(server: TestServer, number: int) -> None:
    """So many come; nobody knows in which rooms they are."""
    for name in range(number):
        token = await server.user(f"stranger{name}")
        await server.ok("PUT", status(f"@stranger{name}:hs.test"), {"presence": "online"}, token)
    server.core.rooms.joined._cache.discard(lambda _: True)


@ensureDeferred
async def test_who_is_in_no_room_asks_about_nobody(server: TestServer, reads: list[list[str]]) -> None:
    """On a large server somebody comes or goes all the time."""
    loner = await server.user("loner")
    since = (await seen(server, loner))["since"]
    await server.ok("PUT", status("@loner:hs.test"), {"presence": "unavailable"}, loner)
    await _strangers(server, 3)
    reads.clear()
    assert (await seen(server, loner, since)).keys() == {"since", "@loner:hs.test"}
    assert reads == [["@loner:hs.test"]]


@ensureDeferred
async def test_rooms_of_many_are_read_together(server: TestServer, reads: list[list[str]]) -> None:
    """Of whom memory knows nothing, as after a start: not one after the other."""
    alice, bob = await friends(server, "alice", "bob")
    since = (await seen(server, alice))["since"]
    await server.ok("PUT", status(BOB), {"presence": "unavailable"}, bob)
    await _strangers(server, 5)
    reads.clear()
    assert (await seen(server, alice, since)).keys() == {"since", BOB}
    assert len(reads) <= 3
    assert {user_id for some in reads for user_id in some} >= {ALICE, BOB, "@stranger4:hs.test"}
