"""Backups of room keys. A user has versions of which the newest that is not deleted is the current one."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from synapse_lite.matrix.key_backup import RoomKey
from synapse_lite.storage.database import Transaction

DELETED_AT_ONCE = 1000
"""Keys that go in one transaction. The others of a deleted version follow in the background."""


class BackupVersion(NamedTuple):
    """`auth_data` is JSON; `etag` changes with the keys, `size` is how many there are."""

    version: int
    algorithm: str
    auth_data: str
    etag: int
    size: int


_VERSION = "version, algorithm, auth_data, etag, count"
_KEY = "room_id, session_id, is_verified, first_message_index, forwarded_count, session_data"


def create_version(txn: Transaction, user_id: str, algorithm: str, auth_data: str) -> int:
    """The number of the new version: higher than that of any earlier one, deleted ones too.

    What is left of deleted ones goes, as the new one has the highest number now.
    """
    version = int(
        txn.value(
            "INSERT INTO key_backups (user_id, version, algorithm, auth_data)"
            " SELECT %s, coalesce(max(version), 0) + 1, %s, %s FROM key_backups WHERE user_id = %s"
            " RETURNING version",
            (user_id, algorithm, auth_data, user_id),
        )
    )
    txn.later(
        "DELETE FROM key_backups AS old WHERE user_id = %s AND deleted AND count = 0 AND NOT EXISTS ("
        " SELECT FROM key_backup_sessions AS key WHERE (key.user_id, key.version) = (old.user_id, old.version))",
        (user_id,),
    )
    return version


def lock_versions(txn: Transaction, user_id: str) -> int:
    """How many the user has, without deleted ones. Nobody else creates one until the transaction ends."""
    txn.execute("SELECT FROM users WHERE user_id = %s FOR NO KEY UPDATE", (user_id,))
    return int(txn.value("SELECT count(*) FROM key_backups WHERE user_id = %s AND NOT deleted", (user_id,)))


def find_version(txn: Transaction, user_id: str, version: int | None) -> BackupVersion | None:
    """That version, or the current one; None when it is deleted, or never was."""
    which = "" if version is None else "AND version = %s"
    row = txn.row(
        f"SELECT {_VERSION} FROM key_backups WHERE user_id = %s AND NOT deleted {which}"
        " ORDER BY version DESC LIMIT 1",
        (user_id,) if version is None else (user_id, version),
    )
    return BackupVersion(*row) if row else None


def lock_version(txn: Transaction, user_id: str, version: int) -> BackupVersion | None:
    """As `find_version`; nobody else writes its keys until the transaction ends."""
    row = txn.row(
        f"SELECT {_VERSION} FROM key_backups WHERE user_id = %s AND version = %s AND NOT deleted"
        " FOR NO KEY UPDATE",
        (user_id, version),
    )
    return BackupVersion(*row) if row else None


def set_auth_data(txn: Transaction, user_id: str, version: int, auth_data: str) -> None:
    txn.execute(
        "UPDATE key_backups SET auth_data = %s WHERE user_id = %s AND version = %s",
        (auth_data, user_id, version),
    )


def delete_version(txn: Transaction, user_id: str, version: int) -> bool:
    """False when there is none. Most of many keys are deleted later, by `delete_keys_of_deleted`."""
    deleted = txn.execute(
        "UPDATE key_backups SET deleted = TRUE WHERE user_id = %s AND version = %s AND NOT deleted",
        (user_id, version),
    )
    if deleted:
        _delete_some(txn, user_id, version, DELETED_AT_ONCE)
    return deleted == 1


def delete_all_versions(txn: Transaction, user_id: str) -> None:
    txn.execute("UPDATE key_backups SET deleted = TRUE WHERE user_id = %s AND NOT deleted", (user_id,))


def delete_keys_of_deleted(txn: Transaction, limit: int) -> int:
    """Delete at most `limit` keys of one deleted version; how many."""
    row = txn.row(
        "SELECT user_id, version FROM key_backups WHERE deleted AND count > 0"
        " ORDER BY user_id, version LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED"
    )
    return 0 if row is None else _delete_some(txn, row[0], row[1], limit)


def read_keys(
    txn: Transaction, user_id: str, version: int, room_id: str | None, session_id: str | None,
    after: tuple[str, str] | None, limit: int,
) -> list[RoomKey]:  # fmt: skip
    """The next keys of a version, of a room, or the one of a session, by room and session, after such a pair."""
    where, arguments = _where(user_id, version, room_id, session_id)
    if after is not None:
        where, arguments = f"{where} AND (room_id, session_id) > (%s, %s)", [*arguments, *after]
    rows = txn.rows(
        f"SELECT {_KEY} FROM key_backup_sessions {where} ORDER BY room_id, session_id LIMIT %s",
        (*arguments, limit),
    )
    return [RoomKey(*row) for row in rows]


def find_keys(
    txn: Transaction, user_id: str, version: int, sessions: Collection[tuple[str, str]]
) -> dict[tuple[str, str], RoomKey]:
    """The stored keys of (room, session) pairs."""
    rows = txn.rows(
        f"SELECT {_KEY} FROM key_backup_sessions"
        " JOIN unnest(%s::text[], %s::text[]) AS wanted (room_id, session_id) USING (room_id, session_id)"
        " WHERE user_id = %s AND version = %s",
        ([room_id for room_id, _ in sessions], [session_id for _, session_id in sessions], user_id, version),
    )
    return {(row[0], row[1]): RoomKey(*row) for row in rows}


def put_keys(
    txn: Transaction, user_id: str, version: BackupVersion, keys: Sequence[RoomKey], new: int
) -> BackupVersion:
    """Store or replace keys of a locked version, `new` of which were not there; the version after that."""
    if not keys:
        return version
    txn.insert(
        f"INSERT INTO key_backup_sessions (user_id, version, {_KEY}) VALUES %s"
        " ON CONFLICT (user_id, version, room_id, session_id) DO UPDATE SET"
        " is_verified = excluded.is_verified, first_message_index = excluded.first_message_index,"
        " forwarded_count = excluded.forwarded_count, session_data = excluded.session_data",
        [(user_id, version.version, *key) for key in keys],
    )
    return _changed(txn, user_id, version, new)


def delete_keys(
    txn: Transaction, user_id: str, version: BackupVersion, room_id: str | None, session_id: str | None
) -> tuple[BackupVersion, bool]:
    """Of a locked version all keys, those of a room, or the one of a session: at most `DELETED_AT_ONCE`.

    The version after that, and whether there may be more to delete.
    """
    where, arguments = _where(user_id, version.version, room_id, session_id)
    deleted = txn.execute(
        "DELETE FROM key_backup_sessions WHERE (user_id, version, room_id, session_id) IN ("
        f" SELECT user_id, version, room_id, session_id FROM key_backup_sessions {where} LIMIT %s)",
        (*arguments, DELETED_AT_ONCE),
    )
    left = _changed(txn, user_id, version, -deleted) if deleted else version
    return left, deleted == DELETED_AT_ONCE


def _where(
    user_id: str, version: int, room_id: str | None, session_id: str | None
) -> tuple[str, list[object]]:
    conditions, arguments = ["user_id = %s", "version = %s"], [user_id, version]
    if room_id is not None:
        conditions, arguments = [*conditions, "room_id = %s"], [*arguments, room_id]
    if session_id is not None:
        conditions, arguments = [*conditions, "session_id = %s"], [*arguments, session_id]
    return f"WHERE {' AND '.join(conditions)}", arguments


def _changed(txn: Transaction, user_id: str, version: BackupVersion, added: int) -> BackupVersion:
    etag, size = txn.rows(
        "UPDATE key_backups SET etag = etag + 1, count = count + %s"
        " WHERE user_id = %s AND version = %s RETURNING etag, count",
        (added, user_id, version.version),
    )[0]
    return version._replace(etag=etag, size=size)


def _delete_some(txn: Transaction, user_id: str, version: int, limit: int) -> int:
    deleted = txn.execute(
        "DELETE FROM key_backup_sessions WHERE (user_id, version, room_id, session_id) IN ("
        " SELECT user_id, version, room_id, session_id FROM key_backup_sessions"
        " WHERE user_id = %s AND version = %s LIMIT %s)",
        (user_id, version, limit),
    )
    txn.execute(
        "UPDATE key_backups SET count = count - %s WHERE user_id = %s AND version = %s",
        (deleted, user_id, version),
    )
    return deleted
