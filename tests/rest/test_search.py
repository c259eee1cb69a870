"""/search over HTTP: what is found, by whom, in which order, page after page."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred

from synapse_lite.storage import search
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.history_purge import delete_events, hide_events
from synapse_lite.storage.purge import TABLES, delete_slice
from synapse_lite.storage.stream import read_position
from tests.builders import SERVER
from tests.rest.conftest import BuildServer
from tests.rest.talk import Talk, ids_in
from tests.server import TestServer, path_part, user_path


@pytest_twisted.async_yield_fixture
async def talk(server: TestServer) -> AsyncIterator[Talk]:
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice)
    await server.ok("POST", f"{room}/join", {}, bob)
    yield Talk(server, alice, bob, room)


@ensureDeferred
async def test_words_are_found(talk: Talk) -> None:
    """All words, in any order and case, the last one also when it is unfinished; none of them too common."""
    event = await talk.say("Who ARE you, Straße-Freund?")
    await talk.say("something else")
    await talk.index()
    for term in ("who are you", "YOU who", "strasse", "freund", "who fre", "straße"):
        assert await talk.ids(term) == [event], term
    for term in ("wh are", "reund", "who else", "!?", ""):
        assert await talk.ids(term) == [], term


@ensureDeferred
async def test_words_are_found_inside_sentences(talk: Talk) -> None:
    """Chinese, Japanese, Korean and Thai; together as they are asked for, and not the same letters elsewhere."""
    sentences = {
        "我们今天讨论数据库的设计问题": ("数据库", "讨论", "问题", "题", "设计问题", "今天 设计"),
        "昨日、東京タワーへ行きました": ("東京", "タワー", "ﾀﾜｰ", "行き"),
        "오늘 학교에서 만났어요": ("학교", "교에서", "만났"),
        "ฉันอยากกินข้าวผัด": ("กินข้าว", "ข้าว", "อยาก", "กินข"),
        "用Vue组件写页面": ("组件", "vue", "vue 页面"),
    }
    events = {sentence: await talk.say(sentence) for sentence in sentences}
    await talk.index()
    for sentence, words in sentences.items():
        for word in words:
            assert await talk.ids(word) == [events[sentence]], word
    for word in ("据库数", "论数据库设计", "天们"):
        assert await talk.ids(word) == [], word


@ensureDeferred
async def test_redacted_text_is_gone_at_once(talk: Talk) -> None:
    """In the commit of the redaction, from the index too; also when it comes before the follower."""
    seen, unseen, redacted_before = [await talk.say("secret plan") for _ in range(3)]
    await talk.redact(redacted_before)
    await talk.index()
    assert await talk.ids("secret") == [unseen, seen]
    await talk.redact(seen)
    for order in ("recent", "rank"):
        answer = await talk.search("secret", order_by=order, groupings={"group_by": [{"key": "sender"}]})
        assert ids_in(answer) == [unseen]
        assert answer["count"] == 1
    rows = await talk.server.database.read(
        lambda txn: txn.value("SELECT count(*) FROM event_search WHERE body = 'secret plan'")
    )
    assert rows == 1
    await talk.index()
    assert await talk.ids("secret") == [unseen]


@ensureDeferred
async def test_purged_text_is_gone(talk: Talk) -> None:
    """With the history, deleted or hidden, and with the room; and nothing comes back."""
    deleted, hidden, rest = [await talk.say("past things") for _ in range(3)]
    await talk.index()

    def purge(txn: Transaction) -> int:
        nids = dict(txn.rows("SELECT event_id, event_nid FROM events"))
        delete_events(txn, [nids[deleted]])
        hide_events(txn, [nids[hidden]])
        return int(txn.value("SELECT count(*) FROM event_search WHERE body = 'past things'"))

    assert await talk.server.database.transact(purge) == 1
    assert await talk.ids("past") == [rest]

    def purge_room(txn: Transaction) -> object:
        nid = txn.value("UPDATE rooms SET purging = TRUE RETURNING room_nid")
        (table,) = (table for table in TABLES if table.name == "event_search")
        delete_slice(txn, table, nid, (), 100, SERVER)
        return txn.value("SELECT count(*) FROM event_search")

    assert await talk.server.database.transact(purge_room) == 0
    talk.indexed = 0
    await talk.index()
    assert await talk.server.database.read(lambda txn: txn.value("SELECT count(*) FROM event_search")) == 0


@ensureDeferred
async def test_what_is_purged_before_the_follower_comes_to_it(talk: Talk) -> None:
    """It has read the changes already, and adds nothing that is deleted or hidden meanwhile."""
    deleted, hidden, rest = [await talk.say("past things") for _ in range(3)]
    changes = await talk.changes()

    def purge(txn: Transaction) -> None:
        nids = dict(txn.rows("SELECT event_id, event_nid FROM events"))
        delete_events(txn, [nids[deleted]])
        hide_events(txn, [nids[hidden]])

    await talk.server.database.transact(purge)
    await talk.follow(changes)
    assert await talk.ids("past") == [rest]
    assert (
        await talk.server.database.read(
            lambda txn: txn.value("SELECT count(*) FROM event_search WHERE body = 'past things'")
        )
        == 1
    )


@ensureDeferred
async def test_only_what_one_may_see(talk: Talk) -> None:
    """Nothing of other rooms, from before one joined where that is hidden, after one left, by ignored users."""
    server = talk.server
    state = [
        {"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "joined"}}
    ]
    hidden = await server.room(talk.alice, initial_state=state)
    early = await talk.say("needle early", room=hidden)
    await server.ok("POST", f"{hidden}/join", {}, talk.bob)
    middle = await talk.say("needle middle", room=hidden)
    await server.ok("POST", f"{hidden}/leave", {}, talk.bob)
    late = await talk.say("needle late", room=hidden)
    await talk.index()
    assert await talk.ids("needle") == [late, middle, early]
    assert await talk.ids("needle", talk.bob) == [middle]
    for term, count in (("needle", 1), ("early", 0), ("late", 0)):  # how often it was said is a secret, too
        assert (await talk.search(term, talk.bob))["count"] == count
    assert await talk.ids("needle", await server.user("carol")) == []
    ignored = {"ignored_users": {f"@alice:{SERVER}": {}}}
    await server.ok("PUT", user_path("bob", "account_data/m.ignored_user_list"), ignored, talk.bob)
    assert await talk.ids("needle", talk.bob) == []


@ensureDeferred
@pytest.mark.parametrize("with_slices", [True, False])
async def test_a_common_word_is_found_among_the_newest(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, with_slices: bool
) -> None:
    """It costs what is newest, not all that was ever said: how far the index is read back is seen from the query.

    What was indexed before there were slices is found as well.
    """
    monkeypatch.setattr(search, "SLICE", 10)
    monkeypatch.setattr(search, "MAX_RANKED", 4)
    said = [await talk.say(f"tide {'rare' if number == 20 else number}") for number in range(60)]
    await talk.index()
    if not with_slices:
        without = "ARRAY(SELECT t FROM unnest(tsvector_to_array(tokens)) AS t WHERE starts_with(t, '~'))"
        older = "position < (SELECT max(position) - 25 FROM event_search)"
        strip = f"UPDATE event_search SET tokens = ts_delete(tokens, {without}) WHERE {older}"
        await talk.server.database.transact(lambda txn: txn.execute(strip))
    queries: list[str] = []
    rows = Transaction.rows

    def spy(txn: Transaction, sql: str, arguments: Any = ()) -> Any:
        if "event_search" in sql:
            queries.append(arguments[0])
        return rows(txn, sql, arguments)

    monkeypatch.setattr(Transaction, "rows", spy)
    assert (await talk.search("tide", filter={"limit": 3}))["count"] == 4
    assert all("~" in query for query in queries)
    found, start = list[str](), None
    while start is not None or not found:
        answer = await talk.search("tide", start=start, filter={"limit": 3})
        found += ids_in(answer)
        start = answer.get("next_batch")
    assert found == said[::-1]
    assert await talk.ids("rare") == [said[20]]


@ensureDeferred
@pytest.mark.parametrize("max_ranked", [2, 2000])
async def test_a_word_that_is_common_elsewhere(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, max_ranked: int
) -> None:
    """The index is asked for one's rooms, too, which costs it as much for each hit and room as the hit; else the rows are."""
    monkeypatch.setattr(search, "MAX_RANKED", max_ranked)
    carol = await talk.server.user("carol")
    other = await talk.server.room(carol)
    said = []
    for number in range(30):
        await talk.say("tide elsewhere", carol, other)
        if number % 3 == 0:
            said.append(await talk.say("tide here"))
    last = await talk.server.database.read(read_position)
    monkeypatch.setattr(search, "SLICE", (last - 12) // 2)  # the newest one is that of the last dozen
    await talk.index()
    queries: list[str] = []
    rows = Transaction.rows

    def spy(txn: Transaction, sql: str, arguments: Any = ()) -> Any:
        if "event_search" in sql:
            queries.append(arguments[0])
        return rows(txn, sql, arguments)

    monkeypatch.setattr(Transaction, "rows", spy)
    for word, in_index in (("tide", True), ("here", False), ("elsewhere", True)):
        queries.clear()
        answer = await talk.search(word, filter={"limit": 50})
        assert answer["count"] == (0 if word == "elsewhere" else min(len(said), max_ranked))
        assert said[::-1][: len(ids_in(answer))] == ids_in(answer)
        assert "#" in queries[-1] if in_index else not any("#" in query for query in queries)


@ensureDeferred
async def test_filters_are_part_of_the_question(talk: Talk) -> None:
    """The only hit of a sender among many others; by room, by type, by key; names and topics too."""
    by_bob = await talk.say("common", talk.bob)
    for _ in range(30):
        await talk.say("common")
    other = await talk.server.room(talk.alice, name="Common room", topic="common things")
    await talk.index()
    bob = f"@bob:{SERVER}"
    assert await talk.ids("common", filter={"senders": [bob], "limit": 1}) == [by_bob]
    assert by_bob not in await talk.ids("common", filter={"not_senders": [bob], "limit": 50})
    named = await talk.search("common", filter={"rooms": [other.removeprefix("rooms/")]})
    assert {one["result"]["type"] for one in named["results"]} == {"m.room.name", "m.room.topic"}
    assert len(await talk.ids("common", keys=["content.name"])) == 1
    assert len(await talk.ids("common", filter={"types": ["m.room.t*"]})) == 1
    assert await talk.ids("common", filter={"not_rooms": [talk.room_id]}, keys=["content.body"]) == []


@ensureDeferred
async def test_rooms_that_were_replaced(talk: Talk) -> None:
    """Who looks in a room finds what they may see of those before it, upgrade after upgrade; unless they exclude it."""
    rooms, said = [talk.room_id], [await talk.say("heron")]
    for version in ("11", "12"):
        upgraded = await talk.server.ok(
            "POST", f"rooms/{path_part(rooms[-1])}/upgrade", {"new_version": version}, talk.alice
        )
        rooms.append(upgraded["replacement_room"])
        said.append(await talk.say("heron", room=f"rooms/{path_part(rooms[-1])}"))
    await talk.server.ok("POST", f"rooms/{path_part(rooms[-1])}/join", {}, talk.bob)
    await talk.index()
    first, second, third = said
    assert await talk.ids("heron", filter={"rooms": [rooms[2]]}) == [third, second, first]
    assert await talk.ids("heron", filter={"rooms": [rooms[1]]}) == [second, first]
    assert await talk.ids("heron", filter={"rooms": [rooms[2]], "not_rooms": [rooms[1]]}) == [third, first]
    assert await talk.ids("heron", talk.bob, filter={"rooms": [rooms[2]]}) == [third, first]
    await talk.server.ok("POST", f"rooms/{path_part(rooms[1])}/join", {}, talk.bob)
    assert await talk.ids("heron", talk.bob, filter={"rooms": [rooms[2]]}) == [third, second, first]


@ensureDeferred
async def test_context_groups_and_state(talk: Talk) -> None:
    """The keys and types of the specification."""
    member = {"membership": "join", "displayname": "Alice"}
    user = path_part(f"@alice:{SERVER}")
    await talk.server.ok("PUT", f"{talk.room}/state/m.room.member/{user}", member, talk.alice)
    texts = [await talk.say(text) for text in ("one", "two", "needle", "three", "four")]
    await talk.index()
    answer = await talk.search(
        "NEEDLE",
        event_context={"before_limit": 1, "after_limit": 2, "include_profile": True},
        groupings={"group_by": [{"key": "room_id"}, {"key": "sender"}]},
        include_state=True,
    )
    assert answer.keys() == {"count", "highlights", "results", "groups", "state"}
    assert (answer["count"], answer["highlights"]) == (1, ["needle"])
    (result,) = answer["results"]
    assert result.keys() == {"rank", "result", "context"}
    assert result["rank"] > 0
    assert result["result"]["room_id"] == talk.room_id
    context = result["context"]
    assert [one["event_id"] for one in context["events_before"]] == [texts[1]]
    assert [one["event_id"] for one in context["events_after"]] == texts[3:]
    assert context["profile_info"] == {f"@alice:{SERVER}": {"displayname": "Alice"}}
    before = await talk.server.ok(
        "GET", f"{talk.room}/messages?dir=b&limit=1&from={context['start']}", None, talk.bob
    )
    assert [one["event_id"] for one in before["chunk"]] == texts[:1]
    group = {"results": [texts[2]], "order": 1}
    assert answer["groups"] == {"room_id": {talk.room_id: group}, "sender": {f"@alice:{SERVER}": group}}
    assert "m.room.create" in {one["type"] for one in answer["state"][talk.room_id]}


@ensureDeferred
async def test_contexts_of_many_hits_take_the_statements_of_one(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hits that are in each other's context, in two rooms: each has its own neighbours, nearest first."""
    other = await talk.server.room(talk.alice)
    said = {}
    for room in (talk.room, other):
        texts = ("zero", "one", "needle", "two", "needle", "three", "needle", "four")
        said[room] = [await talk.say(text, room=room) for text in texts]
    await talk.index()
    statements: list[str] = []
    rows = Transaction.rows

    def spy(txn: Transaction, sql: str, arguments: Any = ()) -> Any:
        statements.append(sql)
        return rows(txn, sql, arguments)

    monkeypatch.setattr(Transaction, "rows", spy)
    numbers = []
    context = {"before_limit": 2, "after_limit": 1, "include_profile": True}
    for limit, more in ((6, {}), (1, {"event_context": context}), (6, {"event_context": context})):
        for _ in range(2):  # the second time nothing is new to a cache
            statements.clear()
            answer = await talk.search("needle", filter={"limit": limit}, **more)
        numbers.append(len(statements))
    alone, one, all_of_them = numbers
    assert all_of_them <= one + 1
    assert all_of_them == alone + 1  # that finds what is around them; all that is shown is looked up together
    results = {one["result"]["event_id"]: one["context"] for one in answer["results"]}
    assert len(results) == 6
    for ids in said.values():
        for place in (2, 4, 6):
            found = results[ids[place]]
            before = [ids[place - 1], ids[place - 2]]
            assert [one["event_id"] for one in found["events_before"]] == before
            assert [one["event_id"] for one in found["events_after"]] == [ids[place + 1]]
            assert found["profile_info"].keys() == {f"@alice:{SERVER}"}


@ensureDeferred
async def test_bad_questions(talk: Talk) -> None:
    """A clear error each; no category is nothing to look for."""
    assert await talk.server.ok("POST", "search", {"search_categories": {}}, talk.alice) == {
        "search_categories": {}
    }
    for criteria, errcode in (
        ({}, "M_MISSING_PARAM"),
        ({"search_term": 1}, "M_BAD_JSON"),
        ({"search_term": "x" * 1001}, "M_INVALID_PARAM"),
        ({"search_term": "x", "order_by": "size"}, "M_INVALID_PARAM"),
        ({"search_term": "x", "keys": ["content.url"]}, "M_INVALID_PARAM"),
        ({"search_term": "x", "filter": {"limit": "1"}}, "M_BAD_JSON"),
        ({"search_term": "x", "groupings": {"group_by": [{"key": "type"}]}}, "M_INVALID_PARAM"),
        ({"search_term": "x", "groupings": {"group_by": [{}]}}, "M_MISSING_PARAM"),
        ({"search_term": "x", "event_context": {"before_limit": -1}}, "M_INVALID_PARAM"),
    ):
        body = {"search_categories": {"room_events": criteria}}
        assert await talk.server.refusal("POST", "search", body, talk.alice) == (400, errcode), criteria
    body = {"search_categories": {"room_events": {"search_term": "x"}}}
    assert await talk.server.refusal("POST", "search?next_batch=no", body, talk.alice) == (
        400,
        "M_INVALID_PARAM",
    )


@ensureDeferred
async def test_searching_can_be_switched_off(build_server: BuildServer) -> None:
    """By `enable_search`."""
    server = await build_server(enable_search=False)
    body = {"search_categories": {"room_events": {"search_term": "x"}}}
    assert await server.refusal("POST", "search", body, await server.user("alice")) == (400, "M_UNKNOWN")
