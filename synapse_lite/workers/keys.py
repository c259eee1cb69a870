"""The signing key file: Synapse's format, made when there is none."""

import os
from contextlib import suppress
from pathlib import Path

from synapse_lite.errors import ConfigError
from synapse_lite.matrix.signing import (
    SigningKey,
    generate_signing_key,
    read_signing_key,
    write_signing_key,
)


def load_signing_key(path: Path, server_name: str) -> SigningKey:
    """The key in the file. Processes that start together agree on the one that is made first."""
    if not path.exists():
        _create(path, write_signing_key(generate_signing_key(server_name)))
    try:
        return read_signing_key(path.read_text("utf-8"), server_name)
    except (OSError, ValueError) as error:
        raise ConfigError(f"signing_key_path: {path}: {error}") from None


def _create(path: Path, text: str) -> None:
    """Whole or not at all: the file appears under its name with its content."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, "utf-8")
        draft.chmod(0o600)
        with suppress(FileExistsError):
            os.link(draft, path)
    except OSError as error:
        raise ConfigError(f"signing_key_path: {error}") from None
    finally:
        draft.unlink(missing_ok=True)
