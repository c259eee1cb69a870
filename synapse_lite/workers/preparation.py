"""What must be right before a process opens a port: the files that it writes, and its database."""

import logging
from contextlib import closing

from synapse_lite.config.model import Config
from synapse_lite.config.private_files import check_writable
from synapse_lite.errors import ConfigError, SynapseLiteError
from synapse_lite.matrix.signing import SigningKey, encode_base64
from synapse_lite.storage.database import DatabaseError
from synapse_lite.storage.diagnosis import DatabaseFacts, read_facts
from synapse_lite.storage.migrate import migrate
from synapse_lite.storage.outage import describe_error
from synapse_lite.storage.pool import CONNECT_SECONDS
from synapse_lite.storage.server_identity import ServerIdentity, claim_identity
from synapse_lite.storage.session import Session
from synapse_lite.workers.roles import Role

logger = logging.getLogger(__name__)


class DatabaseUnusableError(SynapseLiteError):
    """The database cannot be reached, or does not let this server in."""


def check_files_to_write(config: Config) -> None:
    """Raises ConfigError for the first that cannot be written, or made."""
    role = Role.of(config)
    for option, path in (
        ("pid_file", config.effective_pid_file),
        ("registration_shared_secret_path", config.registration_shared_secret_path),
        ("media_store_path", config.media_store_path if role.serves_media or role.keeps_files else None),
    ):
        if path is not None:
            try:
                check_writable(path)
            except OSError as error:
                raise ConfigError(f"{option}: {error}") from None


def prepare_database(config: Config, signing_key: SigningKey) -> None:
    """Migrate it, and see that it is this server's. Blocks.

    Raises ConfigError, SchemaTooNewError, DatabaseUnusableError.
    """
    arguments = config.database.dsn_kwargs()
    args = config.database.args
    logger.info(
        "connecting to database %s at %s (no longer than %s s for each of its addresses)",
        args.dbname or "(the role's)",
        args.host or "the local socket",
        arguments.get("connect_timeout", CONNECT_SECONDS),
    )
    try:
        with closing(Session(arguments, {})) as session:
            _check_fit(session.read(read_facts), any_locale=config.database.allow_unsafe_locale)
            migrate(arguments)
            session.transact(
                claim_identity, server_identity(config.server_name, signing_key), retired_public_keys(config)
            )
    except DatabaseError as error:
        raise DatabaseUnusableError(f"database: {describe_error(error)}") from error


def server_identity(server_name: str, signing_key: SigningKey) -> ServerIdentity:
    public_key = encode_base64(signing_key.verify_key.encode())
    return ServerIdentity(server_name, signing_key.key_id, public_key)


def retired_public_keys(config: Config) -> list[tuple[str, str]]:
    """Key ids and public keys of `old_signing_keys`."""
    return [(key_id, old.key) for key_id, old in config.old_signing_keys.items()]


def _check_fit(facts: DatabaseFacts, *, any_locale: bool) -> None:
    if unfit := facts.unfit:
        raise ConfigError(f"database: {unfit.problem}: {unfit.remedy}")
    if (unsafe := facts.unsafe_locale) and not any_locale:
        logger.warning("database: %s: %s", unsafe.problem, unsafe.remedy)
