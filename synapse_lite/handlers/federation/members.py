"""Users of other servers enter and leave rooms through this one (server-server API, "Joining Rooms" and following)."""

from collections.abc import Collection

from attrs import frozen

from synapse_lite.canonical_json import JsonObject, dump
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, bad_json, forbidden, invalid_param
from synapse_lite.federation.inbound import InboundEvents
from synapse_lite.federation.pdus import PduChecker, read_pdu
from synapse_lite.federation.peers import PeerError
from synapse_lite.handlers.federation.rooms import RoomGate, ServedRoom
from synapse_lite.handlers.prejoin_state import PrejoinState
from synapse_lite.handlers.restricted_joins import AUTHORISING_USER, authorising_user, knows_allowed_rooms
from synapse_lite.ids import domain_of, is_local, is_user_id
from synapse_lite.matrix.auth_rules.state import JOIN_RULES
from synapse_lite.matrix.event import Draft, Event, add_signature
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.matrix.types import MEMBER
from synapse_lite.rooms.heads import HeadReader
from synapse_lite.rooms.template import event_template
from synapse_lite.storage import relayed_events, rooms
from synapse_lite.storage.auth_chain import auth_chain
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import Standing, StoredEvent
from synapse_lite.storage.room_servers import all_servers

_RESTRICTED = frozenset({"restricted", "knock_restricted"})


@frozen
class _Given:
    """Where a sent event entered: the room, the event as stored, and what its server is told of the room."""

    served: ServedRoom
    stored: StoredEvent


