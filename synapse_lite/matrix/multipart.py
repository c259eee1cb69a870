"""Bodies of several parts (RFC 2046), as servers hand each other files: read piece by piece, whatever their size."""

from collections.abc import Callable, Iterator, Mapping
from email.message import Message

from attrs import frozen

MIXED = "multipart/mixed"
MAX_BOUNDARY = 200
MAX_PREAMBLE = 16 * 1024
MAX_HEAD = 16 * 1024
_LINE = b"\r\n"


class MultipartError(Exception):
    """The body is not what its headers say."""


@frozen
class Head:
    """The beginning of a part. `headers` by lower-case name."""

    headers: Mapping[str, str]


class MultipartReader:
    """Takes the body as it arrives, in pieces of any size."""

    def __init__(self, content_type: str) -> None:
        """`MultipartError` when it names no boundary."""
        self._delimiter = _LINE + b"--" + _boundary_of(content_type)
        # The first delimiter may stand at the very beginning, without a line before it.
        self._data = bytearray(_LINE)
        self._skipped = 0
        self._of_head = 0
        self._read: Callable[[], Head | bytes | None] = self._preamble
        self.ended = False

    def feed(self, data: bytes) -> Iterator[Head | bytes]:
        """What can be told now: the head of a part, then its bytes in pieces, then the next head."""
        self._data += data
        while not self.ended:
            found = self._read()
            if found is None:
                return
            if found:
                yield found

    def _preamble(self) -> bytes | None:
        """What stands before the first part is of no interest."""
        skipped = self._until_delimiter()
        self._skipped += len(skipped or b"")
        if self._skipped > MAX_PREAMBLE:
            raise MultipartError("no part begins")
        return None if skipped is None else b""

    def _after_delimiter(self) -> bytes | None:
        """The rest of the line of a delimiter; two hyphens mean that it was the last one."""
        if self._data.startswith(b"--"):
            self.ended = True
            return b""
        end = self._data.find(_LINE)
        if end < 0 and len(self._data) <= MAX_HEAD:
            return None
        if end < 0 or bytes(self._data[:end]).strip(b" \t"):
            raise MultipartError("a delimiter is followed by something else")
        del self._data[:end]
        self._read = self._head
        return b""

    def _head(self) -> Head | None:
        end = self._data.find(_LINE + _LINE)
        if end > MAX_HEAD or (end < 0 and len(self._data) > MAX_HEAD):
            raise MultipartError("the head of a part is too long")
        if end < 0:
            return None
        lines = bytes(self._data[:end]).decode("utf-8", "replace").split("\r\n")
        # The line that ends the head may begin the next delimiter, too: of a part without bytes.
        del self._data[: end + len(_LINE)]
        self._of_head = len(_LINE)
        self._read = self._body
        fields = (line.partition(":") for line in lines)
        return Head({name.strip().lower(): text.strip() for name, found, text in fields if found})

    def _body(self) -> bytes | None:
        found = self._until_delimiter()
        if found is None:
            return None
        body = found[self._of_head :]
        self._of_head -= len(found) - len(body)
        return body

    def _until_delimiter(self) -> bytes | None:
        """What is certainly before the next delimiter; None while that is nothing."""
        place = self._data.find(self._delimiter)
        if place >= 0:
            before = bytes(self._data[:place])
            del self._data[: place + len(self._delimiter)]
            self._read = self._after_delimiter
            return before
        certain = len(self._data) - len(self._delimiter)
        if certain <= 0:
            return None
        before = bytes(self._data[:certain])
        del self._data[:certain]
        return before


@frozen
class Envelope:
    """What stands around a file of ours: an empty object about it, then the file."""

    boundary: str

    @property
    def content_type(self) -> str:
        return f"{MIXED}; boundary={self.boundary}"

    def before(self, headers: Mapping[str, str]) -> bytes:
        lines = [
            f"--{self.boundary}",
            "Content-Type: application/json",
            "",
            "{}",
            f"--{self.boundary}",
            *(f"{name}: {text}" for name, text in headers.items()),
            "",
            "",
        ]
        return "\r\n".join(lines).encode()

    @property
    def after(self) -> bytes:
        return f"\r\n--{self.boundary}--\r\n".encode()


def _boundary_of(content_type: str) -> bytes:
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary()
    if not boundary or len(boundary) > MAX_BOUNDARY or not (boundary.isascii() and boundary.isprintable()):
        raise MultipartError("there is no boundary")
    return boundary.encode()
