"""Tokens with which one may register, in the hands of administrators."""

import string
from collections.abc import Mapping

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import invalid_param, not_found
from synapse_lite.ids import random_text
from synapse_lite.storage import registration_tokens
from synapse_lite.storage.database import Database
from synapse_lite.storage.registration_tokens import RegistrationToken

ALPHABET = f"{string.ascii_letters}{string.digits}._~-"
MAX_LENGTH = 64
MAX_LISTED = 10_000


class RegistrationTokens:
    """An unknown token is 404 `M_NOT_FOUND`. Numbers that are None have no bound."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def all(self, *, valid: bool | None) -> list[JsonObject]:
        """By token, at most `MAX_LISTED`; `valid`: those with which one may register now, or the others."""
        found = await self._database.read(
            registration_tokens.list_tokens, self._clock.now_ms(), valid, MAX_LISTED
        )
        return [_shown(token) for token in found]

    async def get(self, token: str) -> JsonObject:
        found = await self._database.read(registration_tokens.find_token, token, self._clock.now_ms())
        if found is None:
            raise _unknown(token)
        return _shown(found)

    async def create(
        self, token: str | None, length: int, uses_allowed: int | None, expiry_ts: int | None
    ) -> JsonObject:
        """One of `length` letters when none is given. 400 `M_INVALID_PARAM` when it exists, or for a time that is over."""
        self._check_future(expiry_ts)
        name = random_text(length, ALPHABET) if token is None else token
        if not await self._database.transact(registration_tokens.add_token, name, uses_allowed, expiry_ts):
            raise invalid_param(f"Token already exists: {name}")
        return _shown(RegistrationToken(name, uses_allowed, 0, 0, expiry_ts))

    async def change(self, token: str, values: Mapping[str, int | None]) -> JsonObject:
        """`values` are columns of `storage.registration_tokens.CHANGEABLE`."""
        self._check_future(values.get("expiry_ts"))
        found = await self._database.transact(
            registration_tokens.change_token, token, values, self._clock.now_ms()
        )
        if found is None:
            raise _unknown(token)
        return _shown(found)

    async def delete(self, token: str) -> None:
        if not await self._database.transact(registration_tokens.delete_token, token):
            raise _unknown(token)

    def _check_future(self, expiry_ts: int | None) -> None:
        if expiry_ts is not None and expiry_ts < self._clock.now_ms():
            raise invalid_param("expiry_time must not be in the past")


def _unknown(token: str) -> Exception:
    return not_found(f"No such registration token: {token}")


def _shown(token: RegistrationToken) -> JsonObject:
    return {
        "token": token.token,
        "uses_allowed": token.uses_allowed,
        "pending": token.pending,
        "completed": token.completed,
        "expiry_time": token.expiry_ts,
    }
