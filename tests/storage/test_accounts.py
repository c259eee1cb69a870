"""Accounts, profiles and nonces."""

from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage import accounts
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database

USER = "@user:hs.test"


async def _create(database: Database, user_id: str = USER, password_hash: str | None = "old") -> bool:
    return await database.transact(accounts.create_account, NewAccount(user_id, 1, password_hash))


@ensureDeferred
async def test_a_user_id_is_given_once(database: Database) -> None:
    """Of several who create the same account at once, one succeeds."""
    created = await gatherResults([Deferred.fromCoroutine(_create(database)) for _ in range(4)])
    assert sorted(created) == [False, False, False, True]


@ensureDeferred
async def test_accounts_are_found_whatever_the_case_unless_that_is_ambiguous(database: Database) -> None:
    """The exact id wins; otherwise a single account that differs in case only is found."""
    await _create(database, "@Old:hs.test")
    found = await database.read(accounts.find_account, "@oLD:hs.test")
    assert found is not None
    assert found.user_id == "@Old:hs.test"
    await _create(database, "@old:hs.test")
    exact = await database.read(accounts.find_account, "@Old:hs.test")
    assert exact is not None
    assert exact.user_id == "@Old:hs.test"
    assert await database.read(accounts.find_account, "@OLD:hs.test") is None
    assert await database.read(accounts.is_taken, "@OLD:hs.test")
    assert not await database.read(accounts.is_taken, "@new:hs.test")


@ensureDeferred
async def test_a_better_hash_does_not_undo_a_password_change(database: Database) -> None:
    """A hash is replaced only where the one that was checked still stands."""
    await _create(database)
    await database.transact(accounts.replace_password_hash, USER, "old", "better")
    await database.transact(accounts.replace_password_hash, USER, "old", "late")
    account = await database.read(accounts.find_account, USER)
    assert account is not None
    assert account.password_hash == "better"


@ensureDeferred
async def test_profile_changes_at_once_are_all_kept(database: Database) -> None:
    """Writers of different fields do not overwrite each other."""
    await _create(database)

    def add(number: int) -> Deferred[bool | None]:
        def change(profile: JsonObject) -> JsonObject:
            return {**profile, f"field{number}": number}

        return Deferred.fromCoroutine(database.transact(accounts.change_profile, USER, change))

    assert all(await gatherResults([add(number) for number in range(8)]))
    assert await database.read(accounts.read_profile, USER) == {f"field{n}": n for n in range(8)}


@ensureDeferred
async def test_profile_changes_say_what_they_did(database: Database) -> None:
    """True for a difference, False for none, None for an unknown user."""
    await _create(database)
    named: JsonObject = {"displayname": "User", "avatar_url": "mxc://hs.test/a", "m.tz": None}
    assert await database.transact(accounts.change_profile, USER, lambda _: named)
    assert await database.transact(accounts.change_profile, USER, lambda _: named) is False
    assert await database.transact(accounts.change_profile, "@no:hs.test", lambda _: named) is None
    assert await database.read(accounts.read_profile, USER) == named


@ensureDeferred
async def test_a_nonce_is_good_once(database: Database) -> None:
    """Whoever uses it second is told."""
    assert [await database.transact(accounts.use_nonce, nonce, 1) for nonce in ("a", "a", "b")] == [
        True,
        False,
        True,
    ]
