"""Media between servers: what others ask of us, and what we fetch of theirs."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from synapse_lite.http.client import Reply, RequestError
from synapse_lite.matrix.multipart import Envelope
from synapse_lite.storage.media import fetches, files
from tests.builders import SERVER
from tests.federation.conftest import JoinNetwork
from tests.federation.network import Network, Scripted, reply, send_signed
from tests.handlers.test_media_thumbnails import encoded, photo, read
from tests.http.memory import Answer
from tests.matrix.test_multipart import cut
from tests.matrix.test_multipart import read as read_parts
from tests.rest.test_media import HELLO, NEW, OLD, refusal, upload
from tests.server import TestServer

SERVED = "/_matrix/federation/v1/media"
THEIRS = f"{SERVED}/download/file"
THEIRS_OLD = "/_matrix/media/v3/download/other.test/file"
FILE = "other.test/file"
ENVELOPE = Envelope("edge")
FAILED = (502, "M_UNKNOWN")
TOO_LARGE = (502, "M_TOO_LARGE")
NOT_FOUND = (404, "M_NOT_FOUND")


async def download(server: TestServer, token: str | None, media: str = FILE, query: str = "") -> Answer:
    place = f"{OLD if token is None else NEW}/download/{media}{query}"
    return await server.call("GET", place, token=token)


def parts(file: bytes = HELLO, **headers: str) -> bytes:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return ENVELOPE.before({"Content-Type": "text/plain", **named}) + file + ENVELOPE.after


def sends(*pieces: bytes | Exception, **headers: Any) -> Callable[[], Reply]:
    return lambda: reply(*pieces, **{"content_type": ENVELOPE.content_type, **headers})


def says(status: int, errcode: str, **headers: str) -> Callable[[], Reply]:
    return lambda: reply(b'{"errcode": "%s"}' % errcode.encode(), status=status, **headers)


def questions(network: Network) -> list[str]:
    """What was asked about the file."""
    return [target.partition("?")[0] for _, _, target in network.asked if "file" in target]


# What others ask of us


@ensureDeferred
async def test_a_file_of_ours(server: TestServer, other: Scripted) -> None:
    """Two parts: nothing yet, then the bytes with type and name."""
    token = await server.user("alice")
    for data in (HELLO, b"", bytes(range(256)) * 5000):
        media_id = (await upload(server, token, data, "a b.txt")).rpartition("/")[2]
        answer = await send_signed(server, other.key, "GET", f"{SERVED}/download/{media_id}")
        assert answer.status == 200
        heads, bodies, ended = read_parts(answer.headers["Content-Type"], [answer.body])
        assert (bodies, ended) == ([b"{}", data], True)
        assert heads[1] == {
            "content-type": "text/plain; charset=utf-8",
            "content-disposition": 'inline; filename="a b.txt"',
        }


@ensureDeferred
async def test_a_thumbnail_of_ours(server: TestServer, other: Scripted) -> None:
    """Of the size that is asked for; 400 for what is no picture."""
    token = await server.user("alice")
    picture = (await upload(server, token, encoded(photo(640, 480)), content_type="image/png")).split("/")[1]
    target = f"{SERVED}/thumbnail/{picture}?width=32&height=32&method=crop"
    answer = await send_signed(server, other.key, "GET", target)
    heads, bodies, _ = read_parts(answer.headers["Content-Type"], [answer.body])
    assert heads[1]["content-type"] == "image/jpeg"
    assert read(bodies[1]).size == (32, 32)
    text = (await upload(server, token, HELLO)).split("/")[1]
    target = f"{SERVED}/thumbnail/{text}?width=32&height=32&method=crop"
    assert refusal(await send_signed(server, other.key, "GET", target)) == (400, "M_UNKNOWN")


@ensureDeferred
async def test_what_others_do_not_get(server: TestServer, other: Scripted) -> None:
    """Without a signature nothing; nothing that is hidden, absent, not yet uploaded, or a third server's."""
    token = await server.user("alice", is_admin=True)
    media = await upload(server, token, HELLO)
    target = f"{SERVED}/download/{media.split('/')[1]}"
    assert refusal(await server.call("GET", target)) == (401, "M_UNAUTHORIZED")
    await server.ok("POST", f"/_synapse/admin/v1/media/quarantine/{media}", {}, token)
    reserved = (await server.ok("POST", f"{OLD}/create", {}, token))["content_uri"].rpartition("/")[2]
    for path, expected in (
        (target, NOT_FOUND),
        (f"{SERVED}/download/absent", NOT_FOUND),
        (f"{SERVED}/download/..%2F..%2Fetc", NOT_FOUND),
        (f"{SERVED}/download/{reserved}?timeout_ms=0", (504, "M_NOT_YET_UPLOADED")),
    ):
        assert refusal(await send_signed(server, other.key, "GET", path)) == expected


