"""What clients keep on the server: account data, tags of rooms, filters."""

from functools import partial

from synapse_lite.canonical_json import JsonObject, encode
from synapse_lite.errors import Errcode, MatrixError, bad_json, invalid_param, not_found, too_large
from synapse_lite.handlers.filters import DEFAULT_LIMIT, read_sync_filter
from synapse_lite.handlers.push_rules import PUSH_RULES, shown_push_rules
from synapse_lite.ids import is_room_id
from synapse_lite.storage import account_data
from synapse_lite.storage.account_data import GLOBAL
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.room_closure import hold_room
from synapse_lite.storage.writer import Writer

TAG = "m.tag"
SERVER_CONTROLLED = ("m.fully_read", PUSH_RULES)
MAX_CONTENT_BYTES = 1024 * 1024
MAX_FILTER_BYTES = 65536
MAX_NAME_BYTES = 255
MAX_TAGS = 1000
MAX_CONTENTS = 10_000
MAX_BYTES = 16 * 1024 * 1024
MAX_FILTERS = 1000
"""What one user may keep here: all of it is read, and sent, by each first sync."""
MAX_FILTER_ID_DIGITS = 18


class AccountData:
    """Everything here belongs to `user_id`; the caller has checked that it is they who ask.

    `room_id` None means account data of no room. `follows_threads` as of `PushRules`. An unknown room is 404 `M_NOT_FOUND`.
    """

    def __init__(self, database: Database, writer: Writer, *, follows_threads: bool = False) -> None:
        self._database = database
        self._writer = writer
        self._follows_threads = follows_threads

    async def content(self, user_id: str, room_id: str | None, data_type: str) -> JsonObject:
        """404 `M_NOT_FOUND` when nothing is stored."""
        content = await self._database.read(_read, user_id, room_id, data_type)
        if room_id is None and data_type == PUSH_RULES:
            return shown_push_rules(user_id, content, follows_threads=self._follows_threads)
        if content is None:
            raise not_found("Account data not found")
        return content

    async def put(self, user_id: str, room_id: str | None, data_type: str, content: JsonObject) -> None:
        """Raises 405 `M_BAD_JSON` for types that the server itself writes, 413 `M_TOO_LARGE`."""
        _check_type(data_type)
        _check_size(content, MAX_CONTENT_BYTES)
        await self._writer.submit(_put, user_id, room_id, data_type, content)

    async def delete(self, user_id: str, room_id: str | None, data_type: str) -> None:
        """As if it had never been set (MSC3391); 405 as of `put`."""
        _check_type(data_type)
        await self._writer.submit(_delete, user_id, room_id, data_type)

    async def tags(self, user_id: str, room_id: str) -> JsonObject:
        """The tags by name."""
        content = await self._database.read(_read, user_id, room_id, TAG)
        return _tags(content or {})

    async def put_tag(self, user_id: str, room_id: str, tag: str, content: JsonObject) -> None:
        _check_name("tag", tag)
        _check_size(content, MAX_FILTER_BYTES)
        order = content.get("order")
        if order is not None and (isinstance(order, bool) or not isinstance(order, int | float)):
            raise bad_json("'order' must be a number")
        await self._writer.submit(_change_tags, user_id, room_id, tag, content)

    async def delete_tag(self, user_id: str, room_id: str, tag: str) -> None:
        await self._writer.submit(_change_tags, user_id, room_id, tag, None)

    async def add_filter(self, user_id: str, definition: JsonObject) -> str:
        """The id of the filter; the same definition gets the same id. 400 for what /sync could not read."""
        read_sync_filter(definition, DEFAULT_LIMIT)
        _check_size(definition, MAX_FILTER_BYTES)
        return str(await self._database.transact(_add_filter, user_id, definition))

    async def filter(self, user_id: str, filter_id: str) -> JsonObject:
        """404 `M_NOT_FOUND` for a filter that the user does not have."""
        definition = None
        if filter_id.isascii() and filter_id.isdigit() and len(filter_id) <= MAX_FILTER_ID_DIGITS:
            definition = await self._database.read(account_data.read_filter, user_id, int(filter_id))
        if definition is None:
            raise not_found("No such filter")
        return definition


def _read(txn: Transaction, user_id: str, room_id: str | None, data_type: str) -> JsonObject | None:
    return account_data.read_account_data(txn, user_id, _room_nid(txn, room_id), data_type)


def _put(txn: Transaction, user_id: str, room_id: str | None, data_type: str, content: JsonObject) -> None:
    account_data.put_account_data(txn, user_id, _held_room_nid(txn, room_id), data_type, content)
    _check_quota(txn, user_id)


def _delete(txn: Transaction, user_id: str, room_id: str | None, data_type: str) -> None:
    account_data.delete_account_data(txn, user_id, _held_room_nid(txn, room_id), data_type)


def _check_quota(txn: Transaction, user_id: str) -> None:
    """413 `M_TOO_LARGE` when the user has too much now: the transaction undoes it."""
    contents, size = account_data.account_data_size(txn, user_id)
    if contents > MAX_CONTENTS or size > MAX_BYTES:
        raise too_large(f"You may keep {MAX_CONTENTS} contents of {MAX_BYTES} bytes")


def _add_filter(txn: Transaction, user_id: str, definition: JsonObject) -> int:
    filter_nid = account_data.add_filter(txn, user_id, definition)
    if account_data.filter_count(txn, user_id) > MAX_FILTERS:
        raise too_large(f"You may keep {MAX_FILTERS} filters")
    return filter_nid


def _change_tags(txn: Transaction, user_id: str, room_id: str, tag: str, content: JsonObject | None) -> None:
    change = partial(_with_tag, tag, content)
    account_data.change_account_data(txn, user_id, _held_room_nid(txn, room_id), TAG, change)
    _check_quota(txn, user_id)


def _room_nid(txn: Transaction, room_id: str | None) -> int:
    if room_id is None:
        return GLOBAL
    if not is_room_id(room_id):
        raise invalid_param(f"{room_id[:80]!r} is not a valid room ID")
    room_nid = account_data.find_room_nid(txn, room_id)
    if room_nid is None:
        raise not_found("Unknown room")
    return room_nid


def _held_room_nid(txn: Transaction, room_id: str | None) -> int:
    room_nid = _room_nid(txn, room_id)
    if room_nid != GLOBAL:
        hold_room(txn, room_nid)
    return room_nid


def _with_tag(tag: str, content: JsonObject | None, data: JsonObject) -> JsonObject:
    tags = {name: value for name, value in _tags(data).items() if name != tag}
    if content is not None:
        if len(tags) >= MAX_TAGS:
            raise invalid_param(f"A room has at most {MAX_TAGS} tags")
        tags[tag] = content
    changed = {**data, "tags": tags}
    _check_size(changed, MAX_CONTENT_BYTES)
    return changed


def _tags(data: JsonObject) -> JsonObject:
    """A client may have written anything as `m.tag`."""
    tags = data.get("tags")
    return tags if isinstance(tags, dict) else {}


def _check_type(data_type: str) -> None:
    if data_type in SERVER_CONTROLLED:
        raise MatrixError(405, Errcode.BAD_JSON, f"Cannot set {data_type} through this API.")
    _check_name("type", data_type)


def _check_name(what: str, name: str) -> None:
    if not name or len(name.encode()) > MAX_NAME_BYTES:
        raise invalid_param(f"The {what} must have 1 to {MAX_NAME_BYTES} bytes")


def _check_size(content: JsonObject, most: int) -> None:
    if len(encode(content)) > most:
        raise too_large(f"Content is larger than {most} bytes")
