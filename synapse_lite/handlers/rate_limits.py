"""The rate limits of a process."""

from attrs import field, frozen

from synapse_lite.clock import Clock
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.ratelimit import CommonBuckets, RateLimit, RateLimiter


@frozen
class RateLimits:
    """Makes limiters whose buckets all processes have in common."""

    clock: Clock
    common: CommonBuckets | None = None
    _limiters: dict[str, RateLimiter] = field(factory=dict, init=False)

    def limiter(self, name: str, limit: RateLimit, *, is_exact: bool = False) -> RateLimiter:
        """`name` is the option that says the limit: there is one limiter of that name, whoever asks for it."""
        if name not in self._limiters:
            self._limiters[name] = RateLimiter(
                self.clock, limit, name=name, common=self.common, is_exact=is_exact
            )
        return self._limiters[name]


async def check_user(
    limiter: RateLimiter, requester: Requester, cost: float = 1, *, scope: str | None = None
) -> None:
    """As `RateLimiter.check`, of a user, whom no limit holds where it is a service that has none. `scope`: one limiter has users of several."""
    if requester.is_limited:
        await limiter.check(requester.user_id if scope is None else (scope, requester.user_id), cost)
