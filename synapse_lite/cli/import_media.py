"""`import-media`: the media of a Synapse become media of this server."""

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click
from attrs import field, frozen
from psycopg2 import extensions

from synapse_lite.cli.exits import Exit
from synapse_lite.cli.explained import explained
from synapse_lite.cli.options import config_option
from synapse_lite.config.load import load
from synapse_lite.ids import random_text
from synapse_lite.matrix.media import OCTETS, clean_name, clean_type, is_media
from synapse_lite.media.incoming import Received, adopt
from synapse_lite.media.store import BlobStore
from synapse_lite.media.synapse_layout import local_file, remote_file
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.media import blobs, files
from synapse_lite.storage.media.files import NewMedia
from synapse_lite.storage.media.quarantine import Reason, quarantine
from synapse_lite.storage.pool import connect
from synapse_lite.storage.synapse.database import SynapseDatabase, SynapseDatabaseError
from synapse_lite.storage.synapse.media import SynapseMedia, local_media, remote_media
from synapse_lite.workers.media import build_store

TELL_EVERY = 1000
IMPORTED, PRESENT, MISSING, DAMAGED, INVALID = "imported", "already here", "missing", "damaged", "not valid"
_PROBLEMS = (MISSING, DAMAGED, INVALID)


@explained
@click.command("import-media")
@config_option
@click.option(
    "--media-store",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Synapse's media_store_path.",
)
@click.option(
    "--database",
    required=True,
    help="Synapse's database: postgresql://user:password@host/name, or an SQLite file.",
)
@click.option("--local-only", is_flag=True, help="Leave out copies of other servers' media.")
@click.option("--dry-run", is_flag=True, help="Look at everything, and change nothing.")
def import_media(
    *, config_paths: tuple[Path, ...], media_store: Path, database: str, local_only: bool, dry_run: bool
) -> None:
    """Take over the media of a Synapse of the same server name.

    Synapse's files and database stay as they are. What is here already is left alone: after an interruption the
    same command goes on, and it may be repeated while Synapse still runs. Files on the same file system are linked,
    not copied. Thumbnails are made anew when they are asked for, previews too.
    """
    config = load(config_paths, os.environ)
    try:
        with (
            SynapseDatabase.open(database) as synapse,
            closing(connect(config.database.dsn_kwargs())) as connection,
        ):
            incoming = config.media_store_path / "incoming"
            importer = Importer(
                connection, build_store(config), incoming, media_store, config.server_name, dry_run
            )
            for source in (local_media,) if local_only else (local_media, remote_media):
                for media in source(synapse):
                    importer.take(media)
    except SynapseDatabaseError as error:
        raise click.ClickException(f"Synapse's database: {error}") from None
    importer.tell()
    if any(importer.counts[problem] for problem in _PROBLEMS):
        raise SystemExit(Exit.FAILURE.value)


@frozen
class Importer:
    """One media after the other, each in transactions of its own, in the order of `storage/media/blobs.py`."""

    connection: extensions.connection
    store: BlobStore
    incoming: Path
    source: Path
    server_name: str
    dry_run: bool
    counts: Counter[str] = field(factory=Counter)
    sizes: Counter[str] = field(factory=Counter)

    def take(self, media: SynapseMedia) -> None:
        outcome = self._take(media)
        self.counts[outcome] += 1
        self.sizes[outcome] += media.size
        if outcome in _PROBLEMS:
            click.echo(f"{outcome}: mxc://{self._origin(media)}/{media.media_id}", err=True)
        if self.counts.total() % TELL_EVERY == 0:
            self.tell()

    def tell(self) -> None:
        would = "would be " if self.dry_run else ""
        parts = [
            f"{would if name == IMPORTED else ''}{name}: {count} ({self.sizes[name] / 1e6:.1f} MB)"
            for name, count in sorted(self.counts.items())
        ]
        click.echo(", ".join(parts) or "Synapse has no media")

    def _take(self, media: SynapseMedia) -> str:
        path = self._path(media)
        if path is None:
            return INVALID
        with self._transaction() as txn:
            present = files.read_media(txn, self._origin(media), media.media_id)
        if present is not None and present.sha256 is not None:
            return PRESENT
        if not path.is_file():
            return MISSING
        if path.stat().st_size != media.size:
            return DAMAGED
        if not self.dry_run:
            self._store(media, path)
        return IMPORTED

    def _store(self, media: SynapseMedia, path: Path) -> None:
        received = self._receive(path)
        try:
            with self._transaction() as txn:
                blobs.hold(txn, received.sha256, received.size, _now_ms())
            self.store.put(received.sha256, received.path)
            with self._transaction() as txn:
                self._write(txn, media, received)
        finally:
            received.discard()

    def _receive(self, path: Path) -> Received:
        self.incoming.mkdir(parents=True, exist_ok=True)
        copy = self.incoming / f"import-{random_text(16)}"
        try:
            copy.hardlink_to(path)
        except OSError:  # on another file system
            shutil.copyfile(path, copy)
        return adopt(copy)

    def _write(self, txn: Transaction, media: SynapseMedia, received: Received) -> None:
        new = NewMedia(
            self._origin(media),
            media.media_id,
            media.user_id if media.origin is None else None,
            clean_type(media.media_type or OCTETS),
            clean_name(media.upload_name),
            media.created_ts,
            media.authenticated,
        )
        stored = files.add(txn, new, received.sha256, received.size)
        if media.protected:
            files.protect(txn, new.origin, new.media_id, True)
        if media.last_access_ts is not None and stored is not None:
            files.note_access(txn, [stored.nid], media.last_access_ts)
        if media.quarantined_by is not None:
            reason = Reason(media.quarantined_by, "import-media", _now_ms())
            quarantine(txn, [(new.origin, new.media_id)], reason)

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        with self.connection, self.connection.cursor() as cursor:
            txn = Transaction(cursor)
            yield txn
            txn.commit()

    def _path(self, media: SynapseMedia) -> Path | None:
        if not is_media(self._origin(media), media.media_id):
            return None
        if media.origin is None:
            return local_file(self.source, media.media_id)
        return remote_file(self.source, media.origin, media.file_id or "")

    def _origin(self, media: SynapseMedia) -> str:
        return media.origin or self.server_name


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
