"""What a user was notified of, newest first (client-server API, "Listing notifications")."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.handlers.ignored_users import read_ignored
from synapse_lite.handlers.rendering import render_all
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.tokens import write_token
from synapse_lite.handlers.unread.reader import Moment, UnreadReader
from synapse_lite.matrix.push_rules import Actions, Context, Deviation, Evaluator
from synapse_lite.rooms.contributors.notices import thread_of_event
from synapse_lite.storage import rooms
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import View
from synapse_lite.storage.notices import joined_at, mark_of, newest_before, read_marks
from synapse_lite.storage.stream import Place, read_position

MAX_LIMIT = 100
PAGE = 200
MAX_PAGES = 10
"""So much is looked at for one answer; the client is told where to go on."""


@frozen
class _Notification:
    position: int
    view: View
    actions: Actions
    is_read: bool


@frozen
class _Page:
    found: Sequence[_Notification]
    next_position: int | None


@frozen
class Notifications:
    database: Database
    reader: UnreadReader
    clock: Clock

    async def page(
        self, requester: Requester, before: int | None, limit: int, *, only_highlights: bool
    ) -> JsonObject:
        """At most `limit` before a position (None: the end), of the rooms that the user is in, since they came in."""
        page = await self.database.snapshot(self._page, requester.user_id, before, limit, only_highlights)
        now_ms = self.clock.now_ms()
        events = render_all([one.view for one in page.found], session=requester.session, now_ms=now_ms)
        answer: JsonObject = {
            "notifications": [
                {
                    "actions": _written(one.actions),
                    "event": event,
                    "read": one.is_read,
                    "room_id": one.view.stored.event.room_id,
                    "ts": one.view.stored.event.origin_server_ts,
                }
                for one, event in zip(page.found, events, strict=True)
            ]
        }
        if page.next_position is not None:
            answer["next_token"] = write_token(Place(page.next_position))
        return answer

    # In a database thread

    def _page(
        self, txn: Transaction, user_id: str, before: int | None, limit: int, only_highlights: bool
    ) -> _Page:
        rules, ignored = self.reader.rules(txn, user_id), {user_id, *read_ignored(txn, user_id)}
        joined = rooms.joined_rooms(txn, user_id)
        after = joined_at(txn, user_id, joined)
        even_quiet = rules.follows_threads or any(
            rules.deviation(joined[nid]) is Deviation.OTHER for nid in after
        )
        evaluator, found = rules.evaluator(), list[_Notification]()
        position = read_position(txn) + 1 if before is None else before
        for _ in range(MAX_PAGES):
            entries = newest_before(txn, after, position, PAGE, even_quiet=even_quiet)
            for one in self._notified(txn, evaluator, entries, ignored):
                if one.actions.highlight or not only_highlights:
                    found.append(one)
            if len(found) > limit:
                return _Page(found[:limit], found[limit - 1].position)
            if len(entries) < PAGE:
                return _Page(found, None)
            position = entries[-1][0]
        return _Page(found, position)

    def _notified(
        self, txn: Transaction, evaluator: Evaluator, entries: Sequence[tuple[int, int]], unwanted: set[str]
    ) -> list[_Notification]:
        """Those of the events of which the rules notify, newest first."""
        user_id = evaluator.user_id
        stored = self.reader.events.load(txn, [nid for _, nid in entries])
        placed: dict[int, list[tuple[int, int]]] = {}
        for position, nid in reversed(entries):
            if nid in stored and stored[nid].event.sender not in unwanted:
                placed.setdefault(stored[nid].room_nid, []).append((position, nid))
        outcomes: dict[int, tuple[Moment, Actions]] = {}
        followed = self.reader.followed(txn, user_id, placed)
        for room_nid, of_room in placed.items():
            name = self.reader.display_names(txn, room_nid, [user_id]).get(user_id)
            for moment in self.reader.moments(txn, room_nid, of_room):
                follows = self.reader.follows(txn, moment.stored, followed.get(room_nid, ()))
                context = Context(moment.member_count, moment.may_notify, name, follows)
                outcomes[moment.stored.nid] = moment, evaluator(moment.stored.event, context)
        notified = [nid for _, nid in entries if nid in outcomes and outcomes[nid][1].notify]
        marks = read_marks(txn, user_id, placed)
        return [
            self._notification(txn, *outcomes[view.stored.nid], view, marks)
            for view in self.reader.events.views(txn, notified)
            if view.redaction is None
        ]

    def _notification(
        self,
        txn: Transaction,
        moment: Moment,
        actions: Actions,
        view: View,
        marks: Mapping[int, Mapping[str, int]],
    ) -> _Notification:
        read = mark_of(marks[moment.stored.room_nid], thread_of_event(txn, moment.stored))
        return _Notification(moment.position, view, actions, moment.position <= read)


def _written(actions: Actions) -> list[Any]:
    """In the form of push rules."""
    tweaks = [
        {"set_tweak": name} if name == "highlight" and value is True else {"set_tweak": name, "value": value}
        for name, value in actions.tweaks.items()
    ]
    return ["notify", *tweaks]
