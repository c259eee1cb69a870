"""Check of whose database this is."""

from contextlib import suppress

from synapse_lite.cli.doctor.findings import Finding, error, ok, warning
from synapse_lite.cli.doctor.startup import signing_key
from synapse_lite.config.model import Config
from synapse_lite.errors import ConfigError
from synapse_lite.storage.server_identity import ServerIdentity, describe_difference
from synapse_lite.workers.preparation import retired_public_keys, server_identity


def check_owner(stored: ServerIdentity | None, config: Config) -> Finding:
    if stored is None:
        return ok("owner", "no server has started on this database yet")
    key = None
    with suppress(ConfigError, OSError, ValueError):  # the check of the startup tells of an unreadable one
        key = signing_key(config)
    if key is None:
        return warning(
            "owner",
            f"the database belongs to {stored.server_name} with the key {stored.key_id}, whose file is not there",
            "put the file of the signing key back before the server starts",
        )
    problem = describe_difference(
        stored, server_identity(config.server_name, key), retired_public_keys(config)
    )
    if problem:
        return error("owner", "the server would not start: this is another server's database", problem)
    return ok("owner", f"the database is that of {stored.server_name}, which signs with {key.key_id}")
