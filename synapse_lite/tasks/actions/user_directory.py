"""The user directory: a follower of profiles here, and of what rooms show of the users of other servers."""

from collections.abc import Sequence

from synapse_lite.ids import is_local
from synapse_lite.matrix.directory import directory_text, directory_tokens, shown_names
from synapse_lite.matrix.types import MEMBER
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.stream import Change, Kind
from synapse_lite.storage.user_directory import DirectoryRow, local_profiles, put_users, remove_users
from synapse_lite.tasks.followers import FollowerSpec, Shard

USER_DIRECTORY = FollowerSpec(
    name="user_directory",
    kinds=frozenset({Kind.EVENT, Kind.PROFILE}),
    batch=500,
    pause_seconds=0.2,
    delay_seconds=0.05,
)


class UserDirectory:
    """The follower `USER_DIRECTORY`."""

    def __init__(self, events: EventStore, server_name: str) -> None:
        self._events = events
        self._server_name = server_name

    def follow(self, txn: Transaction, changes: Sequence[Change], _shard: Shard) -> None:
        users = sorted({one.user_id for one in changes if one.kind is Kind.PROFILE and one.user_id})
        profiles = local_profiles(txn, users)
        rows = [_row(user_id, *profile, is_local=True) for user_id, profile in profiles.items()]
        remote = {row.user_id: row for row in self._remote(txn, changes)}
        put_users(txn, [*rows, *(row for _, row in sorted(remote.items()))])
        remove_users(txn, set(users) - profiles.keys())

    def _remote(self, txn: Transaction, changes: Sequence[Change]) -> list[DirectoryRow]:
        """In the order of the changes: the last one counts."""
        nids = [
            change.event_nid
            for change in changes
            if change.event_nid is not None
            and change.user_id is not None
            and not is_local(change.user_id, self._server_name)
        ]
        events = self._events.load(txn, nids)
        joins = [events[nid] for nid in nids if nid in events and _is_join(events[nid])]
        return [self._remote_row(stored) for stored in joins]

    def _remote_row(self, stored: StoredEvent) -> DirectoryRow:
        return _row(str(stored.event.state_key), *shown_names(stored.event.content), is_local=False)


def _is_join(stored: StoredEvent) -> bool:
    return stored.event.type == MEMBER and stored.event.membership == "join"


def _row(user_id: str, name: str | None, avatar: str | None, *, is_local: bool) -> DirectoryRow:
    text, found = directory_text(user_id, name), directory_tokens(user_id, name)
    return DirectoryRow(user_id, name, avatar, is_local, text, found)
