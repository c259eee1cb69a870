"""How far servers are followed whose events lean on what nobody has, or that are said to sign by keys that they do not have.

What an event leans on may be asked for at several servers, and each question takes its time. A server that sends such events
without end would keep this one asking; so would anybody who names keys of another server.
"""

from attrs import define, field

from synapse_lite.clock import Clock

MOST = 20
"""So many events of one server may lead nowhere in a row; then one more with each `SECONDS`."""
SECONDS = 1.0
MAX_SERVERS = 10_000


@define
class Trust:
    """`_even_at`: when (monotonic) a server's failures are forgotten, if there are no more."""

    clock: Clock
    _even_at: dict[str, float] = field(factory=dict)

    def is_spent(self, server_name: str) -> bool:
        """Whether nobody should be asked for what the server's events lean on, for now."""
        return self._even_at.get(server_name, 0) - self.clock.monotonic() > (MOST - 1) * SECONDS

    def note_failure(self, server_name: str) -> None:
        now = self.clock.monotonic()
        if server_name not in self._even_at and len(self._even_at) >= MAX_SERVERS:
            self._even_at.clear()
        self._even_at[server_name] = max(self._even_at.get(server_name, 0), now) + SECONDS
