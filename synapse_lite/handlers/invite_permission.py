"""Who wants no invites (client-server API, "Invite Permission"; MSC4380)."""

from collections.abc import Collection

from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.storage.account_data import GLOBAL, account_data_of_users
from synapse_lite.storage.database import Transaction

TYPE = "m.invite_permission_config"
BLOCK = "block"


def check_invitable(txn: Transaction, user_ids: Collection[str]) -> None:
    """403 `M_INVITE_BLOCKED` when one of these users, of this server, has said that they want none."""
    said = account_data_of_users(txn, user_ids, GLOBAL, TYPE)
    if any(content.get("default_action") == BLOCK for content in said.values()):
        raise MatrixError(403, Errcode.INVITE_BLOCKED, "You are not permitted to invite this user.")
