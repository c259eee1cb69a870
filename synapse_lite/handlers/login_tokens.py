"""Short-lived tokens by which a session lets its user log in on another device (`m.login.token`)."""

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.config.accounts import LoginViaExistingSession
from synapse_lite.handlers.access_tokens import hash_token, keep_session
from synapse_lite.handlers.requester import Requester
from synapse_lite.ids import random_text
from synapse_lite.storage import access_tokens
from synapse_lite.storage.access_tokens import NewToken
from synapse_lite.storage.accounts import Account, find_account
from synapse_lite.storage.database import Database, Transaction

TOKEN_LETTERS = 40


@frozen
class LoginToken:
    text: str
    expires_in_ms: int


class LoginTokens:
    """Each is good once, for the time that the configuration gives, unless all sessions of its user are ended before."""

    def __init__(self, database: Database, clock: Clock, options: LoginViaExistingSession) -> None:
        self._database = database
        self._clock = clock
        self._options = options

    @property
    def are_issued(self) -> bool:
        return self._options.enabled

    @property
    def need_proof(self) -> bool:
        """Whether the user has to prove who they are before they get one."""
        return self._options.require_ui_auth

    async def issue(self, requester: Requester) -> LoginToken:
        token = f"syl_{random_text(TOKEN_LETTERS)}"
        lifetime = self._options.token_timeout
        new = NewToken(hash_token(token), self._clock.now_ms() + lifetime)
        await self._database.transact(_issue, requester, new)
        return LoginToken(token, lifetime)

    async def use(self, token: str) -> Account | None:
        """The account that it logs in, once; None when it is unknown, used or over."""
        return await self._database.transact(_use, hash_token(token), self._clock.now_ms())


def _issue(txn: Transaction, requester: Requester, token: NewToken) -> None:
    keep_session(txn, requester)
    access_tokens.add_login_token(txn, requester.user_id, token)


def _use(txn: Transaction, token_hash: bytes, now_ms: int) -> Account | None:
    user_id = access_tokens.use_login_token(txn, token_hash, now_ms)
    return None if user_id is None else find_account(txn, user_id)
