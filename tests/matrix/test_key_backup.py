"""Which copy of a room key is kept."""

import itertools

import pytest

from synapse_lite.matrix.key_backup import RoomKey, is_better

COPIES = [
    RoomKey("!r", "s", is_verified, index, forwarded, "{}")
    for is_verified, index, forwarded in itertools.product((True, False), (0, 5), (0, 3))
]
"""From the best to the worst."""


@pytest.mark.parametrize(("better", "worse"), list(itertools.combinations(COPIES, 2)))
def test_the_better_copy_wins(better: RoomKey, worse: RoomKey) -> None:
    """Verified, then the lower first index, then the lower forwarded count; in whatever order they come."""
    assert is_better(better, worse)
    assert not is_better(worse, better)


@pytest.mark.parametrize("copy", COPIES)
def test_an_equal_copy_changes_nothing(copy: RoomKey) -> None:
    """The one that is there stays."""
    assert not is_better(copy._replace(session_data='{"other": 1}'), copy)
