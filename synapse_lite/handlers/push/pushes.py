"""What there is to push to apps now. Runs in database threads, in a snapshot."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache, partial

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.config.push import Push as PushOptions
from synapse_lite.handlers.ignored_users import TYPE as IGNORED
from synapse_lite.handlers.ignored_users import ignored_in
from synapse_lite.handlers.invite_permission import TYPE as INVITE_PERMISSION
from synapse_lite.handlers.invite_permission import blocks_invites
from synapse_lite.handlers.push_rules import PUSH_RULES
from synapse_lite.handlers.sync.values import RoomIds
from synapse_lite.handlers.unread import UnreadCounts
from synapse_lite.handlers.unread.counts import RoomCounts
from synapse_lite.handlers.unread.reader import Rules, UnreadReader
from synapse_lite.matrix.push_gateway import EVENT_ID_ONLY, Surroundings, badge, device_of, notification
from synapse_lite.storage import rooms
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import View
from synapse_lite.storage.notices import Marks, Reader, mark_of, read_marks_of
from synapse_lite.storage.pushers import (
    MAX_AGE_MS,
    ClaimedPusher,
    PusherKey,
    Queued,
    global_data_of,
    invites_of,
    queued_for,
)
from synapse_lite.storage.room_summary import read_summaries

MAX_AT_ONCE = 10
"""Of more the newest ones are pushed: after an outage nobody wants to hear all of it."""

Wanted = Sequence[tuple[Queued, View]]
Around = Callable[[int, str], Surroundings]
"""Of a room, by nid, and a sender there."""


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
class _Standing:
    """How a user stands to the rooms that there may be something to push of; `unread`: the badge, with one for each invite."""

    user_id: str
    joined: Collection[int]
    invited: Collection[int]
    marks: Mapping[int, Marks]
    unread: int

    def unseen(self, queued: Sequence[Queued]) -> Sequence[Queued]:
        """The newest of what the user has not read."""
        return [
            one
            for one in queued
            if (one.room_nid in self.joined or one.room_nid in self.invited)
            and one.position > mark_of(self.marks[one.room_nid], one.thread_id)
        ][-MAX_AT_ONCE:]

    def shown(self, queued: Sequence[Queued], views: Mapping[int, View]) -> Iterator[tuple[Queued, View]]:
        """What is there and not redacted; who is invited only sees the invite."""
        for one in queued:
            view = views.get(one.event_nid)
            if view is None or view.redaction is not None:
                continue
            if one.room_nid in self.joined or view.stored.event.state_key == self.user_id:
                yield one, view


@frozen
class PushReader:
    """Badges come from the counts in memory: to count all that is unread takes longer than all the rest of a push."""

    reader: UnreadReader
    counts: UnreadCounts
    options: PushOptions

    def work_for(
        self, txn: Transaction, claimed: Sequence[ClaimedPusher], now_ms: int
    ) -> dict[PusherKey, Work]:
        """Of each pusher. Without what is read, redacted or old, and of rooms that the user is out of.

        What there is for several users is read together, but for their counts.
        """
        after: dict[str, int] = {}
        for one in claimed:
            user_id = one.pusher.user_id
            after[user_id] = min(after.get(user_id, one.pushed_upto), one.pushed_upto)
        queued = queued_for(txn, after)
        standings = self._standings(txn, queued)
        unseen = {
            user_id: standings[user_id].unseen(
                [one for one in of_user if one.queued_ts > now_ms - MAX_AGE_MS]
            )
            for user_id, of_user in queued.items()
        }
        nids = sorted({one.event_nid for of_user in unseen.values() for one in of_user})
        views = {view.stored.nid: view for view in self.reader.events.views(txn, nids)}
        wanted = {user_id: [*standings[user_id].shown(of_user, views)] for user_id, of_user in unseen.items()}
        surroundings = cache(partial(self._surroundings, txn))
        works = {}
        for one in claimed:
            user_id = one.pusher.user_id
            upto = queued[user_id][-1].position if queued[user_id] else one.pushed_upto
            works[one.key] = self._work(one, upto, wanted[user_id], standings[user_id].unread, surroundings)
        return works

    def _work(
        self, claimed: ClaimedPusher, upto: int, wanted: Wanted, unread: int, surroundings: Around
    ) -> Work:
        device = self._device(claimed)
        pushes = [
            Push(one.position, self._body(claimed, device, one, view, unread, surroundings))
            for one, view in wanted
            if one.position > claimed.pushed_upto
        ]
        if not pushes and unread != claimed.badge:
            pushes = [Push(upto, badge(device, unread))]
        return Work(pushes, max(upto, claimed.pushed_upto), unread)

    def _standings(self, txn: Transaction, queued: Mapping[str, Sequence[Queued]]) -> dict[str, _Standing]:
        position, joined = rooms.joined_rooms_of(txn, queued)
        invites = invites_of(txn, queued)
        data = global_data_of(txn, queued, (PUSH_RULES, IGNORED, INVITE_PERMISSION))
        marks = read_marks_of(
            txn,
            {user_id: {*joined[user_id], *(one.room_nid for one in queued[user_id])} for user_id in queued},
        )
        standings = {}
        for user_id in queued:
            stored = data.get(user_id, {})
            shown = [] if blocks_invites(stored.get(INVITE_PERMISSION)) else invites[user_id]
            reader = Reader(user_id, ignored_in(user_id, stored.get(IGNORED)))
            rules = Rules(user_id, stored.get(PUSH_RULES), self.reader.follows_threads)
            count = partial(self._count, txn, rules, reader, marks[user_id], position)
            newest = queued[user_id][-1].position if queued[user_id] else 0
            counts = self.counts.read_recent(txn, user_id, joined[user_id], position, newest, count)
            standings[user_id] = _Standing(
                user_id,
                joined[user_id].keys(),
                {one.room_nid for one in shown if not one.is_forgotten},
                marks[user_id],
                self._badge(counts) + sum(one.sender not in reader.ignored for one in shown),
            )
        return standings

    def _count(
        self,
        txn: Transaction,
        rules: Rules,
        reader: Reader,
        marks: Mapping[int, Marks],
        upto: int,
        rooms: RoomIds,
    ) -> Mapping[int, RoomCounts]:
        return self.reader.count_after(txn, rules, reader, marks, rooms, upto)

    def _badge(self, counts: Mapping[int, RoomCounts]) -> int:
        """Rooms with something unread, or all that is unread."""
        totals = [one.total.notifications for one in counts.values()]
        by_room = self.options.group_unread_count_by_room
        return sum(bool(total) if by_room else total for total in totals)

    def _body(
        self,
        claimed: ClaimedPusher,
        device: JsonObject,
        queued: Queued,
        view: View,
        unread: int,
        surroundings: Around,
    ) -> JsonObject:
        pusher, event = claimed.pusher, view.stored.event
        only_ids = not self.options.include_content or pusher.data.get("format") == EVENT_ID_ONLY
        around = Surroundings() if only_ids else surroundings(queued.room_nid, event.sender)
        return notification(event, pusher.user_id, device, queued.tweaks, around, unread, only_ids=only_ids)

    def _surroundings(self, txn: Transaction, room_nid: int, sender: str) -> Surroundings:
        summary = read_summaries(txn, [room_nid]).get(room_nid)
        name = self.reader.display_names(txn, room_nid, [sender]).get(sender)
        if summary is None:
            return Surroundings(sender_name=name)
        return Surroundings(summary.name or summary.canonical_alias, summary.canonical_alias, name)

    def _device(self, claimed: ClaimedPusher) -> JsonObject:
        pusher = claimed.pusher
        return device_of(pusher.app_id, pusher.pushkey, claimed.created_ts, pusher.data)
