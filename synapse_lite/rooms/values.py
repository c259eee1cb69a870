"""What the modules of this package pass to each other, and to their callers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from attrs import field, frozen

from synapse_lite.errors import MatrixError
from synapse_lite.matrix.event import Draft, StateKey
from synapse_lite.matrix.types import MEMBER
from synapse_lite.storage.database import AtPosition, Transaction
from synapse_lite.storage.event_transactions import ClientRequest
from synapse_lite.storage.events import StoredEvent


@frozen
class Point:
    """A place in the graph of a room: the events to follow, and the snapshot of the state after them."""

    prev_nids: tuple[int, ...]
    snapshot_nid: int


class Write(NamedTuple):
    """An event that somebody wants in a room, at its head.

    `request` is the client's: a second write with the same one yields the first one's event.
    `privileged` lets a redaction through for which other servers do not ask the redact level: one of
    a user of this server, on behalf of a server admin.

    `point` is for redactions in the name of somebody who could not send them now: they hang on that
    point of the past, where they were allowed. They are applied and shown, but to the graph they are
    what soft-failed events are: no later event follows them, and the state of the room stays.

    `asks_policy`: where the room names a policy server, nothing is written (`PolicedError`), as that one has
    to be asked first. What tasks write is not held up by it: other servers ask for themselves.
    """

    room_nid: int
    draft: Draft
    request: ClientRequest | None = None
    point: Point | None = None
    privileged: bool = False
    asks_policy: bool = False


@frozen
class PurgedEvent:
    """The event of an earlier request, of which the id alone is left."""

    event_id: str


@frozen
class Busy:
    """Not written, because another transaction holds the lock of the room."""


Sent = StoredEvent | PurgedEvent
Result = Sent | MatrixError
"""What became of a write: the event, new or already there, or why there is none."""


@frozen
class StateDelta:
    """A change of a room's current state.

    `event` None: the key is set no longer; `previous` None: it was not set. `cause` is the event that
    changed it: the same as `event`, or one with which another branch of the room came in.
    """

    key: StateKey
    event: StoredEvent | None
    previous: StoredEvent | None
    cause: StoredEvent

    @property
    def is_join(self) -> bool:
        """Whether the user of the key is joined, who was not."""
        return self._is_joined(self.event) and not self._is_joined(self.previous)

    @property
    def is_departure(self) -> bool:
        """Whether the user of the key was joined, and is not any more."""
        return self._is_joined(self.previous) and not self._is_joined(self.event)

    def _is_joined(self, stored: StoredEvent | None) -> bool:
        return self.key[0] == MEMBER and stored is not None and stored.event.membership == "join"


@frozen
class Beside:
    """What goes with an event into the stream: the `content` of its change, and rows that carry its position."""

    content: str | None = None
    at_position: Sequence[AtPosition] = ()


NOTHING_BESIDE = Beside()


@frozen
class Written:
    """What a transaction adds to rooms.

    `new` are the events that are shown, in order; `targets`, by event id, the events that redactions among them name, as
    far as they are known. `redacted` tells by the nid of a redaction which event it empties. `deltas`
    are the changes of the current state, by room nid, in order. `beside` is for contributors to fill, by nid of
    the event.
    """

    new: Sequence[StoredEvent]
    targets: Mapping[str, StoredEvent]
    redacted: Mapping[int, StoredEvent]
    deltas: Mapping[int, Sequence[StateDelta]]
    beside: dict[int, Beside] = field(factory=dict)

    def changed(self) -> Iterator[tuple[int, dict[StateKey, StoredEvent | None]]]:
        """By room nid what its current state says now, of the keys that changed."""
        for room_nid, deltas in self.deltas.items():
            yield room_nid, {delta.key: delta.event for delta in deltas}


Contributor = Callable[[Transaction, Written], None]
"""Writes what else belongs to new events, in their transaction."""
