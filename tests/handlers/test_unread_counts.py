"""What memory knows of counts after a receipt, without the database."""

import orjson
import pytest

from synapse_lite.handlers.unread.counts import Happening, Memory, RoomCounts, advance, is_only_spoken_in
from synapse_lite.matrix.push_rules import Deviation, Notice
from synapse_lite.storage.notices import ALL_THREADS, Count, PlacedNotice
from synapse_lite.storage.relations import MAIN_THREAD
from synapse_lite.storage.stream import Change, Kind

ALICE, BOB, CAROL = "@alice:hs.test", "@bob:hs.test", "@carol:hs.test"
THREAD = "$root"


def said(position: int, sender: str = BOB, thread: str = MAIN_THREAD, *, loud: bool = False) -> Happening:
    change = Change(position, Kind.EVENT, 1, position, None, None, None, None, None)
    return Happening(change, PlacedNotice(Notice(True, False, (ALICE,) if loud else ()), sender, thread))


def receipt(position: int, upto: int | None, thread: str = ALL_THREADS, user_id: str = ALICE) -> Happening:
    content = orjson.dumps(["$event", 0, upto]).decode()
    return Happening(
        Change(position, Kind.RECEIPT, 1, None, user_id, None, None, f"m.read {thread}", content)
    )


def of_kind(position: int, kind: Kind, user_id: str | None = None) -> Happening:
    return Happening(Change(position, kind, 1, None, user_id, None, None, None, None))


def counts(position: int, **threads: tuple[int, int, int]) -> RoomCounts:
    names = {"main": MAIN_THREAD, "thread": THREAD}
    return RoomCounts(
        position, {names[name]: Count(*numbers) for name, numbers in threads.items()}, Deviation.NONE
    )


def test_a_receipt_behind_the_newest_message() -> None:
    """What came after its event is counted again from memory, mentions too; nobody is asked."""
    happened = (said(1), said(2), receipt(3, 1), said(4, loud=True), said(5, CAROL), receipt(6, 2))
    advanced = advance(counts(5, main=(3, 1, 5)), ALICE, Memory(happened, 0), 6)
    assert advanced == counts(6, main=(2, 1, 5))


def test_threads_apart() -> None:
    """A receipt of one thread leaves the others as they are."""
    happened = (said(1), said(2, thread=THREAD), said(3, thread=THREAD), said(4), receipt(5, 2, THREAD))
    advanced = advance(counts(4, main=(2, 0, 4), thread=(2, 0, 3)), ALICE, Memory(happened, 0), 5)
    assert advanced == counts(5, main=(2, 0, 4), thread=(1, 0, 3))
    everything = (*happened[:4], receipt(5, 2))
    advanced = advance(counts(4, main=(2, 0, 4), thread=(2, 0, 3)), ALICE, Memory(everything, 0), 5)
    assert advanced == counts(5, main=(1, 0, 4), thread=(1, 0, 3))


def test_who_wrote_has_read() -> None:
    """Between the receipt's event and now."""
    happened = (said(1), said(2), said(3, ALICE), said(4), receipt(5, 1))
    assert advance(counts(4, main=(1, 0, 4)), ALICE, Memory(happened, 0), 5) == counts(5, main=(1, 0, 4))


@pytest.mark.parametrize(
    ("happened", "horizon"),
    [
        ((said(1), said(2), receipt(4, 1)), 2),
        ((said(1), said(2), receipt(4, None)), 0),
        ((said(1), said(2), of_kind(3, Kind.REDACTED), receipt(4, 1)), 0),
        ((said(1), of_kind(2, Kind.STATE, ALICE), said(3), receipt(4, 1)), 0),
        ((said(1), said(2), receipt(3, 2, MAIN_THREAD), receipt(4, 1)), 0),
    ],
    ids=["older than memory", "unknown event", "redacted", "came in", "an earlier receipt reads more"],
)
def test_what_memory_cannot_tell(happened: tuple[Happening, ...], horizon: int) -> None:
    """Is counted anew."""
    assert advance(counts(3, main=(2, 0, 3)), ALICE, Memory(happened, horizon), 4) is None


def test_receipts_of_others_change_nothing() -> None:
    """However far they read."""
    happened = (said(1), said(2), receipt(3, 2, user_id=BOB))
    assert advance(counts(2, main=(2, 0, 2)), ALICE, Memory(happened, 0), 3) == counts(3, main=(2, 0, 2))


@pytest.mark.parametrize(
    ("happened", "horizon", "expected"),
    [
        ((said(4), receipt(5, 4, user_id=BOB)), 0, True),
        ((said(4),), 4, False),
        ((said(4), receipt(5, 1)), 0, False),
        ((said(4, ALICE),), 0, False),
        ((said(4), of_kind(5, Kind.REDACTED)), 0, False),
        ((of_kind(4, Kind.EVENT, ALICE),), 0, False),
    ],
    ids=["others spoke and read", "older than memory", "read", "wrote", "redacted", "came in"],
)
def test_when_only_what_is_new_is_looked_at(
    happened: tuple[Happening, ...], horizon: int, expected: bool
) -> None:
    """What was counted stays, unless it was read or taken back."""
    assert is_only_spoken_in(counts(3, main=(2, 0, 3)), ALICE, Memory(happened, horizon), 5) is expected
