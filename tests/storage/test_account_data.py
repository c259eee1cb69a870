"""Account data and filters."""

from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage import account_data
from synapse_lite.storage.account_data import GLOBAL
from synapse_lite.storage.database import Database
from synapse_lite.storage.stream import Change, Kind

USER = "@user:hs.test"
OTHER = "@other:hs.test"


async def _put(database: Database, room_nid: int, data_type: str, content: JsonObject) -> None:
    await database.transact(account_data.put_account_data, USER, room_nid, data_type, content)


@ensureDeferred
async def test_data_is_kept_by_user_room_and_type(database: Database, changes: list[Change]) -> None:
    """What is read is what was written last; each change names its user and room."""
    await _put(database, GLOBAL, "m.direct", {"a": 1})
    await _put(database, GLOBAL, "m.direct", {"a": 2.5})
    await _put(database, 7, "m.tag", {"tags": {}})
    await _put(database, 8, "m.tag", {"text": "\0"})
    assert await database.read(account_data.account_data_of, USER, [GLOBAL]) == {
        GLOBAL: {"m.direct": {"a": 2.5}}
    }
    assert await database.read(account_data.account_data_of, USER, [7, 8, 9]) == {
        7: {"m.tag": {"tags": {}}},
        8: {"m.tag": {"text": "\0"}},
    }
    assert await database.read(account_data.read_account_data, USER, 7, "m.tag") == {"tags": {}}
    assert await database.read(account_data.account_data_of, OTHER, [GLOBAL]) == {}
    assert await database.read(account_data.read_account_data, OTHER, 7, "m.tag") is None
    assert {change.kind for change in changes} == {Kind.ACCOUNT_DATA}
    assert [(change.user_id, change.room_nid) for change in changes] == [
        (USER, None),
        (USER, None),
        (USER, 7),
        (USER, 8),
    ]


@ensureDeferred
async def test_writing_the_same_again_wakes_nobody(database: Database, changes: list[Change]) -> None:
    """Equal content, whatever the order of its keys, is no change."""
    await _put(database, GLOBAL, "m.direct", {"a": 1, "b": 2})
    await _put(database, GLOBAL, "m.direct", {"b": 2, "a": 1})
    assert len(changes) == 1


@ensureDeferred
async def test_changes_at_once_are_all_kept(database: Database) -> None:
    """Read, change, write is one step for each writer."""

    def add(number: int) -> Deferred[None]:
        def change(content: JsonObject) -> JsonObject:
            return {**content, str(number): True}

        return Deferred.fromCoroutine(
            database.transact(account_data.change_account_data, USER, 7, "m.tag", change)
        )

    await gatherResults([add(number) for number in range(8)])
    content = await database.read(account_data.read_account_data, USER, 7, "m.tag")
    assert content == {str(number): True for number in range(8)}


@ensureDeferred
async def test_the_same_filter_keeps_its_id(database: Database) -> None:
    """Equal definitions share an id; other users and definitions do not."""
    first = await database.transact(account_data.add_filter, USER, {"a": 1, "b": 2})
    assert await database.transact(account_data.add_filter, USER, {"b": 2, "a": 1}) == first
    assert await database.transact(account_data.add_filter, USER, {"b": 3}) != first
    assert await database.transact(account_data.add_filter, OTHER, {"a": 1, "b": 2}) != first
    assert await database.read(account_data.read_filter, USER, first) == {"a": 1, "b": 2}
    assert await database.read(account_data.read_filter, OTHER, first) is None
