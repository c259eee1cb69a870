"""Profiles."""

from typing import Any

import attrs
import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.config.rate_limits import RateLimit
from synapse_lite.errors import MatrixError
from synapse_lite.federation.queries import Queries
from synapse_lite.handlers.app_services import AppServices
from synapse_lite.handlers.app_services.queries import ServiceQueries
from synapse_lite.handlers.avatars import Avatars
from synapse_lite.handlers.profiles import Profiles
from synapse_lite.handlers.remote_profiles import RemoteProfiles
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.storage import accounts
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database, Transaction
from tests.builders import SERVER
from tests.http.memory import ManualClock
from tests.server import NoPeers

USER = Requester("@user:hs.test", "D", "s")
ADMIN = Requester("@admin:hs.test", "D", "s", is_admin=True)


class Desk:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.changes: list[tuple[str, str]] = []
        limiter = RateLimiter(ManualClock(), RateLimit(per_second=1, burst_count=100))
        avatars = Avatars(database, None, None)
        remote = RemoteProfiles(Queries(NoPeers()), ManualClock())
        unasked: Any = None
        services = ServiceQueries(database, AppServices(), unasked, SERVER)
        self.profiles = Profiles(database, self, limiter, avatars, remote, services, SERVER)
        self.fixed = Profiles(
            database, self, limiter, avatars, remote, services, SERVER, frozenset({"displayname"})
        )

    async def add_user(self) -> None:
        account = NewAccount(USER.user_id, 1, displayname="User")
        await self.database.transact(accounts.create_account, account)

    async def set(self, name: str, value: Any, requester: Requester = USER) -> None:
        await self.profiles.set_field(requester, USER.user_id, name, value)

    def ask(self, _txn: Transaction, user_id: str, requester: str, _endpoint: str) -> None:
        self.changes.append((user_id, requester))

    async def show(self, user_id: str) -> None:
        assert self.changes[-1][0] == user_id


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


async def _refusal(waiting: Any) -> tuple[int, str]:
    with pytest.raises(MatrixError) as caught:
        await waiting
    return caught.value.status, caught.value.errcode


@ensureDeferred
async def test_fields_are_set_read_and_deleted(desk: Desk) -> None:
    """Each alone and all together; a field that is not set is not found."""
    await desk.add_user()
    tz = {"zone": [1, None, "Europe/Berlin"]}
    await desk.set("avatar_url", "mxc://hs.test/a")
    await desk.set("m.tz", tz)
    await desk.set("nothing", None)
    user = USER.user_id
    assert await desk.profiles.profile(USER, user) == {
        "displayname": "User",
        "avatar_url": "mxc://hs.test/a",
        "m.tz": tz,
        "nothing": None,
    }
    assert await desk.profiles.field(USER, user, "m.tz") == {"m.tz": tz}
    for name in ("m.tz", "nothing", "avatar_url", "never"):
        await desk.profiles.delete_field(USER, user, name)
    assert await desk.profiles.profile(USER, user) == {"displayname": "User"}
    await desk.set("displayname", "")
    assert await _refusal(desk.profiles.profile(USER, user)) == (404, "M_NOT_FOUND")
    for name in ("displayname", "m.tz"):
        assert await _refusal(desk.profiles.field(USER, user, name)) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_rooms_hear_of_changes_that_they_show(desk: Desk) -> None:
    """Of names and avatars that differ, with who changed them."""
    await desk.add_user()
    await desk.set("displayname", "User")
    await desk.set("m.tz", "UTC")
    assert desk.changes == []
    await desk.set("displayname", "Other")
    await desk.set("avatar_url", "mxc://hs.test/a", ADMIN)
    await desk.profiles.delete_field(USER, USER.user_id, "displayname")
    user = USER.user_id
    assert desk.changes == [(user, user), (user, ADMIN.user_id), (user, user)]


@ensureDeferred
async def test_a_profile_is_its_owners(desk: Desk) -> None:
    """Others may not write it, administrators may; suspended users may not write even their own."""
    await desk.add_user()
    other = attrs.evolve(USER, user_id="@other:hs.test")
    assert await _refusal(desk.set("displayname", "x", other)) == (403, "M_FORBIDDEN")
    assert await _refusal(desk.profiles.delete_field(other, USER.user_id, "m.tz")) == (403, "M_FORBIDDEN")
    suspended = attrs.evolve(USER, suspended=True)
    assert await _refusal(desk.set("displayname", "x", suspended)) == (403, "M_USER_SUSPENDED")
    await desk.set("displayname", "x", ADMIN)
    assert await desk.profiles.field(USER, USER.user_id, "displayname") == {"displayname": "x"}


@ensureDeferred
async def test_fields_can_be_fixed(desk: Desk) -> None:
    """Then only administrators change them; other fields stay free."""
    await desk.add_user()
    user = USER.user_id
    assert await _refusal(desk.fixed.set_field(USER, user, "displayname", "x")) == (403, "M_FORBIDDEN")
    assert await _refusal(desk.fixed.delete_field(USER, user, "displayname")) == (403, "M_FORBIDDEN")
    await desk.fixed.set_field(USER, user, "m.tz", "UTC")
    await desk.fixed.set_field(ADMIN, user, "displayname", "x")


@ensureDeferred
async def test_fields_have_limits(desk: Desk) -> None:
    """Of type, of length in characters, and of the profile as a whole."""
    await desk.add_user()
    refused = [
        ("displayname", 1, "M_BAD_JSON"),
        ("displayname", "nul\0", "M_BAD_JSON"),
        ("displayname", "\u00e4" * 257, "M_INVALID_PARAM"),
        ("avatar_url", "x" * 1001, "M_INVALID_PARAM"),
        ("displayname", None, "M_BAD_JSON"),
        ("avatar_url", None, "M_BAD_JSON"),
        ("", "x", "M_INVALID_PARAM"),
        ("Upper", "x", "M_INVALID_PARAM"),
        ("1st", "x", "M_INVALID_PARAM"),
        ("a b", "x", "M_INVALID_PARAM"),
        ("m.tz", ["a\0b"], "M_BAD_JSON"),
        ("\u00e4" * 128, "x", "M_KEY_TOO_LARGE"),
        ("m.tz", 1.5, "M_BAD_JSON"),
        ("m.tz", "x" * 65536, "M_PROFILE_TOO_LARGE"),
    ]
    for name, value, errcode in refused:
        assert await _refusal(desk.set(name, value)) == (400, errcode)
    await desk.set("displayname", "\u00e4" * 256)
    await desk.set("half", "x" * 40_000)
    assert await _refusal(desk.set("other", "x" * 40_000)) == (400, "M_PROFILE_TOO_LARGE")


@ensureDeferred
async def test_unknown_users_have_no_profile(desk: Desk) -> None:
    """Neither to read nor, for administrators, to write."""
    nobody = "@nobody:hs.test"
    assert await _refusal(desk.profiles.profile(USER, nobody)) == (404, "M_NOT_FOUND")
    assert await _refusal(desk.profiles.field(USER, nobody, "displayname")) == (404, "M_NOT_FOUND")
    assert await _refusal(desk.profiles.set_field(ADMIN, nobody, "displayname", "x")) == (404, "M_NOT_FOUND")
