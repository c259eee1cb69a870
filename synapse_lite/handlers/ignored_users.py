"""Whom a user does not want to hear of (client-server API, "Ignoring Users")."""

from collections.abc import Collection, Sequence

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.shared_reads import SharedReads
from synapse_lite.storage.account_data import GLOBAL, account_data_of_users, read_account_data
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.stream import Change, Kind

TYPE = "m.ignored_user_list"
REMEMBERED = 10_000  # users


class IgnoredUsers:
    """Kept in memory; give `on_changes` every change."""

    def __init__(self, database: Database) -> None:
        self._known: SharedReads[str, frozenset[str]] = SharedReads(database, _read, REMEMBERED)

    async def of(self, user_id: str) -> frozenset[str]:
        """The ids of those whose messages and invites the user does not get."""
        return (await self._known.of([user_id]))[user_id]

    def on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.kind is Kind.ACCOUNT_DATA and change.key == TYPE and change.user_id is not None:
                self._known.forget(change.user_id)


def _read(txn: Transaction, user_ids: Collection[str]) -> dict[str, frozenset[str]]:
    """After a restart all clients ask at once."""
    contents = account_data_of_users(txn, user_ids, GLOBAL, TYPE)
    return {user_id: ignored_in(user_id, contents.get(user_id)) for user_id in user_ids}


def read_ignored(txn: Transaction, user_id: str) -> frozenset[str]:
    return ignored_in(user_id, read_account_data(txn, user_id, GLOBAL, TYPE))


def ignored_in(user_id: str, content: JsonObject | None) -> frozenset[str]:
    """A client may have written anything, such as tens of thousands; nobody ignores themselves."""
    users = (content or {}).get("ignored_users")
    if not isinstance(users, dict):
        return frozenset()
    found = frozenset(users.keys() - {user_id})
    if "\0" not in "".join(found):
        return found
    return frozenset(one for one in found if "\0" not in one)  # PostgreSQL could not be asked without those
