"""Uploads, downloads and thumbnails over HTTP."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.media.threads import WRITE_BYTES
from synapse_lite.replication.bus import LocalBus
from synapse_lite.rest.client.media import SAFETY
from tests.builders import SERVER
from tests.handlers.test_media_thumbnails import encoded, photo, read
from tests.http.memory import Answer, Connection
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer, path_part

NEW = "/_matrix/client/v1/media"
OLD = "/_matrix/media/v3"
HELLO = b"hello world"


def _heard(server: TestServer) -> dict[str, Any]:
    """Who listens in this process, by topic."""
    assert isinstance(server.bus, LocalBus)
    return server.bus._callbacks


LARGE = bytes(WRITE_BYTES)


async def start(build_server: BuildServer, directory: Path, **options: Any) -> tuple[TestServer, str]:
    server = await build_server(**OPEN, media_store_path=str(directory), **options)
    return server, await server.user("alice")


async def upload(
    server: TestServer, token: str, data: bytes, name: str | None = None, content_type: str = "text/plain"
) -> str:
    """`<server name>/<media id>`"""
    query = "" if name is None else f"?filename={path_part(name)}"
    headers = {"Content-Type": content_type}
    answer = await server.call("POST", f"{OLD}/upload{query}", data, token, headers)
    assert answer.status == 200, answer.body
    uri: str = answer.json()["content_uri"]
    assert uri.startswith(f"mxc://{SERVER}/")
    return uri.removeprefix("mxc://")


def refusal(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json()["errcode"]


@ensureDeferred
async def test_round_trip(build_server: BuildServer, tmp_path: Path) -> None:
    """Bytes, type and name come back, with the headers that make a file harmless."""
    server, token = await start(build_server, tmp_path)
    media = await upload(server, token, HELLO, "notes.txt")
    answer = await server.call("GET", f"{NEW}/download/{media}", token=token)
    assert (answer.status, answer.body) == (200, HELLO)
    headers = answer.headers
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["Content-Disposition"] == "inline; filename=notes.txt"
    assert headers["Content-Length"] == str(len(HELLO))
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert "sandbox;" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"].startswith("private")
    assert headers["ETag"] == f'"{hashlib.sha256(HELLO).hexdigest()}"'
    assert headers["Accept-Ranges"] == "bytes"


@ensureDeferred
async def test_a_large_file(build_server: BuildServer, tmp_path: Path) -> None:
    """What goes through in many pieces is the same afterwards, whole and in part."""
    server, token = await start(build_server, tmp_path)
    data = bytes(range(256)) * 20_000
    media = await upload(server, token, data, content_type="video/mp4")
    assert (await server.call("GET", f"{NEW}/download/{media}", token=token)).body == data
    part = {"Range": "bytes=1000000-3999999"}
    answer = await server.call("GET", f"{NEW}/download/{media}", token=token, headers=part)
    assert (answer.status, answer.body) == (206, data[1_000_000:4_000_000])
    assert answer.headers["Content-Range"] == f"bytes 1000000-3999999/{len(data)}"


@ensureDeferred
async def test_parts_and_conditions(build_server: BuildServer, tmp_path: Path) -> None:
    """Ranges, what the client has already, and HEAD."""
    server, token = await start(build_server, tmp_path)
    path = f"{NEW}/download/{await upload(server, token, HELLO)}"

    async def get(method: str = "GET", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await server.call(method, path, token=token, headers=named)

    etag = (await get()).headers["ETag"]
    first = await get(Range="bytes=0-1")
    assert (first.status, first.body, first.headers["Content-Length"]) == (206, b"he", "2")
    assert (await get(Range="bytes=-5")).body == b"world"
    assert (await get(Range="bytes=0-1", If_Range='"old"')).status == 200
    beyond = await get(Range="bytes=99-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, "bytes */11")
    same = await get(If_None_Match=etag)
    assert (same.status, same.body, same.headers["ETag"]) == (304, b"", etag)
    head = await get("HEAD")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "11")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.txt", "inline; filename=a.txt"),
        ("a b.txt", 'inline; filename="a b.txt"'),
        ('a;"b"\\c.txt', "inline; filename=c.txt"),
        ("é 🙂.txt", "inline; filename*=utf-8''%C3%A9%20%F0%9F%99%82.txt"),
        ("C:\\secret\\a.png", "inline; filename=a.png"),
        ("../../etc/passwd", "inline; filename=passwd"),
        ("a\r\nSet-Cookie: x", 'inline; filename="aSet-Cookie: x"'),
        ("\u202egnp.exe", "inline; filename=gnp.exe"),
        ('say "hi".txt', 'inline; filename="say \\"hi\\".txt"'),
        ("", "inline"),
        ("/", "inline"),
        ("x" * 300, f"inline; filename={'x' * 255}"),
    ],
)
@ensureDeferred
async def test_file_names(build_server: BuildServer, tmp_path: Path, name: str, expected: str) -> None:
    """Of a path the last part, no controls; the name in the URL of a download goes before that of the upload."""
    server, token = await start(build_server, tmp_path)
    media = await upload(server, token, HELLO, name)
    answer = await server.call("GET", f"{NEW}/download/{media}", token=token)
    assert answer.headers["Content-Disposition"] == expected
    answer = await server.call("GET", f"{NEW}/download/{media}/other.txt", token=token)
    assert answer.headers["Content-Disposition"] == "inline; filename=other.txt"


@pytest.mark.parametrize(
    ("content_type", "served", "disposition"),
    [
        ("image/png", "image/png", "inline"),
        ("text/html", "text/html; charset=utf-8", "attachment"),
        ("image/svg+xml", "image/svg+xml", "attachment"),
        ("application/pdf", "application/pdf", "attachment"),
        ("application/xhtml+xml", "application/xhtml+xml", "attachment"),
        ("TEXT/Plain; charset=latin-1", "TEXT/Plain; charset=latin-1", "inline"),
        ("nonsense", "application/octet-stream", "attachment"),
        ("a/b; x=\xe9", "application/octet-stream", "attachment"),
        ("x" * 300 + "/y", "application/octet-stream", "attachment"),
    ],
)
@ensureDeferred
async def test_types(
    build_server: BuildServer, tmp_path: Path, content_type: str, served: str, disposition: str
) -> None:
    """What may be more than a picture, a sound or plain text is only downloaded."""
    server, token = await start(build_server, tmp_path)
    media = await upload(server, token, HELLO, content_type=content_type)
    headers = (await server.call("GET", f"{NEW}/download/{media}", token=token)).headers
    assert (headers["Content-Type"], headers["Content-Disposition"]) == (served, disposition)


@ensureDeferred
async def test_forms(build_server: BuildServer, tmp_path: Path) -> None:
    """What a browser's form sends is not the file, but has it in a part: it is refused."""
    server, token = await start(build_server, tmp_path)
    headers = {"Content-Type": "Multipart/Form-Data; boundary=x"}
    answer = await server.call("POST", f"{OLD}/upload", b"--x--", token, headers)
    assert refusal(answer) == (415, "M_UNKNOWN")


