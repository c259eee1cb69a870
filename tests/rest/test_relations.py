"""Relations over HTTP: what comes with events, what relates to one, the threads of a room."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest_twisted
from attrs import define
from pytest_twisted import ensureDeferred

from tests.builders import SERVER
from tests.server import TestServer, path_part

V1 = "/_matrix/client/v1"
ALICE, BOB = f"@alice:{SERVER}", f"@bob:{SERVER}"


@define
class Room:
    """A public room of Alice, in which Bob is."""

    server: TestServer
    room_id: str
    alice: str
    bob: str
    sent: int = 0

    @property
    def path(self) -> str:
        return f"rooms/{path_part(self.room_id)}"

    async def send(self, token: str, content: dict[str, Any], kind: str = "m.room.message") -> str:
        self.sent += 1
        path = f"{self.path}/send/{kind}/{self.sent}"
        event_id: str = (await self.server.ok("PUT", path, content, token))["event_id"]
        return event_id

    async def say(self, text: str = "hi", token: str | None = None) -> str:
        return await self.send(token or self.alice, {"msgtype": "m.text", "body": text})

    async def relate(
        self,
        rel_type: str,
        parent: str,
        text: str = "x",
        token: str | None = None,
        kind: str = "m.room.message",
    ) -> str:
        relation: dict[str, Any] = {"rel_type": rel_type, "event_id": parent}
        if rel_type == "m.annotation":
            return await self.send(
                token or self.alice, {"m.relates_to": {**relation, "key": text}}, "m.reaction"
            )
        content = {"msgtype": "m.text", "body": text, "m.relates_to": relation}
        return await self.send(token or self.alice, content, kind)

    async def redact(self, event_id: str) -> None:
        self.sent += 1
        await self.server.ok("PUT", f"{self.path}/redact/{path_part(event_id)}/{self.sent}", {}, self.alice)

    async def event(self, event_id: str, token: str | None = None) -> dict[str, Any]:
        path = f"{self.path}/event/{path_part(event_id)}"
        event: dict[str, Any] = await self.server.ok("GET", path, None, token or self.alice)
        return event

    async def bundled(self, event_id: str, token: str | None = None) -> dict[str, Any]:
        """What comes with the event; the same in each place where it is read."""
        token = token or self.alice
        alone = (await self.event(event_id, token))["unsigned"].get("m.relations", {})
        messages = await self.server.ok("GET", f"{self.path}/messages?dir=b&limit=50", None, token)
        sync = await self.server.ok("GET", 'sync?filter={"room":{"timeline":{"limit":50}}}', None, token)
        context = await self.server.ok("GET", f"{self.path}/context/{path_part(event_id)}", None, token)
        timeline = sync["rooms"]["join"][self.room_id]["timeline"]["events"]
        for event in (*messages["chunk"], *timeline, context["event"]):
            if event["event_id"] == event_id:
                assert without_age(event["unsigned"].get("m.relations", {})) == without_age(alone)
        found: dict[str, Any] = alone
        return found

    async def children(self, path: str, token: str | None = None) -> Any:
        path = f"{V1}/{self.path}/relations/{path}"
        return await self.server.ok("GET", path, None, token or self.alice)

    async def threads(self, query: str = "", token: str | None = None) -> Any:
        return await self.server.ok("GET", f"{V1}/{self.path}/threads{query}", None, token or self.alice)


def without_age(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_age(one) for key, one in value.items() if key != "age"}
    return value


def ids_in(answer: Any) -> list[str]:
    return [event["event_id"] for event in answer["chunk"]]


@pytest_twisted.async_yield_fixture
async def room(server: TestServer) -> AsyncIterator[Room]:
    alice, bob = await server.register("alice"), await server.register("bob")
    body = {"preset": "public_chat"}
    room_id = (await server.ok("POST", "createRoom", body, alice))["room_id"]
    await server.ok("POST", f"join/{path_part(room_id)}", {}, bob)
    yield Room(server, room_id, alice, bob)


@ensureDeferred
async def test_newest_edit_comes_with_an_event(room: Room) -> None:
    """The sender's own, of the same type; the content stays. Edits of edits, and of others, count for nobody."""
    message = await room.say()
    assert await room.bundled(message) == {}
    await room.relate("m.replace", message, "first")
    second = await room.relate("m.replace", message, "second")
    await room.relate("m.replace", message, "not mine", room.bob)
    await room.relate("m.replace", message, "other type", kind="m.sticker")
    await room.relate("m.replace", second, "edit of an edit")
    edit = (await room.bundled(message))["m.replace"]
    assert (edit["event_id"], edit["content"]["body"]) == (second, "second")
    assert edit["sender"] == ALICE
    assert (await room.event(message))["content"]["body"] == "hi"
    assert await room.bundled(second) == {}
    await room.redact(second)
    assert (await room.bundled(message))["m.replace"]["content"]["body"] == "first"
    await room.redact(message)
    assert await room.bundled(message) == {}


