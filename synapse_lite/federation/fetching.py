"""Asking other servers for the events that a received one leans on.

Nobody is trusted to be complete: what comes is checked one by one, in number bounded, and what still lacks is asked for
again, elsewhere.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import Any
from urllib.parse import quote, urlencode

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.federation.keyring import KeysAwayError
from synapse_lite.federation.pdus import PduChecker, Refused
from synapse_lite.federation.peers import MAX_ANSWER, OK, PeerError, Peers
from synapse_lite.matrix.event import Event
from synapse_lite.storage.rooms import Room

logger = logging.getLogger(__name__)

V1 = "/_matrix/federation/v1"
MAX_MISSING = 50  # events of one answer about a gap
MAX_BACKFILL = 500  # events of one answer about the past, however many were asked for
MAX_STATE = 100_000  # events of one answer about a state
SINGLE_EVENTS = 20
"""So many events of a state are asked for one by one; of more the whole state is."""


@frozen
class Given:
    """What a server gave: the good events by id, and the ids of all, as far as these can be told."""

    events: Mapping[str, Event]
    event_ids: Collection[str]


class UnverifiedError(PeerError):
    """A part of what came cannot be verified at the moment, for want of keys of these servers; `verified` is the rest, by id."""

    def __init__(self, verified: Mapping[str, Event], servers: Collection[str]) -> None:
        super().__init__(f"the keys of {', '.join(sorted(servers)[:5])} cannot be had now")
        self.verified = verified
        self.servers = servers


class Unverified(Enum):
    """What becomes of an answer of which a part cannot be verified at the moment, for want of keys: it is taken without that part,
    or refused with an `UnverifiedError`, as long as the keyring thinks that the keys may come.
    """

    LEFT_OUT = auto()
    REFUSED = auto()


def part(text: str) -> str:
    return quote(text, safe="")


class EventFetcher:
    """Every method raises `PeerError` when the server does not answer, or with nonsense."""

    def __init__(self, peers: Peers, checker: PduChecker) -> None:
        self._peers = peers
        self._checker = checker

    async def missing_events(
        self, server: str, room: Room, event: Event, earliest: Sequence[str], min_depth: int
    ) -> list[Event]:
        """Events between the ones that we have and `event`, causes first."""
        answer = await self._peers.ask(
            server,
            "POST",
            f"{V1}/get_missing_events/{part(room.room_id)}",
            {
                "earliest_events": list(earliest),
                "latest_events": [event.event_id],
                "limit": MAX_MISSING,
                "min_depth": min_depth,
            },
        )
        events = await self._checked(room, listed(answer, "events", MAX_MISSING))
        events.pop(event.event_id, None)
        return causes_first(events.values())

    async def event(self, server: str, room: Room, event_id: str) -> Event:
        given = await self._check(room, await self._single(server, event_id), Unverified.REFUSED)
        if event_id not in given.events:
            raise PeerError(f"{server} does not give {event_id}, but something else", OK)
        return given.events[event_id]

    async def _single(self, server: str, event_id: str) -> list[Any]:
        answer = await self._peers.ask(server, "GET", f"{V1}/event/{part(event_id)}")
        return listed(answer, "pdus", 1)

    async def backfill(
        self,
        server: str,
        room: Room,
        event_ids: Sequence[str],
        limit: int,
        timeout: float,  # noqa: ASYNC109 (there is no asyncio)
    ) -> list[Event]:
        """Those of the events, and of what is before them, that lie on the way down from them; causes first."""
        query = urlencode([*(("v", one) for one in event_ids), ("limit", str(limit))])
        target = f"{V1}/backfill/{part(room.room_id)}?{query}"
        answer = await self._peers.ask(server, "GET", target, timeout=timeout)
        found = await self._checked(room, listed(answer, "pdus", MAX_BACKFILL))
        return causes_first(below(event_ids, found))

    async def auth_chain(self, server: str, room: Room, event: Event) -> dict[str, Event]:
        """Those of the answer that the event leans on, by id."""
        target = f"{V1}/event_auth/{part(room.room_id)}/{part(event.event_id)}"
        answer = await self._peers.ask(server, "GET", target)
        found = await self._checked(room, listed(answer, "auth_chain", MAX_STATE))
        found.pop(event.event_id, None)
        chain = below(event.auth_events, found, lambda one: one.auth_events)
        return {one.event_id: one for one in chain}

    async def state_ids(
        self, server: str, room: Room, event_id: str, max_bytes: int = MAX_ANSWER
    ) -> tuple[list[str], list[str]]:
        """Of the state before the event, and of the auth chains of that. `TooLargeError` above `max_bytes`."""
        target = f"{V1}/state_ids/{part(room.room_id)}?event_id={part(event_id)}"
        answer = await self._peers.ask(server, "GET", target, max_bytes=max_bytes)
        ids, chain = (listed(answer, key, MAX_STATE) for key in ("pdu_ids", "auth_chain_ids"))
        if not all(isinstance(one, str) for one in (*ids, *chain)):
            raise PeerError(f"{server} does not give event ids")
        return ids, chain

    async def state_events(
        self, server: str, room: Room, event_id: str, lacking: Collection[str], unverified: Unverified
    ) -> Given:
        """Those of the state before the event, and of its auth chains, that are lacking, and that the server has."""
        if len(lacking) > SINGLE_EVENTS:
            answer = await self._peers.ask(
                server,
                "GET",
                f"{V1}/state/{part(room.room_id)}?event_id={part(event_id)}",
                timeout=120,
                max_bytes=200 * 1024 * 1024,
            )
            pdus = [*listed(answer, "pdus", MAX_STATE), *listed(answer, "auth_chain", MAX_STATE)]
            return await self._check(room, pdus, unverified)
        pdus = []
        for one in lacking:
            try:
                pdus += await self._single(server, one)
            except PeerError as error:
                if error.is_passing:  # a state without it would stay wrong for ever
                    raise
                logger.info("%s is not to be had: %s", one, error)
        return await self._check(room, pdus, unverified)

    async def _checked(self, room: Room, pdus: Sequence[Any]) -> dict[str, Event]:
        """Those that are good, by id: a bad one does no harm to the others."""
        return dict((await self._check(room, pdus, Unverified.LEFT_OUT)).events)

    async def _check(self, room: Room, pdus: Sequence[Any], unverified: Unverified) -> Given:
        checked = await self._checker.check_all(pdus, room.version, room.room_id)
        found = {one.event_id: one for one in checked if isinstance(one, Event)}
        refusals = [one.error for one in checked if isinstance(one, Refused)]
        away = {error.server_name for error in refusals if isinstance(error, KeysAwayError)}
        if away and unverified is Unverified.REFUSED:
            raise UnverifiedError(found, away)
        return Given(found, {one.event_id for one in checked if one.event_id is not None})


def below(
    event_ids: Sequence[str],
    events: Mapping[str, Event],
    edges: Callable[[Event], Sequence[str]] = lambda event: event.prev_events,
) -> list[Event]:
    """What is reached from the events along their edges: the rest nobody asked for."""
    reached: dict[str, Event] = {}
    waiting = [one for one in event_ids if one in events]
    while waiting:
        event_id = waiting.pop()
        if event_id not in reached:
            reached[event_id] = events[event_id]
            waiting += [one for one in edges(events[event_id]) if one in events]
    return list(reached.values())


def causes_first(events: Iterable[Event]) -> list[Event]:
    """By the edges between them; the depth, which may be forged, only decides where there are none."""
    waiting = {event.event_id: event for event in events}
    missing = {
        event_id: {one for one in event.prev_events if one in waiting and one != event_id}
        for event_id, event in waiting.items()
    }
    effects: dict[str, list[str]] = {}
    for event_id, causes in missing.items():
        for cause in causes:
            effects.setdefault(cause, []).append(event_id)
    ready = sorted(
        (one for one, causes in missing.items() if not causes), key=lambda one: -waiting[one].depth
    )
    ordered: list[Event] = []
    while ready:
        event_id = ready.pop()
        ordered.append(waiting[event_id])
        for effect in effects.get(event_id, ()):
            missing[effect].discard(event_id)
            if not missing[effect]:
                ready.append(effect)
    return ordered


def listed(answer: JsonObject, name: str, most: int) -> list[Any]:
    listed = answer.get(name)
    if not isinstance(listed, list) or len(listed) > most:
        raise PeerError(f"{name!r} must be a list of at most {most} in the answer")
    return listed
