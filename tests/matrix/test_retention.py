"""How long messages live, by what the room and the server say."""

from typing import Any

import pytest

from synapse_lite.matrix.retention import SHORTEST_MS, LifetimeRange, RetentionPolicy

DAY = 86_400_000


@pytest.mark.parametrize(
    ("said", "lifetime"),
    [
        (None, 7 * DAY),
        ({}, 7 * DAY),
        ({"min_lifetime": 1}, 7 * DAY),
        ({"max_lifetime": 2 * DAY}, 2 * DAY),
        ({"max_lifetime": 1}, SHORTEST_MS),
        ({"max_lifetime": 0}, SHORTEST_MS),
        *[({"max_lifetime": wrong}, 7 * DAY) for wrong in (-1, True, "1d", None, [1], {})],
    ],
)
def test_a_room_decides_before_the_server(said: Any, lifetime: int) -> None:
    """What is not a lifetime counts as nothing; a minute is the least."""
    assert RetentionPolicy(7 * DAY).lifetime(said) == lifetime


def test_nobody_says_anything() -> None:
    """Then messages live for ever, whatever the limits."""
    assert RetentionPolicy(least_ms=DAY, most_ms=2 * DAY).lifetime({"topic": "x"}) is None


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        (RetentionPolicy(), [1, 5, 9]),
        (RetentionPolicy(least_ms=4), [4, 5, 9]),
        (RetentionPolicy(most_ms=6), [1, 5, 6]),
        (RetentionPolicy(least_ms=5, most_ms=5), [5, 5, 5]),
    ],
)
def test_the_server_bounds_what_is_kept(policy: RetentionPolicy, kept: list[int]) -> None:
    """Both bounds count, each may be missing."""
    assert [policy.kept(lifetime) for lifetime in (1, 5, 9)] == kept


def test_ranges_meet_without_overlap() -> None:
    """A lifetime at the border belongs to the range that ends there."""
    ranges = [LifetimeRange(None, 3), LifetimeRange(3, 7), LifetimeRange(7, None)]
    for lifetime in range(12):
        assert sum(lifetime in one for one in ranges) == 1
    assert 3 in ranges[0]
    assert 7 in ranges[1]
