"""`export-user`: as Synapse's `admin_cmd export-data`, and the bytes of media besides."""

import os
from collections.abc import Iterable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import click
import orjson
from psycopg2 import extensions
from twisted.internet import reactor

from synapse_lite.canonical_json import JsonObject
from synapse_lite.cli.explained import explained
from synapse_lite.cli.options import config_option
from synapse_lite.clock import ReactorClock
from synapse_lite.config.load import load
from synapse_lite.handlers.retention import Retention
from synapse_lite.handlers.user_export import OwnRoom, UserExport
from synapse_lite.handlers.visibility import Visibility
from synapse_lite.ids import is_user_id
from synapse_lite.media.store import BlobMissingError, BlobStore
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.media.files import Media
from synapse_lite.storage.pool import connect
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.stream import START, Place
from synapse_lite.workers.media import build_store
from synapse_lite.workers.retention import retention_policy

CACHE_BYTES = 16 * 1024 * 1024
MEDIA_A_READ = 100
COPY_BYTES = 1024 * 1024
MAX_NAME = 255  # bytes of a file's


@explained
@click.command("export-user")
@config_option
@click.option(
    "--output-directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to write; it must be empty. Default: export-<user> in the working directory.",
)
@click.argument("user_id")
def export_user(*, config_paths: tuple[Path, ...], output_directory: Path | None, user_id: str) -> None:
    """Write what the server keeps of USER_ID into a directory: account, devices, account data, reports, rooms, media.

    Passwords, tokens and keys are left out. The server may run meanwhile.
    """
    config = load(config_paths, os.environ)
    if not is_user_id(user_id):
        raise click.UsageError(f"{user_id} is no user ID, such as @alice:{config.server_name}")
    directory = output_directory or Path(f"export-{user_id.lstrip('@').replace(':', '-')}")
    if directory.exists() and any(directory.iterdir()):
        raise click.UsageError(f"{directory} is not empty")
    clock = ReactorClock(reactor)
    events, state = EventStore(CACHE_BYTES), StateStore(CACHE_BYTES)
    visibility = Visibility(events, state, Retention(retention_policy(config.retention), clock))
    with closing(connect(config.database.dsn_kwargs())) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        archive = Archive(
            directory, connection, UserExport(events, visibility, clock), build_store(config), user_id
        )
        archive.write()
    click.echo(f"{user_id} is exported to {directory}")


class Archive:
    """The directory. All reads are of one moment."""

    def __init__(
        self,
        directory: Path,
        connection: extensions.connection,
        export: UserExport,
        store: BlobStore,
        user_id: str,
    ) -> None:
        self._directory = directory
        self._connection = connection
        self._export = export
        self._store = store
        self._user_id = user_id

    def write(self) -> None:
        """`ClickException` for an unknown user."""
        with self._connection.cursor() as cursor:
            txn = Transaction(cursor, read_only=True)
            profile = self._export.profile(txn, self._user_id)
            if profile is None:
                raise click.ClickException(f"{self._user_id} is not known")
            own = self._directory / "user_data"
            _write(own / "profile", [profile])
            _write(own / "devices", self._export.devices(txn, self._user_id))
            _write(own / "connections", self._export.connections(txn, self._user_id))
            _write(own / "account_data" / "global", [self._export.account_data(txn, self._user_id, None)])
            for name, rows in self._export.other_rows(txn, self._user_id):
                _write(own / name, rows)
            for room in self._export.rooms(txn, self._user_id):
                self._write_room(txn, room)
            self._write_media(txn)

    def _write_room(self, txn: Transaction, room: OwnRoom) -> None:
        name = _name_of(room.room_id)
        directory = self._directory / "rooms" / name
        _write(directory / "membership", [{"room_id": room.room_id, "membership": room.membership}])
        _write_lines(directory / "state", self._export.state_of_room(txn, room))
        stripped = self._export.stripped_state(txn, room, self._user_id)
        if stripped:
            _write(directory / f"{room.membership}_state", stripped)
        data = self._export.account_data(txn, self._user_id, room.nid)
        if data:
            _write(self._directory / "user_data" / "account_data" / name, [data])
        after: Place | None = START
        while after is not None:
            page = self._export.events_of_room(txn, room, self._user_id, after)
            _write_lines(directory / "events", page.events)
            after = page.after

    def _write_media(self, txn: Transaction) -> None:
        last: Media | None = None
        while found := self._export.media(txn, self._user_id, last, MEDIA_A_READ):
            last = found[-1]
            for media in found:
                self._write_one(media)

    def _write_one(self, media: Media) -> None:
        own = self._directory / "user_data"
        about = {
            "media_id": media.media_id,
            "media_type": media.media_type,
            "media_length": media.size,
            "upload_name": media.upload_name,
            "created_ts": media.created_ts,
            "last_access_ts": media.last_access_ts,
        }
        _write(own / "media_ids" / media.media_id, [about])
        if media.sha256 is None:
            return
        path = own / "media" / media.media_id
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._store.open(media.sha256) as reading, path.open("wb") as file:
                while chunk := reading.read(COPY_BYTES):
                    file.write(chunk)
        except BlobMissingError as error:
            click.echo(f"{media.media_id}: {error}", err=True)


def _name_of(room_id: str) -> str:
    """For files: an id of 255 bytes may be longer when it is quoted. The file `membership` has the id as it is."""
    name = quote(room_id, safe="!:")
    if len(name) <= MAX_NAME:
        return name
    digest = sha256(room_id.encode()).hexdigest()
    return f"{name[: MAX_NAME - len(digest) - 1]}-{digest}"


def _write(path: Path, items: Iterable[JsonObject]) -> None:
    _write_lines(path, [orjson.dumps(item) for item in items])


def _write_lines(path: Path, lines: Iterable[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.writelines(line + b"\n" for line in lines)
