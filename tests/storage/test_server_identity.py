"""A database belongs to one server name and its signing key."""

import attrs
import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.errors import ConfigError
from synapse_lite.storage.database import Database
from synapse_lite.storage.server_identity import ServerIdentity, claim_identity, read_identity

OURS = ServerIdentity("hs.test", "ed25519:a_1", "public key")
NEW_KEY = attrs.evolve(OURS, key_id="ed25519:a_2", public_key="another")


@ensureDeferred
async def test_the_first_start_decides(database: Database) -> None:
    """Later ones with the same name and key go on; another name or key is refused, and changes nothing."""
    await database.transact(claim_identity, OURS, [])
    await database.transact(claim_identity, OURS, [])
    with pytest.raises(ConfigError, match=r"belongs to hs\.test, not to other\.test"):
        await database.transact(claim_identity, attrs.evolve(OURS, server_name="other.test"), [])
    with pytest.raises(ConfigError, match="holds ed25519:a_2, but the server signs with ed25519:a_1"):
        await database.transact(claim_identity, NEW_KEY, [])
    assert await database.read(read_identity) == OURS


@ensureDeferred
async def test_a_key_is_replaced_on_purpose(database: Database) -> None:
    """Who lists the old key in old_signing_keys takes the new one; then the old one is refused."""
    await database.transact(claim_identity, OURS, [])
    await database.transact(claim_identity, NEW_KEY, [(OURS.key_id, OURS.public_key)])
    assert await database.read(read_identity) == NEW_KEY
    with pytest.raises(ConfigError, match="holds ed25519:a_1, but the server signs with ed25519:a_2"):
        await database.transact(claim_identity, OURS, [])
