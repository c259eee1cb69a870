"""Paging through the past, single events, and what stands around them."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.handlers import history as module
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Kind
from tests.builders import ALICE, BOB, MALLORY
from tests.handlers.house import refusal
from tests.handlers.sync_server import SyncServer, ids, requester


@ensureDeferred
async def test_pages_in_both_directions(server: SyncServer) -> None:
    """Each event once, in order; `end` is absent on the last page, and only there."""
    room = await server.room(ALICE)
    await server.say_all(room, ALICE, [str(n) for n in range(8)])  # 12 events
    everything = ids((await server.messages(ALICE, room, dir="f", limit=100))["chunk"])
    assert len(everything) == 12
    for direction, expected in (("f", everything), ("b", everything[::-1])):
        for limit in (4, 5):
            collected, start, pages = [], None, 0
            while pages == 0 or start is not None:
                page = await server.messages(ALICE, room, start, dir=direction, limit=limit)
                assert start in {None, page["start"]}
                collected += ids(page["chunk"])
                start, pages = page.get("end"), pages + 1
            assert collected == expected
            assert pages == 3


@ensureDeferred
async def test_between_two_tokens(server: SyncServer) -> None:
    """`to` ends the page, in both directions; a page between the same token twice is empty."""
    room = await server.room(ALICE)
    tokens, said = [await server.token()], []
    for n in range(4):
        said.append(await server.say(room, ALICE, str(n)))
        tokens.append(await server.token())
    forwards = await server.messages(ALICE, room, tokens[1], tokens[3], dir="f")
    assert (ids(forwards["chunk"]), forwards.get("end")) == (said[1:3], None)
    backwards = await server.messages(ALICE, room, tokens[3], tokens[1])
    assert (ids(backwards["chunk"]), backwards.get("end")) == (said[1:3][::-1], None)
    assert (await server.messages(ALICE, room, tokens[2], tokens[2], dir="f"))["chunk"] == []
    assert (await server.messages(ALICE, room, tokens[0], "s0", dir="f"))["chunk"] == []
    beyond = await server.messages(ALICE, room, "s999999999", limit=1)
    assert ids(beyond["chunk"]) == [said[-1]]


@ensureDeferred
async def test_what_anybody_could_read_for_a_while(server: SyncServer) -> None:
    """Who has left pages through what came until then, however much came later; as long as it lasts, through all."""
    room = await server.room(ALICE, BOB)
    early = await server.say_all(room, ALICE, ["one", "two"])
    left = await server.leave(room, BOB)
    opened = await server.show_history_to(room, "world_readable")
    late = await server.say_all(room, ALICE, ["three", "four"])
    expected = {"world_readable": late[::-1], "shared": [left, early[1]]}
    for visibility, shown in expected.items():
        closed = await server.show_history_to(room, visibility)
        page = await server.messages(BOB, room, limit=3)
        assert [one for one in ids(page["chunk"]) if one not in {opened, closed}][:2] == shown


@ensureDeferred
async def test_limit_zero(server: SyncServer) -> None:
    """No events, and a token to go on from."""
    room = await server.room(ALICE)
    page = await server.messages(ALICE, room, limit=0)
    assert (page["chunk"], page["end"]) == ([], page["start"])


@ensureDeferred
async def test_filters(server: SyncServer) -> None:
    """The limit counts what the filter takes."""
    room = await server.room(ALICE, BOB)
    for _ in range(3):
        await server.say(room, ALICE)
        image = (await server.do(server.world.send, room, "m.image", BOB, {"url": "mxc://x"})).event.event_id
    page = await server.messages(ALICE, room, limit=2, contains_url=True)
    assert ids(page["chunk"])[0] == image
    assert [event["type"] for event in page["chunk"]] == ["m.image", "m.image"]
    assert len((await server.messages(ALICE, room, page["end"], limit=5, contains_url=True))["chunk"]) == 1
    assert (
        len((await server.messages(ALICE, room, limit=50, types=["m.room.m*"], senders=[ALICE]))["chunk"])
        == 4
    )


@ensureDeferred
async def test_lazy_members_of_a_page(server: SyncServer) -> None:
    """`state` has the member events of those who speak on the page, as they were at its end."""
    room = await server.room(ALICE, BOB, MALLORY)
    said = await server.say(room, BOB)
    since = await server.token()
    await server.set(room, "m.room.member", {"membership": "join", "displayname": "B"}, BOB, BOB)
    forwards = {"start": None, "stop": since, "dir": "f", "limit": 50}
    for way in ({"start": since, "limit": 1}, forwards):
        page = await server.messages(ALICE, room, **way, lazy_load_members=True)
        assert said in ids(page["chunk"])
        (member,) = [event for event in page["state"] if event["state_key"] == BOB]
        assert member["content"] == {"membership": "join"}
    page = await server.messages(ALICE, room, since, limit=1, lazy_load_members=True)
    assert [event["state_key"] for event in page["state"]] == [BOB]
    assert "state" not in await server.messages(ALICE, room, since, limit=1)


@ensureDeferred
async def test_strangers(server: SyncServer) -> None:
    """Who never was in a room, or has forgotten it, or asks for one that does not exist."""
    room = await server.room(ALICE, BOB)
    said = await server.say(room, ALICE)
    await server.leave(room, BOB)
    await server.forget(room, BOB)
    for user_id in (MALLORY, BOB):
        assert await refusal(server.messages(user_id, room)) == (403, "M_FORBIDDEN")
        assert await refusal(server.context(user_id, room, said)) == (403, "M_FORBIDDEN")
        assert await refusal(server.event(user_id, room, said)) == (404, "M_NOT_FOUND")
    unknown = server.history.event(requester(ALICE), "!unknown:hs.test", said)
    assert await refusal(unknown) == (404, "M_NOT_FOUND")
    other = await server.room(ALICE)
    assert await refusal(server.event(ALICE, other, said)) == (404, "M_NOT_FOUND")
    assert await refusal(server.event(ALICE, room, "$unknown")) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_after_leaving(server: SyncServer) -> None:
    """The past ends with one's leave."""
    room = await server.room(ALICE, BOB)
    said = await server.say(room, ALICE)
    left = await server.leave(room, BOB)
    later = await server.say(room, ALICE)
    page = await server.messages(BOB, room, limit=2)
    assert ids(page["chunk"]) == [left, said]
    assert later not in ids((await server.messages(BOB, room, dir="f", limit=100))["chunk"])
    assert await refusal(server.event(BOB, room, later)) == (404, "M_NOT_FOUND")
    assert await refusal(server.context(BOB, room, later)) == (404, "M_NOT_FOUND")
    around = await server.context(BOB, room, said)
    assert ids(around["events_after"]) == [left]


