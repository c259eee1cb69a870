"""How often users may join and invite."""

from collections.abc import Collection
from typing import Self

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.config.rate_limits import RateLimitOptions
from synapse_lite.http.ratelimit import RateLimiter


@frozen
class MembershipLimits:
    """Every check raises 429 `M_LIMIT_EXCEEDED`."""

    joins: RateLimiter
    joins_per_room: RateLimiter
    invites_per_room: RateLimiter
    invites_per_user: RateLimiter
    invites_per_issuer: RateLimiter

    @classmethod
    def build(cls, options: RateLimitOptions, clock: Clock) -> Self:
        return cls(
            RateLimiter(clock, options.rc_joins.local),
            RateLimiter(clock, options.rc_joins_per_room),
            RateLimiter(clock, options.rc_invites.per_room),
            RateLimiter(clock, options.rc_invites.per_user),
            RateLimiter(clock, options.rc_invites.per_issuer),
        )

    def spend_join(self, user_id: str, room_nid: int) -> None:
        self.joins_per_room.check(room_nid, spend=False)
        self.joins.check(user_id)
        self.joins_per_room.check(room_nid)

    def spend_invites(self, issuer: str, targets: Collection[str], room_nid: int | None = None) -> None:
        """All of the invites or none. A room that is being made (None) has no limit of its own."""
        for spend in (False, True) if targets else ():
            self._pour_invites(issuer, targets, room_nid, spend=spend)

    def _pour_invites(
        self, issuer: str, targets: Collection[str], room_nid: int | None, *, spend: bool
    ) -> None:
        self.invites_per_issuer.check(issuer, len(targets), spend=spend)
        if room_nid is not None:
            self.invites_per_room.check(room_nid, len(targets), spend=spend)
        for target in targets:
            self.invites_per_user.check(target, spend=spend)
