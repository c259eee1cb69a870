"""Which servers a room lets take part (`m.room.server_acl`)."""

from collections.abc import Collection

from synapse_lite.errors import forbidden
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.matrix.server_acl import is_server_allowed
from synapse_lite.storage.database import Transaction

SERVER_ACL = ("m.room.server_acl", "")


def shuts_out(txn: Transaction, current: CurrentState, room_nid: int, server_name: str) -> bool:
    """An ACL whose event is lost shuts out nobody: it must not stop all that comes for its room."""
    acl = current.read_known(txn, room_nid, [SERVER_ACL]).get(SERVER_ACL)
    return acl is not None and not is_server_allowed(acl.content, server_name)


def check_acl(txn: Transaction, current: CurrentState, room_nid: int, server_names: Collection[str]) -> None:
    """403 `M_FORBIDDEN` for a server that the room shuts out."""
    for server_name in server_names:
        if shuts_out(txn, current, room_nid, server_name):
            raise forbidden("Server is banned from room")
