"""What is new since a token, in rooms that the user stays in."""

import pytest
from pytest_twisted import ensureDeferred

from tests.builders import ALICE, BOB, MALLORY
from tests.handlers.sync_server import (
    SyncServer,
    ids,
    lazy,
    limit,
    requester,
    section,
    state_keys,
    timeline_ids,
)


@pytest.fixture(params=["memory", "database"], autouse=True)
def source(request: pytest.FixtureRequest, server: SyncServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every answer is asked for twice: from the stream in memory where possible, and from the database."""
    if request.param == "database":
        monkeypatch.setattr(server.log, "since", lambda _position: None)
    return str(request.param)


@ensureDeferred
async def test_nothing_new(server: SyncServer) -> None:
    """A token and nothing else; the token stays good."""
    room = await server.room(ALICE)
    since = await server.token()
    assert await server.sync(ALICE, since) == {"next_batch": since}
    said = await server.say(room, ALICE)
    assert timeline_ids(await server.sync(ALICE, since), room) == [said]


@ensureDeferred
async def test_new_events(server: SyncServer) -> None:
    """In order, by room, not limited; other people's rooms are not there."""
    first, second, foreign = await server.room(ALICE, BOB), await server.room(ALICE), await server.room(BOB)
    since = await server.token()
    said = [await server.say(first, BOB, "1"), await server.say(first, ALICE, "2")]
    other = await server.say(second, ALICE)
    await server.say(foreign, BOB)
    answer = await server.sync(ALICE, since)
    assert answer.keys() == {"next_batch", "rooms"}
    assert answer["rooms"].keys() == {"join"}
    assert answer["rooms"]["join"].keys() == {first.room_id, second.room_id}
    assert timeline_ids(answer, first) == said
    assert timeline_ids(answer, second) == [other]
    assert section(answer, first)["timeline"]["limited"] is False
    assert section(answer, first)["state"]["events"] == []
    assert (await server.sync(ALICE, answer["next_batch"])) == {"next_batch": answer["next_batch"]}


@ensureDeferred
async def test_gap(server: SyncServer) -> None:
    """`limited`: the state that changed in the gap comes before the timeline, and `prev_batch` leads into it."""
    room = await server.room(ALICE, BOB)
    await server.set(room, "m.room.topic", {"topic": "old"})
    since = await server.token()
    await server.set(room, "m.room.topic", {"topic": "older"})
    topic = await server.set(room, "m.room.topic", {"topic": "newer"})
    joined = await server.join(room, MALLORY)
    said = await server.say_all(room, BOB, ["1", "2", "3"])
    name = await server.set(room, "m.room.name", {"name": "in the timeline"})
    answer = await server.sync(ALICE, since, filter=limit(3))
    shown = section(answer, room)
    assert timeline_ids(answer, room) == [*said[1:], name]
    assert shown["timeline"]["limited"] is True
    assert set(ids(shown["state"]["events"])) == {topic, joined}
    page = await server.messages(ALICE, room, shown["timeline"]["prev_batch"], since)
    assert ids(page["chunk"])[:3] == [said[0], joined, topic]
    assert len(page["chunk"]) == 4
    assert "end" not in page


@ensureDeferred
async def test_limit_zero_still_shows_state(server: SyncServer) -> None:
    """Who wants no timeline gets the state that changed."""
    room = await server.room(ALICE)
    since = await server.token()
    await server.say(room, ALICE)
    topic = await server.set(room, "m.room.topic", {"topic": "x"})
    await server.say(room, ALICE)
    shown = section(await server.sync(ALICE, since, filter=limit(0)), room)
    assert ids(shown["state"]["events"]) == [topic]
    assert shown["timeline"]["events"] == []
    assert shown["timeline"]["limited"] is True


@ensureDeferred
async def test_state_that_the_timeline_filter_hides(server: SyncServer) -> None:
    """A change of state is not lost because the timeline is for messages only."""
    room = await server.room(ALICE)
    since = await server.token()
    topic = await server.set(room, "m.room.topic", {"topic": "x"})
    wanted = {"room": {"timeline": {"types": ["m.room.message"]}}}
    answer = await server.sync(ALICE, since, filter=wanted)
    shown = section(answer, room)
    assert (shown["timeline"]["events"], shown["timeline"]["limited"]) == ([], False)
    assert ids(shown["state"]["events"]) == [topic]
    nothing = {"room": {"timeline": {"types": ["m.room.message"]}, "state": {"types": []}}}
    assert "rooms" not in await server.sync(ALICE, since, filter=nothing)


@ensureDeferred
async def test_redactions(server: SyncServer) -> None:
    """A redacted event has no content and says why; so has one that is replaced; the redaction is an event."""
    for version in ("10", "11", "12"):
        room = await server.room(ALICE, BOB, version=version)
        topic = await server.set(room, "m.room.topic", {"topic": "rude"})
        since = await server.token()
        said = await server.say(room, BOB, "rude")
        redaction = await server.redact(room, said)
        second = await server.redact(room, said)
        events = section(await server.sync(ALICE, since), room)["timeline"]["events"]
        assert ids(events) == [said, redaction, second]
        assert events[0]["content"] == {}
        because = events[0]["unsigned"]["redacted_because"]
        assert because["event_id"] == redaction
        assert because["content"] == {"reason": "why not", "redacts": said}
        assert because["redacts"] == events[1]["redacts"] == events[1]["content"]["redacts"] == said

        since = await server.token()
        await server.redact(room, topic)
        await server.set(room, "m.room.topic", {"topic": "kind"})
        events = section(await server.sync(ALICE, since), room)["timeline"]["events"]
        unsigned = events[1]["unsigned"]
        assert unsigned["prev_content"] == {}
        assert unsigned["replaces_state"] == topic


@ensureDeferred
async def test_redaction_that_may_not(server: SyncServer) -> None:
    """Who asks without the power to is refused, and the event stays as it is."""
    room = await server.room(ALICE, BOB)
    since = await server.token()
    said = await server.say(room, ALICE, "fine")
    with pytest.raises(Exception, match="redact"):
        await server.redact(room, said, BOB)
    (event,) = section(await server.sync(BOB, since), room)["timeline"]["events"]
    assert event["content"]["body"] == "fine"
    assert "redacted_because" not in event["unsigned"]


@ensureDeferred
async def test_transaction_id_is_for_the_session_that_sent(server: SyncServer) -> None:
    """Nobody else sees it: no other user, no other device."""
    room = await server.room(ALICE, BOB)
    since = await server.token()
    said = await server.say_as(room, requester(ALICE, "PHONE"), "txn1")
    for user_id, device, expected in (
        (ALICE, "PHONE", "txn1"),
        (ALICE, "LAPTOP", None),
        (BOB, "PHONE", None),
    ):
        (event,) = section(await server.sync(user_id, since, device=device), room)["timeline"]["events"]
        assert event["event_id"] == said
        assert event["unsigned"].get("transaction_id") == expected
        assert 0 <= event["unsigned"]["age"] < 1000


@ensureDeferred
async def test_full_state(server: SyncServer) -> None:
    """All the state before the new timeline, of every joined room, at once, also where nothing is new."""
    busy, quiet = await server.room(ALICE, BOB), await server.room(ALICE, BOB)
    await server.set(busy, "m.room.topic", {"topic": "old"})
    since = await server.token()
    topic = await server.set(busy, "m.room.topic", {"topic": "new"})
    answer = await server.sync(ALICE, since, full_state=True, timeout_ms=30_000)
    assert timeline_ids(answer, busy) == [topic]
    topics = [e["content"] for e in section(answer, busy)["state"]["events"] if e["type"] == "m.room.topic"]
    assert topics == [{"topic": "old"}]
    everything = {
        ("m.room.create", ""),
        ("m.room.power_levels", ""),
        ("m.room.join_rules", ""),
        ("m.room.member", ALICE),
        ("m.room.member", BOB),
    }
    assert state_keys(answer, quiet) == everything
    assert timeline_ids(answer, quiet) == []
    lazily = await server.sync(ALICE, since, full_state=True, filter=lazy())
    assert state_keys(lazily, quiet) == everything  # the other member gives the room its name
    nobody = await server.sync(MALLORY, since, full_state=True, timeout_ms=30_000)
    assert "rooms" not in nobody
    assert nobody["next_batch"] == answer["next_batch"]
    assert [event["type"] for event in nobody["account_data"]["events"]] == ["m.push_rules"]


@ensureDeferred
async def test_lazy_members(server: SyncServer) -> None:
    """The senders' member events come along; of a gap all that changed; counts when they changed."""
    room = await server.room(ALICE, BOB, "@carol:hs.test")
    since = await server.token()
    await server.say(room, BOB)
    answer = await server.sync(ALICE, since, filter=lazy())
    assert state_keys(answer, room) == {("m.room.member", BOB)}
    assert "summary" not in section(answer, room)

    since = answer["next_batch"]
    await server.join(room, MALLORY)
    await server.say_all(room, BOB, ["1", "2"])
    answer = await server.sync(ALICE, since, filter=lazy(1))
    assert state_keys(answer, room) == {("m.room.member", BOB), ("m.room.member", MALLORY)}
    assert section(answer, room)["summary"]["m.joined_member_count"] == 4

    since = answer["next_batch"]
    await server.leave(room, MALLORY)
    answer = await server.sync(ALICE, since, filter=lazy())
    assert state_keys(answer, room) == set()  # the leave itself tells who it was
    assert section(answer, room)["summary"]["m.joined_member_count"] == 3


@ensureDeferred
async def test_account_data(server: SyncServer) -> None:
    """One's own, of the user and of rooms; never somebody else's."""
    room = await server.room(ALICE, BOB)
    since = await server.token()
    await server.put_account_data(ALICE, "m.test", {"a": 1})
    await server.put_account_data(ALICE, "m.tag", {"tags": {}}, room)
    answer = await server.sync(ALICE, since)
    assert {"type": "m.test", "content": {"a": 1}} in answer["account_data"]["events"]
    shown = section(answer, room)
    assert shown["account_data"]["events"] == [{"type": "m.tag", "content": {"tags": {}}}]
    assert shown["timeline"]["events"] == []
    assert await server.sync(BOB, since) == {"next_batch": answer["next_batch"]}


@ensureDeferred
async def test_only_what_changed_of_account_data(server: SyncServer) -> None:
    """One type of many, of the user and of a room; a private receipt brings no account data at all."""
    room = await server.room(ALICE, BOB)
    said = await server.say(room, ALICE)
    for kind in ("m.one", "m.two"):
        await server.put_account_data(ALICE, kind, {"a": 1})
        await server.put_account_data(ALICE, kind, {"a": 1}, room)
    since = await server.token()
    await server.put_account_data(ALICE, "m.one", {"a": 2})
    await server.put_account_data(ALICE, "m.two", {"a": 2}, room)
    answer = await server.sync(ALICE, since)
    assert answer["account_data"]["events"] == [{"type": "m.one", "content": {"a": 2}}]
    assert section(answer, room)["account_data"]["events"] == [{"type": "m.two", "content": {"a": 2}}]
    await server.ephemeral.read(requester(ALICE), room.room_id, {"m.read.private": said})
    answer = await server.sync(ALICE, answer["next_batch"])
    assert "account_data" not in answer
    assert section(answer, room)["account_data"]["events"] == []
    assert [event["type"] for event in section(answer, room)["ephemeral"]["events"]] == ["m.receipt"]


@ensureDeferred
async def test_receipts(server: SyncServer) -> None:
    """Members see public ones, with their thread; private ones are for their owner only."""
    room = await server.room(ALICE, BOB)
    root, said = await server.say(room, ALICE), await server.say(room, ALICE)
    since = await server.token()
    await server.ephemeral.read(requester(BOB), room.room_id, {"m.read": root}, "main")
    await server.ephemeral.read(requester(BOB), room.room_id, {"m.read": root}, root)
    await server.ephemeral.read(requester(BOB), room.room_id, {"m.read": said})
    answer = await server.sync(ALICE, since)
    events = section(answer, room)["ephemeral"]["events"]
    found = [
        (event_id, kind, user_id, data.get("thread_id"))
        for event in events
        for event_id, kinds in event["content"].items()
        for kind, users in kinds.items()
        for user_id, data in users.items()
    ]
    assert sorted(found, key=str) == sorted(
        [(root, "m.read", BOB, "main"), (root, "m.read", BOB, root), (said, "m.read", BOB, None)], key=str
    )

    since = answer["next_batch"]
    await server.ephemeral.read(requester(BOB), room.room_id, {"m.read.private": said})
    mine = section(await server.sync(BOB, since), room)["ephemeral"]["events"][0]["content"]
    assert mine[said]["m.read.private"].keys() == {BOB}
    assert "rooms" not in await server.sync(ALICE, since)


@ensureDeferred
async def test_typing(server: SyncServer) -> None:
    """Who begins, who stops, and who is silent for too long."""
    room = await server.room(ALICE, BOB)
    since = await server.token()

    async def typing() -> object:
        nonlocal since
        answer = await server.sync(ALICE, since)
        since = answer["next_batch"]
        return [event["content"]["user_ids"] for event in section(answer, room)["ephemeral"]["events"]]

    await server.ephemeral.type(requester(BOB), room.room_id, 10_000)
    assert await typing() == [[BOB]]
    await server.ephemeral.type(requester(BOB), room.room_id, 10_000)
    assert await server.sync(ALICE, since) == {"next_batch": since}  # nothing new
    await server.ephemeral.type(requester(BOB), room.room_id, 0)
    assert await typing() == [[]]
    await server.ephemeral.type(requester(BOB), room.room_id, 10_000)
    assert await typing() == [[BOB]]
    server.clock.reactor.rightNow += 11
    await server.ephemeral.expire()
    assert await typing() == [[]]


@ensureDeferred
async def test_filters(server: SyncServer) -> None:
    """Types with `*`, senders, rooms, links, and single fields."""
    room, other = await server.room(ALICE, BOB), await server.room(ALICE, BOB)
    since = await server.token()
    said = await server.say(room, ALICE)
    reaction = (await server.do(server.world.send, room, "m.reaction", BOB, {})).event.event_id
    image = (await server.do(server.world.send, room, "m.image", BOB, {"url": "mxc://x"})).event.event_id
    await server.say(other, ALICE)

    async def shown(**timeline: object) -> list[str]:
        wanted = {"room": {"rooms": [room.room_id], "timeline": timeline}}
        answer = await server.sync(ALICE, since, filter=wanted)
        assert answer.get("rooms", {"join": {room.room_id: 0}})["join"].keys() == {room.room_id}
        return timeline_ids(answer, room) if "rooms" in answer else []

    assert await shown() == [said, reaction, image]
    assert await shown(types=["m.re*"]) == [reaction]
    assert await shown(types=["*e*a*i*"]) == [reaction]
    assert await shown(types=["m_reaction", "m.%"]) == []
    assert await shown(types=[]) == []
    assert await shown(not_types=["m.room.*"]) == [reaction, image]
    assert await shown(types=["m.*"], not_types=["*.image"]) == [said, reaction]
    assert await shown(senders=[BOB]) == [reaction, image]
    assert await shown(not_senders=[BOB]) == [said]
    assert await shown(contains_url=True) == [image]
    assert await shown(contains_url=False) == [said, reaction]
    assert await shown(contains_url=False, limit=1) == [reaction]
    assert await shown(not_rooms=[room.room_id]) == []
    nowhere = await server.sync(ALICE, since, filter={"room": {"rooms": []}})
    assert "rooms" not in nowhere
    elsewhere = await server.sync(ALICE, since, filter={"room": {"not_rooms": [room.room_id]}})
    assert elsewhere["rooms"]["join"].keys() == {other.room_id}
    fields = await server.sync(ALICE, since, filter={"event_fields": ["type", "content.body"]})
    events = section(fields, room)["timeline"]["events"]
    assert events[:2] == [{"type": "m.room.message", "content": {"body": "hello"}}, {"type": "m.reaction"}]


@ensureDeferred
async def test_filters_of_what_is_no_event(server: SyncServer) -> None:
    """Types and rooms of receipts, typing and account data; what is not wanted is no news."""
    room = await server.room(ALICE, BOB)
    said = await server.say(room, BOB)
    since = await server.token()
    await server.ephemeral.read(requester(BOB), room.room_id, {"m.read": said})
    await server.ephemeral.type(requester(BOB), room.room_id, 10_000)
    await server.put_account_data(ALICE, "m.test", {"a": 1}, room)
    await server.put_account_data(ALICE, "m.test", {"a": 1})

    async def shown(**filter_of_room: object) -> set[str]:
        wanted = {"room": filter_of_room, "account_data": {"types": ["m.nothing"]}}
        answer = await server.sync(ALICE, since, filter=wanted)
        assert "account_data" not in answer
        if "rooms" not in answer:
            return set()
        events = [
            *section(answer, room)["ephemeral"]["events"],
            *section(answer, room)["account_data"]["events"],
        ]
        return {event["type"] for event in events}

    nothing = {"types": []}
    here, away = {"rooms": [room.room_id]}, {"not_rooms": [room.room_id]}
    assert await shown() == {"m.receipt", "m.typing", "m.test"}
    assert await shown(ephemeral={"not_types": ["m.typing"]}, account_data=here) == {"m.receipt", "m.test"}
    assert await shown(ephemeral={"types": ["m.t*"]}, account_data=nothing) == {"m.typing"}
    assert await shown(ephemeral=away, account_data=away) == set()
    assert await shown(ephemeral=nothing, account_data=nothing) == set()
    assert await shown(ephemeral=here, account_data=nothing) == {"m.receipt", "m.typing"}
