"""The tree of rooms below a space, over HTTP."""

from typing import Any

from pytest_twisted import ensureDeferred

from tests.server import TestServer

SPACE = {"creation_content": {"type": "m.space"}}


class Tree:
    """Spaces and rooms of alice, by name."""

    def __init__(self, server: TestServer, token: str) -> None:
        self._server = server
        self._token = token
        self.ids: dict[str, str] = {}

    async def add(self, name: str, parent: str | None = None, child: Any = None, **body: Any) -> None:
        room = await self._server.room(self._token, name=name, **body)
        self.ids[name] = room.removeprefix("rooms/")
        if parent is not None:
            await self.link(parent, name, **(child or {}))

    async def link(self, parent: str, name: str, **content: Any) -> str:
        path = f"rooms/{self.ids[parent]}/state/m.space.child/{self.ids[name]}"
        content = {"via": ["hs.test"], **content}
        event_id: str = (await self._server.ok("PUT", path, content, self._token))["event_id"]
        return event_id

    def path(self, name: str, query: str = "") -> str:
        return f"/_matrix/client/v1/rooms/{self.ids[name]}/hierarchy?{query}"

    async def names(self, token: str, query: str = "", root: str = "root") -> list[str]:
        page = await self._server.ok("GET", self.path(root, query), token=token)
        return [room["name"] for room in page["rooms"]]


async def grown(server: TestServer, token: str) -> Tree:
    """root: b (ordered first), a (suggested): a1, a2; c."""
    tree = Tree(server, token)
    await tree.add("root", **SPACE)
    await tree.add("a", "root", {"suggested": True}, **SPACE)
    await tree.add("b", "root", {"order": "1"})
    await tree.add("c", "root", {"order": "\n is no order"})
    await tree.add("a1", "a")
    await tree.add("a2", "a", {"suggested": True})
    return tree


@ensureDeferred
async def test_the_tree(server: TestServer) -> None:
    """Depth first, in the order of the specification; less deep, or only what is suggested, when asked."""
    alice, bob = await server.user("alice"), await server.user("bob")
    tree = await grown(server, alice)
    assert await tree.names(bob) == ["root", "b", "a", "a1", "a2", "c"]
    assert await tree.names(bob, "max_depth=1") == ["root", "b", "a", "c"]
    assert await tree.names(bob, "max_depth=0") == ["root"]
    assert await tree.names(bob, "suggested_only=true") == ["root", "a", "a2"]
    assert await tree.names(bob, root="b") == ["b"]


@ensureDeferred
async def test_a_room_of_the_tree(server: TestServer) -> None:
    """A summary and the children, stripped, with exactly the keys of the specification."""
    alice = await server.user("alice")
    tree = Tree(server, alice)
    await tree.add("root", **SPACE)
    await tree.add("room", "root", {"order": "x"})
    page = await server.ok("GET", tree.path("root"), token=alice)
    (child,) = page["rooms"][0].pop("children_state")
    assert isinstance(child.pop("origin_server_ts"), int)
    assert child == {
        "type": "m.space.child", "state_key": tree.ids["room"], "sender": "@alice:hs.test",
        "content": {"via": ["hs.test"], "order": "x"},
    }  # fmt: skip
    common = {
        "num_joined_members": 1, "world_readable": False, "guest_can_join": False, "join_rule": "public",
        "room_version": "12",
    }  # fmt: skip
    assert page == {
        "rooms": [
            {**common, "room_id": tree.ids["root"], "name": "root", "room_type": "m.space"},
            {**common, "room_id": tree.ids["room"], "name": "room", "children_state": []},
        ]
    }


@ensureDeferred
async def test_pages(server: TestServer) -> None:
    """A page goes on where the last one ended, though rooms came before; each token is for its question alone."""
    alice, bob = await server.user("alice"), await server.user("bob")
    tree = await grown(server, alice)
    first = await server.ok("GET", tree.path("root", "limit=3&from="), token=bob)
    since = first["next_batch"]
    assert [room["name"] for room in first["rooms"]] == ["root", "b", "a"]
    assert (await server.ok("GET", tree.path("root", "limit=3&from="), token=bob))["rooms"] == first["rooms"]
    await tree.add("0", "root", {"order": "0"})
    second = await server.ok("GET", tree.path("root", f"from={since}&limit=9"), token=bob)
    assert [room["name"] for room in second["rooms"]] == ["a1", "a2", "c"]
    assert "next_batch" not in second
    for path, token in (
        (tree.path("root", f"from={since}"), alice),
        (tree.path("a", f"from={since}"), bob),
        (tree.path("root", f"from={since}&max_depth=1"), bob),
        (tree.path("root", f"from={since}&suggested_only=true"), bob),
        (tree.path("root", "from=x"), bob),
        (tree.path("root", "limit=0"), bob),
        (tree.path("root", "max_depth=-1"), bob),
    ):
        assert await server.refusal("GET", path, token=token) == (400, "M_INVALID_PARAM")


@ensureDeferred
async def test_what_one_may_not_know_of(server: TestServer) -> None:
    """Private children are left out with what is below them; a private root is refused."""
    alice, bob = await server.user("alice"), await server.user("bob")
    tree = Tree(server, alice)
    await tree.add("root", **SPACE)
    await tree.add("hidden", "root", preset="private_chat", **SPACE)
    await tree.add("below", "hidden")
    await tree.add("open", "root")
    assert await tree.names(alice) == ["root", "hidden", "below", "open"]
    assert await tree.names(bob) == ["root", "open"]
    assert await server.refusal("GET", tree.path("hidden"), token=bob) == (403, "M_FORBIDDEN")
    unknown = "/_matrix/client/v1/rooms/!none:hs.test/hierarchy"
    assert await server.refusal("GET", unknown, token=bob) == (403, "M_FORBIDDEN")


@ensureDeferred
async def test_two_ways_to_a_room(server: TestServer) -> None:
    """It comes where the first way leads that is short enough; what is below it by the other way comes last."""
    alice = await server.user("alice")
    tree = await grown(server, alice)
    await tree.add("s", "a", **SPACE)
    await tree.link("root", "s")
    await tree.add("t", "s")
    assert await tree.names(alice) == ["root", "b", "a", "a1", "a2", "s", "t", "c"]
    assert await tree.names(alice, "max_depth=1") == ["root", "b", "a", "c", "s"]
    assert await tree.names(alice, "max_depth=2") == ["root", "b", "a", "a1", "a2", "s", "c", "t"]


@ensureDeferred
async def test_circles_and_broken_links(server: TestServer) -> None:
    """Circles end; links that were taken back, redacted, malformed or lead nowhere are no links."""
    alice = await server.user("alice")
    tree = Tree(server, alice)
    await tree.add("root", **SPACE)
    await tree.add("a", "root", **SPACE)
    await tree.link("a", "root")
    await tree.link("a", "a")
    for name, content in (("b", {"via": []}), ("c", {"via": [], "order": "1"})):
        await tree.add(name)
        await tree.link("root", name, **content)
    await tree.add("d")
    event_id = await tree.link("root", "d")
    assert await tree.names(alice) == ["root", "a", "d"]
    await server.ok("PUT", f"rooms/{tree.ids['root']}/redact/{event_id}/1", {}, alice)
    for key in ("!none:hs.test", "nothing"):
        path = f"rooms/{tree.ids['root']}/state/m.space.child/{key}"
        await server.ok("PUT", path, {"via": ["hs.test"]}, alice)
    assert await tree.names(alice) == ["root", "a"]
