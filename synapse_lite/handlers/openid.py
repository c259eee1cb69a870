"""Tokens by which a user proves to somebody else who they are (client-server API, "OpenID")."""

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.handlers.access_tokens import hash_token
from synapse_lite.ids import random_text
from synapse_lite.storage import openid
from synapse_lite.storage.database import Database

TOKEN_LETTERS = 40
LIFETIME_MS = 60 * 60 * 1000
TOKENS_OF_A_USER = 100


@frozen
class OpenIdToken:
    text: str
    expires_in_ms: int


class OpenId:
    """A user's older tokens end when they ask for more than `TOKENS_OF_A_USER` within an hour."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def issue(self, user_id: str) -> OpenIdToken:
        token = f"syo_{random_text(TOKEN_LETTERS)}"
        valid_until_ts = self._clock.now_ms() + LIFETIME_MS
        await self._database.transact(
            openid.add_openid_token, user_id, hash_token(token), valid_until_ts, TOKENS_OF_A_USER
        )
        return OpenIdToken(token, LIFETIME_MS)

    async def bearer(self, token: str) -> str | None:
        """Whose token it is; None when it is unknown or expired."""
        return await self._database.read(openid.bearer_of, hash_token(token), self._clock.now_ms())
