"""Logging in, and changing the password."""

from collections.abc import Callable

import attrs

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, bad_json, forbidden
from synapse_lite.handlers.access_tokens import (
    AccessTokens,
    DeviceRequest,
    NewSession,
    PasswordChangedError,
    end_sessions,
    keep_session,
    user_locked,
)
from synapse_lite.handlers.active_users import ActiveUsers
from synapse_lite.handlers.login_tokens import LoginTokens
from synapse_lite.handlers.passwords import Passwords
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.threepids import MSISDN, canonical_address, international_number
from synapse_lite.http.ratelimit import RateLimiter, network_of
from synapse_lite.ids import is_user_id
from synapse_lite.storage import accounts
from synapse_lite.storage.accounts import Account
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.user_admin import user_of_threepid

USER = "m.id.user"
PHONE = "m.id.phone"
THREEPID = "m.id.thirdparty"


@attrs.frozen
class LoginLimiters:
    """Of `rc_login`: per address, per account, and per account after failures."""

    address: RateLimiter
    account: RateLimiter
    failed_attempts: RateLimiter


@attrs.frozen
class Threepid:
    """A user is known by it: an e-mail address, a telephone number (`msisdn`)."""

    medium: str
    address: str


@attrs.frozen
class Phone:
    """A user is known by a telephone number, as it is dialled in a country ("GB")."""

    country: str
    number: str


Name = str | Threepid | Phone
"""A localpart or a user id, or what else the account is known by."""


def named_user(body: JsonObject, read: Callable[[JsonObject, str], str]) -> Name:
    """Whom a log-in or a proof names: by `identifier`, or by the old fields `user` or `medium` and `address`.

    `read` gives a text of an object, or raises `MatrixError`. Raises 400 for another kind of identifier.
    """
    identifier = body.get("identifier")
    if identifier is None:
        identifier = {**body, "type": THREEPID if "medium" in body else USER}
    if not isinstance(identifier, dict):
        raise bad_json("'identifier' must be an object")
    kind = read(identifier, "type")
    if kind == THREEPID:
        return Threepid(read(identifier, "medium"), read(identifier, "address"))
    if kind == PHONE:  # older clients call the number so
        number = "number" if "number" in identifier else "phone"
        return Phone(read(identifier, "country"), read(identifier, number))
    if kind != USER:
        raise MatrixError(400, Errcode.UNKNOWN, "Unknown login identifier type")
    return read(identifier, "user")


@attrs.frozen
class Login:
    user_id: str
    session: NewSession


class Logins:
    """Checks who somebody is, and opens sessions."""

    def __init__(
        self,
        database: Database,
        access_tokens: AccessTokens,
        login_tokens: LoginTokens,
        passwords: Passwords,
        limiters: LoginLimiters,
        server_name: str,
        active: ActiveUsers | None = None,
    ) -> None:
        """`active` as of `AccessTokens`."""
        self._active = active
        self._database = database
        self._access_tokens = access_tokens
        self._login_tokens = login_tokens
        self._passwords = passwords
        self._limiters = limiters
        self._server_name = server_name

    async def log_in(self, user: Name, password: str, device: DeviceRequest, *, client_ip: str) -> Login:
        """Raises 400 `M_INVALID_PARAM` for what is no telephone number, 403 `M_FORBIDDEN` (wrong user or password), 403 `M_USER_DEACTIVATED`, 401
        `M_USER_LOCKED`, 403 `M_RESOURCE_LIMIT_EXCEEDED`, 429.
        """
        await self._limiters.address.check(network_of(client_ip))
        while True:
            account = await self._check(user, password)
            try:
                return await self._open(account, device)
            except PasswordChangedError:  # or only hashed anew: by another log-in with it
                self._limiters.account.refund(account.user_id)

    async def log_in_by_token(self, token: str, device: DeviceRequest, *, client_ip: str) -> Login:
        """The token is of `LoginTokens`, and good once. Raises as `log_in`."""
        await self._limiters.address.check(network_of(client_ip))
        account = await self._login_tokens.use(token)
        if account is None:
            raise forbidden("Invalid login token")
        try:
            return await self._open(account, device)
        except PasswordChangedError:
            raise forbidden("Invalid login token") from None

    async def check_password(self, user: Name, password: str) -> str:
        """The user id behind what `log_in` takes; the same errors."""
        account = await self._check(user, password)
        admit(account)
        return account.user_id

    async def _open(self, account: Account, device: DeviceRequest) -> Login:
        await self._limiters.account.check(account.user_id)
        admit(account)
        if self._active is not None:
            await self._active.check(account.user_id)
        opened = self._access_tokens.open(account.user_id, device, password_hash=account.password_hash)
        return Login(account.user_id, await opened)

    async def _user_id(self, user: Name) -> str:
        """Whether there is such a user or not; of an unknown address the address, which is no user id."""
        if isinstance(user, Phone):
            return await self._database.read(_user_of_phone, user)
        if isinstance(user, Threepid):
            address = canonical_address(user.medium, user.address)
            found = await self._database.read(user_of_threepid, user.medium, address)
            return found or f"{user.medium} {address}"
        return user if user.startswith("@") else f"@{user}:{self._server_name}"

    async def _check(self, user: Name, password: str) -> Account:
        user_id = await self._user_id(user)
        # Spent before the check, as guesses may come at once; who was right gets it back.
        failures = self._limiters.failed_attempts
        await failures.check(user_id.lower())
        account = await self._database.read(accounts.find_account, user_id) if is_user_id(user_id) else None
        stored = account.password_hash if account else None
        verdict = await self._passwords.verify(password, stored)
        if account is None or stored is None or not verdict.correct:
            raise forbidden("Invalid username or password")
        failures.refund(user_id.lower())
        if verdict.outdated:
            better = await self._passwords.hash(password)
            await self._database.transact(accounts.replace_password_hash, account.user_id, stored, better)
            return attrs.evolve(account, password_hash=better)
        return account


class PasswordChanges:
    def __init__(self, database: Database, passwords: Passwords) -> None:
        self._database = database
        self._passwords = passwords

    def check_new(self, password: str) -> None:
        """400 for one that may not be chosen: before the user proves anything."""
        self._passwords.check_new(password)

    async def change(self, requester: Requester, password: str, *, log_out_others: bool) -> None:
        """Raises 400 for a password that may not be chosen."""
        self._passwords.check_new(password)
        await self._database.transact(
            _change_password, requester, await self._passwords.hash(password), log_out_others
        )


def _change_password(
    txn: Transaction, requester: Requester, password_hash: str, log_out_others: bool
) -> None:
    accounts.set_password_hash(txn, requester.user_id, password_hash)
    if log_out_others:
        end_sessions(txn, requester.user_id, except_token_nid=requester.token_nid)
    keep_session(
        txn, requester
    )  # last: another change may have ended it, for which the first statement has waited


def _user_of_phone(txn: Transaction, phone: Phone) -> str:
    """Of an unknown number the number. In a database thread, as the plans of all countries' numbers take long to import."""
    number = international_number(phone.country, phone.number)
    return user_of_threepid(txn, MSISDN, number) or f"{MSISDN} {number}"


def admit(account: Account) -> None:
    """The one gate behind all ways to log in: 403 `M_USER_DEACTIVATED`, 401 `M_USER_LOCKED`."""
    if account.deactivated:
        raise MatrixError(403, Errcode.USER_DEACTIVATED, "This account has been deactivated")
    if account.locked:
        raise user_locked()
