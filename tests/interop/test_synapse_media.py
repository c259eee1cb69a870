"""Media: uploads, downloads, thumbnails and what is refused, with the headers that matter, as on Synapse."""

import struct
import zlib
from typing import Any

from attrs import evolve

from tests.interop.alike import Answer, Caller, differences
from tests.interop.synapse import Synapse
from tests.processes.harness import Server

OLD = "/_matrix/media/v3"
NEW = "/_matrix/client/v1/media"
SERVER = "synapse.test"
HEADERS = (
    "content-type",
    "content-disposition",
    "content-security-policy",
    "cross-origin-resource-policy",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "referrer-policy",
    "x-robots-tag",
)
"""Of answers with a file."""


def ask(caller: Caller, label: str, method: str, path: str, body: Any = None, **options: Any) -> Answer:
    """As `call`; headers are compared, too, where the answer is a file."""
    answer = caller.call(label, method, path, body, **{"by": "alice", **options})
    if answer.status == 200 and "content-disposition" in answer.headers:
        shown = {name: answer.headers[name].lower() for name in HEADERS if name in answer.headers}
        caller.answers[label] = evolve(answer, body={"headers": shown, "is_empty": not answer.body})
    return answer


def upload(caller: Caller, name: str, body: bytes, query: str, content_type: str) -> None:
    path, headers = f"{OLD}/upload{query}", {"Content-Type": content_type}
    answer = ask(caller, f"upload {name}", "POST", path, body, headers=headers)
    assert answer.status == 200, f"{name}: {answer}"
    caller.names[name] = answer["content_uri"].rpartition("/")[2]


