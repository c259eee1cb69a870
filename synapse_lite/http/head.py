"""What a client says before the body of a request."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from attrs import frozen
from twisted.web.http import parse_qs


@frozen(eq=False)
class Head:
    """The first line of a request and its headers, as sent; names of headers in lower case.

    `length`: of the body; None for a chunked one. `keeps_alive`: the connection may go on after the answer.
    """

    method: bytes
    target: bytes
    version: str
    headers: Mapping[bytes, Sequence[bytes]]
    length: int | None
    keeps_alive: bool

    @property
    def path(self) -> bytes:
        """Percent-encoded, without the query."""
        return self.target.partition(b"?")[0]

    @cached_property
    def arguments(self) -> Mapping[bytes, Sequence[bytes]]:
        """Of the query, decoded."""
        query = self.target.partition(b"?")[2]
        return parse_qs(query, 1) if query else {}

    @property
    def expects_continue(self) -> bool:
        """The client sends the body when it is told to."""
        values = self.headers.get(b"expect", ())
        return self.version != "1.0" and any(value.lower() == b"100-continue" for value in values)
