"""Account data, tags and filters."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.errors import MatrixError
from synapse_lite.handlers import account_data as module
from synapse_lite.handlers.account_data import AccountData
from synapse_lite.handlers.push_rules import shown_push_rules
from synapse_lite.storage.database import Database
from synapse_lite.storage.stream import Change, Kind
from synapse_lite.storage.writer import Writer

USER = "@user:hs.test"
OTHER = "@other:hs.test"
ROOM = "!room:hs.test"


@pytest.fixture
def data(database: Database) -> AccountData:
    return AccountData(database, Writer(database, database))


async def _add_room(database: Database) -> int:
    room_nid: int = await database.transact(
        lambda txn: txn.value(
            "INSERT INTO rooms (room_id, version, creator, created_ts) VALUES (%s, '12', %s, 1) RETURNING room_nid",
            (ROOM, USER),
        )
    )
    return room_nid


async def _refusal(waiting: Any) -> tuple[int, str]:
    with pytest.raises(MatrixError) as caught:
        await waiting
    return caught.value.status, caught.value.errcode


@ensureDeferred
async def test_rooms_have_data_of_their_own(
    database: Database, data: AccountData, changes: list[Change]
) -> None:
    """The same type with and without a room; what is not there is not found."""
    room_nid = await _add_room(database)
    await data.put(USER, None, "m.test", {"a": 1})
    await data.put(USER, ROOM, "m.test", {"b": 2})
    assert await data.content(USER, None, "m.test") == {"a": 1}
    assert await data.content(USER, ROOM, "m.test") == {"b": 2}
    assert [(c.kind, c.user_id, c.room_nid) for c in changes] == [
        (Kind.ACCOUNT_DATA, USER, None),
        (Kind.ACCOUNT_DATA, USER, room_nid),
    ]
    missing = [
        (OTHER, None, "m.test"),
        (USER, None, "other"),
        (USER, ROOM, "other"),
        (USER, "!no:x", "m.test"),
    ]
    for user, room, kind in missing:
        assert await _refusal(data.content(user, room, kind)) == (404, "M_NOT_FOUND")
    assert await _refusal(data.put(USER, "!no:x", "m.test", {})) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_the_servers_own_types_are_read_only(database: Database, data: AccountData) -> None:
    """Push rules can be read as account data."""
    await _add_room(database)
    for kind in ("m.fully_read", "m.push_rules"):
        for room in (None, ROOM):
            assert await _refusal(data.put(USER, room, kind, {})) == (405, "M_BAD_JSON")
    assert await data.content(USER, None, "m.push_rules") == shown_push_rules(USER, None)


@ensureDeferred
async def test_data_has_limits(data: AccountData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the type in bytes, and of the content."""
    monkeypatch.setattr(module, "MAX_CONTENT_BYTES", 10)
    monkeypatch.setattr(module, "MAX_FILTER_BYTES", 10)
    assert await _refusal(data.put(USER, None, "\u00e4" * 128, {})) == (400, "M_INVALID_PARAM")
    assert await _refusal(data.put(USER, None, "", {})) == (400, "M_INVALID_PARAM")
    for waiting in (
        data.put(USER, None, "m.test", {"a": "long enough"}),
        data.add_filter(USER, {"a": "long enough"}),
        data.put_tag(USER, ROOM, "tag", {"a": "long enough"}),
    ):
        assert await _refusal(waiting) == (413, "M_TOO_LARGE")


@ensureDeferred
async def test_tags_are_account_data_of_the_room(
    database: Database, data: AccountData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put, replaced and deleted one by one; clients read them as `m.tag` as well."""
    await _add_room(database)
    assert await data.tags(USER, ROOM) == {}
    await data.put_tag(USER, ROOM, "m.favourite", {"order": 0.25})
    await data.put_tag(USER, ROOM, "u.work", {})
    await data.put_tag(USER, ROOM, "m.favourite", {"order": 1})
    assert await data.content(USER, ROOM, "m.tag") == {"tags": {"m.favourite": {"order": 1}, "u.work": {}}}
    await data.delete_tag(USER, ROOM, "u.work")
    await data.delete_tag(USER, ROOM, "never")
    assert await data.tags(USER, ROOM) == {"m.favourite": {"order": 1}}
    assert await _refusal(data.put_tag(USER, "!no:x", "t", {})) == (404, "M_NOT_FOUND")
    for order in ("1", True):
        assert await _refusal(data.put_tag(USER, ROOM, "t", {"order": order})) == (400, "M_BAD_JSON")
    assert await _refusal(data.put_tag(USER, ROOM, "", {})) == (400, "M_INVALID_PARAM")
    monkeypatch.setattr(module, "MAX_TAGS", 1)
    assert await _refusal(data.put_tag(USER, ROOM, "t", {})) == (400, "M_INVALID_PARAM")
    await data.put(USER, ROOM, "m.tag", {"tags": "odd"})
    assert await data.tags(USER, ROOM) == {}


@ensureDeferred
async def test_filters_are_their_owners(data: AccountData) -> None:
    """Stored once; unknown, foreign and odd ids are not found."""
    filter_id = await data.add_filter(USER, {"room": {}})
    assert await data.add_filter(USER, {"room": {}}) == filter_id
    assert await data.filter(USER, filter_id) == {"room": {}}
    assert await _refusal(data.filter(OTHER, filter_id)) == (404, "M_NOT_FOUND")
    for odd in ("0", "x", "-1", "\u0661", "9" * 40, ""):
        assert await _refusal(data.filter(USER, odd)) == (404, "M_NOT_FOUND")
