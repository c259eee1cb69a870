"""Invites that are accepted for their users (`auto_accept_invites`)."""

import logging
from collections.abc import Sequence

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock, doubling_pause
from synapse_lite.config.rooms import AutoAcceptOptions
from synapse_lite.errors import MatrixError, UnavailableError
from synapse_lite.handlers.ignored_users import read_ignored
from synapse_lite.handlers.membership import Memberships
from synapse_lite.handlers.requester import Requester
from synapse_lite.ids import is_local
from synapse_lite.matrix.event import Event
from synapse_lite.storage import accounts, rooms
from synapse_lite.storage.account_data import GLOBAL, change_account_data
from synapse_lite.storage.database import Database, DatabaseError, Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.stream import Change, Kind
from synapse_lite.tasks.followers import FollowerSpec, Shard

logger = logging.getLogger(__name__)

AUTO_ACCEPT = FollowerSpec("auto_accept_invites", frozenset({Kind.EVENT, Kind.STATE}), batch=100)
"""Of kind STATE are invites to rooms in which this server has nobody."""
OLDEST_MS = 24 * 60 * 60 * 1000
"""Who switches it on does not want those of years."""
ATTEMPTS = 5
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
DIRECT = "m.direct"
_TOO_MANY, _SERVER_FAULT = 429, 500
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

    A room that cannot be read or entered is logged, and its invite waits for the user: also where our code fails with it.
    """

    database: Database
    events: EventStore
    memberships: Memberships
    clock: Clock
    options: AutoAcceptOptions
    server_name: str

    async def deliver(self, changes: Sequence[Change], _shard: Shard, _key: str) -> None:
        concerned = [change for change in changes if change.user_id and change.event_nid]
        if concerned:
            invites = await self._read(concerned)
            await gatherResults([Deferred.fromCoroutine(self._accept(one)) for one in invites])

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

    async def _accept(self, invite: Invite) -> None:
        try:
            if invite.is_direct:  # before the join, behind which nobody is found invited any more
                await self.database.transact(_note_direct, invite)
            await self._join(invite)
        except _PASSING:
            raise
        except Exception:
            logger.exception("%s cannot join %s by itself", invite.user_id, invite.room_id)

    async def _join(self, invite: Invite) -> None:
        requester = Requester(invite.user_id, None, f"{invite.user_id} auto_accept_invites")
        for attempt in range(ATTEMPTS):
            if attempt:
                await self.clock.sleep(
                    doubling_pause(FIRST_PAUSE_SECONDS, attempt - 1, LONGEST_PAUSE_SECONDS)
                )
            try:
                await self.memberships.join(requester, invite.room_id)
            except MatrixError as error:
                logger.info("%s does not join %s by itself: %s", invite.user_id, invite.room_id, error)
                if error.status != _TOO_MANY and error.status < _SERVER_FAULT:
                    return
            else:
                return

    # In a database thread

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
