"""Who waits is found by room and by user, and costs nothing once they are gone for good."""

from synapse_lite.replication.waiters import DROPPED_AT_ONCE, KEPT_SECONDS, Waiter, Waiters
from tests.builders import ALICE, BOB


def test_found_by_room_and_user() -> None:
    """Several devices with the same rooms, and several users in one room; who is gone is found no more."""
    waiters, shared, other = Waiters(), {1: "!a", 2: "!b"}, frozenset({2, 3})
    phone, laptop, theirs = Waiter(shared, ALICE), Waiter(shared, ALICE), Waiter(other, BOB)
    for waiter in (phone, laptop, theirs):
        waiters.add(waiter)
    assert {*waiters.in_room(2)} == {phone, laptop, theirs}
    assert ({*waiters.in_room(1)}, {*waiters.in_room(3)}) == ({phone, laptop}, {theirs})
    assert ({*waiters.of_users([ALICE])}, waiters.users) == ({phone, laptop}, 2)
    for _ in range(2):
        waiters.remove(phone, 0)
    assert {*waiters.in_room(2)} == {laptop, theirs}
    waiters.remove(laptop, 0)
    waiters.remove(theirs, 0)
    assert ([*waiters], [*waiters.in_room(2)], bool(waiters)) == ([], [], False)


def test_rooms_are_kept_for_who_comes_back() -> None:
    """For a while, and never while somebody waits."""
    waiters, rooms = Waiters(), {1: "!a"}
    waiters.add(Waiter(rooms, ALICE))
    waiters.drop_idle(10 * KEPT_SECONDS)
    (waiting,) = waiters.in_room(1)
    waiters.remove(waiting, 100)
    waiters.drop_idle(100 + KEPT_SECONDS - 1)
    assert not waiters.is_empty
    again = Waiter(rooms, ALICE)
    waiters.add(again)
    waiters.drop_idle(100 + KEPT_SECONDS)
    assert [*waiters.in_room(1)] == [again]
    waiters.remove(again, 200)
    waiters.drop_idle(200 + KEPT_SECONDS)
    assert waiters.is_empty


def test_much_is_forgotten_a_part_at_a_time() -> None:
    """A sweep is over when so many rooms are gone; the next one goes on."""
    waiters = Waiters()
    for _ in range(3):
        waiter = Waiter(range(DROPPED_AT_ONCE // 2 + 1), ALICE)
        waiters.add(waiter)
        waiters.remove(waiter, 0)
    waiters.drop_idle(KEPT_SECONDS)
    assert not waiters.is_empty
    waiters.drop_idle(KEPT_SECONDS)
    assert waiters.is_empty
