"""Who may invite (the option `block_non_admin_invites`), and who wants no invites (client-server API, "Invite Permission"; MSC4380)."""

from collections.abc import Collection

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, forbidden
from synapse_lite.handlers.requester import Requester
from synapse_lite.storage.account_data import GLOBAL, account_data_of_users, read_account_data
from synapse_lite.storage.database import Transaction

TYPE = "m.invite_permission_config"
BLOCK = "block"


def check_may_invite(requester: Requester, *, admins_only: bool) -> None:
    """403 `M_FORBIDDEN` where the operator lets nobody but admins invite. Who is shadow-banned does not come to know it."""
    if admins_only and not requester.is_admin and not requester.shadow_banned:
        raise forbidden("Invites have been disabled on this server")


def hides_invites(txn: Transaction, user_id: str) -> bool:
    """Whether the user's clients are shown none: those from before, and what other servers bring into rooms in spite of it."""
    return blocks_invites(read_account_data(txn, user_id, GLOBAL, TYPE))


def blocks_invites(content: JsonObject | None) -> bool:
    """A client may have written anything."""
    return (content or {}).get("default_action") == BLOCK


def check_invitable(txn: Transaction, user_ids: Collection[str]) -> None:
    """403 `M_INVITE_BLOCKED` when one of these users, of this server, has said that they want none."""
    said = account_data_of_users(txn, user_ids, GLOBAL, TYPE)
    if any(map(blocks_invites, said.values())):
        raise MatrixError(403, Errcode.INVITE_BLOCKED, "You are not permitted to invite this user.")
