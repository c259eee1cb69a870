import attrs
import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.errors import MatrixError
from synapse_lite.http.ratelimit import MAX_RETRY_AFTER_MS, RateLimiter, check_all, network_of
from tests.http.memory import ManualClock


@attrs.frozen
class Limit:
    per_second: float
    burst_count: int


async def retry_after_ms(limiter, key="k", **arguments):
    with pytest.raises(MatrixError) as caught:
        await limiter.check(key, **arguments)
    assert (caught.value.status, caught.value.errcode) == (429, "M_LIMIT_EXCEEDED")
    return caught.value.extra["retry_after_ms"]


@ensureDeferred
async def test_a_burst_passes_and_the_next_is_refused():
    """The bucket holds `burst_count`, for each key."""
    limiter = RateLimiter(ManualClock(), Limit(0.5, 3))
    for _ in range(3):
        await limiter.check("k")
    assert await retry_after_ms(limiter) == 2000
    await limiter.check("other")


@pytest.mark.parametrize("per_second", [0.2, 0.17, 3, 0.003])
@ensureDeferred
async def test_after_the_announced_wait_exactly_one_passes(per_second):
    """`retry_after_ms` is enough, and one unit drains at a time."""
    clock = ManualClock()
    limiter = RateLimiter(clock, Limit(per_second, 2))
    await limiter.check("k")
    await limiter.check("k")
    clock.advance(await retry_after_ms(limiter) / 1000)
    await limiter.check("k")
    await retry_after_ms(limiter)


@ensureDeferred
async def test_a_refusal_costs_nothing():
    """Trying again and again does not prolong the wait."""
    limiter = RateLimiter(ManualClock(), Limit(1, 1))
    await limiter.check("k")
    assert await retry_after_ms(limiter) == await retry_after_ms(limiter) == 1000


@ensureDeferred
async def test_what_costs_nothing_always_passes():
    """A cost of 0 leaves an empty bucket empty."""
    limiter = RateLimiter(ManualClock(), Limit(1, 1))
    await limiter.check("k", cost=0)
    await limiter.check("k")


@ensureDeferred
async def test_cost():
    """One call may weigh as much as several."""
    limiter = RateLimiter(ManualClock(), Limit(1, 5))
    await limiter.check("k", 4)
    assert await retry_after_ms(limiter, cost=2) == 1000
    await limiter.check("k", 1)


@ensureDeferred
async def test_an_override_replaces_the_limit():
    """One user may have a larger bucket."""
    limiter = RateLimiter(ManualClock(), Limit(1, 1))
    await limiter.check("k")
    await limiter.check("k", limit=Limit(1, 3))
    await retry_after_ms(limiter)


@ensureDeferred
async def test_limits_of_zero():
    """No burst refuses everything; no rate never drains; both with a finite wait."""
    clock = ManualClock()
    assert await retry_after_ms(RateLimiter(clock, Limit(0, 0))) == MAX_RETRY_AFTER_MS
    limiter = RateLimiter(clock, Limit(0, 1))
    await limiter.check("k")
    clock.advance(3600)
    assert await retry_after_ms(limiter) == MAX_RETRY_AFTER_MS


@ensureDeferred
async def test_empty_buckets_are_forgotten():
    """Memory follows the keys in use, not those ever seen."""
    clock = ManualClock()
    limiter = RateLimiter(clock, Limit(1, 1))
    for key in range(100):
        await limiter.check(key)
    clock.advance(10)
    for key in range(100, 200):
        await limiter.check(key)
    assert len(limiter._buckets) == 100


@ensureDeferred
async def test_the_number_of_keys_is_bounded():
    """Beyond the bound the bucket used longest ago goes."""
    limiter = RateLimiter(ManualClock(), Limit(1, 1), max_keys=10)
    for key in range(50):
        await limiter.check(key)
    assert list(limiter._buckets) == list(range(40, 50))
    await retry_after_ms(limiter, key=49)
    await limiter.check(0)


@ensureDeferred
async def test_a_clock_that_is_set_back_keeps_no_bucket_full():
    """A bucket drains by time that passes, whatever the wall clock says."""
    clock = ManualClock()
    limiter = RateLimiter(clock, Limit(1, 2))
    await limiter.check("k", cost=2)
    clock.step(-3600)
    assert await retry_after_ms(limiter) == 1000
    clock.advance(1)
    await limiter.check("k")


@ensureDeferred
async def test_a_refund_takes_a_pour_back():
    """What did not count in the end leaves room for another."""
    limiter = RateLimiter(ManualClock(), Limit(1, 2))
    await limiter.check("k")
    await limiter.check("k")
    limiter.refund("k")
    await limiter.check("k")
    await retry_after_ms(limiter)
    limiter.refund("unknown")


@ensureDeferred
async def test_several_limits_are_spent_together_or_not_at_all():
    """The one that refuses leaves the others as they were."""
    wide, tight = RateLimiter(ManualClock(), Limit(1, 2)), RateLimiter(ManualClock(), Limit(1, 1))
    await check_all([(wide, "k", 1), (tight, "k", 1)])
    with pytest.raises(MatrixError):
        await check_all([(wide, "k", 1), (tight, "k", 1)])
    await wide.check("k")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
    ],
)
def test_ipv6_counts_by_network(address, network):
    """Who has one address of a /64 has all of them."""
    assert network_of(address) == network
