import attrs
import pytest

from synapse_lite.errors import MatrixError
from synapse_lite.http.ratelimit import MAX_RETRY_AFTER_MS, RateLimiter
from tests.http.memory import ManualClock


@attrs.frozen
class Limit:
    per_second: float
    burst_count: int


def retry_after_ms(limiter, key="k", **arguments):
    with pytest.raises(MatrixError) as caught:
        limiter.check(key, **arguments)
    assert (caught.value.status, caught.value.errcode) == (429, "M_LIMIT_EXCEEDED")
    return caught.value.extra["retry_after_ms"]


def test_a_burst_passes_and_the_next_is_refused():
    """The bucket holds `burst_count`, for each key."""
    limiter = RateLimiter(ManualClock(), Limit(0.5, 3))
    for _ in range(3):
        limiter.check("k")
    assert retry_after_ms(limiter) == 2000
    limiter.check("other")


@pytest.mark.parametrize("per_second", [0.2, 0.17, 3, 0.003])
def test_after_the_announced_wait_exactly_one_passes(per_second):
    """`retry_after_ms` is enough, and one unit drains at a time."""
    clock = ManualClock()
    limiter = RateLimiter(clock, Limit(per_second, 2))
    limiter.check("k")
    limiter.check("k")
    clock.advance(retry_after_ms(limiter) / 1000)
    limiter.check("k")
    retry_after_ms(limiter)


def test_a_refusal_costs_nothing():
    """Trying again and again does not prolong the wait."""
    limiter = RateLimiter(ManualClock(), Limit(1, 1))
    limiter.check("k")
    assert retry_after_ms(limiter) == retry_after_ms(limiter) == 1000


def test_what_costs_nothing_always_passes():
    """A cost of 0 leaves an empty bucket empty."""
    limiter = RateLimiter(ManualClock(), Limit(1, 1))
    limiter.check("k", cost=0)
    limiter.check("k")


def test_cost():
    """One call may weigh as much as several."""
    limiter = RateLimiter(ManualClock(), Limit(1, 5))
    limiter.check("k", 4)
    assert retry_after_ms(limiter, cost=2) == 1000
    limiter.check("k", 1)


def test_asking_without_spending():
    """Failures are counted afterwards: asking leaves the bucket as it is."""
    limiter = RateLimiter(ManualClock(), Limit(1, 1))
    limiter.check("k", spend=False)
    limiter.check("k")
    retry_after_ms(limiter, spend=False)


def test_an_override_replaces_the_limit():
    """One user may have a larger bucket."""
    limiter = RateLimiter(ManualClock(), Limit(1, 1))
    limiter.check("k")
    limiter.check("k", limit=Limit(1, 3))
    retry_after_ms(limiter)


def test_limits_of_zero():
    """No burst refuses everything; no rate never drains; both with a finite wait."""
    clock = ManualClock()
    assert retry_after_ms(RateLimiter(clock, Limit(0, 0))) == MAX_RETRY_AFTER_MS
    limiter = RateLimiter(clock, Limit(0, 1))
    limiter.check("k")
    clock.advance(3600)
    assert retry_after_ms(limiter) == MAX_RETRY_AFTER_MS


def test_empty_buckets_are_forgotten():
    """Memory follows the keys in use, not those ever seen."""
    clock = ManualClock()
    limiter = RateLimiter(clock, Limit(1, 1))
    for key in range(100):
        limiter.check(key)
    clock.advance(10)
    for key in range(100, 200):
        limiter.check(key)
    assert len(limiter._empty_at) == 100


def test_the_number_of_keys_is_bounded():
    """Beyond the bound the bucket used longest ago goes."""
    limiter = RateLimiter(ManualClock(), Limit(1, 1), max_keys=10)
    for key in range(50):
        limiter.check(key)
    assert list(limiter._empty_at) == list(range(40, 50))
    retry_after_ms(limiter, key=49)
    limiter.check(0)
