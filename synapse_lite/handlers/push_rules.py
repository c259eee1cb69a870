"""The push rules of users, which are account data that only this module writes."""

from collections.abc import Callable
from functools import partial
from typing import Any

from synapse_lite.canonical_json import JsonObject, encode
from synapse_lite.errors import too_large
from synapse_lite.matrix.push_rules import change_rule, delete_rule, put_rule, rule_of, rules_of
from synapse_lite.storage.account_data import GLOBAL, change_account_data, read_account_data
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.writer import Writer

PUSH_RULES = "m.push_rules"
MAX_STORED_BYTES = 256 * 1024


class PushRules:
    """Everything here belongs to `user_id`; the caller has checked that it is they who ask.

    An unknown rule is 404 `M_NOT_FOUND`. `follows_threads`: there are rules for the threads that users follow (MSC4306).
    """

    def __init__(self, database: Database, writer: Writer, *, follows_threads: bool = False) -> None:
        self._database = database
        self._writer = writer
        self._follows_threads = follows_threads

    async def rules(self, user_id: str) -> JsonObject:
        """All of them, in the form of `GET /pushrules/`."""
        stored = await self._database.read(read_push_rules, user_id)
        return shown_push_rules(user_id, stored, follows_threads=self._follows_threads)

    async def rule(self, user_id: str, kind: str, rule_id: str) -> JsonObject:
        stored = await self._database.read(read_push_rules, user_id)
        return rule_of(user_id, stored, kind, rule_id, follows_threads=self._follows_threads)

    async def put(
        self,
        user_id: str,
        kind: str,
        rule_id: str,
        body: JsonObject,
        before: str | None = None,
        after: str | None = None,
    ) -> None:
        """Make or replace a rule of the user's own; 400 when it is malformed. See `put_rule` for its place."""
        change = partial(put_rule, kind=kind, rule_id=rule_id, body=body, before=before, after=after)
        await self._writer.submit(_change, user_id, change)

    async def delete(self, user_id: str, kind: str, rule_id: str) -> None:
        await self._writer.submit(_change, user_id, partial(delete_rule, kind=kind, rule_id=rule_id))

    async def change(self, user_id: str, kind: str, rule_id: str, attribute: str, value: Any) -> None:
        """Set `enabled` or `actions` of any rule, also of a predefined one."""
        change = partial(
            change_rule,
            user_id=user_id,
            kind=kind,
            rule_id=rule_id,
            attribute=attribute,
            value=value,
            follows_threads=self._follows_threads,
        )
        await self._writer.submit(_change, user_id, change)


def shown_push_rules(user_id: str, stored: JsonObject | None, *, follows_threads: bool = False) -> JsonObject:
    """The account data as its owner sees it; `stored` is what differs from the predefined rules."""
    return {"global": rules_of(user_id, stored, follows_threads=follows_threads)}


def read_push_rules(txn: Transaction, user_id: str) -> JsonObject | None:
    return read_account_data(txn, user_id, GLOBAL, PUSH_RULES)


def _change(txn: Transaction, user_id: str, change: Callable[[JsonObject], JsonObject]) -> None:
    change_account_data(txn, user_id, GLOBAL, PUSH_RULES, lambda stored: _bounded(change(stored)))


def _bounded(stored: JsonObject) -> JsonObject:
    if len(encode(stored)) > MAX_STORED_BYTES:
        raise too_large(f"Push rules take more than {MAX_STORED_BYTES} bytes")
    return stored
