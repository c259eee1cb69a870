"""/user_directory/search over HTTP: who is found, by which names, by whom."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from attrs import define
from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.deactivation import close_account, reopen_account
from synapse_lite.storage.stream import END, read_changes_of
from synapse_lite.storage.user_directory import DirectoryRow, put_users
from synapse_lite.tasks.actions.user_directory import USER_DIRECTORY, UserDirectory
from synapse_lite.tasks.followers import Shard
from tests.builders import SERVER
from tests.rest.conftest import BuildServer
from tests.server import TestServer, path_part, user_path


@define
class People:
    """`index` does what the follower does."""

    server: TestServer
    indexed: int = 0

    async def user(self, name: str, displayname: str | None = None, **more: Any) -> str:
        return await self.server.user(name, displayname=displayname, **more)

    async def index(self) -> None:
        def follow(txn: Transaction) -> None:
            changes = read_changes_of(txn, USER_DIRECTORY.kinds, self.indexed, END, 1000)
            UserDirectory(self.server.core.events, SERVER).follow(txn, changes, Shard(0, 1))
            self.indexed = changes[-1].position if changes else self.indexed

        await self.server.database.transact(follow)

    async def search(self, term: str, token: str, **more: Any) -> Any:
        body = {"search_term": term, **more}
        return await self.server.ok("POST", "user_directory/search", body, token)

    async def names(self, term: str, token: str) -> list[str]:
        found = (await self.search(term, token))["results"]
        return [one["user_id"].partition(":")[0][1:] for one in found]


@pytest_twisted.async_yield_fixture
async def people(build_server: BuildServer) -> AsyncIterator[People]:
    yield People(await build_server(user_directory={"search_all_users": True}))


@ensureDeferred
async def test_names_are_found(people: People) -> None:
    """By the beginnings of words in name and localpart, in any case, and inside of Chinese, Japanese, Korean, Thai names."""
    alice = await people.user("alice", "Alice Smith")
    names = {"wang": "王小明", "tanaka": "田中さくら", "kim": "김철수", "somchai": "สมชายใจดี"}
    for name, displayname in names.items():
        await people.user(name, displayname)
    await people.index()
    for term in (
        "alice",
        "ALI",
        "smi",
        "al smith",
        f"@alice:{SERVER}",
        "@ali",
        f"alice:{SERVER}",
        "smith:ali",
    ):
        assert await people.names(term, alice) == ["alice"], term
    for term in (
        f"ALICE:{SERVER.upper()}",
        f"smith alice:{SERVER}",
        f"alice:{SERVER[:3]}",
        f"smith @alice:{SERVER}",
    ):
        assert await people.names(term, alice) == ["alice"], term
    for term, name in (
        ("小明", "wang"),
        ("王", "wang"),
        ("さくら", "tanaka"),
        ("철수", "kim"),
        ("ใจดี", "somchai"),
    ):
        assert await people.names(term, alice) == [name], term
    for term in ("mith", "明小", "@alice:elsewhere", "alice:elsewhere", f":{SERVER}", "", "%", "'"):
        assert await people.names(term, alice) == [], term


@ensureDeferred
async def test_answers(people: People) -> None:
    """The keys of the specification; the best first; no more than asked for."""
    alice = await people.user("alice")
    await people.user("zoe", "Sam")
    await people.user("sam2", "Samantha")
    await people.user("sam1")
    await people.index()
    answer = await people.search("sam", alice, limit=2)
    assert answer == {
        "limited": True,
        "results": [
            {"user_id": f"@zoe:{SERVER}", "display_name": "Sam"},
            {"user_id": f"@sam2:{SERVER}", "display_name": "Samantha"},
        ],
    }
    assert (await people.search("sam", alice))["limited"] is False
    for user_id in (f"sam1:{SERVER}", f"@sam1:{SERVER}"):
        await people.user(f"sam1{len(user_id)}", "Named")
        await people.index()
        assert (await people.names(user_id, alice))[0] == "sam1", user_id
    for body, errcode in (
        ({}, "M_MISSING_PARAM"),
        ({"search_term": 1}, "M_BAD_JSON"),
        ({"search_term": "a", "limit": 0}, "M_INVALID_PARAM"),
        ({"search_term": "a" * 1001}, "M_INVALID_PARAM"),
    ):
        assert await people.server.refusal("POST", "user_directory/search", body, alice) == (400, errcode)


@ensureDeferred
async def test_profiles_change(people: People) -> None:
    """The old name finds nobody; who is deactivated, locked, ignored or a guest is not found."""
    server = people.server
    alice, bob = await people.user("alice"), await people.user("bob", "Robert")
    await people.user("guest", "Robert", is_guest=True)
    await people.index()
    assert await people.names("robert", alice) == ["bob"]
    path = f"profile/{path_part(f'@bob:{SERVER}')}/displayname"
    await server.ok("PUT", path, {"displayname": "Bobby"}, bob)
    await people.index()
    assert await people.names("robert", alice) == []
    assert await people.names("bobby", alice) == ["bob"]
    await server.ok(
        "PUT",
        user_path("alice", "account_data/m.ignored_user_list"),
        {"ignored_users": {f"@bob:{SERVER}": {}}},
        alice,
    )
    assert await people.names("bobby", alice) == []
    carol = await people.user("carol")

    async def lock(locked: bool) -> None:
        await server.database.transact(
            lambda txn: txn.execute(
                "UPDATE users SET locked = %s WHERE user_id = %s", (locked, f"@bob:{SERVER}")
            )
        )

    await lock(True)
    assert await people.names("bobby", carol) == []
    await lock(False)
    assert await people.names("bobby", carol) == ["bob"]
    await server.database.transact(close_account, f"@bob:{SERVER}", erase=True)
    assert await people.names("bobby", carol) == []
    await people.index()
    rows = await server.database.read(
        lambda txn: txn.value("SELECT count(*) FROM user_directory WHERE user_id = %s", (f"@bob:{SERVER}",))
    )
    assert rows == 0
    await server.database.transact(reopen_account, f"@bob:{SERVER}")
    await people.index()
    assert await people.names("bobby", carol) == ["bob"]


@ensureDeferred
async def test_only_who_shares_a_room(build_server: BuildServer) -> None:
    """Unless a room is open to all; oneself always; nobody where the directory is switched off."""
    people = People(await build_server())
    server = people.server
    alice, bob, carol = [await people.user(name, f"Friend {name}") for name in ("alice", "bob", "carol")]
    await people.index()
    assert await people.names("friend", alice) == ["alice"]
    private = await server.room(alice, preset="private_chat", invite=[f"@bob:{SERVER}"])
    await server.ok("POST", f"{private}/join", {}, bob)
    assert await people.names("friend", alice) == ["alice", "bob"]
    assert await people.names("friend", carol) == ["carol"]
    await server.room(bob)
    assert await people.names("friend", carol) == ["bob", "carol"]


@ensureDeferred
async def test_names_of_single_rooms(people: People) -> None:
    """What one calls oneself in a private room nobody finds or is shown elsewhere."""
    server = people.server
    alice, bob = await people.user("alice"), await people.user("bob", "Robert")
    private = await server.room(bob, preset="private_chat")
    member = f"{private}/state/m.room.member/{path_part(f'@bob:{SERVER}')}"
    await server.ok("PUT", member, {"membership": "join", "displayname": "Batman"}, bob)
    await people.index()
    assert await people.names("batman", alice) == []
    (found,) = (await people.search("robert", alice))["results"]
    assert found == {"user_id": f"@bob:{SERVER}", "display_name": "Robert"}


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, ["robert", "robin", "roberta"]),
        ({"prefer_local_users": True}, ["robin", "roberta", "robert"]),
        ({"exclude_remote_users": True}, ["robin", "roberta"]),
        ({"show_locked_users": True}, ["robert", "robin", "roberta", "robot"]),
    ],
)
@ensureDeferred
async def test_options(build_server: BuildServer, options: dict[str, Any], found: list[str]) -> None:
    """Who has a name and an avatar comes first, unless users of this server are preferred; or are the only ones."""
    people = People(await build_server(user_directory={"search_all_users": True, **options}))
    server, alice = people.server, await people.user("alice")
    for name, displayname in (("robin", "Robin"), ("roberta", None), ("robot", None)):
        await people.user(name, displayname)
    await server.room(alice)

    def add(txn: Transaction) -> None:
        row = DirectoryRow("@robert:far.test", "Robert", "mxc://far.test/a", False, "robert", ["robert"])
        put_users(txn, [row])
        txn.execute(
            "UPDATE user_directory SET display_name = NULL WHERE user_id = %s", (f"@roberta:{SERVER}",)
        )
        txn.execute("UPDATE users SET locked = TRUE WHERE user_id = %s", (f"@robot:{SERVER}",))
        txn.execute(
            "INSERT INTO memberships (room_nid, user_id, membership, sender, event_nid)"
            " SELECT room_nid, %s, membership, %s, event_nid FROM memberships WHERE user_id = %s",
            (row.user_id, row.user_id, f"@alice:{SERVER}"),
        )

    await people.index()
    await server.database.transact(add)
    assert await people.names("rob", alice) == found


@ensureDeferred
async def test_it_can_be_switched_off(build_server: BuildServer) -> None:
    """Then nobody is found."""
    people = People(await build_server(user_directory={"enabled": False, "search_all_users": True}))
    alice = await people.user("alice")
    await people.index()
    assert await people.search("alice", alice) == {"limited": False, "results": []}


@ensureDeferred
async def test_strangers_of_other_servers_are_not_found(people: People) -> None:
    """`search_all_users` is about this server's."""
    alice = await people.user("alice")
    row = DirectoryRow("@rob:far.test", "Rob", None, False, "rob\nrob", ["rob", ":far.test"])
    await people.server.database.transact(put_users, [row])
    assert await people.names("rob", alice) == []


