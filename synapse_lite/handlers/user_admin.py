"""What operators may see of users, and change about them."""

from collections.abc import Mapping, Sequence
from functools import partial

from attrs import field, frozen

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.handlers.access_tokens import AccessTokens, end_sessions
from synapse_lite.handlers.deactivation import Deactivation
from synapse_lite.handlers.long_lists import LongLists
from synapse_lite.handlers.passwords import Passwords
from synapse_lite.handlers.profiles import ShowsProfiles
from synapse_lite.handlers.registration import Registration, user_in_use
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.threepids import canonical_address
from synapse_lite.storage import accounts, deactivation, user_admin
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.user_admin import CHANGEABLE, ORDERS, ExternalId, Threepid, User, UserSearch
from synapse_lite.tasks.actions.erase_user import ERASE_USER, EraseParams
from synapse_lite.tasks.queue import TaskQueue

ORDER_NAMES = frozenset(ORDERS)
LOOK_UP, CHANGE = "Can only look up local users", "This endpoint can only be used with local users"
MAX_FOUND = 1000
SHOWN_IN_ROOMS = ("displayname", "avatar_url")

__all__ = ["CHANGEABLE", "ORDER_NAMES", "UserAdmin", "UserChange", "UserQuery", "UserSearch", "check_local"]


@frozen
class UserQuery:
    """A page of the list: `order_by` is one of `ORDER_NAMES`."""

    search: UserSearch
    order_by: str
    backwards: bool
    offset: int
    limit: int


@frozen
class UserChange:
    """What is to be changed about a user; None leaves it. `values` are columns of `CHANGEABLE`.

    `threepids` as (medium, address), `external_ids` as (provider, id); they replace all.
    """

    values: Mapping[str, str | bool | None] = field(factory=dict)
    password: str | None = field(default=None, repr=False)
    logout_devices: bool = True
    deactivated: bool | None = None
    threepids: Sequence[tuple[str, str]] | None = None
    external_ids: Sequence[tuple[str, str]] | None = None


@frozen
class _Request:
    """A change on its way into a transaction. `endpoint` is by what it was asked for."""

    user_id: str
    change: UserChange
    password_hash: str | None = field(repr=False)
    requester: str
    endpoint: str


