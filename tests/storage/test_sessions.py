"""Devices and access tokens."""

import psycopg2
import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage import accounts, sessions
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database, Row
from synapse_lite.storage.sessions import Session, Use
from synapse_lite.storage.stream import Change, Kind

USER = "@user:hs.test"


async def _user(database: Database) -> None:
    await database.transact(accounts.create_account, NewAccount(USER, 1))


async def _open(
    database: Database, token: bytes, device: str | None, name: str | None = None, until: int | None = None
) -> None:
    await database.transact(
        sessions.create_session, USER, device, token, 1, display_name=name, valid_until_ts=until
    )


async def _find(database: Database, token: bytes) -> Session | None:
    return await database.read(sessions.find_session, token)


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
    await _open(database, b"1", "D", "first")
    assert changes == []
    await _open(database, b"2", "D", "second")
    assert [(change.kind, change.user_id) for change in changes] == [(Kind.SESSION, USER)]
    assert await _find(database, b"1") is None
    assert await _find(database, b"2") is not None
    assert await _devices(database) == [("D", "first")]


@ensureDeferred
async def test_closing_a_session_deletes_its_device_only(database: Database, changes: list[Change]) -> None:
    """Other devices stay; closing again does nothing and announces nothing."""
    await _user(database)
    await _open(database, b"1", "D")
    await _open(database, b"2", "E")
    await database.transact(sessions.delete_session, b"1")
    await database.transact(sessions.delete_session, b"1")
    assert await _find(database, b"1") is None
    assert await _devices(database) == [("E", None)]
    assert len(changes) == 1


@ensureDeferred
async def test_closing_all_sessions_can_spare_one(database: Database, changes: list[Change]) -> None:
    """Tokens with and without devices go; the spared one keeps its device."""
    await _user(database)
    for token, device in ((b"1", "D"), (b"2", "E"), (b"3", None)):
        await _open(database, token, device)
    spared = await _find(database, b"2")
    assert spared is not None
    await database.transact(sessions.delete_all_sessions, USER, except_token_nid=spared.token_nid)
    assert [bool(await _find(database, token)) for token in (b"1", b"2", b"3")] == [False, True, False]
    assert await _devices(database) == [("E", None)]
    await database.transact(sessions.delete_all_sessions, USER)
    assert await _devices(database) == []
    assert [change.kind for change in changes] == [Kind.SESSION] * 2


@ensureDeferred
async def test_expired_tokens_are_deleted_in_bounded_steps(database: Database) -> None:
    """Only tokens whose time is over go, at most as many as asked."""
    await _user(database)
    for number, until in enumerate((10, 20, 30, None)):
        await _open(database, bytes([number]), f"D{number}", until=until)
    assert await database.transact(sessions.delete_expired_tokens, 20, 1) == 1
    assert await database.transact(sessions.delete_expired_tokens, 20, 10) == 1
    assert [bool(await _find(database, bytes([number]))) for number in range(4)] == [False, False, True, True]


@ensureDeferred
async def test_uses_are_written_for_devices_that_exist(database: Database) -> None:
    """A device that was deleted meanwhile does not come back."""
    await _user(database)
    await _open(database, b"1", "D")
    uses = [Use(USER, "D", 5, "192.0.2.1", "agent"), Use(USER, "gone", 5, "192.0.2.1", "agent")]
    await database.transact(sessions.write_uses, uses)
    rows = await database.read(
        lambda txn: txn.rows(
            "SELECT device_id, last_seen_ts, last_seen_ip, last_seen_user_agent FROM devices"
        )
    )
    assert rows == [("D", 5, "192.0.2.1", "agent")]


@ensureDeferred
async def test_sessions_belong_to_accounts(database: Database) -> None:
    """A token of nobody cannot be stored."""
    with pytest.raises(psycopg2.IntegrityError):
        await _open(database, b"1", "D")
