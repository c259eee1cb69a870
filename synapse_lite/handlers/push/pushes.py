"""What there is to push to one app now. Runs in database threads, in a snapshot."""

from collections.abc import Collection, Sequence

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.config.push import Push as PushOptions
from synapse_lite.handlers.ignored_users import read_ignored
from synapse_lite.handlers.unread.reader import UnreadReader
from synapse_lite.matrix.push_gateway import EVENT_ID_ONLY, Surroundings, badge, device_of, notification
from synapse_lite.storage import rooms
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import View
from synapse_lite.storage.notices import mark_of, read_marks
from synapse_lite.storage.pushers import ClaimedPusher, Queued, count_invites, queued_for
from synapse_lite.storage.room_summary import read_summaries
from synapse_lite.storage.stream import read_position

MAX_AT_ONCE = 10
"""Of more the newest ones are pushed: after an outage nobody wants to hear all of it."""

MAX_AGE_MS = 24 * 60 * 60 * 1000
Wanted = Sequence[tuple[Queued, View]]


@frozen
class Push:
    """A request to make, and up to which position all is pushed then."""

    upto: int
    body: JsonObject


@frozen
class Work:
    """The pushes in order; `upto`: when they are made, everything up to there is pushed. `unread`: the badge."""

    pushes: Sequence[Push]
    upto: int
    unread: int


@frozen
class PushReader:
    reader: UnreadReader
    options: PushOptions

    def work_for(self, txn: Transaction, claimed: Sequence[ClaimedPusher], now_ms: int) -> list[Work]:
        """Of pushers of one user. Without what is read, redacted or old, and of rooms that the user is out of."""
        user_id = claimed[0].pusher.user_id
        queued = queued_for(txn, user_id, min(one.pushed_upto for one in claimed))
        unread = self._unread(txn, user_id)
        wanted = self._wanted(txn, user_id, [one for one in queued if one.queued_ts > now_ms - MAX_AGE_MS])
        return [self._work(txn, one, queued, wanted, unread) for one in claimed]

    def _work(
        self, txn: Transaction, claimed: ClaimedPusher, queued: Sequence[Queued], wanted: Wanted, unread: int
    ) -> Work:
        upto = queued[-1].position if queued else claimed.pushed_upto
        device = self._device(claimed)
        pushes = [
            Push(one.position, self._body(txn, claimed, device, one, view, unread))
            for one, view in wanted
            if one.position > claimed.pushed_upto
        ]
        if not pushes and unread != claimed.badge:
            pushes = [Push(upto, badge(device, unread))]
        return Work(pushes, max(upto, claimed.pushed_upto), unread)

    def _wanted(self, txn: Transaction, user_id: str, queued: Collection[Queued]) -> Wanted:
        room_nids = {one.room_nid for one in queued}
        if not room_nids:
            return []
        memberships = {
            one.room_nid: one.membership for one in rooms.memberships_of(txn, user_id, ("join", "invite"))
        }
        marks = read_marks(txn, user_id, room_nids)
        unseen = [
            one
            for one in queued
            if one.room_nid in memberships and one.position > mark_of(marks[one.room_nid], one.thread_id)
        ][-MAX_AT_ONCE:]
        views = {
            view.stored.nid: view for view in self.reader.events.views(txn, [one.event_nid for one in unseen])
        }
        return [
            (one, view)
            for one in unseen
            if (view := views.get(one.event_nid)) is not None and view.redaction is None
            and (memberships[one.room_nid] == "join" or view.stored.event.state_key == user_id)
        ]  # fmt: skip

    def _body(
        self,
        txn: Transaction,
        claimed: ClaimedPusher,
        device: JsonObject,
        queued: Queued,
        view: View,
        unread: int,
    ) -> JsonObject:
        pusher, event = claimed.pusher, view.stored.event
        only_ids = not self.options.include_content or pusher.data.get("format") == EVENT_ID_ONLY
        around = Surroundings() if only_ids else self._surroundings(txn, queued.room_nid, event.sender)
        return notification(event, pusher.user_id, device, queued.tweaks, around, unread, only_ids=only_ids)

    def _surroundings(self, txn: Transaction, room_nid: int, sender: str) -> Surroundings:
        summary = read_summaries(txn, [room_nid]).get(room_nid)
        name = self.reader.display_names(txn, room_nid, [sender]).get(sender)
        if summary is None:
            return Surroundings(sender_name=name)
        return Surroundings(summary.name or summary.canonical_alias, summary.canonical_alias, name)

    def _unread(self, txn: Transaction, user_id: str) -> int:
        """Rooms with something unread, or all that is unread; an invite counts one."""
        joined = rooms.joined_rooms(txn, user_id)
        counts = self.reader.count(txn, user_id, joined, read_position(txn))
        totals = [one.total.notifications for one in counts.values()]
        by_room = self.options.group_unread_count_by_room
        invites = count_invites(txn, user_id, read_ignored(txn, user_id))
        return sum(bool(total) if by_room else total for total in totals) + invites

    def _device(self, claimed: ClaimedPusher) -> JsonObject:
        pusher = claimed.pusher
        return device_of(pusher.app_id, pusher.pushkey, claimed.created_ts, pusher.data)
