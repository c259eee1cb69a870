"""The signing key file: Synapse's format, made when there is none."""

import logging
from pathlib import Path

from synapse_lite.config.private_files import create_private_file
from synapse_lite.errors import ConfigError
from synapse_lite.matrix.signing import (
    SigningKey,
    generate_signing_key,
    read_signing_key,
    write_signing_key,
)

logger = logging.getLogger(__name__)


def load_signing_key(path: Path, server_name: str) -> SigningKey:
    """The key in the file. Processes that start together agree on the one that is made first."""
    try:
        if not path.exists():
            logger.warning("signing_key_path: %s is not there: a new key is made", path)
            create_private_file(path, write_signing_key(generate_signing_key(server_name)))
        return read_signing_key(path.read_text("utf-8"), server_name)
    except (OSError, ValueError, ConfigError) as error:
        raise ConfigError(f"signing_key_path: {path}: {error}") from None
