"""Who has pushers is asked about each event, once, when it is there; the answer waits in a queue."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.handlers.ignored_users import TYPE as IGNORED
from synapse_lite.handlers.ignored_users import ignored_in
from synapse_lite.handlers.invite_permission import TYPE as INVITE_PERMISSION
from synapse_lite.handlers.invite_permission import blocks_invites
from synapse_lite.handlers.push_rules import PUSH_RULES
from synapse_lite.handlers.unread.counts import RECEIPTS
from synapse_lite.handlers.unread.reader import Moment, Rules, UnreadReader
from synapse_lite.matrix.push_rules import Context
from synapse_lite.rooms.contributors.notices import thread_of_event
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.notices import load_notice
from synapse_lite.storage.pushers import (
    Queued,
    enqueue,
    global_data_of,
    look_at_badges,
    pushed_members,
    with_pushers,
)
from synapse_lite.storage.relations import MAIN_THREAD
from synapse_lite.storage.stream import Change, Kind
from synapse_lite.storage.thread_subscriptions import followers
from synapse_lite.tasks.followers import FollowerSpec, Shard

_TELLING = (Kind.EVENT, Kind.STATE)
"""Of kind STATE only those name an event that tell of invites to rooms in which this server has nobody."""
_COUNTING = frozenset({PUSH_RULES, IGNORED, INVITE_PERMISSION})
"""Account data that say what counts."""
PUSH = FollowerSpec(
    "push", frozenset({*_TELLING, *RECEIPTS, Kind.ACCOUNT_DATA}), batch=200, pause_seconds=0.05
)
BADGE_DELAY_MS = 3_000
"""Who reads one room after the other gets one push for all of them."""

Data = Mapping[str, Mapping[str, JsonObject]]  # account data by user and type


@frozen
class PushFollower:
    """The follower `PUSH`. `wake` is called on the reactor when there is something to push."""

    reader: UnreadReader
    clock: Clock
    wake: Callable[[], None]

    def follow(self, txn: Transaction, changes: Sequence[Change], _shard: Shard) -> bool:
        readers = {change.user_id for change in changes if change.user_id and _may_change_badge(change)}
        events = {
            change.event_nid: change
            for change in changes
            if change.kind in _TELLING and change.event_nid is not None
        }
        queued = [*self._queued(txn, events)] if events else []
        enqueue(txn, queued)
        if readers:
            look_at_badges(txn, readers, self.clock.now_ms() + BADGE_DELAY_MS)
        return bool(queued or readers)

    def committed(self) -> None:
        self.wake()

    def _queued(self, txn: Transaction, events: Mapping[int, Change]) -> Iterator[Queued]:
        rooms = {change.room_nid for change in events.values() if change.room_nid is not None}
        members = pushed_members(txn, rooms)
        invited = with_pushers(txn, {change.user_id for change in events.values() if change.user_id})
        users = {*invited}.union(*members.values())
        if not users:
            return
        data = global_data_of(txn, users, (PUSH_RULES, IGNORED, INVITE_PERMISSION))
        for room_nid in rooms:
            placed = [(change.position, nid) for nid, change in events.items() if change.room_nid == room_nid]
            for moment in self.reader.moments(txn, room_nid, placed):
                change = events[moment.stored.nid]
                asked = dict(members.get(room_nid, {}))
                if moment.stored.event.membership == "invite" and change.user_id in invited:
                    asked[change.user_id] = invited[change.user_id]
                fresh = {user_id for user_id, upto in asked.items() if upto < change.position}
                yield from self._outcomes(txn, moment, change, fresh, data)

    def _outcomes(
        self, txn: Transaction, moment: Moment, change: Change, users: set[str], data: Data
    ) -> Iterator[Queued]:
        """Those who changed no rules are asked only about what notifies them by the predefined ones."""
        event = moment.stored.event
        notice = load_notice(change.content).notice if change.content else None
        own = {user_id for user_id in users if data.get(user_id, {}).get(PUSH_RULES)}
        names = self.reader.display_names(txn, moment.stored.room_nid, own) if own else {}
        thread_id = thread_of_event(txn, moment.stored) if self.reader.follows_threads else MAIN_THREAD
        is_in_thread = thread_id != MAIN_THREAD
        following = followers(txn, moment.stored.room_nid, thread_id, users) if is_in_thread else set()
        for user_id in users:
            is_member_event = event.state_key == user_id
            is_asked = user_id in own or user_id in following or is_member_event
            if not is_asked and not (notice and notice.concerns(user_id)):
                continue
            if event.sender in ignored_in(user_id, data.get(user_id, {}).get(IGNORED)):
                continue
            is_invite = is_member_event and event.membership == "invite"
            if is_invite and blocks_invites(data.get(user_id, {}).get(INVITE_PERMISSION)):
                continue
            rules = Rules(user_id, data.get(user_id, {}).get(PUSH_RULES), self.reader.follows_threads)
            follows = _always(user_id in following if is_in_thread else None)
            context = Context(moment.member_count, moment.may_notify, names.get(user_id), follows)
            actions = rules.evaluator()(event, context)
            if actions.notify:
                yield Queued(
                    user_id,
                    change.position,
                    moment.stored.room_nid,
                    moment.stored.nid,
                    thread_of_event(txn, moment.stored),
                    dict(actions.tweaks),
                    self.clock.now_ms(),
                )


def _may_change_badge(change: Change) -> bool:
    """Without an event: who has read something, ignores somebody else or has other rules."""
    return change.kind in RECEIPTS or (change.kind is Kind.ACCOUNT_DATA and change.key in _COUNTING)


def _always(answer: bool | None) -> Callable[[], bool | None]:
    return lambda: answer
