"""Range requests (RFC 9110, section 14): which bytes of a file an answer holds."""

import re

from attrs import frozen

_ONE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@frozen
class Span:
    """`length` bytes from `start`, of a file of `size`. `status` is 200, 206, or 416 with nothing to send."""

    status: int
    start: int
    length: int
    size: int

    @property
    def content_range(self) -> str | None:
        """The header of that name."""
        if self.status == 200:  # noqa: PLR2004 (a status)
            return None
        last = self.start + self.length - 1
        return f"bytes */{self.size}" if self.length == 0 else f"bytes {self.start}-{last}/{self.size}"


def choose_span(header: str, if_range: str, size: int, etag: str) -> Span:
    """Several ranges, ranges of other units and an `If-Range` that does not fit mean the whole file."""
    whole = Span(200, 0, size, size)
    match = _ONE.fullmatch(header.strip().replace(" ", ""))
    if match is None or (if_range and if_range.strip() != etag):
        return whole
    first, last = match.groups()
    if not first and not last:
        return whole
    start = max(0, size - int(last)) if not first else int(first)
    end = size if not first or not last else min(size, int(last) + 1)
    if first and last and int(last) < start:
        return whole
    return Span(206, start, end - start, size) if start < end else Span(416, 0, 0, size)


def matches(if_none_match: str, etag: str) -> bool:
    """Whether the client has the file already."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or "*" in tags