class UserAdmin:
    """A user of another server is 400 `M_UNKNOWN`, an unknown one 404 `M_NOT_FOUND`. `server_name` is ours."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        registration: Registration,
        passwords: Passwords,
        access_tokens: AccessTokens,
        closing: Deactivation,
        queue: TaskQueue,
        room_profiles: ShowsProfiles,
        server_name: str,
    ) -> None:
        self._database = database
        self._clock = clock
        self._registration = registration
        self._passwords = passwords
        self._access_tokens = access_tokens
        self._closing = closing
        self._queue = queue
        self._room_profiles = room_profiles
        self._server_name = server_name
        self._lists = LongLists(database, clock)

    async def find(self, query: UserQuery) -> JsonObject:
        """Synapse's words and types."""
        wanted = user_admin.long_list(query.search, query.order_by, backwards=query.backwards)
        read = partial(user_admin.list_users, offset=query.offset, limit=query.limit)
        users, total = await self._lists.page(wanted, query.offset, read)
        answer: JsonObject = {"users": [_listed(user) for user in users], "total": total}
        if query.offset + query.limit < total:
            answer["next_token"] = str(query.offset + query.limit)
        return answer

    async def search(self, user_id: str, term: str) -> list[JsonObject]:
        """Users with `term` in their ids, at most `MAX_FOUND`. Of `user_id` it matters only that they are local."""
        check_local(user_id, self._server_name, "Can only get a local user")
        users = await self._database.read(user_admin.search_users, term, MAX_FOUND)
        return [_found(user) for user in users]

    async def user(self, user_id: str) -> JsonObject:
        check_local(user_id, self._server_name, LOOK_UP)
        found = await self._database.snapshot(_read, user_id)
        if found is None:
            raise not_found("User not found")
        return _detailed(*found)

    async def put(
        self, requester: Requester, user_id: str, change: UserChange, endpoint: str
    ) -> tuple[bool, JsonObject]:
        """Whether the user was made, and how they are now. All of the change happens, or nothing.

        Raises 400 for a wrong value, for administrators who demote themselves, and as `Registration`; 409
        `M_UNKNOWN` when an external id is somebody else's.
        """
        check_local(user_id, self._server_name, CHANGE)
        if change.values.get("is_admin") is False:
            _check_not_self(requester, user_id)
        account = None
        if await self._database.read(user_admin.find_user, user_id) is None:
            account = await self._prepare(user_id, change.password)
        password_hash = None
        if account is None and change.password is not None:
            self._passwords.check_new(change.password)
            password_hash = await self._passwords.hash(change.password)
        wanted = _Request(user_id, change, password_hash, requester.user_id, endpoint)
        before = await self._database.transact(self._put, account, wanted)
        self._closing.announce()
        if account is not None:
            await self._registration.announce(user_id)
        elif before is not None and _shows_other(before, change.values):
            await self._room_profiles.show(user_id)
        return account is not None, await self.user(user_id)

    async def set_values(
        self, user_id: str, values: Mapping[str, str | bool | None], refusal: str = CHANGE
    ) -> None:
        """Set columns of `CHANGEABLE`."""
        check_local(user_id, self._server_name, refusal)
        if not await self._database.transact(user_admin.change_user, user_id, values):
            raise not_found("User not found")

    async def set_admin(self, requester: Requester, user_id: str, *, is_admin: bool) -> None:
        """400 for administrators who demote themselves."""
        check_local(user_id, self._server_name, "Only local users can be admins of this homeserver")
        if not is_admin:
            _check_not_self(requester, user_id)
        await self.set_values(user_id, {"is_admin": is_admin})

    async def is_admin(self, user_id: str) -> bool:
        """False for an unknown user."""
        check_local(user_id, self._server_name, "Only local users can be admins of this homeserver")
        user = await self._database.read(user_admin.find_user, user_id)
        return user is not None and user.is_admin

    async def reset_password(self, user_id: str, password: str, *, log_out: bool) -> None:
        ids.check_user_id(user_id)
        self._passwords.check_new(password)
        if await self._database.read(user_admin.find_user, user_id) is None:
            raise not_found("Unknown user")
        password_hash = await self._passwords.hash(password)
        await self._database.transact(_set_password, user_id, password_hash, log_out)

    async def deactivate(self, requester: Requester, user_id: str, *, erase: bool, endpoint: str) -> None:
        check_local(user_id, self._server_name, "Can only deactivate local users")
        await self._closing.deactivate(user_id, erase=erase, requester=requester.user_id, endpoint=endpoint)

    async def erase(self, requester: Requester, params: EraseParams, endpoint: str) -> str:
        """The id of the task that erases the user, or only counts; 400 for oneself, and while one is pending."""
        check_local(params.user_id, self._server_name, "Can only erase local users")
        if params.user_id == requester.user_id:
            raise MatrixError(400, Errcode.UNKNOWN, "You may not erase yourself.")
        if await self._database.read(user_admin.find_user, params.user_id) is None:
            raise not_found("User not found")
        enqueued = await self._queue.enqueue(
            ERASE_USER, params, requester=requester.user_id, endpoint=endpoint
        )
        if not enqueued.created:
            raise MatrixError(
                400, Errcode.UNKNOWN, f"{params.user_id} is being erased", {"task_id": enqueued.id}
            )
        return enqueued.id

    async def log_in_as(self, requester: Requester, user_id: str, valid_until_ms: int | None) -> str:
        """A token to act as the user; 400 for one's own account and for one that is closed."""
        check_local(user_id, self._server_name, "Only local users can be logged in as")
        if requester.user_id == user_id:
            raise MatrixError(400, Errcode.UNKNOWN, "Cannot use admin API to login as self")
        user = await self._database.read(user_admin.find_user, user_id)
        if user is None:
            raise not_found("User not found")
        if user.deactivated:
            raise MatrixError(400, Errcode.UNKNOWN, "The account has been deactivated")
        return (await self._access_tokens.open_without_device(user_id, valid_until_ms)).token

    async def by_threepid(self, medium: str, address: str) -> str:
        """The user id; 404 `M_NOT_FOUND`."""
        user_id = await self._database.read(
            user_admin.user_of_threepid, medium, canonical_address(medium, address)
        )
        if user_id is None:
            raise not_found("User not found")
        return user_id

    async def by_external_id(self, auth_provider: str, external_id: str) -> str:
        """The user id; 404 `M_NOT_FOUND`."""
        user_id = await self._database.read(user_admin.user_of_external_id, auth_provider, external_id)
        if user_id is None:
            raise not_found("User not found")
        return user_id

    async def check_available(self, username: str) -> None:
        """Raises as `Registration.check_username`."""
        await self._registration.check_username(username)

    async def _prepare(self, user_id: str, password: str | None) -> NewAccount:
        localpart = ids.localpart_of(user_id)
        if localpart != localpart.lower():
            raise MatrixError(400, Errcode.INVALID_USERNAME, "User ID may not hold capital letters")
        return await self._registration.prepare(localpart, password)

    # In a database thread

    def _put(self, txn: Transaction, account: NewAccount | None, wanted: _Request) -> User | None:
        """The user as they were before, None for a new one."""
        if account is not None and not accounts.create_account(txn, account):
            raise user_in_use()
        user = user_admin.lock_user(txn, wanted.user_id)
        if user is None:
            raise not_found("User not found")
        self._apply(txn, user, wanted)
        if account is None and _shows_other(user, wanted.change.values):
            self._room_profiles.ask(txn, user.user_id, wanted.requester, wanted.endpoint)
        return None if account is not None else user

    def _apply(self, txn: Transaction, user: User, wanted: _Request) -> None:
        change = wanted.change
        if change.values:
            user_admin.change_user(txn, user.user_id, change.values)
        if wanted.password_hash is not None:
            _set_password(txn, user.user_id, wanted.password_hash, change.logout_devices)
        if change.threepids is not None:
            threepids = [(medium, canonical_address(medium, address)) for medium, address in change.threepids]
            user_admin.replace_threepids(txn, user.user_id, threepids, self._clock.now_ms())
        if change.external_ids is not None and not user_admin.replace_external_ids(
            txn, user.user_id, change.external_ids
        ):
            raise MatrixError(409, Errcode.UNKNOWN, "External id is already in use.")
        if change.deactivated and not user.deactivated:
            self._closing.close_in(
                txn, user.user_id, erase=False, requester=wanted.requester, endpoint=wanted.endpoint
            )
        if change.deactivated is False and user.deactivated:
            deactivation.reopen_account(txn, user.user_id)


