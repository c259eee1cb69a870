"""Where Synapse keeps the bytes of media below its `media_store_path`."""

from pathlib import Path

from synapse_lite.matrix.media import is_media

_ANY = "any.test"


def local_file(store: Path, media_id: str) -> Path | None:
    """Of the server's own media; None for an id that cannot be one."""
    return _below(store / "local_content", media_id)


def remote_file(store: Path, origin: str, file_id: str) -> Path | None:
    """Of a copy of another server's; `file_id` is Synapse's own name for it."""
    if not is_media(origin, file_id):
        return None
    return _below(store / "remote_content" / origin, file_id)


def _below(directory: Path, name: str) -> Path | None:
    if not is_media(_ANY, name) or len(name) < 5:  # noqa: PLR2004 (two directories, and a name)
        return None
    return directory / name[:2] / name[2:4] / name[4:]
