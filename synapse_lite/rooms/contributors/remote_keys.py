"""Keys of other servers' users are forgotten when a shared room ends: from then on nobody tells when they change."""

from attrs import frozen

from synapse_lite.ids import is_local
from synapse_lite.rooms.values import Written
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.remote_keys import forget_keys, forget_keys_of_room


@frozen
class ForgetRemoteKeys:
    """After the memberships are written. What is still wanted is asked for again."""

    server_name: str

    def __call__(self, txn: Transaction, written: Written) -> None:
        for room_nid, deltas in written.deltas.items():
            gone = {delta.key[1] for delta in deltas if delta.is_departure}
            forget_keys(txn, {user_id for user_id in gone if not is_local(user_id, self.server_name)})
            if any(is_local(user_id, self.server_name) for user_id in gone):
                forget_keys_of_room(txn, room_nid, self.server_name)
