"""What servers say to each other of their users' presence (server-server API, "m.presence")."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import bad_json
from synapse_lite.handlers.federation.sending.recipients import Recipients
from synapse_lite.ids import domain_of, is_local, is_user_id
from synapse_lite.matrix.presence import OFFLINE, STATES, Presence
from synapse_lite.storage import presence as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.outgoing import OutgoingEdu
from synapse_lite.storage.room_servers import all_servers, shared_rooms
from synapse_lite.storage.stream import Change, Kind

EDU = "m.presence"
MAX_USERS = 500  # of one EDU
MAX_STATUS = 2_000
LONGEST_AGO_MS = 100 * 365 * 24 * 3_600_000


@frozen
class ToldPresence:
    """`is_kept`: whether the configuration wants it."""

    clock: Clock
    is_kept: bool

    def take(self, txn: Transaction, origin: str, content: JsonObject) -> None:
        """Of the origin's own users, as far as they are in a room here; whatever else it says is left out."""
        if not self.is_kept:
            return
        pushed = content.get("push")
        if not isinstance(pushed, list):
            raise bad_json("'push' must be a list")
        now_ms = self.clock.now_ms()
        told = dict(_told(origin, pushed[:MAX_USERS], now_ms))
        for user_id in store.in_any_room(txn, told):
            store.put_told(txn, user_id, told[user_id], now_ms)


@frozen
class TellPresence:
    """`excluded` are rooms that do not count, by id."""

    recipients: Recipients
    excluded: Collection[str]
    clock: Clock

    def __call__(self, txn: Transaction, changes: Sequence[Change]) -> list[OutgoingEdu]:
        """Of each of our users the newest, to the servers with which they share a room."""
        name = self.recipients.server_name
        newest = {
            change.user_id: store.presence_told(change)
            for change in changes
            if change.kind is Kind.PRESENCE and change.user_id and is_local(change.user_id, name)
        }
        if not newest:
            return []
        now_ms, servers = self.clock.now_ms(), self._servers(txn, newest)
        return [
            OutgoingEdu(
                servers[user_id],
                EDU,
                {"push": [{"user_id": user_id, **presence.content(now_ms)}]},
                key=f"presence {user_id}",
                is_passing=True,
            )
            for user_id, presence in newest.items()
            if servers.get(user_id)
        ]

    def _servers(self, txn: Transaction, user_ids: Collection[str]) -> dict[str, list[str]]:
        found: dict[str, set[str]] = {}
        of_room: dict[int, list[str]] = {}
        for user_id, room_nid in shared_rooms(txn, user_ids, self.recipients.server_name, self.excluded):
            if room_nid not in of_room:
                of_room[room_nid] = all_servers(txn, room_nid)
            found.setdefault(user_id, set()).update(of_room[room_nid])
        return {user_id: self.recipients.among(names) for user_id, names in found.items()}


def _told(origin: str, pushed: list[Any], now_ms: int) -> Iterator[tuple[str, Presence]]:
    for one in pushed:
        if not isinstance(one, dict):
            continue
        user_id, state, status_msg = (one.get(key) for key in ("user_id", "presence", "status_msg"))
        if not isinstance(user_id, str) or not is_user_id(user_id) or domain_of(user_id) != origin:
            continue
        if state not in STATES:
            continue
        is_active = state != OFFLINE and one.get("currently_active") is True
        words = status_msg[:MAX_STATUS].replace("\0", "") if isinstance(status_msg, str) else None
        yield user_id, Presence(state, words, _last_active(one.get("last_active_ago"), now_ms), is_active)


def _last_active(ago: Any, now_ms: int) -> int:
    """0: it is not known."""
    is_known = isinstance(ago, int) and not isinstance(ago, bool) and 0 <= ago <= LONGEST_AGO_MS
    return now_ms - ago if is_known else 0
