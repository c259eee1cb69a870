"""The pace of steps and of retries."""

from synapse_lite.errors import not_found
from synapse_lite.tasks.errors import MAX_ERROR_LENGTH, describe
from synapse_lite.tasks.run import MAX_BATCH, MIN_BATCH, STEP_TARGET_MS, Backoff, adapt_batch


def test_batches_follow_the_duration_of_steps() -> None:
    """Slow steps halve the batch, fast ones double it, within bounds."""
    assert adapt_batch(100, STEP_TARGET_MS + 1) == 50
    assert adapt_batch(100, STEP_TARGET_MS - 1) == 100
    assert adapt_batch(100, STEP_TARGET_MS // 2 - 1) == 200
    assert adapt_batch(MIN_BATCH, 10_000) == MIN_BATCH
    assert adapt_batch(MAX_BATCH, 0) == MAX_BATCH


def test_backoff_grows_to_a_limit_with_jitter() -> None:
    """Doubling from the first, never more than the limit, and never less than half."""
    backoff = Backoff(first_seconds=1, max_seconds=10)
    for attempt, seconds in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (99, 10)):
        assert 500 * seconds <= backoff.milliseconds(attempt) <= 1000 * seconds


def test_errors_are_described_without_content() -> None:
    """Our own words as they are, those of others by type and place; neither without limit."""
    assert describe(not_found("Room unknown")) == "Room unknown"
    assert len(describe(not_found("\0" + "x" * 2000))) == MAX_ERROR_LENGTH
    try:
        int("secret")
    except ValueError as error:
        text = describe(error)
    assert text.startswith("ValueError in test_errors_are_described_without_content, line ")
    assert "secret" not in text
