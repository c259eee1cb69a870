"""Users of this server in rooms of others, and users of others in ours: what takes the consent of another server."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred, DeferredLock

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, forbidden, not_found
from synapse_lite.federation.handshakes import Handshakes, Joined, Wish
from synapse_lite.federation.inbound import InboundEvents
from synapse_lite.federation.peers import PeerError
from synapse_lite.federation.policy import PolicyServers
from synapse_lite.federation.resync import RoomResync
from synapse_lite.handlers.joins_under_way import JoinsUnderWay
from synapse_lite.handlers.prejoin_state import PrejoinState
from synapse_lite.handlers.remote_rooms import Target
from synapse_lite.http.flights import Flights
from synapse_lite.ids import domain_of
from synapse_lite.matrix.event import Draft, Event, build_event
from synapse_lite.matrix.policy import PolicyServer
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.matrix.types import MEMBER
from synapse_lite.rooms.enter import Entry, LeftMeanwhileError, RoomEntrance
from synapse_lite.rooms.heads import HeadReader
from synapse_lite.rooms.judge import MissingEventsError
from synapse_lite.rooms.outside import OutsideMembership, OutsideMemberships
from synapse_lite.rooms.policy import policy_for
from synapse_lite.rooms.template import next_event
from synapse_lite.rooms.values import Write
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore, Standing, StoredEvent
from synapse_lite.storage.room_summary import read_summaries
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.state import StateStore
from synapse_lite.tasks.actions.resync_room import RESYNC_ROOM
from synapse_lite.tasks.actions.retry_leave import FIRST_SECONDS, RETRY_LEAVE, RetryLeaveParams
from synapse_lite.tasks.queue import TaskQueue

logger = logging.getLogger(__name__)

MEMBERS_SECONDS = 2.0
"""For so long who joins waits for the members of the room."""
DOOR_SECONDS = 10.0
"""For so long who joins a room keeps others of ours from asking the same: their servers may be silent for minutes."""
FEW_SERVERS = 5
"""A room of more than these has many members: nobody waits until their number is known."""


@frozen
class Parts:
    """What the handler is made of."""

    database: Database
    events: EventStore
    prejoin: PrejoinState
    heads: HeadReader
    handshakes: Handshakes
    entrance: RoomEntrance
    outside: OutsideMemberships
    inbound: InboundEvents
    joins: JoinsUnderWay
    state: StateStore
    policies: PolicyServers
    queue: TaskQueue
    resync: RoomResync
    signing_key: SigningKey
    clock: Clock


@frozen
class RemoteMembers:
    """Who asks and goes away does not stop what is under way with another server. What a user asks for next comes after it."""

    _parts: Parts
    _joins: Flights[tuple[str, str], bool] = field(factory=Flights)
    _leaves: Flights[tuple[str, str], bool] = field(factory=Flights)
    _doors: dict[str, DeferredLock] = field(factory=dict)

    async def join(
        self, target: Target, user_id: str, content: Mapping[str, Any], *, even_ours: bool = False,
        whole: bool = False,
    ) -> bool:  # fmt: skip
        """Through another server, which tells the room's state. False: somebody of ours is in by now, ask the room itself.

        Unless `even_ours`: then another server has to let the user in. `whole`: with all members at once. Errors as of
        `Handshakes.join`.
        """
        key = (target.room_id, user_id)
        await self._leaves.landed(key)
        return await self._joins.join(
            key, partial(self._join, target, user_id, dict(content), even_ours, whole)
        )

    async def knock(self, target: Target, user_id: str, content: Mapping[str, Any]) -> None:
        """Errors as of `Handshakes.join`."""
        wish = Wish(target.room_id, user_id, dict(content))
        outside = self._parts.outside
        knocked = await self._parts.handshakes.knock(
            target.servers, wish, outside.announce, outside.take_back
        )
        await self._keep(OutsideMembership(knocked.event, knocked.server, knocked.stripped))

    async def leave(self, target: Target, user_id: str, content: Mapping[str, Any]) -> bool:
        """Reject an invite, withdraw a knock. Where no other server takes it, the user is out all the same.

        False: none has, and somebody of ours is in the room by now: it is to be left as everybody does.
        """
        begin = partial(self._leave, target, user_id, dict(content))
        return await self._leaves.join((target.room_id, user_id), begin)

    async def check_inside(self, target: Target, user_id: str) -> None:
        """403 `M_FORBIDDEN` where the user is nothing to the room. Other errors as of `Handshakes.leave`."""
        await self._parts.handshakes.check_leave(target.servers, _out_of(target, user_id))

    async def lead_out(self, target: Target, user_id: str) -> None:
        """Of the room, in which others may have the user. Errors as of `Handshakes.leave`."""
        await self._leaves.join((target.room_id, user_id), partial(self._lead_out, target, user_id))

    async def forgo(self, room: Room, user_id: str) -> None:
        """A join that others may have taken, and that is not known here, is wanted no more."""
        await self._parts.joins.forgo(room, user_id)

    async def joined(self, room_id: str, user_id: str) -> None:
        """Until the user's join that is under way, if there is one, has succeeded or failed."""
        await self._joins.landed((room_id, user_id))

    async def invite(self, write: Write) -> StoredEvent:
        """The invite as it is in the room, signed by the invited user's server, too.

        What that server, or the room's policy server, says against it, 502 `M_UNKNOWN` when it does not answer, 403 for what the room forbids.
        """
        parts, user_id = self._parts, str(write.draft.state_key)
        event, policy, shown = await parts.database.snapshot(self._build_invite, write)
        if policy is not None:
            event = await parts.policies.sign(event, policy)
        server = domain_of(user_id)
        try:
            signed = await parts.handshakes.invite(server, event, shown)
        except PeerError as error:
            raise _refusal(error, user_id) from None
        room = await parts.database.read(room_store.room_by_id, event.room_id)
        return await self._receive(room, signed, server)

    # With other servers

    async def _join(
        self, target: Target, user_id: str, content: JsonObject, even_ours: bool, whole: bool
    ) -> bool:
        parts = self._parts
        async with self._door(target.room_id):
            known = await parts.entrance.acquaintance(target.room_id)
            if known.is_ours and not even_ours:
                return False
            wish = Wish(target.room_id, user_id, content)
            omits = not (whole or known.has_state)
            async with parts.joins.attempt(target.servers) as attempt:
                joined = await parts.handshakes.join(
                    target.servers, wish, attempt.announce, attempt.take_back, omit_members=omits
                )
                try:
                    await self._enter(joined)
                except LeftMeanwhileError as left:
                    logger.info("%s", left)
                    return True
        if joined.servers is not None:
            await self._wait_for_members(target.room_id, len(joined.servers) <= FEW_SERVERS)
        return True

    async def _enter(self, joined: Joined) -> None:
        parts, event = self._parts, joined.event
        entry = Entry(event.version, event, joined.state, joined.auth_chain, joined.servers)
        try:
            stored = await parts.entrance.enter(entry)
        except MissingEventsError as error:
            raise MatrixError(
                502, Errcode.UNKNOWN, f"{joined.server} does not tell all of the room: {error}"
            ) from None
        if stored is None:
            room = await parts.database.read(room_store.room_by_id, event.room_id)
            await self._receive(room, event, joined.server)

    async def _wait_for_members(self, room_id: str, may_be_few: bool) -> None:
        """Those of a small room are there when the user is; of a large one they come later, by the task."""
        waiting: Deferred[None] = Deferred()

        def end(_result: object = None) -> None:
            if not waiting.called:
                waiting.callback(None)

        async def fetch() -> None:
            if not may_be_few or not await self._parts.resync.finish_few(room_id):
                end()
                await self._parts.queue.hasten(RESYNC_ROOM, room_id)

        coming = Deferred.fromCoroutine(fetch())
        coming.addErrback(lambda failure: logger.error("the members of %s: %s", room_id, failure.value))
        coming.addBoth(end)
        timer = self._parts.clock.call_later(MEMBERS_SECONDS, end)
        await waiting
        if timer.active():
            timer.cancel()

    async def _leave(self, target: Target, user_id: str, content: JsonObject) -> bool:
        parts = self._parts
        try:
            event = await parts.handshakes.leave(target.servers, Wish(target.room_id, user_id, content))
        except MatrixError as error:
            logger.warning("%s leaves %s without being heard: %s", user_id, target.room_id, error.message)
            event = await parts.database.read(self._build_leave, target, user_id, content)
            membership = OutsideMembership(event, domain_of(event.sender))
            return await parts.outside.put(membership, partial(self._enqueue_retry, target, user_id, content))
        await self._keep(OutsideMembership(event, domain_of(event.sender)))
        return True

    async def _lead_out(self, target: Target, user_id: str) -> bool:
        event = await self._parts.handshakes.leave(target.servers, _out_of(target, user_id))
        await self._keep(OutsideMembership(event, domain_of(event.sender)))
        return True

    async def _keep(self, membership: OutsideMembership) -> None:
        """Outside the room, unless somebody of ours is in it by now."""
        if not await self._parts.outside.put(membership):
            room = await self._parts.database.read(room_store.room_by_id, membership.event.room_id)
            await self._receive(room, membership.event, membership.server)

    async def _receive(self, room: Room | None, event: Event, server: str) -> StoredEvent:
        if room is None:
            raise not_found("Unknown room")
        try:
            stored = await self._parts.inbound.receive(room, event, server)
        except PeerError as error:
            raise MatrixError(502, Errcode.UNKNOWN, str(error)) from None
        if stored.standing is not Standing.ACCEPTED:
            raise forbidden("The room does not allow it")
        return stored

    @asynccontextmanager
    async def _door(self, room_id: str) -> AsyncIterator[None]:
        """One after the other enters a room: who comes after the first finds it known, unless that one takes too long."""
        door = self._doors.setdefault(room_id, DeferredLock())
        await door.acquire()

        def leave() -> None:
            door.release()
            if not door.locked:
                self._doors.pop(room_id, None)

        timer = self._parts.clock.call_later(DOOR_SECONDS, leave)
        try:
            yield
        finally:
            if timer.active():
                timer.cancel()
                leave()

    # In a database thread

    def _enqueue_retry(self, target: Target, user_id: str, content: JsonObject, txn: Transaction) -> None:
        """What nobody has heard is told again, until it is heard."""
        self._parts.queue.enqueue_in(
            txn,
            RETRY_LEAVE,
            RetryLeaveParams(
                room_id=target.room_id, user_id=user_id, servers=tuple(target.servers), content=content
            ),
            requester=user_id,
            endpoint="a leave that no server has heard",
            run_at_ms=self._parts.clock.now_ms() + round(FIRST_SECONDS * 1000),
        )

    def _build_invite(
        self, txn: Transaction, write: Write
    ) -> tuple[Event, PolicyServer | None, list[JsonObject]]:
        """The invite as it would follow the room's head, who has to be asked about it, and the room as the invited user may see it.

        403 `M_FORBIDDEN` for a room of one server: its rules let in the invite, but never the invited user.
        """
        parts = self._parts
        if not read_summaries(txn, [write.room_nid])[write.room_nid].federates:
            raise forbidden("This room does not take part in federation")
        event = next_event(txn, parts.heads, parts.signing_key, write)
        policy = policy_for(txn, parts.events, parts.state, write.room_nid, write.draft)
        return event, policy, parts.prejoin.pdus(txn, write.room_nid, [(MEMBER, event.sender)])

    def _build_leave(self, txn: Transaction, target: Target, user_id: str, content: JsonObject) -> Event:
        """Of a room whose state is not known: it follows what the user is there."""
        parts = self._parts
        member = None if target.room is None else room_store.membership_in(txn, target.room.nid, user_id)
        stored = None if member is None else parts.events.load(txn, [member.event_nid]).get(member.event_nid)
        if stored is None:
            raise not_found("Not a known room")
        before = stored.event
        draft = Draft(MEMBER, user_id, content, parts.clock.now_ms(), user_id)
        place = [before.reference]
        return build_event(
            draft, before.version, target.room_id, place, place, before.depth + 1, parts.signing_key
        )


def _out_of(target: Target, user_id: str) -> Wish:
    return Wish(target.room_id, user_id, {"membership": "leave"})


def _refusal(error: PeerError, user_id: str) -> MatrixError:
    if error.errcode == Errcode.INCOMPATIBLE_ROOM_VERSION:
        return MatrixError(
            400,
            Errcode.UNSUPPORTED_ROOM_VERSION,
            f"The server of {user_id} does not know this version of rooms",
        )
    if error.status is not None and 400 <= error.status < 500:  # noqa: PLR2004 (the other server refuses)
        return MatrixError(error.status, error.errcode or Errcode.UNKNOWN, str(error))
    return MatrixError(502, Errcode.UNKNOWN, f"The server of {user_id} does not answer: {error}")
