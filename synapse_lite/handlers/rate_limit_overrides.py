"""Limits of single users."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import not_found
from synapse_lite.handlers.user_admin import check_local
from synapse_lite.storage import rate_limit_overrides
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.rate_limit_overrides import Override
from synapse_lite.storage.user_admin import find_user

REFUSAL = "Can only look up local users"


class RateLimitOverrides:
    """A user of another server is 400 `M_UNKNOWN`, an unknown one 404 `M_NOT_FOUND`."""

    def __init__(self, database: Database, server_name: str) -> None:
        self._database = database
        self._server_name = server_name

    async def get(self, user_id: str) -> JsonObject:
        """{} for who has the usual limit."""
        check_local(user_id, self._server_name, REFUSAL)
        return _shown(await self._database.snapshot(_read, user_id))

    async def put(self, user_id: str, messages_per_second: int, burst_count: int) -> JsonObject:
        """Zero messages a second: no limit at all."""
        check_local(user_id, self._server_name, REFUSAL)
        override = Override(messages_per_second, burst_count)
        await self._database.transact(_put, user_id, override)
        return _shown(override)

    async def delete(self, user_id: str) -> None:
        """From now on the usual limit holds."""
        check_local(user_id, self._server_name, REFUSAL)
        await self._database.transact(_delete, user_id)


def _read(txn: Transaction, user_id: str) -> Override | None:
    _check_known(txn, user_id)
    return rate_limit_overrides.read_override(txn, user_id)


def _put(txn: Transaction, user_id: str, override: Override) -> None:
    _check_known(txn, user_id)
    rate_limit_overrides.put_override(txn, user_id, override)


def _delete(txn: Transaction, user_id: str) -> None:
    _check_known(txn, user_id)
    rate_limit_overrides.delete_override(txn, user_id)


def _check_known(txn: Transaction, user_id: str) -> None:
    if find_user(txn, user_id) is None:
        raise not_found("User not found")


def _shown(override: Override | None) -> JsonObject:
    return {} if override is None else override._asdict()