@ensureDeferred
async def test_encrypted_events_are_edited(room: Room) -> None:
    """The relation stands in clear, and counts as any other."""
    secret = {"algorithm": "x", "ciphertext": "x"}
    message = await room.send(room.alice, secret, "m.room.encrypted")
    relation = {"m.relates_to": {"rel_type": "m.replace", "event_id": message}}
    edit = await room.send(room.alice, {**secret, **relation}, "m.room.encrypted")
    assert (await room.bundled(message))["m.replace"]["event_id"] == edit


@ensureDeferred
async def test_thread_summary(room: Room) -> None:
    """Its latest event with that one's edit, how many there are, and whether the reader takes part."""
    root = await room.say()
    assert "m.thread" not in await room.bundled(root)
    first = await room.relate("m.thread", root, "one")
    latest = await room.relate("m.thread", root, "two")
    await room.relate("m.replace", latest, "edited")
    await room.relate("m.annotation", latest, "👍")
    thread = (await room.bundled(root))["m.thread"]
    assert (thread["latest_event"]["event_id"], thread["count"]) == (latest, 2)
    assert thread["latest_event"]["unsigned"]["m.relations"]["m.replace"]["content"]["body"] == "edited"
    assert thread["current_user_participated"] is True
    assert (await room.bundled(root, room.bob))["m.thread"]["current_user_participated"] is False
    await room.relate("m.thread", root, "bob's", room.bob)
    assert (await room.bundled(root, room.bob))["m.thread"]["current_user_participated"] is True
    await room.redact(latest)
    assert (await room.bundled(root))["m.thread"]["count"] == 2
    await room.redact(root)
    assert (await room.bundled(root))["m.thread"]["count"] == 2
    assert (await room.bundled(first)) == {}


@ensureDeferred
async def test_references(room: Room) -> None:
    """The ids of what refers to an event; reactions come with none."""
    parent = await room.say()
    first = await room.relate("m.reference", parent)
    second = await room.relate("m.reference", parent, token=room.bob)
    await room.relate("m.annotation", parent, "👍")
    assert await room.bundled(parent) == {
        "m.reference": {"chunk": [{"event_id": first}, {"event_id": second}]}
    }


@ensureDeferred
async def test_children_in_three_forms(room: Room) -> None:
    """All, by the type of the relation, and by the type of the event; newest first, or oldest."""
    parent = await room.say()
    thread = await room.relate("m.thread", parent)
    reaction = await room.relate("m.annotation", parent, "👍", room.bob)
    sticker = await room.relate("m.thread", parent, kind="m.sticker")
    gone = await room.relate("m.thread", parent)
    await room.redact(gone)
    key = path_part(parent)
    assert ids_in(await room.children(key)) == [sticker, reaction, thread]
    assert ids_in(await room.children(f"{key}?dir=f")) == [thread, reaction, sticker]
    assert ids_in(await room.children(f"{key}/m.thread")) == [sticker, thread]
    assert ids_in(await room.children(f"{key}/m.thread/m.sticker")) == [sticker]
    assert ids_in(await room.children(f"{key}/m.unknown")) == []
    assert "next_batch" not in await room.children(key)
    child = (await room.children(f"{key}/m.annotation"))["chunk"][0]
    assert child["content"]["m.relates_to"] == {"rel_type": "m.annotation", "event_id": parent, "key": "👍"}


@ensureDeferred
async def test_pages_of_children(room: Room) -> None:
    """Page after page each child comes once, in both directions, with redactions in between."""
    parent = await room.say()
    replies = [await room.relate("m.thread", parent, str(number)) for number in range(14)]
    for gone in (replies.pop(9), replies.pop(3)):
        await room.redact(gone)
    for direction, expected in (("b", replies[::-1]), ("f", replies)):
        found, token = [], ""
        for _ in range(10):
            page = await room.children(f"{path_part(parent)}/m.thread?limit=5&dir={direction}{token}")
            found += ids_in(page)
            if "next_batch" not in page:
                break
            assert len(page["chunk"]) == 5
            token = f"&from={page['next_batch']}"
        assert found == expected
    whole = await room.children(f"{path_part(parent)}?limit=5")
    rest = await room.children(f"{path_part(parent)}?limit=50&to={whole['next_batch']}")
    assert ids_in(rest) == ids_in(whole)


