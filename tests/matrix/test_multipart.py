"""Bodies of several parts, in pieces of any size."""

from collections.abc import Iterable

import pytest

from synapse_lite.matrix.multipart import Envelope, Head, MultipartError, MultipartReader

FILE = bytes(range(256)) * 3 + b"\r\n--other\r\n\r\n--\r\n"
TYPE = {"Content-Type": "image/png"}


def read(content_type: str, pieces: Iterable[bytes]) -> tuple[list[dict[str, str]], list[bytes], bool]:
    """Heads, what each part has, and whether the end was there."""
    reader = MultipartReader(content_type)
    heads: list[dict[str, str]] = []
    bodies: list[bytes] = []
    for piece in pieces:
        for one in reader.feed(piece):
            if isinstance(one, Head):
                heads.append(dict(one.headers))
                bodies.append(b"")
            else:
                bodies[-1] += one
    return heads, bodies, reader.ended


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("file", [FILE, b"", b"\r\n", b"\r\n--edg", b"--edge\r\n"])
def test_what_we_write_can_be_read(size: int, file: bytes) -> None:
    """Two parts, byte for byte, however the body is cut."""
    envelope = Envelope("edge")
    body = envelope.before(TYPE) + file.replace(b"--edge", b"--edgy") + envelope.after
    heads, bodies, ended = read(envelope.content_type, cut(body, size))
    assert heads == [{"content-type": "application/json"}, {"content-type": "image/png"}]
    assert bodies == [b"{}", file.replace(b"--edge", b"--edgy")]
    assert ended


@pytest.mark.parametrize("size", [1, 5, 10_000])
@pytest.mark.parametrize(
    ("content_type", "body", "heads", "bodies"),
    [
        ('multipart/mixed; boundary="a b"', b"--a b\r\nX: 1\r\n\r\nA\r\n--a b--", [{"x": "1"}], [b"A"]),
        ("multipart/mixed;boundary=b;charset=x", b"\r\n--b \t\r\n\r\nA\r\n--b--\r\nend", [{}], [b"A"]),
        ("Multipart/Mixed; BOUNDARY=b", b"words\r\n--b\r\nX : y:z\r\n\r\n--b--", [{"x": "y:z"}], [b""]),
        ("multipart/mixed; boundary=b", b"--b\r\n\r\n\r\n--b\r\n\r\n\r\n\r\n--b--", [{}, {}], [b"", b"\r\n"]),
    ],
)
def test_other_ways_to_write(
    size: int, content_type: str, body: bytes, heads: list[dict[str, str]], bodies: list[bytes]
) -> None:
    """Quoted boundaries, a preamble, blanks behind a delimiter, parts without headers or bytes, an epilogue."""
    assert read(content_type, cut(body, size)) == (heads, bodies, True)


def test_an_end_that_is_missing() -> None:
    """It is told apart from a body that is whole."""
    assert read("multipart/mixed; boundary=b", [b"--b\r\n\r\nA\r\n--b"])[2] is False


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/mixed", b""),
        ("multipart/mixed; boundary=", b""),
        (f"multipart/mixed; boundary={'b' * 300}", b""),
        ("multipart/mixed; boundary=b", b"x" * 100_000),
        ("multipart/mixed; boundary=b", b"--b\r\nX: " + b"x" * 100_000),
        ("multipart/mixed; boundary=b", b"--b\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"),
        ("multipart/mixed; boundary=b", b"--bc\r\n\r\nA"),
        ("multipart/mixed; boundary=b", b"--b" + b" " * 100_000),
    ],
)
def test_broken_bodies(content_type: str, body: bytes) -> None:
    """No boundary, no part, heads without an end: an error, and nothing grows."""
    with pytest.raises(MultipartError):
        read(content_type, cut(body, 1000))
