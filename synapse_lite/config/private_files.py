"""Files of the server: some only their owner may read, from the moment they exist."""

import errno
import os
import tempfile
from pathlib import Path


def create_private_file(path: Path, text: str) -> None:
    """Make the file as a whole, unless there is one: of processes that start together, one is first. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        try:
            os.link(file.name, path)
        except FileExistsError:
            return


def check_writable(path: Path) -> None:
    """Raises OSError when the file cannot be written, or cannot be made with the directories that it needs."""
    existing = path
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not os.access(existing, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(existing))
    if existing != path and not existing.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(existing))