@ensureDeferred
async def test_names_in_several_rooms(people: People) -> None:
    """Who is found by their name in one room is called otherwise in another; what is redacted is nobody's name."""
    server, alice = people.server, await people.user("alice")
    member = f"state/m.room.member/{path_part(f'@alice:{SERVER}')}"
    rooms, events = [await server.room(alice) for _ in range(2)], []
    for room, name in zip(rooms, ("Zed", "Quux"), strict=True):
        content = {"membership": "join", "displayname": name}
        events.append((await server.ok("PUT", f"{room}/{member}", content, alice))["event_id"])

    def add(txn: Transaction) -> None:
        put_users(txn, [DirectoryRow("@far:far.test", "Quux", None, False, "far\nquux", ["far", "quux"])])
        txn.execute(
            "INSERT INTO memberships (room_nid, user_id, membership, sender, event_nid)"
            " SELECT room_nid, '@far:far.test', membership, '@far:far.test', event_nid FROM memberships WHERE user_id = %s",
            (f"@alice:{SERVER}",),
        )

    await server.database.transact(add)
    bob = await people.user("bob")
    (found,) = (await people.search("quux", bob))["results"]
    assert found == {"user_id": "@far:far.test", "display_name": "Quux"}
    for room, event in zip(rooms, events, strict=True):
        await server.ok("PUT", f"{room}/redact/{path_part(event)}/1", {}, alice)
    assert await people.names("quux", bob) == []
    (found,) = (await people.search("far", bob))["results"]
    assert found == {"user_id": "@far:far.test"}


@ensureDeferred
async def test_users_of_application_services_are_not_found(people: People) -> None:
    """As with Synapse: who looks for somebody means them, and not what a bridge made of them."""
    alice = await people.user("alice")
    await people.user("_bridge_bob", "Bob", appservice_id="bridge")
    await people.user("bob", "Bob")
    await people.index()
    assert await people.names("bob", alice) == ["bob"]
