"""Unread counts in /sync, and what changes them."""

from collections.abc import Iterator
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.handlers.unread import UnreadCounts
from synapse_lite.handlers.unread.reader import Moment, UnreadReader
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.rooms import nids_of
from synapse_lite.storage.stream import Change, Kind, read_position
from tests.rest.conftest import BuildServer
from tests.rest.counting import Client, id_of, in_thread, mentioning, text, two_in_a_room
from tests.server import OPEN, TestServer, path_part


@ensureDeferred
async def test_what_counts(server: TestServer) -> None:
    """What the predefined rules say of each kind of event; the answer with the event has its count."""
    alice, bob, room = await two_in_a_room(server)
    assert await alice.counted(room) == {}
    said = await bob.send(room, text())
    assert await alice.counted(room) == {"main": (1, 0)}
    for kind, content, expected in (
        ("m.room.message", {"msgtype": "m.notice", "body": "x"}, (1, 0)),
        ("m.room.message", {"msgtype": "m.notice", "body": "x", **mentioning("alice")}, (1, 0)),
        ("m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": said, "key": "+"}}, (1, 0)),
        ("m.room.message", text(**{"m.relates_to": {"rel_type": "m.replace", "event_id": said}}), (1, 0)),
        ("m.room.message", text(**mentioning("alice")), (2, 1)),
        ("m.room.message", text(**mentioning("bob", "carol")), (3, 1)),
        ("m.room.message", text(**{"m.mentions": {"room": True}}), (4, 1)),
        ("m.room.encrypted", {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x"}, (5, 1)),
        ("org.example.other", {}, (5, 1)),
        ("org.example.other", mentioning("alice"), (6, 2)),
    ):
        await bob.send(room, content, kind)
        assert await alice.counted(room) == {"main": expected}, (kind, content)
    await alice.send(room, text(**{"m.mentions": {"room": True}}))
    assert await bob.counted(room) == {"main": (1, 1)}
    assert await alice.counted(room) == {}, "who writes has read"
    fresh = await server.ok("GET", "sync", None, bob.token)
    shown = fresh["rooms"]["join"][id_of(room)]
    assert shown["unread_notifications"] == {"notification_count": 1, "highlight_count": 1}
    assert "unread_thread_notifications" not in shown, "only for those who ask"


@pytest.mark.parametrize("kind", ["m.read", "m.read.private"])
@ensureDeferred
async def test_receipts_end_what_is_unread(server: TestServer, kind: str) -> None:
    """Public and private ones alike, up to their event, never back; whatever comes later counts."""
    alice, bob, room = await two_in_a_room(server)
    first, second, third = [await bob.send(room, text()) for _ in range(3)]
    assert await alice.counted(room) == {"main": (3, 0)}
    for event_id, expected in ((second, {"main": (1, 0)}), (first, {"main": (1, 0)}), (third, {})):
        await alice.read(room, event_id, kind)
        assert await alice.counted(room) == expected
    await bob.send(room, text())
    await alice.read(room, second, "m.read" if kind == "m.read.private" else "m.read.private")
    assert await alice.counted(room) == {"main": (1, 0)}


@ensureDeferred
async def test_counts_without_a_timeline(server: TestServer) -> None:
    """Who wants no events still hears how many there are, whether memory answers or the database."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, preset="public_chat")
    await server.ok("POST", f"{room}/join", {}, bob)
    none = path_part('{"room": {"timeline": {"limit": 0}}}')
    first = await server.ok("GET", f"sync?filter={none}", None, alice)
    await server.ok("PUT", f"{room}/send/m.room.message/1", {"msgtype": "m.text", "body": "x"}, bob)
    for more in ("", "&full_state=true"):
        answer = await server.ok("GET", f"sync?filter={none}&since={first['next_batch']}{more}", None, alice)
        (shown,) = answer["rooms"]["join"].values()
        assert shown["unread_notifications"]["notification_count"] == 1


@ensureDeferred
async def test_threads_are_read_apart(server: TestServer) -> None:
    """By clients that ask for it; a receipt without a thread reads all, as does who knows nothing of threads."""
    alice, bob, room = await two_in_a_room(server)
    root = await bob.send(room, text())
    replies = [await bob.send(room, text(**in_thread(root))) for _ in range(2)]
    await bob.send(room, text(**in_thread(root), **mentioning("alice")))
    assert await alice.counted(room) == {"main": (1, 0), root: (3, 1)}
    reference = {"m.relates_to": {"rel_type": "m.reference", "event_id": replies[0]}}
    about = await bob.send(room, text(**reference))
    assert await alice.counted(room) == {"main": (1, 0), root: (4, 1)}, (
        "what relates to a reply is in its thread"
    )
    await bob.redact(room, about)
    assert await alice.counted(room) == {"main": (1, 0), root: (3, 1)}
    everything = await server.ok("GET", "sync", None, alice.token)
    shown = everything["rooms"]["join"][id_of(room)]["unread_notifications"]
    assert shown == {"notification_count": 4, "highlight_count": 1}
    await alice.read(room, replies[0], thread=root)
    assert await alice.counted(room) == {"main": (1, 0), root: (2, 1)}
    await alice.read(room, root, thread="main")
    assert await alice.counted(room) == {root: (2, 1)}
    await alice.send(room, text(**in_thread(root)))
    assert await alice.counted(room) == {}
    other = await bob.send(room, text(**in_thread(root)))
    await bob.send(room, text())
    assert await alice.counted(room) == {"main": (1, 0), root: (1, 0)}
    await alice.read(room, other)
    assert await alice.counted(room) == {"main": (1, 0)}


@ensureDeferred
async def test_rules_of_ones_own(server: TestServer) -> None:
    """Changed rules count at once, and for the past; none in a room, only mentions, keywords, member counts."""
    alice, bob, room = await two_in_a_room(server)
    await bob.send(room, text("a cat"))
    await bob.send(room, text("@alice", **mentioning("alice")))
    await bob.send(room, {"msgtype": "m.notice", "body": "x"})
    assert await alice.counted(room) == {"main": (2, 1)}
    await alice.put_rule("room", id_of(room), {"actions": []})
    assert await alice.counted(room) == {"main": (1, 1)}
    await bob.send(room, text())
    assert await alice.counted(room) == {"main": (1, 1)}
    muted = {
        "actions": [],
        "conditions": [{"kind": "event_match", "key": "room_id", "pattern": id_of(room)}],
    }
    await alice.put_rule("override", "mute", muted)
    assert await alice.counted(room) == {}
    await bob.send(room, text(**mentioning("alice")))
    assert await alice.counted(room) == {}
    await server.ok("DELETE", "pushrules/global/override/mute", None, alice.token)
    assert await alice.counted(room) == {"main": (2, 2)}
    await alice.put_rule(
        "content", "cat", {"pattern": "cat", "actions": ["notify", {"set_tweak": "highlight"}]}
    )
    assert await alice.counted(room) == {"main": (3, 3)}
    await bob.send(room, text("Cat!"))
    assert await alice.counted(room) == {"main": (4, 4)}
    pair = {"actions": ["notify"], "conditions": [{"kind": "room_member_count", "is": "2"}]}
    await alice.put_rule("override", "pair", pair)
    expected = await alice.counted(room)
    carol = await Client.new(server, "carol")
    await server.ok("POST", f"{room}/join", {}, carol.token)
    await bob.send(room, {"msgtype": "m.notice", "body": "x"})
    assert await alice.counted(room) == expected, "what was said to two stays so; three are no pair"


@ensureDeferred
async def test_with_keywords_only_new_events_are_looked_at(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not all that is unread once more for each; threads and highlights are added to what is known."""
    alice, bob, room = await two_in_a_room(server)
    actions = ["notify", {"set_tweak": "highlight"}]
    await alice.put_rule("content", "cat", {"pattern": "cat", "actions": actions})
    root = await bob.send(room, text())
    for body in ("a cat", "a dog"):
        await bob.send(room, text(body, **in_thread(root)))
    assert await alice.counted(room) == {"main": (1, 0), root: (2, 1)}
    looked: list[int] = []
    moments = UnreadReader.moments

    def watched(reader: UnreadReader, txn: Transaction, room_nid: int, placed: Any) -> Iterator[Moment]:
        looked.append(len(placed))
        return moments(reader, txn, room_nid, placed)

    monkeypatch.setattr(UnreadReader, "moments", watched)
    await bob.send(room, text("cat", **in_thread(root)))
    assert await alice.counted(room) == {"main": (1, 0), root: (3, 2)}
    await bob.send(room, text("x"))
    assert await alice.counted(room) == {"main": (2, 0), root: (3, 2)}
    assert looked == [1, 1]
    await alice.read(room, root, thread="main")
    assert await alice.counted(room) == {"main": (1, 0), root: (3, 2)}


@ensureDeferred
async def test_with_keywords_only_mentions_count_far_back(
    build_server: BuildServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where very much is unread, each thread apart; what is read in a thread stays so."""
    monkeypatch.setattr("synapse_lite.handlers.unread.reader.MOST_LOOKED_AT", 4)
    server = await build_server(**OPEN)
    alice, bob, room = await two_in_a_room(server)
    await alice.put_rule("content", "cat", {"pattern": "cat", "actions": ["notify"]})
    root = await bob.send(room, text())
    await bob.send(room, text("cat", **mentioning("alice")))
    read = await bob.send(room, text("read", **in_thread(root), **mentioning("alice")))
    await alice.read(room, read, thread=root)
    await bob.send(room, text("unread", **in_thread(root), **mentioning("alice")))
    await bob.send(room, text("a dog"))
    for _ in range(4):
        await bob.send(room, text("cat"))
    await alice.sync(await build_server(**OPEN), anew=True)
    assert alice.counts[id_of(room)] == {"main": (5, 1), root: (1, 1)}


@ensureDeferred
async def test_counts_that_are_recent_enough(server: TestServer) -> None:
    """Memory tells as of the last change that it heard of; what has to be newer is counted anew."""
    _, bob, room = await two_in_a_room(server)
    reader = UnreadReader(server.core.events, server.core.state)
    counts = UnreadCounts(server.database, reader)

    def count(txn: Transaction, needed: int | None = None) -> int:
        upto, rooms = read_position(txn), {nid: id_of(room)}
        found = counts.read_recent(
            txn, "@alice:hs.test", rooms, upto, upto if needed is None else needed,
            lambda missing: reader.count(txn, "@alice:hs.test", missing, upto),
        )  # fmt: skip
        return found[nid].total.notifications

    nid = await server.database.read(lambda txn: nids_of(txn, [id_of(room)])[id_of(room)])
    await bob.send(room, text())
    before = await server.database.read(read_position)
    counts.on_changes([Change(before, Kind.TYPING, nid, None, None, None, None, None, None)])
    assert await server.database.snapshot(count) == 1
    await bob.send(room, text())
    assert await server.database.snapshot(count, before) == 1
    assert await server.database.snapshot(count) == 2


@ensureDeferred
async def test_who_could_notify_all_then(build_server: BuildServer) -> None:
    """What was said to the whole room stays so when its sender loses the level, also where each event is looked at anew."""
    server = await build_server(**OPEN)
    alice, bob, room = await two_in_a_room(server)
    levels = await server.ok("GET", f"{room}/state/m.room.power_levels", None, alice.token)
    to_all = text(**{"m.mentions": {"room": True}})
    for level in (50, 0):
        users = {**levels["users"], "@bob:hs.test": level}
        path = f"{room}/state/m.room.power_levels"
        await server.ok("PUT", path, {**levels, "users": users}, alice.token)
        await bob.send(room, to_all)
    expected = {"main": (2, 1)}
    assert await alice.counted(room) == expected
    await alice.put_rule("content", "cat", {"pattern": "cat", "actions": ["notify"]})
    assert await alice.counted(room) == expected
    await alice.sync(await build_server(**OPEN), anew=True)
    assert alice.counts[id_of(room)] == expected


@ensureDeferred
async def test_read_and_a_rule_in_one_sync(server: TestServer) -> None:
    """A room that was read is told of, also when a change of the rules comes with it."""
    alice, bob, room = await two_in_a_room(server)
    event_id = await bob.send(room, text())
    assert await alice.counted(room) == {"main": (1, 0)}
    await alice.put_rule("content", "cat", {"pattern": "cat", "actions": ["notify"]})
    await alice.read(room, event_id)
    assert await alice.counted(room) == {}


@ensureDeferred
async def test_members(server: TestServer) -> None:
    """Who comes in has read what was before, also when they come back; who is out has no counts."""
    alice, bob, room = await two_in_a_room(server)
    await bob.send(room, text())
    carol = await Client.new(server, "carol")
    await server.ok("POST", f"{room}/join", {}, carol.token)
    assert await carol.counted(room) == {}
    await bob.send(room, text())
    assert await carol.counted(room) == {"main": (1, 0)}
    await server.ok("POST", f"{room}/kick", {"user_id": "@carol:hs.test"}, alice.token)
    await bob.send(room, text())
    left = await carol.sync(anew=True)
    assert id_of(room) not in left["rooms"].get("join", {})
    await server.ok("POST", f"{room}/join", {}, carol.token)
    assert await carol.counted(room) == {}
    await bob.send(room, text())
    assert await carol.counted(room) == {"main": (1, 0)}


@ensureDeferred
async def test_receipt_for_an_event_on_its_way(build_server: BuildServer) -> None:
    """It reads nothing yet, and loses nothing; once the event is there it does."""
    server = await build_server(**OPEN)
    alice, bob, room = await two_in_a_room(server)
    await bob.send(room, text())
    await alice.read(room, "$unknown")
    assert await alice.counted(room) == {"main": (1, 0)}
    arrived = await bob.send(room, text())
    await server.database.transact(lambda txn: txn.execute("UPDATE receipts SET event_id = %s", (arrived,)))
    await alice.sync(await build_server(**OPEN), anew=True)
    assert alice.counts[id_of(room)] == {}


@ensureDeferred
async def test_only_what_the_filter_takes_is_news(server: TestServer) -> None:
    """A poll whose filter takes no messages goes on; a receipt of one's own ends it, with the count."""
    alice, bob, room = await two_in_a_room(server)
    event_id = await bob.send(room, text())
    await alice.sync()
    only_names = path_part('{"room":{"timeline":{"types":["m.room.name"]},"ephemeral":{"types":[]}}}')
    await bob.send(room, text())
    quiet = await server.ok("GET", f"sync?filter={only_names}&since={alice.since}", None, alice.token)
    assert "rooms" not in quiet
    await alice.read(room, event_id)
    told = await server.ok("GET", f"sync?filter={only_names}&since={alice.since}", None, alice.token)
    shown = told["rooms"]["join"][id_of(room)]
    assert shown["unread_notifications"] == {"notification_count": 1, "highlight_count": 0}
    assert shown["timeline"]["events"] == []


@ensureDeferred
async def test_counts_after_an_upgrade(build_server: BuildServer) -> None:
    """The old room keeps what was unread, the new one starts with nothing; memory and database agree on both."""
    server = await build_server(**OPEN)
    alice, bob, room = await two_in_a_room(server)
    for number in range(3):
        await alice.send(room, text(f"{number}"))
    before = await bob.counted(room)
    assert before == {"main": (3, 0)}
    upgraded = await server.ok("POST", f"{room}/upgrade", {"new_version": "12"}, alice.token)
    new = f"rooms/{upgraded['replacement_room']}"
    told = await bob.counted(room)
    await server.ok("POST", f"{new}/join", {}, bob.token)
    assert await bob.counted(new) == {}
    await alice.send(new, text("welcome"))
    assert await bob.counted(new) == {"main": (1, 0)}
    other = await build_server(**OPEN)
    for fresh in (server, other):
        await bob.sync(fresh, anew=True)
        assert (bob.counts.get(id_of(room)), bob.counts.get(id_of(new))) == (told, {"main": (1, 0)})
