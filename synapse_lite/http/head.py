"""What a client says before the body of a request."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from urllib.parse import unquote_to_bytes

from attrs import frozen


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
        return read_query(query)

    @property
    def expects_continue(self) -> bool:
        """The client sends the body when it is told to."""
        values = self.headers.get(b"expect", ())
        return self.version != "1.0" and any(value.lower() == b"100-continue" for value in values)


def read_query(query: bytes) -> Mapping[bytes, Sequence[bytes]]:
    """`application/x-www-form-urlencoded` (URL Standard, section 5), without names that are given no value.

    Twisted's own comes with all of its HTTP, 1.7 MB that nothing else here needs, and cuts values at a semicolon.
    """
    found: dict[bytes, list[bytes]] = {}
    for item in query.split(b"&"):
        name, has_value, value = item.replace(b"+", b" ").partition(b"=")
        if has_value:
            found.setdefault(unquote_to_bytes(name), []).append(unquote_to_bytes(value))
    return found