class ServedMembers:
    def __init__(
        self,
        database: Database,
        gate: RoomGate,
        prejoin: PrejoinState,
        checker: PduChecker,
        inbound: InboundEvents,
        heads: HeadReader,
        signing_key: SigningKey,
        clock: Clock,
    ) -> None:
        self._database = database
        self._gate = gate
        self._prejoin = prejoin
        self._checker = checker
        self._inbound = inbound
        self._heads = heads
        self._signing_key = signing_key
        self._clock = clock

    async def make(
        self, origin: str, room_id: str, user_id: str, membership: str, versions: Collection[str] | None
    ) -> JsonObject:
        """A member event for the user's server to sign. `versions` are those of rooms that it knows; None: no matter.

        400 `M_INCOMPATIBLE_ROOM_VERSION`, `M_UNABLE_TO_AUTHORISE_JOIN`, `M_UNABLE_TO_GRANT_JOIN`, 403 for what the
        rules forbid and for users of other servers.
        """
        if not is_user_id(user_id) or domain_of(user_id) != origin:
            raise forbidden("The user is not one of your server")
        return await self._database.snapshot(self._make, origin, room_id, user_id, membership, versions)

    async def send_join(
        self, origin: str, room_id: str, event_id: str, pdu: JsonObject, *, omit_members: bool
    ) -> bytes:
        """The state before the join, and the auth chains of it, as JSON."""
        given = await self._take(origin, room_id, event_id, pdu, "join")
        return await self._database.snapshot(self._join_answer, given, omit_members)

    async def send_join_v1(self, origin: str, room_id: str, event_id: str, pdu: JsonObject) -> bytes:
        """As `send_join`, in the form of old."""
        answer = await self.send_join(origin, room_id, event_id, pdu, omit_members=False)
        return b"[200," + answer + b"]"

    async def send_leave(self, origin: str, room_id: str, event_id: str, pdu: JsonObject) -> None:
        await self._take(origin, room_id, event_id, pdu, "leave")

    async def send_knock(self, origin: str, room_id: str, event_id: str, pdu: JsonObject) -> JsonObject:
        """What may be seen of the room from outside."""
        given = await self._take(origin, room_id, event_id, pdu, "knock")
        shown = await self._database.snapshot(self._prejoin.pdus, given.served.room.nid)
        return {"knock_room_state": shown}

    async def _take(
        self, origin: str, room_id: str, event_id: str, pdu: JsonObject, membership: str
    ) -> _Given:
        """Put the event into the room, as the room's rules say, and let the rest of the room know."""
        served = await self._database.read(self._find, origin, room_id)
        event = read_pdu(pdu, served.room.version)
        _check_member_event(event, origin, room_id, event_id, membership)
        if self._asks_for_our_signature(event):
            await self._database.read(self._check_admitted, served, event.sender)
            event = add_signature(event, self._signing_key)
        event = await self._checker.check(event.pdu, served.room.version, room_id)
        await self._database.transact(relayed_events.put_relayed, event.event_id, self._clock.now_ms())
        try:
            stored = await self._inbound.receive(served.room, event, origin)
        except PeerError as error:
            raise MatrixError(
                400, Errcode.UNKNOWN, f"What the event leans on is not known: {error}"
            ) from None
        if stored.standing is not Standing.ACCEPTED:
            raise forbidden(f"The room does not let you: the event is {stored.standing.name.lower()}")
        return _Given(served, stored)

    def _asks_for_our_signature(self, event: Event) -> bool:
        """A join that one of our users authorises (room version 8)."""
        authorised_via = event.content.get(AUTHORISING_USER)
        if event.membership != "join" or not isinstance(authorised_via, str) or not event.version.restricted:
            return False
        return is_local(authorised_via, self._signing_key.server_name)

    # In a database thread

    def _find(self, txn: Transaction, origin: str, room_id: str) -> ServedRoom:
        served = self._gate.find(txn, origin, room_id)
        self._gate.check_whole(txn, served)
        return served

    def _make(
        self, txn: Transaction, origin: str, room_id: str, user_id: str, membership: str,
        versions: Collection[str] | None,
    ) -> JsonObject:  # fmt: skip
        served = self._find(txn, origin, room_id)
        room = served.room
        if versions is not None and room.version.identifier not in versions:
            raise MatrixError(
                400,
                Errcode.INCOMPATIBLE_ROOM_VERSION,
                "Your homeserver does not support the features required to join this room",
                {"room_version": room.version.identifier},
            )
        content: JsonObject = {"membership": membership}
        if membership == "join" and (authoriser := self._authoriser(txn, served, user_id)):
            content[AUTHORISING_USER] = authoriser
        draft = Draft(MEMBER, user_id, content, self._clock.now_ms(), user_id)
        template = event_template(txn, self._heads, self._signing_key, room.nid, draft)
        return {"room_version": room.version.identifier, "event": template}

    def _check_admitted(self, txn: Transaction, served: ServedRoom, user_id: str) -> None:
        """403 `M_FORBIDDEN` for whom nobody here admits: only we can tell, other servers believe our signature."""
        member = rooms.membership_in(txn, served.room.nid, user_id)
        is_in = member is not None and member.membership in {"join", "invite"}
        if not is_in and self._authoriser(txn, served, user_id) is None:
            raise forbidden("You do not belong to any of the required rooms to join this room.")

    def _authoriser(self, txn: Transaction, served: ServedRoom, user_id: str) -> str | None:
        """Who admits the user, in a room that lets in the members of others."""
        rules = self._gate.current.one(txn, served.room.nid, JOIN_RULES)
        member = rooms.membership_in(txn, served.room.nid, user_id)
        if rules is None or rules.content.get("join_rule") not in _RESTRICTED:
            return None
        if member is not None and member.membership in {"join", "invite", "ban"}:
            return None
        server_name = self._signing_key.server_name
        found = authorising_user(txn, self._gate.current, served.room, user_id, server_name)
        if found is None and not knows_allowed_rooms(txn, rules.content, server_name):
            raise MatrixError(
                400,
                Errcode.UNABLE_TO_AUTHORISE_JOIN,
                "This server does not know the rooms whose members may join",
            )
        return found

    def _join_answer(self, txn: Transaction, given: _Given, omit_members: bool) -> bytes:
        room, stored = given.served.room, given.stored
        state = self._gate.state.whole(txn, stored.before_nid)
        if omit_members:
            needed = {(MEMBER, stored.event.sender), *self._heroes(txn, room.nid)}
            state = {key: nid for key, nid in state.items() if key[0] != MEMBER or key in needed}
        chain = set(auth_chain(txn, [*state.values(), stored.nid]))
        if omit_members:
            chain -= set(state.values())
        answer: JsonObject = {
            "origin": self._signing_key.server_name,
            "event": stored.event.pdu,
            "state": self._gate.state_pdus(txn, list(state.values())),
            "auth_chain": self._gate.state_pdus(txn, sorted(chain)),
            "members_omitted": omit_members,
        }
        if omit_members:
            answer["servers_in_room"] = all_servers(txn, room.nid)
        return dump(answer)

    def _heroes(self, txn: Transaction, room_nid: int) -> list[tuple[str, str]]:
        return [(MEMBER, user_id) for user_id in rooms.heroes(txn, [room_nid], 5).get(room_nid, [])]


def _check_member_event(event: Event, origin: str, room_id: str, event_id: str, membership: str) -> None:
    """403 `M_FORBIDDEN`, 400 `M_BAD_JSON`: nobody signs, or hands on, what another one wrote."""
    if event.room_id != room_id:
        raise bad_json("The event is of another room")
    if event.type != MEMBER or event.membership != membership:
        raise bad_json(f"The event must be a member event of membership {membership!r}")
    if event.state_key != event.sender:
        raise bad_json("The state key must be the sender")
    if domain_of(event.sender) != origin:
        raise forbidden("The sender is not a user of your server")
    if event.event_id != event_id:
        raise invalid_param("The event id in the path is not that of the event")


def known_versions(versions: Collection[str]) -> Collection[str]:
    """A server that says nothing knows version 1 only."""
    return versions or ("1",)
