"""With which servers this one speaks."""

from collections.abc import Iterable

from attrs import frozen


@frozen
class Recipients:
    """`allowed` are the only servers to speak with, None: all."""

    server_name: str
    allowed: frozenset[str] | None = None

    def among(self, servers: Iterable[str]) -> list[str]:
        """In one order; never this server itself."""
        return sorted(
            name
            for name in {*servers}
            if name != self.server_name and (self.allowed is None or name in self.allowed)
        )