@ensureDeferred
async def test_recursion(room: Room) -> None:
    """With `recurse` also what relates to a child, over three steps."""
    parent = await room.say()
    chain = [parent]
    for rel_type in ("m.thread", "m.reference", "m.reference", "m.reference"):
        chain.append(await room.relate(rel_type, chain[-1]))
    answer = await room.children(f"{path_part(parent)}?recurse=true")
    assert ids_in(answer) == chain[3:0:-1]
    assert answer["recursion_depth"] == 3
    assert ids_in(await room.children(f"{path_part(parent)}/m.reference?recurse=true")) == [
        chain[3],
        chain[2],
    ]
    assert ids_in(await room.children(f"{path_part(parent)}?recurse=false")) == [chain[1]]


@ensureDeferred
async def test_who_may_read_relations(room: Room) -> None:
    """Whoever may see the parent, and of its children those that they may see."""
    server, stranger = room.server, await room.server.register("stranger")
    parent = await room.say()
    before = await room.relate("m.thread", parent)
    await server.ok("POST", f"{room.path}/leave", {}, room.bob)
    after = await room.relate("m.thread", parent)
    await room.relate("m.replace", parent, "later")
    path = f"{V1}/{room.path}/relations/{path_part(parent)}"
    assert ids_in(await room.children(path_part(parent), room.bob)) == [before]
    thread = (await room.event(parent, room.bob))["unsigned"]["m.relations"]
    assert (thread["m.thread"]["latest_event"]["event_id"], thread["m.thread"]["count"]) == (before, 1)
    assert "m.replace" not in thread
    assert ids_in(await room.children(f"{path_part(parent)}/m.thread")) == [after, before]
    assert await server.refusal("GET", path, None, stranger) == (404, "M_NOT_FOUND")
    assert (await server.refusal("GET", f"{V1}/{room.path}/threads", None, stranger))[0] == 403
    unknown = f"{V1}/{room.path}/relations/$unknown"
    assert await server.refusal("GET", unknown, None, room.alice) == (404, "M_NOT_FOUND")
    for query in ("limit=0", "limit=x", "from=x", "to=x", "dir=x", "recurse=x"):
        assert (await server.refusal("GET", f"{path}?{query}", None, room.alice))[0] == 400, query
    assert (await server.refusal("GET", f"{V1}/{room.path}/threads?include=x", None, room.alice))[0] == 400


@ensureDeferred
async def test_threads(room: Room) -> None:
    """The roots, that of the newest event first, with their summaries; page after page; those of the reader."""
    roots = [await room.say(str(number)) for number in range(4)]
    for root in roots:
        await room.relate("m.thread", root)
    await room.relate("m.thread", roots[1], token=room.bob)
    await room.relate("m.annotation", roots[0], "👍")
    expected = [roots[1], roots[3], roots[2], roots[0]]
    answer = await room.threads()
    assert ids_in(answer) == expected
    assert [event["unsigned"]["m.relations"]["m.thread"]["count"] for event in answer["chunk"]] == [
        2,
        1,
        1,
        1,
    ]
    assert "next_batch" not in answer
    assert ids_in(await room.threads("?include=participated")) == expected
    assert ids_in(await room.threads("?include=participated", room.bob)) == [roots[1]]
    first = await room.threads("?limit=3")
    assert ids_in(first) == expected[:3]
    second = await room.threads(f"?limit=3&from={first['next_batch']}")
    assert ids_in(second) == expected[3:]
    assert "next_batch" not in second


@ensureDeferred
async def test_ignored_users_relate_to_nothing(room: Room) -> None:
    """Neither what they said of an event nor their threads are shown."""
    root = await room.say()
    theirs = await room.say(token=room.bob)
    await room.relate("m.thread", theirs)
    mine = await room.relate("m.thread", root, "mine")
    await room.relate("m.thread", root, "not wanted", room.bob)
    ignored = {"ignored_users": {BOB: {}}}
    path = f"user/{path_part(ALICE)}/account_data/m.ignored_user_list"
    await room.server.ok("PUT", path, ignored, room.alice)
    children = await room.server.ok("GET", f"{V1}/{room.path}/relations/{path_part(root)}", None, room.alice)
    assert [event["event_id"] for event in children["chunk"]] == [mine]
    threads = await room.server.ok("GET", f"{V1}/{room.path}/threads", None, room.alice)
    (shown,) = threads["chunk"]
    assert shown["event_id"] == root
    assert shown["unsigned"]["m.relations"]["m.thread"]["count"] == 1