# What we fetch of theirs


@ensureDeferred
async def test_a_file_of_theirs(server: TestServer, other: Scripted, network: Network) -> None:
    """It is fetched once, kept with type and name, and served like one of ours; thumbnails are made of it here."""
    token = await server.user("alice")
    png = encoded(photo(640, 480))
    data = parts(png, Content_Type="image/png", Content_Disposition='attachment; filename="../x y.png"')
    other.files[THEIRS] = sends(*cut(data, 1000), length=len(data))
    for _ in range(2):
        answer = await download(server, token)
        assert (answer.status, answer.body) == (200, png)
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.headers["Content-Disposition"] == 'inline; filename="x y.png"'
    thumbnail = await server.call(
        "GET", f"{NEW}/thumbnail/{FILE}?width=32&height=32&method=crop", token=token
    )
    assert read(thumbnail.body).size == (32, 32)
    assert questions(network) == [THEIRS]


@ensureDeferred
async def test_between_two_of_ours(join_network: JoinNetwork) -> None:
    """What one serves the other understands; a file that is uploaded meanwhile is waited for."""
    one, two = await join_network(), await join_network("two.test")
    alice, bob = await one.user("alice"), await two.user("bob")
    data = bytes(range(256)) * 4000
    media = await upload(one, alice, data, "é.bin", "application/x-thing")
    answer = await download(two, bob, media)
    assert (answer.status, answer.body) == (200, data)
    assert answer.headers["Content-Disposition"] == "attachment; filename*=utf-8''%C3%A9.bin"
    reserved = (await one.ok("POST", f"{OLD}/create", {}, alice))["content_uri"].removeprefix("mxc://")
    assert refusal(await download(two, bob, reserved, "?timeout_ms=0")) == (504, "M_NOT_YET_UPLOADED")
    waiting = Deferred.fromCoroutine(download(two, bob, reserved))
    filled = await one.call("PUT", f"{OLD}/upload/{reserved}", HELLO, alice)
    assert filled.status == 200
    assert (await waiting).body == HELLO


@ensureDeferred
async def test_where_files_are(server: TestServer, other: Scripted, network: Network) -> None:
    """The second part may say that the file is elsewhere, or elsewhere on the same server."""
    token = await server.user("alice")
    network.pages["https://cdn.test/x"] = lambda: reply(HELLO, content_type="text/plain")
    other.files[f"{SERVED}/download/file1"] = sends(parts(b"", Location="https://cdn.test/x"))
    other.files[f"{SERVED}/download/file2"] = sends(parts(b"", Location="/moved?to=file"))
    other.files["/moved?to=file"] = lambda: reply(HELLO, content_type="text/plain")
    network.pages["https://gone.test/x"] = lambda: reply(status=404)
    other.files[f"{SERVED}/download/file3"] = sends(parts(b"", Location="https://gone.test/x"))
    assert [(await download(server, token, f"other.test/file{n}")).status for n in (1, 2, 3)] == [
        200,
        200,
        404,
    ]
    assert (await download(server, token, "other.test/file2")).body == HELLO


@ensureDeferred
async def test_a_server_that_is_old(server: TestServer, other: Scripted, network: Network) -> None:
    """One that does not know the new endpoint is asked at the old one, not about what others have."""
    token = await server.user("alice")
    other.files[THEIRS_OLD] = lambda: reply(HELLO, content_type="text/plain", length=len(HELLO))
    answer = await download(server, token)
    assert (answer.status, answer.body) == (200, HELLO)
    assert questions(network) == [THEIRS, THEIRS_OLD]
    assert "allow_remote=false" in network.asked[-1][2]


