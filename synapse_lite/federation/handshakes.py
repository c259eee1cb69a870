"""Entering and leaving rooms through other servers (server-server API, "Joining Rooms", "Leaving Rooms", "Knocking", "Inviting").

What a server proposes for us to sign is never signed as it came: of a proposal only its place in the graph is taken over,
and who authorises a join. The rest is what our user wanted.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from attrs import evolve, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, forbidden
from synapse_lite.federation.fetching import MAX_STATE, listed, part
from synapse_lite.federation.keyring import KeysAwayError
from synapse_lite.federation.pdus import Checked, PduChecker, Refused
from synapse_lite.federation.peers import PeerError, Peers
from synapse_lite.federation.shown_rooms import read_shown
from synapse_lite.ids import domain_of, is_local, is_server_name, is_user_id
from synapse_lite.matrix.event import Draft, Event, build_event
from synapse_lite.matrix.event_format import check_format
from synapse_lite.matrix.room_versions import ROOM_VERSIONS, RoomVersion
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.matrix.types import CREATE, MEMBER

T = TypeVar("T")
Hook = Callable[[Event], Awaitable[None]]

logger = logging.getLogger(__name__)

FEDERATION = "/_matrix/federation"
AUTHORISING_USER = "join_authorised_via_users_server"
STATE_SECONDS = 300.0
MAX_STATE_ANSWER = 200 * 1024 * 1024  # bytes
MAX_SERVERS = 50_000  # of one room
_OLD_ANSWERS = frozenset({404, 405})
"""A server that knows only the first version of an endpoint has no answer to the second."""
_TELLING = (Errcode.UNABLE_TO_GRANT_JOIN, Errcode.UNABLE_TO_AUTHORISE_JOIN, Errcode.NOT_FOUND)


@frozen
class Wish:
    """What a user of ours wants to be in a room; `content` is all of the member event."""

    room_id: str
    user_id: str
    content: JsonObject

    @property
    def membership(self) -> str:
        return str(self.content["membership"])


@frozen
class Joined:
    """A join that another server has taken, and the room before it; signatures and hashes are checked.

    `servers` None: the state is whole. Else something is left out of it, as a rule most members, and these servers are in the room.
    """

    server: str
    event: Event
    state: Sequence[Event]
    auth_chain: Sequence[Event]
    servers: Sequence[str] | None = None


@frozen
class Knocked:
    """A knock that another server has taken, and what may be seen of the room from outside."""

    server: str
    event: Event
    stripped: Sequence[JsonObject]


class Handshakes:
    def __init__(self, peers: Peers, checker: PduChecker, signing_key: SigningKey, clock: Clock) -> None:
        self._peers = peers
        self._checker = checker
        self._signing_key = signing_key
        self._clock = clock

    async def join(
        self,
        servers: Sequence[str],
        wish: Wish,
        announce: Hook,
        take_back: Hook,
        *,
        omit_members: bool = False,
    ) -> Joined:
        """Through the first of the servers that can. `omit_members`: it may leave out most members.
        `announce` is called with each join before it is sent, `take_back` with those that are refused.

        403 `M_FORBIDDEN` and 400 `M_INCOMPATIBLE_ROOM_VERSION` of a server are final. Else, when none can: what one of
        them said of it, or 502 `M_UNKNOWN`.
        """
        return await self._first(
            servers, lambda server: self._join(server, wish, announce, take_back, omit_members), wish
        )

    async def leave(self, servers: Sequence[str], wish: Wish) -> Event:
        """The event by which the user left, or rejected an invite. Errors as of `join`."""
        return await self._first(servers, lambda server: self._leave(server, wish), wish)

    async def check_leave(self, servers: Sequence[str], wish: Wish) -> None:
        """Whether there is something to leave: nothing is sent. Errors as of `join`."""
        await self._first(servers, lambda server: self._made(server, wish), wish)

    async def knock(self, servers: Sequence[str], wish: Wish, announce: Hook, take_back: Hook) -> Knocked:
        """`announce` is called with each event before it is sent, `take_back` with those that are refused. Errors as of `join`."""
        return await self._first(servers, lambda server: self._knock(server, wish, announce, take_back), wish)

    async def invite(self, server: str, event: Event, shown: Sequence[JsonObject]) -> Event:
        """The invite with the signature of the invited user's server, too; `shown` are events of the room's state.

        Raises `PeerError`.
        """
        path = f"{part(event.room_id)}/{part(event.event_id)}"
        body: JsonObject = {
            "event": event.pdu,
            "invite_room_state": list(shown),
            "room_version": event.version.identifier,
        }
        try:
            answer = await self._peers.ask(server, "PUT", f"{FEDERATION}/v2/invite/{path}", body)
        except PeerError as error:
            if error.status not in _OLD_ANSWERS or event.version.event_id_is_hash:
                raise
            old = {**event.pdu, "unsigned": {"invite_room_state": list(shown)}}
            answer = await self._peers.ask(server, "PUT", f"{FEDERATION}/v1/invite/{path}", old)
        signed = _with_signatures(event, answer.get("event"), server)
        try:
            await self._checker.check_signature(signed, server)
        except MatrixError as error:
            raise PeerError(f"{server} does not sign the invite: {error}") from None
        return signed

    # With one server

    async def _join(
        self, server: str, wish: Wish, announce: Hook, take_back: Hook, omit_members: bool
    ) -> Joined:
        event = await self._made(server, wish)
        await announce(event)
        path = f"{part(event.room_id)}/{part(event.event_id)}"
        query = "?omit_members=true" if omit_members else ""
        try:
            answer = await self._put(server, "send_join", path, event, query)
        except PeerError as error:
            if not error.is_passing:
                await take_back(event)
            raise
        event = _with_signatures(event, answer.get("event"), server)
        servers = _servers_told(answer) if answer.get("members_omitted") else None
        if servers is not None and not omit_members:
            raise PeerError(f"{server} leaves members out, although all were asked for")
        state, chain = (listed(answer, name, MAX_STATE) for name in ("state", "auth_chain"))
        checked = await self._checker.check_all([event.pdu, *state, *chain], event.version, event.room_id)
        if isinstance(checked[0], Refused):
            raise PeerError(f"{server} took a join that is not good: {checked[0].error}")
        end = 1 + len(state)
        good, good_chain = (
            [one for one in some if isinstance(one, Event)] for some in (checked[1:end], checked[end:])
        )
        _check_state(good, event.version)
        if servers is None and any(map(_may_be_good, checked)):
            servers = _servers_of(good)
        return Joined(server, event, good, good_chain, servers)

    async def _leave(self, server: str, wish: Wish) -> Event:
        event = await self._made(server, wish)
        await self._put(server, "send_leave", f"{part(event.room_id)}/{part(event.event_id)}", event)
        return event

    async def _knock(self, server: str, wish: Wish, announce: Hook, take_back: Hook) -> Knocked:
        event = await self._made(server, wish)
        await announce(event)
        path = f"{FEDERATION}/v1/send_knock/{part(event.room_id)}/{part(event.event_id)}"
        try:
            answer = await self._peers.ask(server, "PUT", path, event.pdu)
        except PeerError as error:
            if not error.is_passing:
                await take_back(event)
            raise
        name = "knock_room_state" if "knock_room_state" in answer else "knock_state_events"
        shown = await read_shown(self._checker, answer.get(name), event.version, event.room_id)
        return Knocked(server, event, shown)

    async def _made(self, server: str, wish: Wish) -> Event:
        """The event that the user wants, at the place that the server proposes."""
        path = f"{FEDERATION}/v1/make_{wish.membership}/{part(wish.room_id)}/{part(wish.user_id)}"
        if wish.membership != "leave":
            path += "?" + urlencode([("ver", version) for version in ROOM_VERSIONS])
        answer = await self._peers.ask(server, "GET", path)
        version = ROOM_VERSIONS.get(str(answer.get("room_version", "1")))
        proposed = answer.get("event")
        if version is None or not isinstance(proposed, dict):
            raise PeerError(f"{server} proposes no event of a room version that is known")
        try:
            return self._completed(proposed, version, wish)
        except (MatrixError, KeyError, TypeError, ValueError) as error:
            raise PeerError(f"{server} proposes an event that is not good: {error}") from None

    def _completed(self, proposed: Mapping[str, Any], version: RoomVersion, wish: Wish) -> Event:
        """Raises whatever, when the proposal is not for what the user wants."""
        content = proposed["content"]
        expected = (MEMBER, wish.user_id, wish.user_id, wish.room_id, wish.membership)
        names = ("type", "sender", "state_key", "room_id")
        if (*[proposed.get(name) for name in names], content.get("membership")) != expected:
            raise ValueError("it is another event than the one that was asked for")
        own = dict(wish.content)
        authorised_via = content.get(AUTHORISING_USER)
        if wish.membership == "join" and version.restricted and authorised_via is not None:
            if not _is_elsewhere(authorised_via, self._signing_key.server_name):
                raise ValueError("who authorises the join is no user of theirs")
            own[AUTHORISING_USER] = authorised_via
        draft = Draft(MEMBER, wish.user_id, own, self._clock.now_ms(), wish.user_id)
        previous, auth_events, depth = (proposed[name] for name in ("prev_events", "auth_events", "depth"))
        if not previous:
            raise ValueError("it follows nothing")
        event = build_event(draft, version, wish.room_id, previous, auth_events, depth, self._signing_key)
        check_format(event.pdu, version)
        return event

    async def _put(self, server: str, endpoint: str, path: str, event: Event, query: str = "") -> JsonObject:
        """By the second version of the endpoint, which knows the query, or else the first."""

        def send(version: str) -> Awaitable[JsonObject]:
            return self._peers.ask(
                server,
                "PUT",
                f"{FEDERATION}/{version}/{endpoint}/{path}{query if version == 'v2' else ''}",
                event.pdu,
                timeout=STATE_SECONDS,
                max_bytes=MAX_STATE_ANSWER,
            )

        try:
            return await send("v2")
        except PeerError as error:
            if error.status not in _OLD_ANSWERS or error.errcode not in (None, "", Errcode.UNRECOGNIZED):
                raise
            return await send("v1")

    # With several

    async def _first(self, servers: Sequence[str], ask: Callable[[str], Awaitable[T]], wish: Wish) -> T:
        failures: list[PeerError] = []
        for server in servers:
            try:
                return await ask(server)
            except PeerError as error:
                logger.info("%s of %s: %s", wish.membership, wish.room_id, error)
                failures.append(error)
                _raise_final(error)
        raise _failure(failures, wish)


def _is_elsewhere(user_id: Any, server_name: str) -> bool:
    """A user who can authorise a join: whom our own signature of it does not vouch for."""
    return isinstance(user_id, str) and is_user_id(user_id) and not is_local(user_id, server_name)


def _raise_final(error: PeerError) -> None:
    """No other server would say anything else."""
    if error.status == 403 and error.errcode in (Errcode.FORBIDDEN, Errcode.UNKNOWN):  # noqa: PLR2004
        raise forbidden(str(error)) from None
    if error.errcode == Errcode.INCOMPATIBLE_ROOM_VERSION:
        raise MatrixError(400, Errcode.INCOMPATIBLE_ROOM_VERSION, str(error)) from None


def _failure(failures: Sequence[PeerError], wish: Wish) -> MatrixError:
    for errcode in _TELLING:
        for error in failures:
            if error.errcode == errcode and error.status is not None:
                return MatrixError(error.status, errcode, str(error))
    reasons = "; ".join(map(str, failures)) or "no server is known that could"
    return MatrixError(502, Errcode.UNKNOWN, f"Failed to {wish.membership} via any server: {reasons}")


def _with_signatures(event: Event, answered: Any, server: str) -> Event:
    """The event with what the server, or another one through it, signed besides; nothing else of the answer is taken."""
    given = answered.get("signatures") if isinstance(answered, dict) else None
    if not isinstance(given, dict):
        return event
    own = event.pdu["signatures"]
    others = {
        name: dict(some)
        for name, some in given.items()
        if name not in own and isinstance(some, dict) and all(isinstance(one, str) for one in some.values())
    }
    signed = evolve(event, pdu={**event.pdu, "signatures": {**own, **others}})
    try:
        check_format(signed.pdu, event.version)
    except MatrixError as error:
        raise PeerError(f"{server} makes the event a bad one: {error}") from None
    return signed


def _servers_told(answer: JsonObject) -> list[str]:
    """Of a room of which not all members are told."""
    names = listed(answer, "servers_in_room", MAX_SERVERS)
    if not all(isinstance(name, str) and is_server_name(name) for name in names):
        raise PeerError("'servers_in_room' must be names of servers")
    return names


def _may_be_good(checked: Checked) -> bool:
    """Whether an event is left out only because the keys of its server cannot be had at the moment."""
    return isinstance(checked, Refused) and isinstance(checked.error, KeysAwayError)


def _servers_of(state: Sequence[Event]) -> list[str]:
    return list(dict.fromkeys(domain_of(one.sender) for one in state if one.membership == "join"))


def _check_state(state: Sequence[Event], version: RoomVersion) -> None:
    """Raises `PeerError` for what cannot be the state of a room."""
    if not all(one.is_state for one in state):
        raise PeerError("There is an event in the state that is none of state")
    by_key = {one.key: one for one in state}
    if len(by_key) != len(state):
        raise PeerError("There are two events in the state for the same")
    create = by_key.get((CREATE, ""))
    if create is None:
        raise PeerError("There is no create event in the state")
    if create.content.get("room_version", "1") != version.identifier:
        raise PeerError("The create event is of another room version")
