"""What is asked for of the past of a room, and what is found."""

from collections.abc import Sequence

from attrs import frozen

from synapse_lite.handlers.filters import EventFilter
from synapse_lite.storage.events import View
from synapse_lite.storage.stream import END, START, Place
from synapse_lite.storage.timeline import Entry, Span


@frozen
class Asked:
    """A page that somebody wants to read: from `start`, which is the room's end or its beginning, to `stop`, in that direction."""

    room_id: str
    user_id: str
    start: Place | None
    stop: Place | None
    backwards: bool
    selection: EventFilter

    @property
    def after(self) -> Place:
        return (self.stop if self.backwards else self.start) or START

    @property
    def upto(self) -> Place:
        return (self.start if self.backwards else self.stop) or Place(END)


@frozen
class Page:
    """`end` is where the next page begins; None when there is none. `last` is the place behind what is shown.

    `lacks_some`: there is more between its events, or behind them, than this server knows.
    """

    views: Sequence[View]
    state: Sequence[View]
    start: Place
    end: Place | None
    last: Place = START
    lacks_some: bool = False


@frozen
class Context:
    """An event, those before it (newest first), those after it, and the state after the last one.

    `lacks_some`: there is more between the events than this server knows.
    """

    event: View
    before: Sequence[View]
    after: Sequence[View]
    state: Sequence[View]
    start: Place
    end: Place
    lacks_some: bool


def above(end: Place | None) -> Place:
    """The lowest place of a page that ends there."""
    return START if end is None else Place(end.position, end.minor + 1)


def end_of(rest: Span, *, backwards: bool) -> Place:
    """Where who has read all but the rest goes on."""
    _, after, upto = rest
    return upto if backwards else after


def beyond(entry: Entry, span: Span, *, backwards: bool) -> Span:
    """What of the span comes after the entry, in the direction asked."""
    room_nid, after, upto = span
    return (room_nid, after, entry[0].before) if backwards else (room_nid, entry[0], upto)