HOPELESS: list[tuple[Callable[[], Reply], tuple[int, str]]] = [
    (says(404, "M_NOT_FOUND"), NOT_FOUND),
    (says(403, "M_FORBIDDEN"), FAILED),
    (says(500, "M_UNKNOWN"), FAILED),
    (says(502, "M_TOO_LARGE"), TOO_LARGE),
    (sends(parts(), content_type="text/plain"), FAILED),
    (sends(parts(), content_type="multipart/mixed"), FAILED),
    (sends(parts()[:-10]), FAILED),
    (sends(parts()[:-10], RequestError("broke off")), FAILED),
    (sends(ENVELOPE.before({}).partition(b"{}")[0] + b"{}" + ENVELOPE.after), FAILED),
    (sends(parts(HELLO + b"\r\n--edge\r\n\r\nmore")), FAILED),
    (sends(b"x" * 100_000), FAILED),
    (sends(parts(), length=10_000_000), TOO_LARGE),
    (sends(*cut(parts(b"x" * 1_100_000), 9999)), TOO_LARGE),
]


@ensureDeferred
async def test_what_cannot_be_had(join_network: JoinNetwork, network: Network) -> None:
    """A clear error, nothing is left behind, and the other server is not asked again at once."""
    server = await join_network(max_upload_size="1M")
    token = await server.user("alice")
    others = [network.scripted(f"other{number}.test") for number in range(len(HOPELESS))]
    for other, (answer, expected) in zip(others, HOPELESS, strict=True):
        other.files[THEIRS] = answer
        for _ in range(2):
            assert refusal(await download(server, token, f"{other.name}/file")) == expected
    assert questions(network) == [THEIRS] * len(HOPELESS)
    rows = await server.database.read(
        lambda txn: txn.rows("SELECT origin FROM media UNION SELECT origin FROM media_fetches")
    )
    assert rows == []
    server.clock.advance(601)
    for other in others:
        other.files[THEIRS] = sends(parts())
        assert (await download(server, token, f"{other.name}/file")).body == HELLO


@ensureDeferred
async def test_a_server_that_is_away(server: TestServer, network: Network) -> None:
    """It is asked once in half a minute, however many of its files are wanted; when it is back it is asked."""
    token = await server.user("alice")
    for number in range(5):
        assert refusal(await download(server, token, f"other.test/file{number}")) == FAILED
    assert len(network.asked) == 1
    back = network.scripted("other.test")
    back.files[THEIRS] = sends(parts())
    server.clock.advance(31)
    assert (await download(server, token)).body == HELLO


@ensureDeferred
async def test_a_file_that_is_none(server: TestServer, other: Scripted) -> None:
    """Says nothing of the other files of its server."""
    token = await server.user("alice")
    other.files[THEIRS] = sends(b"x" * 100_000)
    other.files[f"{SERVED}/download/another"] = sends(parts())
    assert refusal(await download(server, token)) == FAILED
    assert (await download(server, token, "other.test/another")).body == HELLO


@ensureDeferred
async def test_a_server_that_is_busy(server: TestServer, other: Scripted, network: Network) -> None:
    """Until the time that it names nobody asks it for anything, and our clients are told to wait."""
    token = await server.user("alice")
    other.files[SERVED] = says(429, "M_LIMIT_EXCEEDED", retry_after="60")
    answers = await gatherResults(
        [Deferred.fromCoroutine(download(server, token, f"other.test/file{n % 4}")) for n in range(100)]
    )
    assert {answer.status for answer in answers} == {429}
    assert {answer.headers["Retry-After"] for answer in answers} == {"60"}
    assert len(network.asked) < 10
    server.clock.advance(59)
    assert (await download(server, token)).status == 429
    other.files[SERVED] = sends(parts())
    server.clock.advance(2)
    assert (await download(server, token)).body == HELLO


@ensureDeferred
async def test_one_question_for_all(server: TestServer, other: Scripted, network: Network) -> None:
    """Many who ask at the same time share one fetch."""
    token = await server.user("alice")
    other.files[THEIRS] = sends(parts())
    answers = await gatherResults([Deferred.fromCoroutine(download(server, token)) for _ in range(64)])
    assert {answer.body for answer in answers} == {HELLO}
    assert questions(network) == [THEIRS]