@ensureDeferred
async def test_pages_of_hidden_events_go_on(server: SyncServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hidden events do not count; when too many follow each other, the client is told where to go on."""
    monkeypatch.setattr(module, "HIDDEN_PAGE", 3)
    monkeypatch.setattr(module, "MAX_HIDDEN_PAGES", 2)
    room = await server.room(ALICE, BOB)
    early = await server.say(room, ALICE, "early")
    await server.show_history_to(room, "joined")
    await server.leave(room, BOB)
    await server.say_all(room, ALICE, [str(n) for n in range(30)])
    joined = await server.join(room, BOB)
    collected, start, empty = [], None, 0
    for _ in range(20):
        page = await server.messages(BOB, room, start, limit=2)
        collected += ids(page["chunk"])
        empty += not page["chunk"]
        start = page.get("end")
        if start is None:
            break
    assert start is None
    assert empty >= 1
    everything = ids((await server.messages(ALICE, room, limit=100))["chunk"])
    assert collected == [joined, *everything[everything.index(joined) + 31 :]]
    assert early in collected


@ensureDeferred
async def test_context(server: SyncServer) -> None:
    """Half of the limit before, newest first, the rest after; the state after the last; tokens at both ends."""
    room = await server.room(ALICE, BOB)
    said = await server.say_all(room, BOB, [str(n) for n in range(9)])
    await server.set(room, "m.room.topic", {"topic": "later"})
    around = await server.context(ALICE, room, said[4], limit=5)
    assert around["event"]["event_id"] == said[4]
    assert ids(around["events_before"]) == said[2:4][::-1]
    assert ids(around["events_after"]) == said[5:8]
    assert {event["type"] for event in around["state"]} >= {"m.room.create", "m.room.member"}
    assert "m.room.topic" not in {event["type"] for event in around["state"]}
    before = await server.messages(ALICE, room, around["start"], limit=1)
    after = await server.messages(ALICE, room, around["end"], dir="f", limit=1)
    assert (ids(before["chunk"]), ids(after["chunk"])) == ([said[1]], [said[8]])

    for limit, early, late in ((0, 0, 0), (1, 0, 1), (2, 1, 1)):
        around = await server.context(ALICE, room, said[4], limit=limit)
        assert (len(around["events_before"]), len(around["events_after"])) == (early, late)
        page = await server.messages(ALICE, room, around["start"], limit=1)
        assert ids(page["chunk"]) == [said[3 - early]]
        page = await server.messages(ALICE, room, around["end"], dir="f", limit=1)
        assert ids(page["chunk"]) == [said[5 + late]]


@ensureDeferred
async def test_context_at_the_ends(server: SyncServer) -> None:
    """The first event has nothing before it, the last nothing after it; the filter is for what is around."""
    room = await server.room(ALICE, BOB)
    said = await server.say(room, BOB)
    first = (await server.messages(ALICE, room, dir="f", limit=1))["chunk"][0]["event_id"]
    around = await server.context(ALICE, room, first, limit=4)
    assert around["events_before"] == []
    assert len(around["events_after"]) == 4
    assert (await server.messages(ALICE, room, around["start"]))["chunk"] == []
    around = await server.context(ALICE, room, said, types=["m.room.member"], lazy_load_members=True)
    assert around["events_after"] == []
    assert [event["state_key"] for event in around["events_before"]] == [BOB, ALICE]
    assert {event["state_key"] for event in around["state"] if event["type"] == "m.room.member"} == {
        ALICE,
        BOB,
    }
    around = await server.context(ALICE, room, said, limit=0, lazy_load_members=True)
    assert {event["state_key"] for event in around["state"] if event["type"] == "m.room.member"} == {BOB}


@pytest.mark.parametrize("version", ["10", "11", "12"])
@ensureDeferred
async def test_redacted_events(server: SyncServer, version: str) -> None:
    """Empty, with the reason, wherever they are read; also as what a state event replaced."""
    room = await server.room(ALICE, BOB, version=version)
    said = await server.say(room, BOB, "rude")
    topic = await server.set(room, "m.room.topic", {"topic": "rude"})
    newer = await server.set(room, "m.room.topic", {"topic": "kind"})
    redaction = await server.redact(room, said)
    await server.redact(room, topic)
    page = {event["event_id"]: event for event in (await server.messages(ALICE, room))["chunk"]}
    around = await server.context(ALICE, room, said)
    for event in (page[said], around["event"], await server.event(BOB, room, said)):
        assert event["content"] == {}
        assert event["unsigned"]["redacted_because"]["event_id"] == redaction
    assert page[topic]["content"] == {}
    assert page[newer]["unsigned"]["prev_content"] == {}
    shown = page[redaction]
    assert shown["redacts"] == shown["content"]["redacts"] == said


@ensureDeferred
async def test_transaction_ids(server: SyncServer) -> None:
    """Only the session that sent the event sees its transaction id."""
    room = await server.room(ALICE)
    said = await server.say_as(room, requester(ALICE, "PHONE"), "txn1")
    phone, laptop = [await server.event(ALICE, room, said, device) for device in ("PHONE", "LAPTOP")]
    assert phone["unsigned"]["transaction_id"] == "txn1"
    assert "transaction_id" not in laptop["unsigned"]


@ensureDeferred
async def test_what_a_purge_took_from_the_pages(server: SyncServer) -> None:
    """State that a purge of the history keeps is in no page, and no event to look around either."""
    room = await server.room(ALICE, BOB)
    topic = await server.set(room, "m.room.topic", {"topic": "kept"})
    await server.do(
        lambda txn: txn.execute(
            "UPDATE stream SET kind = %s FROM events e WHERE e.event_nid = stream.event_nid AND e.event_id = %s",
            (Kind.KEPT, topic),
        )
    )
    for reader in (ALICE, BOB):
        assert await refusal(server.event(reader, room, topic)) == (404, "M_NOT_FOUND")
        assert await refusal(server.context(reader, room, topic)) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_filters_of_pages(server: SyncServer) -> None:
    """Rooms, relations, the format of federation; a filter for another room finds nothing."""
    room = await server.room(ALICE)
    plain = await server.say(room, ALICE)
    reaction = {"m.relates_to": {"rel_type": "m.annotation", "event_id": plain, "key": "+"}}
    reacted = await server.set(room, "m.reaction", reaction, key=None)
    for filter_, expected in (
        ({"rel_types": ["m.annotation"]}, [reacted]),
        ({"org.matrix.msc3874.rel_types": ["m.thread"]}, []),
        ({"not_rel_types": ["m.annotation"], "types": ["m.room.message", "m.reaction"]}, [plain]),
        ({"not_rooms": [room.room_id]}, []),
        ({"rooms": ["!other:hs.test"]}, []),
    ):
        page = await server.messages(ALICE, room, limit=50, **filter_)
        assert ids(page["chunk"]) == expected, filter_
    around = await server.context(ALICE, room, plain, not_rooms=[room.room_id])
    assert (around["events_before"], around["events_after"], around["state"]) == ([], [], [])
    around = await server.context(ALICE, room, plain, types=["m.room.member"])
    assert {event["type"] for event in around["state"]} == {"m.room.member"}
    (raw,) = (await server.messages(ALICE, room, limit=1, event_format="federation"))["chunk"]
    assert raw["event_id"] == reacted
    assert {"auth_events", "prev_events", "signatures", "hashes", "depth"} <= raw.keys()


@ensureDeferred
async def test_pages_through_history_that_came_later(server: SyncServer) -> None:
    """Tokens name places within a position: no event is left out or shown twice, whatever the limit."""
    room = await server.room(ALICE)
    said = await server.say_all(room, ALICE, [str(n) for n in range(6)])
    since = await server.token()
    await server.do(_put_before, said[1:4], said[4])
    assert "rooms" not in await server.sync(ALICE, since)
    for direction, expected in (("f", said), ("b", said[::-1])):
        for limit in (1, 2, 4):
            collected: list[str] = []
            start = None
            while page := await server.messages(
                ALICE, room, start, dir=direction, limit=limit, types=["m.room.message"]
            ):
                collected += ids(page["chunk"])
                start = page.get("end")
                if start is None:
                    break
            assert collected == expected, (direction, limit)
    around = await server.context(ALICE, room, said[2], limit=2)
    assert ids(around["events_before"]) == [said[1]]
    assert ids(around["events_after"]) == [said[3]]


def _put_before(txn: Transaction, event_ids: list[str], gap: str) -> None:
    """The events as if they had been fetched to fill the gap before another one."""
    for minor, event_id in enumerate(reversed(event_ids), 1):
        txn.execute(
            "UPDATE stream SET minor = %s, position = (SELECT position FROM stream JOIN events USING (event_nid)"
            "  WHERE event_id = %s)"
            " WHERE event_nid = (SELECT event_nid FROM events WHERE event_id = %s)",
            (-minor, gap, event_id),
        )
