"""Accounts that are valid for a while."""

from synapse_lite.clock import Clock
from synapse_lite.errors import missing_param, not_found
from synapse_lite.handlers.user_admin import CHANGE, check_local
from synapse_lite.storage import accounts
from synapse_lite.storage.database import Database


class AccountValidity:
    """`period_ms`: how long an account is valid after it was made or renewed; None: for ever."""

    def __init__(self, database: Database, clock: Clock, period_ms: int | None, server_name: str) -> None:
        self._database = database
        self._clock = clock
        self._period_ms = period_ms
        self._server_name = server_name

    async def renew(self, user_id: str, until_ms: int | None) -> int:
        """Until when the account is valid now: for another period unless a time is given.

        400 for a user of another server, and without a time where there is no period; 404 for an unknown user.
        """
        check_local(user_id, self._server_name, CHANGE)
        if until_ms is None:
            if self._period_ms is None:
                raise missing_param("expiration_ts")
            until_ms = self._clock.now_ms() + self._period_ms
        if not await self._database.transact(accounts.set_validity, user_id, until_ms):
            raise not_found("User not found")
        return until_ms
