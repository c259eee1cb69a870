"""How long messages are kept (MSC1763): what a room says in `m.room.retention`, and what a server makes of it.

State events are never affected. Times are milliseconds.
"""

from attrs import frozen

from synapse_lite.canonical_json import JsonObject

RETENTION = "m.room.retention"
SHORTEST_MS = 60_000  # a policy of less counts as this


@frozen
class RetentionPolicy:
    """The server's policy.

    `default_ms`: for rooms that say nothing, None for ever. A purge keeps messages for `least_ms` and
    no longer than `most_ms`, whatever a room says; None is no limit.
    """

    default_ms: int | None = None
    least_ms: int | None = None
    most_ms: int | None = None

    def lifetime(self, said: JsonObject | None) -> int | None:
        """For how long clients see a message; None: for ever. `said` is the content of the room's event."""
        own = None if said is None else said.get("max_lifetime")
        is_valid = isinstance(own, int) and not isinstance(own, bool) and own >= 0
        lifetime = own if is_valid else self.default_ms
        return None if lifetime is None else max(lifetime, SHORTEST_MS)

    def kept(self, lifetime: int) -> int:
        """For how long a message with that lifetime stays in the database."""
        kept = lifetime if self.least_ms is None else max(lifetime, self.least_ms)
        return kept if self.most_ms is None else min(kept, self.most_ms)


@frozen
class LifetimeRange:
    """Lifetimes above `shortest_ms`, up to and with `longest_ms`; None is no bound."""

    shortest_ms: int | None = None
    longest_ms: int | None = None

    def __contains__(self, lifetime: int) -> bool:
        return (self.shortest_ms is None or lifetime > self.shortest_ms) and (
            self.longest_ms is None or lifetime <= self.longest_ms
        )
