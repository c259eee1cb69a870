"""Profiles of users of other servers, as those tell them."""

from attrs import field, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.federation.peers import PeerError
from synapse_lite.federation.queries import Queries
from synapse_lite.http.flights import Flights
from synapse_lite.storage.cache import Cache

KEPT_SECONDS = 300.0
CACHED = 10_000  # profiles


@frozen
class RemoteProfiles:
    """What was told is believed for five minutes."""

    _queries: Queries
    _clock: Clock
    _told: Cache[str, tuple[float, JsonObject]] = field(factory=lambda: Cache(CACHED))
    _flights: Flights[str, JsonObject] = field(factory=Flights)

    async def of(self, user_id: str) -> JsonObject:
        """404 `M_NOT_FOUND` for a user that their server does not know, 502 `M_UNKNOWN` when it does not answer."""
        told = self._told.get(user_id)
        if told is not None and told[0] > self._clock.monotonic():
            return told[1]
        return await self._flights.join(user_id, lambda: self._ask(user_id))

    async def _ask(self, user_id: str) -> JsonObject:
        try:
            profile = await self._queries.profile(user_id)
        except PeerError as error:
            if error.status == 404:  # noqa: PLR2004 (not found)
                raise not_found("Profile was not found") from None
            raise MatrixError(502, Errcode.UNKNOWN, f"Failed to fetch the profile: {error}") from None
        self._told.put(user_id, (self._clock.monotonic() + KEPT_SECONDS, profile))
        return profile
