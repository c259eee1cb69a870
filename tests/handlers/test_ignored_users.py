"""Nobody hears of those whom they ignore, but of what they do to a room."""

from typing import Any, ClassVar

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.handlers import ignored_users
from synapse_lite.handlers.filters import SyncFilter
from synapse_lite.handlers.sync.receipts import Receipts
from synapse_lite.handlers.sync.values import SyncRequest
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.stream import Change, Kind
from tests.builders import ALICE, BOB, MALLORY
from tests.handlers.house import requester
from tests.handlers.sync_server import SyncServer, ids, lazy, timeline_ids

TYPE = "m.ignored_user_list"


async def _ignore(server: SyncServer, *users: str) -> None:
    await server.put_account_data(ALICE, TYPE, {"ignored_users": {user_id: {} for user_id in users}})


async def _room(server: SyncServer) -> tuple[Room, list[str]]:
    """A room in which Bob and Mallory speak; what Alice is to hear when she ignores Mallory."""
    room = await server.room(ALICE, BOB, MALLORY)
    await server.say(room, MALLORY, "spam")
    named = {"membership": "join", "displayname": "Mal"}
    shown = [await server.set(room, "m.room.member", named, MALLORY, MALLORY)]
    await server.say(room, MALLORY, "spam")
    shown.append(await server.say(room, BOB))
    return room, shown


@pytest.mark.parametrize("wanted", [{}, lazy()], ids=["all members", "lazy"])
@ensureDeferred
async def test_sync(server: SyncServer, wanted: dict[str, Any]) -> None:
    """From memory and from the database: state yes, messages no; others and later lists are another matter."""
    await _ignore(server, MALLORY, ALICE)
    since = await server.token()
    room, shown = await _room(server)
    answer = await server.sync(ALICE, since, filter=wanted)
    assert timeline_ids(answer, room)[-2:] == shown
    poll = await server.poll(ALICE, answer["next_batch"], filter=wanted)
    await server.say(room, MALLORY, "spam")
    await server.waiting.get()  # it looked, and waits again
    assert not poll.called
    said = await server.say(room, BOB)
    answer = await poll
    assert timeline_ids(answer, room) == [said]
    spam = await server.say(room, MALLORY, "spam")
    assert spam in timeline_ids(await server.sync(BOB, answer["next_batch"]), room)
    await _ignore(server)
    assert spam in timeline_ids(await server.sync(ALICE, answer["next_batch"], filter=wanted), room)


@ensureDeferred
async def test_lists_of_many_are_read_at_once(server: SyncServer) -> None:
    """By one statement, as clients come after a restart."""
    await _ignore(server, MALLORY, ALICE)

    def read(txn: Transaction) -> tuple[dict[str, frozenset[str]], int]:
        return ignored_users._read(txn, [ALICE, BOB, MALLORY]), txn._sent

    nobody = frozenset[str]()
    assert await server.database.read(read) == ({ALICE: {MALLORY}, BOB: nobody, MALLORY: nobody}, 1)


@ensureDeferred
async def test_messages_and_context(server: SyncServer) -> None:
    """Pages are as full as without them."""
    await _ignore(server, MALLORY)
    room, shown = await _room(server)
    page = await server.messages(ALICE, room, limit=2)
    assert ids(page["chunk"])[::-1] == shown
    around = await server.context(ALICE, room, shown[1])
    assert shown[0] in ids(around["events_before"])
    assert "spam" not in str(around)
    assert "spam" in str(await server.messages(BOB, room, limit=50))


@ensureDeferred
async def test_invites(server: SyncServer) -> None:
    """Those of ignored users are not shown, neither at first nor later."""
    await _ignore(server, MALLORY)
    since = await server.token()
    theirs, ours = await server.room(MALLORY), await server.room(BOB)
    await server.member(theirs, MALLORY, ALICE, "invite")
    await server.member(ours, BOB, ALICE, "invite")
    for start in (None, since):
        assert (await server.sync(ALICE, start))["rooms"]["invite"].keys() == {ours.room_id}


@pytest.mark.parametrize("content", [{"ignored_users": [MALLORY]}, {"ignored_users": None}, {}])
@ensureDeferred
async def test_odd_lists(server: SyncServer, content: dict[str, Any]) -> None:
    """What is no list of users ignores nobody."""
    room = await server.room(ALICE, MALLORY)
    await server.put_account_data(ALICE, TYPE, content)
    since = await server.token()
    said = await server.say(room, MALLORY)
    assert timeline_ids(await server.sync(ALICE, since), room) == [said]


class Name(str):
    """Counts how often it is compared."""

    __slots__ = ()
    compared: ClassVar[list[object]] = []
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        self.compared.append(other)
        return str.__eq__(self, other)


def test_a_long_list() -> None:
    """Of tens of thousands, as fit into a megabyte, not each is looked at for everybody who has read something."""
    users = {Name(f"@{number}:hs.test"): {} for number in range(1000)}
    ignored = ignored_users.ignored_in(ALICE, {"ignored_users": users})
    request = SyncRequest(requester(ALICE), 1, 0, SyncFilter()).ignoring(ignored)
    receipts = [
        Change(number, Kind.RECEIPT, 1, user_id=user_id, key="m.read ", content='["$e",1,1]')
        for number, user_id in enumerate((BOB, MALLORY, "@7:hs.test"))
    ]
    Name.compared.clear()
    shown = Receipts().live(request, {1: "!room:hs.test"}, receipts)
    ((receipt,),) = (part["events"] for part in shown.values())
    assert receipt["content"]["$e"]["m.read"].keys() == {BOB, MALLORY}
    assert len(Name.compared) <= len(receipts)


@ensureDeferred
async def test_names_that_nobody_can_have(server: SyncServer) -> None:
    """They keep nobody from reading."""
    await _ignore(server, MALLORY, "@nul\0:hs.test")
    assert await server.database.read(ignored_users.read_ignored, ALICE) == {MALLORY}
