"""Devices and access tokens."""

import psycopg2
import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage import access_tokens, accounts, devices
from synapse_lite.storage.access_tokens import AccessToken, NewToken
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.statements import Row
from synapse_lite.storage.stream import Change, Kind

USER = "@user:hs.test"


async def _user(database: Database) -> None:
    await database.transact(accounts.create_account, NewAccount(USER, 1))


async def _open(
    database: Database, token: bytes, device: str | None, name: str | None = None, until: int | None = None
) -> None:
    def add(txn: Transaction) -> None:
        if device is not None and not devices.create_device(txn, USER, device, name, 1):
            access_tokens.delete_device_tokens(txn, USER, device)
        access_tokens.add_access_token(txn, USER, device, NewToken(token, until), 1)

    await database.transact(add)


async def _find(database: Database, token: bytes) -> AccessToken | None:
    return await database.read(access_tokens.find_access_token, token)


async def _devices(database: Database) -> list[Row]:
    return await database.read(
        lambda txn: txn.rows("SELECT device_id, display_name FROM devices ORDER BY device_id")
    )


@ensureDeferred
async def test_a_session_tells_the_state_of_the_account(database: Database) -> None:
    """Flags are those of now, not of when the token was made."""
    await _user(database)
    await _open(database, b"1", "D")
    await database.transact(lambda txn: txn.execute("UPDATE users SET is_admin = true, locked = true"))
    session = await _find(database, b"1")
    assert session is not None
    assert (session.user_id, session.device_id) == (USER, "D")
    assert (session.is_admin, session.locked, session.deactivated) == (True, True, False)


@ensureDeferred
async def test_a_device_has_one_token(database: Database, changes: list[Change]) -> None:
    """A new token replaces the device's earlier one, is announced, and leaves the device its name."""
    await _user(database)
    changes.clear()
    await _open(database, b"1", "D", "first")
    assert changes == []
    await _open(database, b"2", "D", "second")
    assert [(change.kind, change.user_id) for change in changes] == [(Kind.SESSION, USER)]
    assert await _find(database, b"1") is None
    assert await _find(database, b"2") is not None
    assert await _devices(database) == [("D", "first")]


@ensureDeferred
async def test_a_deleted_token_is_announced_once(database: Database, changes: list[Change]) -> None:
    """Deleting it tells whose it was; the second time there is nothing to delete or announce."""
    await _user(database)
    changes.clear()
    await _open(database, b"1", "D")
    await _open(database, b"2", "E")
    assert await database.transact(access_tokens.delete_access_token, b"1") == (USER, "D")
    assert await database.transact(access_tokens.delete_access_token, b"1") is None
    assert [bool(await _find(database, token)) for token in (b"1", b"2")] == [False, True]
    assert [change.kind for change in changes] == [Kind.SESSION]


@ensureDeferred
async def test_deleting_all_tokens_can_spare_one(database: Database, changes: list[Change]) -> None:
    """Tokens with and without devices go; the devices without a token are named, a dehydrated one is not."""
    await _user(database)
    changes.clear()
    for token, device in ((b"1", "D"), (b"2", "E"), (b"3", None)):
        await _open(database, token, device)
    await database.transact(devices.create_device, USER, "SLEEPS", None, 1)
    await database.transact(
        lambda txn: txn.execute("UPDATE devices SET dehydrated = '{}' WHERE device_id = 'SLEEPS'")
    )
    spared = await _find(database, b"2")
    assert spared is not None
    delete = access_tokens.delete_tokens
    assert await database.transact(delete, USER, except_token_nid=spared.token_nid) == ["D"]
    assert [bool(await _find(database, token)) for token in (b"1", b"2", b"3")] == [False, True, False]
    assert await database.transact(delete, USER) == ["D", "E"]
    assert [change.kind for change in changes] == [Kind.SESSION] * 2


@ensureDeferred
async def test_expired_tokens_are_deleted_in_bounded_steps(database: Database) -> None:
    """Only tokens whose time is over go, at most as many as asked; those of devices say so as long as these live."""
    await _user(database)
    for number, until in enumerate((10, 20, 30, None)):
        await _open(database, bytes([number]), None, until=until)
    await _open(database, b"9", "D", until=10)
    assert await database.transact(access_tokens.delete_expired_tokens, 20, 1) == 1
    assert await database.transact(access_tokens.delete_expired_tokens, 20, 10) == 1
    left = [bool(await _find(database, bytes([number]))) for number in range(4)]
    assert left == [False, False, True, True]
    assert await _find(database, b"9") is not None


@ensureDeferred
async def test_a_login_token_is_good_once_and_for_a_while(database: Database) -> None:
    """Used or over, it logs nobody in; what is over is deleted in bounded steps."""
    await _user(database)
    for token in (b"1", b"2", b"3"):
        await database.transact(access_tokens.add_login_token, USER, NewToken(token, 10))
    assert await database.transact(access_tokens.use_login_token, b"1", 9) == USER
    assert await database.transact(access_tokens.use_login_token, b"1", 9) is None
    assert await database.transact(access_tokens.use_login_token, b"2", 10) is None
    assert await database.transact(access_tokens.delete_expired_login_tokens, 9, 10) == 0
    assert await database.transact(access_tokens.delete_expired_login_tokens, 10, 10) == 1


@ensureDeferred
async def test_tokens_belong_to_accounts(database: Database) -> None:
    """A token of nobody cannot be stored."""
    with pytest.raises(psycopg2.IntegrityError):
        await _open(database, b"1", "D")