@ensureDeferred
async def test_who_sees_what(build_server: BuildServer, tmp_path: Path) -> None:
    """The new endpoints want a token, guests' too; the old ones serve only what was uploaded as public."""
    server, token = await start(build_server, tmp_path)
    guest = await server.user("1", is_guest=True)
    media = await upload(server, token, HELLO)
    for path in (f"{NEW}/download/{media}", f"{NEW}/thumbnail/{media}?width=1&height=1"):
        assert refusal(await server.call("GET", path)) == (401, "M_MISSING_TOKEN")
        assert refusal(await server.call("GET", path, token="bad")) == (401, "M_UNKNOWN_TOKEN")
    assert (await server.call("GET", f"{NEW}/download/{media}", token=guest)).body == HELLO
    for version in ("r0", "v1", "v3"):
        path = f"/_matrix/media/{version}/download/{media}"
        assert refusal(await server.call("GET", path, token=token)) == (404, "M_NOT_FOUND")
    assert refusal(await server.call("POST", f"{OLD}/upload", HELLO)) == (401, "M_MISSING_TOKEN")
    assert refusal(await server.call("POST", f"{OLD}/upload", HELLO, guest)) == (
        403,
        "M_GUEST_ACCESS_FORBIDDEN",
    )
    for version in (NEW, OLD):
        for path in ("download/hs.test/absent", "download/hs.test/absent/a.txt", "thumbnail/hs.test/absent"):
            for by in (token, None):
                refused = await server.call("GET", f"{version}/{path}?width=1&height=1", token=by)
                assert (refused.status, refused.headers.items() >= SAFETY.items()) == (
                    401 if version == NEW and by is None else 404,
                    True,
                )
    open_server = await build_server(**OPEN, media_store_path=str(tmp_path), enable_authenticated_media=False)
    public = await upload(open_server, token, HELLO)
    answer = await server.call("GET", f"{OLD}/download/{public}")
    assert (answer.body, answer.headers["Cache-Control"][:6]) == (HELLO, "public")
    named = await server.call("GET", f"{OLD}/download/{public}/notes.txt")
    assert named.headers["Content-Disposition"] == "inline; filename=notes.txt"
    unreadable = await server.call("GET", f"{OLD}/thumbnail/{public}?width=1&height=1")
    assert refusal(unreadable) == (400, "M_UNKNOWN")