@ensureDeferred
async def test_another_process_fetches(
    server: TestServer, other: Scripted, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its copy is waited for; when it died its claim ends, and the file is fetched here."""
    token = await server.user("alice")
    other.files[THEIRS] = sends(parts())
    claim = ("other.test", "file", "another process")
    now = server.clock.now_ms()
    assert await server.database.transact(fetches.claim, *claim, now, now + 60_000)
    try_to_claim, granted = fetches.claim, list[bool]()

    def noted(*arguments: Any) -> bool:
        granted.append(try_to_claim(*arguments))
        return granted[-1]

    monkeypatch.setattr(fetches, "claim", noted)
    waiting = Deferred.fromCoroutine(download(server, token))
    while not granted:
        await deferLater(reactor, 0.01)
    assert not any(granted)
    await server.database.transact(fetches.release, *claim)
    assert not questions(network)
    server.bus.publish("media", FILE)
    assert (await waiting).body == HELLO
    assert questions(network) == [THEIRS]
    left = await server.database.read(lambda txn: txn.rows("SELECT 1 FROM media_fetches"))
    assert left == []


@ensureDeferred
async def test_whom_we_do_not_ask(join_network: JoinNetwork, other: Scripted, network: Network) -> None:
    """Ourselves, servers on the list, anybody for those who do not log in, or who say `allow_remote=false`; nor for hidden files."""
    server = await join_network(prevent_media_downloads_from=["denied.test"])
    network.scripted("denied.test").files[SERVED] = sends(parts())
    other.files[SERVED] = sends(parts())
    admin = await server.user("alice", is_admin=True)
    await server.ok("POST", "/_synapse/admin/v1/media/quarantine/other.test/hiddenfile", {}, admin)
    for token, media, query in (
        (admin, "denied.test/file", ""),
        (admin, "DENIED.test/file", ""),
        (admin, f"{SERVER.upper()}/file", ""),
        (None, FILE, ""),
        (admin, FILE, "?allow_remote=false"),
        (admin, "other.test/hiddenfile", ""),
    ):
        assert refusal(await download(server, token, media, query)) == NOT_FOUND
    assert network.asked == []
    assert (await download(server, admin)).body == HELLO
    assert refusal(await download(server, None)) == NOT_FOUND


@ensureDeferred
async def test_public_media(join_network: JoinNetwork, other: Scripted) -> None:
    """Where media are not authenticated anybody may have others' files fetched."""
    server = await join_network(enable_authenticated_media=False)
    other.files[THEIRS] = sends(parts())
    assert (await download(server, None)).body == HELLO


@ensureDeferred
async def test_hidden_bytes_stay_hidden(server: TestServer, other: Scripted) -> None:
    """A file that is hidden stays so when its copy is purged and it is asked for again, under any name."""
    admin = await server.user("alice", is_admin=True)
    other.files[SERVED] = sends(parts())
    assert (await download(server, admin)).status == 200
    await server.ok("POST", f"/_synapse/admin/v1/media/quarantine/{FILE}", {}, admin)
    media = await server.database.read(files.read_media, "other.test", "file")
    assert media is not None
    await server.database.transact(files.delete, [media.nid], server.clock.now_ms())
    for name in (FILE, "other.test/another"):
        assert refusal(await download(server, admin, name)) == NOT_FOUND


@ensureDeferred
async def test_a_copy_that_is_lost(server: TestServer, other: Scripted, network: Network) -> None:
    """What the store lost is fetched again, for a thumbnail too; of ours it is 404."""
    token = await server.user("alice")
    png = encoded(photo(640, 480))
    other.files[THEIRS] = sends(parts(png, Content_Type="image/png"))
    ours = await upload(server, token, HELLO)
    assert (await download(server, token)).body == png
    for path in (f"{NEW}/download/{FILE}", f"{NEW}/thumbnail/{FILE}?width=96&height=96&method=crop"):
        lose_files(server)
        answers = await gatherResults(
            [Deferred.fromCoroutine(server.call("GET", path, token=token)) for _ in range(2)]
        )
        assert [answer.status for answer in answers] == [200, 200]
    assert questions(network).count(THEIRS) in range(3, 6)
    lose_files(server)
    assert refusal(await download(server, token, ours)) == NOT_FOUND


def lose_files(server: TestServer) -> None:
    for path in server.config.media_store_path.rglob("*"):
        if path.is_file():
            path.unlink()


@ensureDeferred
async def test_the_cache_can_be_purged(server: TestServer, other: Scripted, network: Network) -> None:
    """What is deleted of the cache is fetched again when it is asked for."""
    token = await server.user("alice")
    other.files[THEIRS] = sends(parts())
    await download(server, token)
    media = await server.database.read(files.read_media, "other.test", "file")
    assert media is not None
    assert (media.user_id, media.authenticated, media.origin == SERVER) == (None, True, False)
    await server.database.transact(files.delete, [media.nid], server.clock.now_ms())
    assert (await download(server, token)).body == HELLO
    assert questions(network) == [THEIRS, THEIRS]