def picture(width: int, height: int) -> bytes:
    """A red PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\xff\0\0" * width for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


FILES = (
    ("text", b"hello", "?filename=hello.txt", "text/plain"),
    ("empty", b"", "?filename=e", "text/plain"),
    ("html", b"<html>", "?filename=x.html", "text/html"),
    ("vector", b"<svg/>", "?filename=x.svg", "image/svg+xml"),
    ("charset", b"hello", "?filename=x", "text/plain; charset=utf-8"),
    ("odd type", b"hello", "?filename=x", "nonsense"),
    ("other letters", b"hello", "?filename=%C3%A9%20%E2%98%83.txt", "text/plain"),
    ("quoted", b"hello", "?filename=a%22b%3Bc.txt", "text/plain"),
    ("path", b"hello", "?filename=..%2Fa%2Fb.txt", "text/plain"),
    ("no name", b"hello", "?filename=", "text/plain"),
    ("pdf", b"%PDF", "?filename=x.pdf", "application/pdf"),
    ("json", b"{}", "?filename=x.json", "application/json"),
    ("bytes", b"\0\1", "?filename=x.bin", "application/octet-stream"),
    ("picture", picture(300, 200), "?filename=x.png", "image/png"),
    ("no picture", b"hello", "?filename=x.png", "image/png"),
    ("film", b"hello", "?filename=x.mp4", "video/mp4"),
)


def files(caller: Caller) -> None:
    """What is uploaded comes back with a type and a name."""
    caller.register("alice", "bob")
    for name, body, query, content_type in FILES:
        upload(caller, name, body, query, content_type)
        ask(caller, name, "GET", f"{NEW}/download/{SERVER}/{{{name}}}")
        ask(caller, f"{name} as other", "GET", f"{NEW}/download/{SERVER}/{{{name}}}/%C3%A9.txt")
    for by in ("bob", None, "nonsense"):
        ask(caller, f"text by {by}", "GET", f"{NEW}/download/{SERVER}/{{text}}", by=by)
        ask(caller, f"old text by {by}", "GET", f"{OLD}/download/{SERVER}/{{text}}", by=by)
        ask(caller, f"upload by {by}", "POST", f"{OLD}/upload", b"x", by=by)
    for query in ("timeout_ms=x", "timeout_ms=-1", "timeout_ms=1", "allow_redirect=true"):
        ask(caller, f"text {query}", "GET", f"{NEW}/download/{SERVER}/{{text}}?{query}")
    ask(caller, "no type", "POST", f"{OLD}/upload", b"x")
    for kind in ("multipart/form-data; boundary=x", "Multipart/Form-Data", "multipart/mixed"):
        ask(caller, kind, "POST", f"{OLD}/upload", b"--x--", headers={"Content-Type": kind})
    ask(
        caller, "no UTF-8", "POST", f"{OLD}/upload?filename=%ff", b"x", headers={"Content-Type": "text/plain"}
    )
    ask(caller, "head", "HEAD", f"{NEW}/download/{SERVER}/{{text}}")
    ask(caller, "options", "OPTIONS", f"{NEW}/download/{SERVER}/{{text}}")


def refusals(caller: Caller) -> None:
    """Unknown files, odd ids, configuration and previews."""
    caller.register("alice")
    for version in (NEW, OLD):
        for path in ("unknown", "a%2Fb", "a%20b", "", "unknown/a/b"):
            ask(caller, f"{version} {path}", "GET", f"{version}/download/{SERVER}/{path}")
        ask(caller, f"{version} no id", "GET", f"{version}/download/{SERVER}")
        ask(caller, f"{version} no server", "GET", f"{version}/download//x")
        ask(caller, f"{version} odd server", "GET", f"{version}/download/bad%20server/x")
        ask(caller, f"{version} thumbnail", "GET", f"{version}/thumbnail/{SERVER}/unknown?width=32&height=32")
        for by in ("alice", None):
            ask(caller, f"{version} config by {by}", "GET", f"{version}/config", by=by)
            ask(caller, f"{version} preview by {by}", "GET", f"{version}/preview_url?url=http://x/", by=by)
    for version in ("r0", "v1"):
        ask(caller, f"upload {version}", "POST", f"/_matrix/media/{version}/upload", b"x")
    for method, path in (
        ("GET", "upload"),
        ("PUT", f"upload/{SERVER}/unknown"),
        ("PUT", "upload/other.test/x"),
    ):
        ask(caller, f"{method} {path}", method, f"{OLD}/{path}", b"x")


def thumbnails(caller: Caller) -> None:
    """Of pictures and of what is none, in sizes good and bad."""
    caller.register("alice")
    upload(caller, "picture", picture(300, 200), "?filename=x.png", "image/png")
    for width, height, more in (
        ("32", "32", ""),
        ("32", "32", "&method=crop"),
        ("96", "96", "&method=crop"),
        ("320", "240", "&method=scale"),
        ("50", "50", ""),
        ("10000", "10000", ""),
        ("32", "32", "&animated=true"),
        ("-1", "5", ""),
        ("x", "5", ""),
        ("5", "1.5", ""),
        ("", "5", ""),
        ("32", "32", "&animated=x"),
        ("32", "32", "&timeout_ms=x"),
        ("0", "0", ""),
        ("5", "5", "&method=x"),
    ):
        query = f"?width={width}&height={height}{more}"
        ask(caller, query, "GET", f"{NEW}/thumbnail/{SERVER}/{{picture}}{query}")
    for query in ("?width=5", "?height=5", ""):
        ask(caller, f"incomplete {query}", "GET", f"{NEW}/thumbnail/{SERVER}/{{picture}}{query}")
    ask(caller, "no token", "GET", f"{NEW}/thumbnail/{SERVER}/{{picture}}?width=32&height=32", by=None)
    for name, body, content_type in (
        ("text", b"hello", "text/plain"),
        ("no picture", b"hello", "image/png"),
        ("vector", b"<svg/>", "image/svg+xml"),
        ("empty", b"", "image/png"),
    ):
        upload(caller, name, body, "", content_type)
        ask(caller, f"of {name}", "GET", f"{NEW}/thumbnail/{SERVER}/{{{name}}}?width=32&height=32")


def reserved(caller: Caller) -> None:
    """An id first, the file later (MSC2246)."""
    caller.register("alice", "bob")
    make = "/_matrix/media/v1/create"
    caller.names["made"] = ask(caller, "create", "POST", make, {})["content_uri"].rpartition("/")[2]
    ask(caller, "create without a body", "POST", make)
    ask(caller, "create without a token", "POST", make, {}, by=None)
    ask(caller, "too early", "GET", f"{NEW}/download/{SERVER}/{{made}}?timeout_ms=1")
    early = f"{NEW}/thumbnail/{SERVER}/{{made}}?timeout_ms=1&width=32&height=32"
    ask(caller, "too early, thumbnail", "GET", early)
    put = f"{OLD}/upload/{SERVER}/{{made}}?filename=m.txt"
    headers = {"Content-Type": "text/plain"}
    ask(caller, "somebody else's", "PUT", put, b"made", by="bob", headers=headers)
    ask(caller, "put", "PUT", put, b"made", headers=headers)
    ask(caller, "put again", "PUT", put, b"made", headers=headers)
    ask(caller, "got", "GET", f"{NEW}/download/{SERVER}/{{made}}")


FILES_ALLOWED = {
    "*ultipart/*orm-*ata*: : ": "the refusal says why",
    "odd type*content-type": "what is no type is sent as bytes",
    "quoted: .headers.content-disposition": "quoted, as RFC 6266 says",
    "path: .headers.content-disposition": "the name without the path, which is the sender's own",
    "vector*content-type": "it says its encoding itself",
    "json*content-type": "it is always UTF-8",
}
REFUSALS_ALLOWED: dict[str, str] = {}
THUMBNAILS_ALLOWED = {
    "*.headers.content-type: 'image/jpeg'": "smaller, and nothing shines through",
    "?width=0&height=0": "refused, since there is no such size",
    "?width=5&height=5&method=x": "400 for a method that there is not",
}


def test_files(synapse: Synapse, server: Server) -> None:
    """Browsers and clients are told the same of each file."""
    wrong = differences(files, synapse, server, FILES_ALLOWED)
    assert not wrong, "\n".join(wrong)


def test_refusals(synapse: Synapse, server: Server) -> None:
    """What there is not."""
    wrong = differences(refusals, synapse, server, REFUSALS_ALLOWED)
    assert not wrong, "\n".join(wrong)


def test_thumbnails(synapse: Synapse, server: Server) -> None:
    """Sizes and methods; what has no thumbnail."""
    wrong = differences(thumbnails, synapse, server, THUMBNAILS_ALLOWED)
    assert not wrong, "\n".join(wrong)


def test_reserved_ids(synapse: Synapse, server: Server) -> None:
    """Asked too early, by others, and twice."""
    wrong = differences(reserved, synapse, server, {})
    assert not wrong, "\n".join(wrong)