@ensureDeferred
async def test_sessions_that_end_meanwhile(build_server: BuildServer, tmp_path: Path) -> None:
    """Who logs out while the client sends has uploaded nothing; who waits for an upload gets nothing of it."""
    server, token = await start(build_server, tmp_path)
    made = await server.ok("POST", "/_matrix/media/v1/create", {}, token)
    media = made["content_uri"].removeprefix("mxc://")
    leaving = await server.user("bob")
    waiting = Deferred.fromCoroutine(server.call("GET", f"{NEW}/download/{media}", token=leaving))
    while not _heard(server)["media"]:
        await server.core.media.threads.run(lambda: None)
    await server.ok("POST", "logout", {}, leaving)
    sending = await server.user("carol")
    connection, answered = Connection(server._site), Deferred[None]()

    def on_write() -> None:
        if connection.transport.value().endswith(b"}"):
            answered.callback(None)

    connection.transport.on_write = on_write
    head = f"POST {OLD}/upload HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {sending}\r\nContent-Length: {len(LARGE) + 1}\r\n\r\n"
    connection.send(head.encode() + LARGE)
    while not [*server.core.media.incoming.glob("*")]:
        await server.core.media.threads.run(lambda: None)
    await server.ok("POST", "logout", {}, sending)
    connection.send(b"!")
    await answered
    assert refusal(connection.answer()) == (401, "M_UNKNOWN_TOKEN")
    assert (await server.call("PUT", f"{OLD}/upload/{media}", HELLO, token)).status == 200
    assert refusal(await waiting) == (401, "M_UNKNOWN_TOKEN")
    stored = "SELECT count(*) FROM media WHERE sha256 IS NOT NULL"
    assert await server.database.read(lambda txn: txn.value(stored)) == 1


@ensureDeferred
async def test_too_large(build_server: BuildServer, tmp_path: Path) -> None:
    """The limit is told, and what is beyond it is 413 that a browser may read."""
    server, token = await start(build_server, tmp_path, max_upload_size=1000)
    for path in (f"{NEW}/config", f"{OLD}/config"):
        assert await server.ok("GET", path, token=token) == {"m.upload.size": 1000}
    answer = await server.call("POST", f"{OLD}/upload", b"x" * 1001, token)
    assert refusal(answer) == (413, "M_TOO_LARGE")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    await upload(server, token, b"x" * 1000)


