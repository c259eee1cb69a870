"""Invites that are accepted for their users (`auto_accept_invites`)."""

import logging
from collections.abc import Sequence

from attrs import frozen
from twisted.internet.defer import CancelledError

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.config.rooms import AutoAcceptOptions
from synapse_lite.errors import UnavailableError
from synapse_lite.handlers.at_once import all_at_once
from synapse_lite.handlers.ignored_users import read_ignored
from synapse_lite.handlers.invited_joins import InvitedJoins
from synapse_lite.ids import is_local
from synapse_lite.matrix.event import Event
from synapse_lite.storage import accounts, rooms
from synapse_lite.storage.account_data import GLOBAL, change_account_data
from synapse_lite.storage.database import Database, DatabaseError, Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.stream import Change, Kind
from synapse_lite.tasks.actions.accept_invite import ACCEPT_INVITE, FIRST_SECONDS, AcceptInviteParams
from synapse_lite.tasks.followers import FollowerSpec, Told
from synapse_lite.tasks.queue import TaskQueue

logger = logging.getLogger(__name__)

AUTO_ACCEPT = FollowerSpec("auto_accept_invites", frozenset({Kind.EVENT, Kind.STATE}), batch=100)
"""Of kind STATE are invites to rooms in which this server has nobody."""
OLDEST_MS = 24 * 60 * 60 * 1000
"""Who switches it on does not want those of years."""
DIRECT = "m.direct"
_PASSING = (CancelledError, DatabaseError, UnavailableError)
"""Of these no invite is at fault: all are delivered again."""


@frozen
class Invite:
    room_id: str
    inviter: str
    user_id: str
    is_direct: bool


@frozen
class AutoAccept:
    """The follower `AUTO_ACCEPT`. What is delivered again finds who has joined meanwhile no longer invited.

    A room that cannot be entered at once becomes a task, so that no other invite waits for it. One that cannot be read,
    or where our code fails, is logged, and its invite waits for the user.
    """

    database: Database
    events: EventStore
    joins: InvitedJoins
    queue: TaskQueue
    clock: Clock
    options: AutoAcceptOptions
    server_name: str

    async def deliver(self, told: Told) -> None:
        concerned = [change for change in told.changes if change.user_id and change.event_nid]
        if concerned:
            invites = await self._read(concerned)
            over = await all_at_once(self._accept(one) for one in invites)
            slow = [invite for invite, is_over in zip(invites, over, strict=True) if not is_over]
            if slow:
                await self._try_later(slow)

    async def _read(self, changes: Sequence[Change]) -> list[Invite]:
        """What is damaged is logged and left out: nothing that comes after it waits for it."""
        try:
            return await self.database.read(self._invites, changes)
        except _PASSING:
            raise
        except Exception:
            if len(changes) > 1:
                return [invite for one in changes for invite in await self._read([one])]
            logger.exception("an invite may wait for its user, as change %d fails", changes[0].position)
            return []

    async def _accept(self, invite: Invite) -> bool:
        """Whether it is over, as `InvitedJoins.join` has it."""
        try:
            if invite.is_direct:  # before the join, behind which nobody is found invited any more
                await self.database.transact(_note_direct, invite)
            return await self.joins.join(invite.user_id, invite.room_id)
        except _PASSING:
            raise
        except Exception:
            logger.exception("%s cannot join %s by itself", invite.user_id, invite.room_id)
            return True

    async def _try_later(self, invites: Sequence[Invite]) -> None:
        await self.database.transact(self._enqueue, invites)
        self.queue.announce()

    # In a database thread

    def _enqueue(self, txn: Transaction, invites: Sequence[Invite]) -> None:
        for invite in invites:
            self.queue.enqueue_in(
                txn,
                ACCEPT_INVITE,
                AcceptInviteParams(user_id=invite.user_id, room_id=invite.room_id),
                requester=invite.user_id,
                endpoint="auto_accept_invites",
                run_at_ms=self.clock.now_ms() + round(FIRST_SECONDS * 1000),
            )

    def _invites(self, txn: Transaction, changes: Sequence[Change]) -> list[Invite]:
        """Those that are to be accepted, each the newest that its user knows of the room."""
        stored = self.events.load(txn, [change.event_nid for change in changes if change.event_nid])
        return [
            Invite(event.room_id, event.sender, event.state_key or "", _is_direct(event))
            for one in stored.values()
            if self._fits(event := one.event) and self._is_wanted(txn, one)
        ]

    def _fits(self, event: Event) -> bool:
        options, now_ms = self.options, self.clock.now_ms()
        return (
            event.membership == "invite"
            and is_local(event.state_key or "", self.server_name)
            and event.origin_server_ts > now_ms - OLDEST_MS
            and (_is_direct(event) or not options.only_for_direct_messages)
            and (is_local(event.sender, self.server_name) or not options.only_from_local_users)
        )

    def _is_wanted(self, txn: Transaction, invite: StoredEvent) -> bool:
        user_id = invite.event.state_key or ""
        member = rooms.membership_in(txn, invite.room_nid, user_id)
        return (
            member is not None
            and member.event_nid == invite.nid
            and accounts.may_send(txn, user_id, self.clock.now_ms())
            and invite.event.sender not in read_ignored(txn, user_id)
        )


def _is_direct(event: Event) -> bool:
    return event.content.get("is_direct") is True


def _note_direct(txn: Transaction, invite: Invite) -> None:
    """The room is among those with the inviter alone, as a client would note who accepts by hand."""

    def with_room(content: JsonObject) -> JsonObject:
        known = content.get(invite.inviter)
        room_ids = known if isinstance(known, list) else []
        return {**content, invite.inviter: list(dict.fromkeys([*room_ids, invite.room_id]))}

    change_account_data(txn, invite.user_id, GLOBAL, DIRECT, with_room)
