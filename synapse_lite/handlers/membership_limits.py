"""How often users may join and invite."""

from collections.abc import Collection, Hashable
from typing import Self

from attrs import frozen

from synapse_lite.config.rate_limits import RateLimitOptions
from synapse_lite.handlers.rate_limits import RateLimits, check_user
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.ratelimit import RateLimiter, check_all


@frozen
class MembershipLimits:
    """Every check raises 429 `M_LIMIT_EXCEEDED`. `messages`: for member events that have no limit of their own."""

    joins: RateLimiter
    remote_joins: RateLimiter
    joins_per_room: RateLimiter
    invites_per_room: RateLimiter
    invites_per_user: RateLimiter
    invites_per_issuer: RateLimiter
    messages: RateLimiter

    @classmethod
    def build(cls, options: RateLimitOptions, limits: RateLimits, messages: RateLimiter) -> Self:
        return cls(
            limits.limiter("rc_joins", options.rc_joins.local),
            limits.limiter("rc_joins.remote", options.rc_joins.remote),
            limits.limiter("rc_joins_per_room", options.rc_joins_per_room),
            limits.limiter("rc_invites.per_room", options.rc_invites.per_room),
            limits.limiter("rc_invites.per_user", options.rc_invites.per_user),
            limits.limiter("rc_invites.per_issuer", options.rc_invites.per_issuer),
            messages,
        )

    async def spend_join(self, requester: Requester, room_nid: int) -> None:
        if requester.is_limited:
            await check_all([(self.joins_per_room, room_nid, 1), (self.joins, requester.user_id, 1)])

    async def spend_remote_join(self, requester: Requester) -> None:
        """Of a room that this server is not in, a join or a knock."""
        await check_user(self.remote_joins, requester)

    async def spend_received_invite(self, target: str) -> None:
        """Of a user of another server: whatever that one allows."""
        await self.invites_per_user.check(target)

    async def spend_invites(
        self, issuer: Requester, targets: Collection[str], room_nid: int | None = None
    ) -> None:
        """All of the invites or none. A room that is being made (None) has no limit of its own."""
        if not targets or not issuer.is_limited:
            return
        pours: list[tuple[RateLimiter, Hashable, float]] = [
            (self.invites_per_issuer, issuer.user_id, len(targets))
        ]
        if room_nid is not None:
            pours.append((self.invites_per_room, room_nid, len(targets)))
        pours += [(self.invites_per_user, target, 1) for target in targets]
        await check_all(pours)