def check_local(user_id: str, server_name: str, refusal: str) -> None:
    """400 `M_INVALID_PARAM` for what is no user id, 400 `M_UNKNOWN` with the words `refusal` for another server's."""
    ids.check_user_id(user_id)
    if not ids.is_local(user_id, server_name):
        raise MatrixError(400, Errcode.UNKNOWN, refusal)


def _check_not_self(requester: Requester, user_id: str) -> None:
    if requester.user_id == user_id:
        raise MatrixError(400, Errcode.UNKNOWN, "You may not demote yourself.")


def _set_password(txn: Transaction, user_id: str, password_hash: str, log_out: bool) -> None:
    accounts.set_password_hash(txn, user_id, password_hash)
    if log_out:
        end_sessions(txn, user_id)


def _shows_other(before: User, values: Mapping[str, str | bool | None]) -> bool:
    """Whether rooms have to show something else now."""
    return any(name in values and values[name] != getattr(before, name) for name in SHOWN_IN_ROOMS)


def _read(txn: Transaction, user_id: str) -> tuple[User, list[Threepid], list[ExternalId]] | None:
    user = user_admin.find_user(txn, user_id)
    if user is None:
        return None
    return user, user_admin.threepids_of(txn, user_id), user_admin.external_ids_of(txn, user_id)


def _found(user: User) -> JsonObject:
    """As the old search shows a user: of the hash of the password there is the key only."""
    return {
        "name": user.user_id,
        "password_hash": None,
        "is_guest": user.is_guest,
        "admin": user.is_admin,
        "user_type": user.user_type,
    }


def _listed(user: User) -> JsonObject:
    """As the list shows a user: times in milliseconds. Synapse's lacks `suspended`."""
    return {
        "name": user.user_id,
        "user_type": user.user_type,
        "is_guest": user.is_guest,
        "admin": user.is_admin,
        "deactivated": user.deactivated,
        "shadow_banned": user.shadow_banned,
        "displayname": user.displayname,
        "avatar_url": user.avatar_url,
        "creation_ts": user.created_ts,
        "erased": user.erased,
        "last_seen_ts": user.last_seen_ts,
        "locked": user.locked,
        "suspended": user.suspended,
    }


def _detailed(user: User, threepids: Sequence[Threepid], external_ids: Sequence[ExternalId]) -> JsonObject:
    """As one user is shown: `creation_ts` in seconds, as in Synapse."""
    return {
        **_listed(user),
        "creation_ts": user.created_ts // 1000,
        "appservice_id": user.appservice_id,
        "consent_server_notice_sent": user.consent_notice_version,
        "consent_version": user.consent_version,
        "consent_ts": user.consent_ts,
        "threepids": [
            {
                "medium": threepid.medium,
                "address": threepid.address,
                "validated_at": threepid.validated_ts,
                "added_at": threepid.added_ts,
            }
            for threepid in threepids
        ],
        "external_ids": [
            {"auth_provider": one.auth_provider, "external_id": one.external_id} for one in external_ids
        ],
    }
