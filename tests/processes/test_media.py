"""Media against real processes: killed while they store, clients of others' making, synadm's whole group."""

import asyncio
import hashlib
import json
import os
import secrets
import signal
import time
import urllib.error
import urllib.request
from contextlib import closing
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import quote

import nio
import psycopg2
import pytest
from click.testing import CliRunner
from nio.crypto.attachments import decrypt_attachment
from PIL import Image

from synapse_lite.cli import main
from synapse_lite.cli.demo.connection import User
from synapse_lite.cli.demo.traffic import room_path
from synapse_lite.media.directory import DirectoryStore
from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.actions.media_cleanup import clean_media
from tests.processes.conftest import BuildSite
from tests.processes.harness import START, wait_until
from tests.processes.site import SERVER, Site, create_room
from tests.processes.test_synadm import Synadm

UPLOAD = "/_matrix/media/v3/upload"
DOWNLOAD = "/_matrix/client/v1/media/download"
LATER_MS = 2 * 3600 * 1000


def ask(user: User, method: str, path: str, data: bytes | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(user.base_url + path, data, method=method)
    request.add_header("Authorization", f"Bearer {user.access_token}")
    try:
        with urllib.request.urlopen(request, timeout=START) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with closing(error):
            return error.code, error.read()


def upload(user: User, data: bytes) -> str:
    """`<server name>/<media id>`"""
    status, body = ask(user, "POST", UPLOAD, data)
    assert status == 200, body
    uri: str = json.loads(body)["content_uri"]
    return uri.removeprefix("mxc://")


def sees(user: User, media: str) -> bool:
    return ask(user, "GET", f"{DOWNLOAD}/{media}")[0] == 200


def media_id(media: str) -> str:
    return media.rpartition("/")[2]


class LaterClock:
    """Two hours on: what was held then is not held any more."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + LATER_MS


def clean(site: Site, directory: Path) -> None:
    """What the periodic task does, two hours later."""
    for path in (directory / "incoming").glob("*"):
        os.utime(path, (1, 1))
    cleanup = clean_media(LaterClock(), DirectoryStore(directory / "blobs"), directory / "incoming")  # type: ignore[arg-type]
    with closing(psycopg2.connect(**site._database)) as connection:
        for part in cleanup.parts.values():
            after: int | None = 0
            while after is not None:
                with connection, connection.cursor() as cursor:
                    txn = Transaction(cursor)
                    _, after = part(txn, after, 100)
                    txn.finish()


def test_killed_while_it_stores(build_site: BuildSite) -> None:
    """After any kill: what was acknowledged is there, what is there is whole, and nothing else is left."""
    site = build_site("main")
    directory = site._data.path / "media"
    stored: dict[str, bytes] = {}
    for round_ in range(3):
        site.start("main")
        user = site.user(f"uploader{round_}")
        over = Event()
        before = len(stored)
        threads = [Thread(target=keep_uploading, args=(user, stored, over)) for _ in range(6)]
        for thread in threads:
            thread.start()
        wait_until(lambda before=before: len(stored) >= before + 20, "some uploads")  # type: ignore[misc]
        site.signal("main", signal.SIGKILL)
        site.processes["main"].running.wait()
        over.set()
        for thread in threads:
            thread.join()
    site.start("main")
    reader = site.user("reader")
    for media, digest in stored.items():
        status, data = ask(reader, "GET", f"{DOWNLOAD}/{media}")
        assert (status, hashlib.sha256(data).digest()) == (200, digest)
    clean(site, directory)
    needed = {bytes(sha256).hex() for (sha256,) in site.rows("SELECT DISTINCT sha256 FROM media")}
    known = {bytes(sha256).hex() for (sha256,) in site.rows("SELECT sha256 FROM media_blobs WHERE stored")}
    files = {path.name: path for path in (directory / "blobs").rglob("*") if path.is_file()}
    assert needed == known == files.keys()
    assert {digest.hex() for digest in stored.values()} <= needed
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == name for name, path in files.items())
    assert list((directory / "incoming").iterdir()) == []


def keep_uploading(user: User, stored: dict[str, bytes], over: Event) -> None:
    """Until the server is gone; equal bytes now and then."""
    while not over.is_set():
        data = b"same" if secrets.randbelow(4) == 0 else secrets.token_bytes(secrets.randbelow(900_000))
        try:
            stored[upload(user, data)] = hashlib.sha256(data).digest()
        except (OSError, ValueError):
            return


LARGE = 256 * 1024**2  # the same holds for 1 GiB, which takes four times as long
GROWTH_KIB = 20 * 1024


class Zeros:
    """A body of that many bytes, for `http.client`."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._piece = bytes(1024 * 1024)

    def read(self, _size: int = -1) -> bytes:
        piece = self._piece[: self._left]
        self._left -= len(piece)
        return piece


def memory_kib(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def test_a_large_file(build_site: BuildSite) -> None:
    """Up and down again, with 20 MiB of memory."""
    site = build_site("main", max_upload_size="256M")
    site.start("main")
    user = site.user("heavy")
    upload(user, bytes(2_000_000))  # what is loaded with the first one is not counted
    pid = site.processes["main"].running.pid
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins now
    before = memory_kib(pid, "VmRSS")
    with closing(HTTPConnection("127.0.0.1", site.port("main"), timeout=START)) as connection:
        headers = {"Authorization": f"Bearer {user.access_token}", "Content-Length": str(LARGE)}
        connection.request("POST", UPLOAD, Zeros(LARGE), headers)
        answer = connection.getresponse()
        assert answer.status == 200
        media = json.load(answer)["content_uri"].removeprefix("mxc://")
        connection.request("GET", f"{DOWNLOAD}/{media}", headers={"Authorization": headers["Authorization"]})
        answer = connection.getresponse()
        piece, received = bytearray(1024 * 1024), 0
        while count := answer.readinto(piece):
            received += count
    assert received == LARGE
    assert memory_kib(pid, "VmHWM") - before < GROWTH_KIB


@pytest.fixture(scope="module")
def site(build_site: BuildSite) -> Site:
    site = build_site("main")
    site.start("main", "second")
    return site


def picture() -> bytes:
    file = BytesIO()
    Image.effect_noise((400, 300), 50).convert("RGB").save(file, "PNG")
    return file.getvalue()


def test_nio(site: Site) -> None:
    """matrix-nio uploads to one process, and downloads and makes thumbnails at another; an encrypted attachment too."""
    user = site.user("nio")

    async def talk() -> None:
        client = nio.AsyncClient(user.base_url, user.user_id)
        reader = nio.AsyncClient(site.url("second"), user.user_id)
        for one in (client, reader):
            one.access_token, one.user_id = user.access_token, user.user_id
        data = picture()
        try:
            sent, _ = await client.upload(
                lambda *_: BytesIO(data), "image/png", "cat.png", filesize=len(data)
            )
            assert isinstance(sent, nio.UploadResponse), sent
            got = await reader.download(sent.content_uri)
            assert isinstance(got, nio.DownloadResponse), got
            assert (got.body, got.content_type, got.filename) == (data, "image/png", "cat.png")
            origin, name = sent.content_uri.removeprefix("mxc://").split("/")
            small = await reader.thumbnail(origin, name, 32, 32, nio.ResizingMethod.crop)
            assert isinstance(small, nio.ThumbnailResponse), small
            assert Image.open(BytesIO(small.body)).size == (32, 32)
            secret, keys = await client.upload(
                lambda *_: BytesIO(b"a secret"), "text/plain", "s.txt", encrypt=True, filesize=8
            )
            assert isinstance(secret, nio.UploadResponse), secret
            assert keys is not None
            got = await reader.download(secret.content_uri)
            assert isinstance(got, nio.DownloadResponse), got
            assert got.body != b"a secret"
            key, digest, start = keys["key"]["k"], keys["hashes"]["sha256"], keys["iv"]
            assert decrypt_attachment(got.body, key, digest, start) == b"a secret"
        finally:
            await client.close()
            await reader.close()

    asyncio.run(talk())


@pytest.fixture(scope="module")
def synadm(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Synadm:
    return Synadm(tmp_path_factory.mktemp("synadm"), site.user("admin", admin=True))


@pytest.fixture(scope="module")
def owner(site: Site) -> User:
    return site.user("owner")


def run(synadm: Synadm, command: str, *words: str) -> Any:
    documents, warnings = synadm._run(command, words)
    assert warnings == ""
    return documents[-1]


def test_synadm_lists(synadm: Synadm, owner: User) -> None:
    """`media list` by user and by room."""
    media = upload(owner, picture())
    room = create_room(owner)
    with owner.connect() as connection:
        content = {"msgtype": "m.image", "body": "x", "url": f"mxc://{media}"}
        connection.call("PUT", room_path(room, "send/m.room.message/1"), content)
    listed = run(synadm, "media list", "--user-id", owner.user_id)
    assert media_id(media) in [one["media_id"] for one in listed["media"]]
    assert run(synadm, "media list", "--room-id", room)["local"] == [f"mxc://{media}"]


def test_synadm_quarantines(synadm: Synadm, owner: User) -> None:
    """`media quarantine` by media, room and user, `media unquarantine`, `media protect`."""
    media = upload(owner, secrets.token_bytes(10))
    assert run(synadm, "media quarantine", "-s", SERVER, "-i", media_id(media)) == {}
    assert not sees(owner, media)
    assert run(synadm, "media unquarantine", "-s", SERVER, "-i", media_id(media)) == {}
    assert sees(owner, media)
    room = create_room(owner)
    with owner.connect() as connection:
        content = {"msgtype": "m.file", "body": "x", "url": f"mxc://{media}"}
        connection.call("PUT", room_path(room, "send/m.room.message/1"), content)
    assert run(synadm, "media quarantine", "-r", room)["num_quarantined"] == 1
    assert not sees(owner, media)
    assert run(synadm, "media unquarantine", "-U", f"mxc://{media}") == {}
    sticker = upload(owner, secrets.token_bytes(10))
    assert run(synadm, "media protect", media_id(sticker)) == {}
    assert run(synadm, "media quarantine", "-u", owner.user_id)["num_quarantined"] >= 1
    assert (sees(owner, media), sees(owner, sticker)) == (False, True)


def test_synadm_deletes(site: Site, synadm: Synadm) -> None:
    """`media delete` by id and by date, `media purge`."""
    user = site.user("deleter")
    one, other = upload(user, secrets.token_bytes(10)), upload(user, secrets.token_bytes(5000))
    assert run(synadm, "media delete", "-i", media_id(one))["total"] == 1
    assert (sees(user, one), sees(user, other)) == (False, True)
    time.sleep(0.05)  # media that were used at the very millisecond stay
    deleted = run(synadm, "media delete", "-d", "0", "--kib", "4")
    assert media_id(other) in deleted["deleted_media"]
    assert not sees(user, other)
    assert run(synadm, "media purge", "-d", "0")["deleted"] == 0


def test_export_of_a_user(site: Site, tmp_path: Path) -> None:
    """Profile, devices, account data, rooms as the user sees them, media with their bytes; no secrets."""
    user, other = site.user("exported"), site.user("companion")
    media = upload(user, b"the bytes")
    room, left, unknown = create_room(user, other), create_room(other, user), create_room(other)
    odd = f"!{'é' * 120}:site.test"  # longer than a file's name when it is quoted
    site.execute("UPDATE rooms SET room_id = %s WHERE room_id = %s", odd, create_room(user))
    with user.connect() as connection:
        connection.call(
            "PUT", room_path(room, "send/m.room.message/1"), {"msgtype": "m.text", "body": "mine"}
        )
        connection.call("POST", room_path(left, "leave"), {})
        data = f"/_matrix/client/v3/user/{quote(user.user_id)}"
        connection.call("PUT", f"{data}/account_data/org.example", {"x": 1})
        connection.call("PUT", f"{data}/rooms/{quote(room)}/account_data/org.example", {"y": 2})
    with other.connect() as connection:
        connection.call(
            "PUT", room_path(left, "send/m.room.message/2"), {"msgtype": "m.text", "body": "later"}
        )
    site.execute(
        "UPDATE devices SET last_seen_ts = 1, last_seen_ip = '192.0.2.1' WHERE user_id = %s", user.user_id
    )
    directory = tmp_path / "export"
    command = ["export-user", *site.config_words("main"), "--output-directory", str(directory), user.user_id]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    own = directory / "user_data"
    read = {path: path.read_text() for path in directory.rglob("*") if path.is_file()}
    assert json.loads(read[own / "profile"])["user_id"] == user.user_id
    assert json.loads(read[own / "connections"])["ip"] == "192.0.2.1"
    assert json.loads(read[own / "account_data" / "global"])["org.example"] == {"x": 1}
    assert json.loads(read[own / "account_data" / room])["org.example"] == {"y": 2}
    assert read[own / "media" / media_id(media)] == "the bytes"
    assert json.loads(read[own / "media_ids" / media_id(media)])["media_length"] == 9
    assert "mine" in read[directory / "rooms" / room / "events"]
    assert "m.room.create" in read[directory / "rooms" / room / "state"]
    assert json.loads(read[directory / "rooms" / left / "membership"])["membership"] == "leave"
    assert "later" not in read[directory / "rooms" / left / "events"]
    assert not (directory / "rooms" / unknown).exists()
    rooms = {json.loads(text)["room_id"] for path, text in read.items() if path.name == "membership"}
    assert rooms == {room, left, odd}
    assert user.access_token not in "".join(read.values())
    again = CliRunner().invoke(main, command)
    assert (again.exit_code, "not empty" in again.output) == (2, True)
    nobody = [*command[:-3], "--output-directory", str(tmp_path / "no"), "@nobody:site.test"]
    assert "is not known" in CliRunner().invoke(main, nobody).output