@ensureDeferred
async def test_relations_of_a_room_that_one_has_left(room: Room) -> None:
    """/sync shows them as they were then, not what came later."""
    parent = await room.say("wrogn")
    edit = await room.relate("m.replace", parent, "wrong")
    await room.server.ok("POST", f"{room.path}/leave", {}, room.bob)
    await room.relate("m.replace", parent, "right")
    wanted = path_part('{"room":{"include_leave":true}}')
    answer = await room.server.ok("GET", f"sync?filter={wanted}", None, room.bob)
    events = answer["rooms"]["leave"][room.room_id]["timeline"]["events"]
    (shown,) = [event for event in events if event["event_id"] == parent]
    assert shown["unsigned"]["m.relations"]["m.replace"]["event_id"] == edit


@ensureDeferred
async def test_the_membership_comes_with_relations(room: Room) -> None:
    """With what relates to an event, and with roots of threads, as with every event."""
    root = await room.say()
    await room.server.ok("POST", f"{room.path}/leave", {}, room.bob)
    await room.relate("m.thread", root)
    await room.server.ok("POST", f"{room.path}/join", {}, room.bob)
    await room.relate("m.thread", root)
    path = f"{V1}/{room.path}"
    children = await room.server.ok("GET", f"{path}/relations/{path_part(root)}", None, room.bob)
    assert [event["unsigned"]["membership"] for event in children["chunk"]] == ["join", "leave"]
    (thread,) = (await room.server.ok("GET", f"{path}/threads", None, room.bob))["chunk"]
    assert thread["unsigned"]["membership"] == "join"


@ensureDeferred
async def test_hidden_events_relate_to_nothing(room: Room) -> None:
    """Of an event from before one joined come the edit, the thread and the references that one may see."""
    server, visibility = room.server, f"{room.path}/state/m.room.history_visibility"
    kinds = ("m.replace", "m.thread", "m.reference")
    parent = await room.say("wrogn")
    edit, reply, reference = [await room.relate(kind, parent, "known") for kind in kinds]
    await server.ok("PUT", visibility, {"history_visibility": "joined"}, room.alice)
    hidden = [await room.relate(kind, parent, "secret") for kind in kinds]
    await room.relate("m.replace", reply, "secret")
    carol = await server.register("carol")
    await server.ok("POST", f"{room.path}/join", {}, carol)
    relations = await room.bundled(parent, carol)
    assert relations["m.replace"]["event_id"] == edit
    assert (relations["m.thread"]["count"], relations["m.thread"]["latest_event"]["event_id"]) == (1, reply)
    assert relations["m.reference"]["chunk"] == [{"event_id": reference}]
    (root,) = (await room.threads(token=carol))["chunk"]
    assert without_age(root["unsigned"]["m.relations"]) == without_age(relations)
    assert "secret" not in str(root)
    assert (await room.bundled(parent, room.bob))["m.replace"]["event_id"] == hidden[0]


@ensureDeferred
async def test_events_by_what_relates_to_them(room: Room) -> None:
    """`related_by_rel_types` and `related_by_senders`, in pages and in /sync, also in the answer to a poll."""
    since = (await room.server.ok("GET", "sync", None, room.alice))["next_batch"]
    liked, discussed, _ = [await room.say(str(number)) for number in range(3)]
    await room.relate("m.annotation", liked, "+", room.bob)
    await room.relate("m.thread", discussed)
    for fields, expected in (
        ({"related_by_rel_types": ["m.thread"]}, [discussed]),
        ({"related_by_rel_types": ["m.thread", "m.annotation"]}, [discussed, liked]),
        ({"related_by_senders": [BOB]}, [liked]),
        ({"related_by_senders": [BOB], "related_by_rel_types": ["m.thread"]}, []),
        ({"related_by_senders": [], "types": ["m.room.message"]}, []),
    ):
        text = path_part(json.dumps(fields))
        page = await room.server.ok("GET", f"{room.path}/messages?dir=b&filter={text}", None, room.alice)
        assert [event["event_id"] for event in page["chunk"]] == expected, fields
        text = path_part(json.dumps({"room": {"timeline": fields}}))
        for start in ("", f"&since={since}"):
            answer = await room.server.ok("GET", f"sync?filter={text}{start}", None, room.alice)
            joined = answer.get("rooms", {}).get("join", {}).get(room.room_id)
            shown = joined["timeline"]["events"] if joined else []
            assert [event["event_id"] for event in shown] == expected[::-1], (fields, start)
    for wrong in ({"related_by_senders": ["bob"]}, {"related_by_rel_types": "m.thread"}):
        text = path_part(json.dumps(wrong))
        path = f"{room.path}/messages?dir=b&filter={text}"
        assert await room.server.refusal("GET", path, None, room.alice) == (400, "M_BAD_JSON")