@ensureDeferred
async def test_asynchronous_uploads(build_server: BuildServer, tmp_path: Path) -> None:
    """A name is reserved, filled once, and what is not filled is 504."""
    server, token = await start(build_server, tmp_path)
    made = await server.ok("POST", "/_matrix/media/v1/create", {}, token)
    media = made["content_uri"].removeprefix("mxc://")
    path = f"{NEW}/download/{media}?timeout_ms=0"
    asked = Deferred.fromCoroutine(server.call("GET", path, token=token))
    while not (_heard(server)["media"] or asked.called):
        await server.core.media.threads.run(lambda: None)
    server.clock.advance(1)
    assert refusal(await asked) == (504, "M_NOT_YET_UPLOADED")
    fill = f"{OLD}/upload/{media}"
    assert await server.ok("PUT", fill, HELLO, token) == {}
    assert refusal(await server.call("PUT", fill, HELLO, token)) == (409, "M_CANNOT_OVERWRITE_MEDIA")
    assert (await server.call("GET", path, token=token)).body == HELLO


@ensureDeferred
async def test_thumbnails(build_server: BuildServer, tmp_path: Path) -> None:
    """The bytes that arrive are a picture of the size asked for, of the length announced."""
    server, token = await start(build_server, tmp_path)
    media = await upload(server, token, encoded(photo(), "JPEG"), content_type="image/jpeg")
    path = f"{NEW}/thumbnail/{media}"
    answer = await server.call("GET", f"{path}?width=90&height=90&method=crop", token=token)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/jpeg")
    assert read(answer.body).size == (96, 96)
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    for query, expected in (
        ("width=0&height=1", (400, "M_INVALID_PARAM")),
        ("width=a&height=1", (400, "M_INVALID_PARAM")),
        ("width=1", (400, "M_MISSING_PARAM")),
        ("width=1&height=1&method=x", (400, "M_INVALID_PARAM")),
        ("width=1&height=1&animated=x", (400, "M_INVALID_PARAM")),
    ):
        assert refusal(await server.call("GET", f"{path}?{query}", token=token)) == expected
    text = await upload(server, token, HELLO, content_type="image/png")
    answer = await server.call("GET", f"{NEW}/thumbnail/{text}?width=1&height=1", token=token)
    assert refusal(answer) == (400, "M_UNKNOWN")


@ensureDeferred
async def test_avatars(build_server: BuildServer, tmp_path: Path) -> None:
    """With limits, only pictures that the server has and that fit stand for users, members and rooms."""
    limits = {"max_avatar_size": 1000, "allowed_avatar_mimetypes": ["image/png"]}
    server, token = await start(build_server, tmp_path, **limits)
    fine = await upload(server, token, b"x" * 1000, content_type="image/png")
    large = await upload(server, token, b"x" * 1001, content_type="image/png")
    other = await upload(server, token, b"x", content_type="image/gif")
    user = path_part(f"@alice:{SERVER}")
    room = await server.room(token)
    places = {
        f"profile/{user}/avatar_url": lambda uri: {"avatar_url": uri},
        f"{room}/state/m.room.member/{user}": lambda uri: {"membership": "join", "avatar_url": uri},
        f"{room}/state/m.room.avatar/": lambda uri: {"url": uri},
    }
    for path, content in places.items():
        for uri in (f"mxc://{large}", f"mxc://{other}", "mxc://else.test/x", "https://else.test/x.png"):
            assert await server.refusal("PUT", path, content(uri), token) == (403, "M_FORBIDDEN")
        for uri in (f"mxc://{fine}", ""):
            await server.ok("PUT", path, content(uri), token)
    free = await build_server(**OPEN)
    await free.ok("PUT", f"profile/{user}/avatar_url", {"avatar_url": "mxc://else.test/x"}, token)
