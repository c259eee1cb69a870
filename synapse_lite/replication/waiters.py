"""Who waits for changes, found by room and by user."""

from collections.abc import Collection, Iterator

from attrs import define, field
from twisted.internet.defer import Deferred

KEPT_SECONDS = 60.0
"""A client comes back within this time after an answer, with the same rooms."""
DROPPED_AT_ONCE = 20_000  # rooms, so that a sweep does not hold the reactor


@define(eq=False)
class Waiter:
    """Somebody who waits for changes of some rooms, or of a user or one device; told whether there are any.

    `rooms` does not change. `at_leisure`: what `Scope.AT_LEISURE` brings ends the wait early, as if its time were over.
    """

    rooms: Collection[int]
    user_id: str
    device_id: str | None = None
    at_leisure: bool = False
    woken: "Deferred[bool]" = field(factory=Deferred)


@define(eq=False)
class _Audience:
    """All who wait with the same `rooms`: the devices of a user."""

    rooms: Collection[int]
    waiters: set[Waiter] = field(factory=set)


class Waiters:
    """To come and to go costs the same however many the rooms are: an audience without waiters is kept for a while."""

    def __init__(self) -> None:
        self._audiences: dict[int, _Audience] = {}  # by the identity of their rooms
        self._in_room: dict[int, _Audience | set[_Audience]] = {}  # mostly one, which needs no set
        self._of_user: dict[str, set[Waiter]] = {}
        self._idle: dict[_Audience, float] = {}  # since when, the oldest first

    def __bool__(self) -> bool:
        return bool(self._of_user)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is kept."""
        return not (self._of_user or self._audiences or self._in_room)

    @property
    def users(self) -> int:
        return len(self._of_user)

    def add(self, waiter: Waiter) -> None:
        self._of_user.setdefault(waiter.user_id, set()).add(waiter)
        audience = self._audiences.get(id(waiter.rooms))
        if audience is None:
            audience = self._audiences[id(waiter.rooms)] = _Audience(waiter.rooms)
            for room_nid in waiter.rooms:
                self._enter(room_nid, audience)
        self._idle.pop(audience, None)
        audience.waiters.add(waiter)

    def remove(self, waiter: Waiter, now: float) -> None:
        """If it is here. `now` by the clock of `drop_idle`."""
        of_user = self._of_user.get(waiter.user_id, set())
        if waiter not in of_user:
            return
        of_user.discard(waiter)
        if not of_user:
            del self._of_user[waiter.user_id]
        audience = self._audiences[id(waiter.rooms)]
        audience.waiters.discard(waiter)
        if not audience.waiters:
            self._idle[audience] = now

    def drop_idle(self, now: float) -> None:
        """Forget audiences that have had no waiter for `KEPT_SECONDS`; those for which there is no time, the next time."""
        dropped = 0
        while self._idle and dropped < DROPPED_AT_ONCE:
            audience, since = next(iter(self._idle.items()))
            if now - since < KEPT_SECONDS:
                return
            del self._idle[audience]
            del self._audiences[id(audience.rooms)]
            for room_nid in audience.rooms:
                self._exit(room_nid, audience)
            dropped += len(audience.rooms)

    def of_users(self, user_ids: Collection[str]) -> list[Waiter]:
        """Those of the users who wait: few, where a message is for thousands of devices."""
        return [waiter for user_id in self._of_user.keys() & user_ids for waiter in self._of_user[user_id]]

    def in_room(self, room_nid: int) -> Iterator[Waiter]:
        found = self._in_room.get(room_nid)
        if found is not None:
            for audience in (found,) if isinstance(found, _Audience) else found:
                yield from audience.waiters

    def __iter__(self) -> Iterator[Waiter]:
        for waiters in self._of_user.values():
            yield from waiters

    def _enter(self, room_nid: int, audience: _Audience) -> None:
        found = self._in_room.setdefault(room_nid, audience)
        if isinstance(found, set):
            found.add(audience)
        elif found is not audience:
            self._in_room[room_nid] = {found, audience}

    def _exit(self, room_nid: int, audience: _Audience) -> None:
        found = self._in_room.get(room_nid)
        if isinstance(found, set):
            found.discard(audience)
        if found is audience or not found:
            self._in_room.pop(room_nid, None)
