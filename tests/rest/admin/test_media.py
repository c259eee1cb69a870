"""What administrators do with media: Synapse's paths, keys and types, and what readers see of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.storage.database import Database
from synapse_lite.tasks.actions.delete_media import DELETE_MEDIA
from synapse_lite.tasks.actions.quarantine_media import QUARANTINE_MEDIA
from synapse_lite.tasks.specs import TaskSpec
from tests.builders import SERVER
from tests.rest.admin_server import V1, AdminServer
from tests.rest.test_media import NEW, upload
from tests.server import path_part
from tests.tasks.media import Shelf

ALICE = f"@alice:{SERVER}"
OF_ALICE = f"{V1}/users/{path_part(ALICE)}/media"
LATER_MS = 1_700_000_000_000 + 3_600_000


@pytest_twisted.async_yield_fixture
async def server(database: Database, tmp_path: Path) -> AsyncIterator[AdminServer]:
    server = AdminServer(database, media_store_path=str(tmp_path))
    await server.start()
    yield server
    await server.stop()


async def finish(server: AdminServer, spec: TaskSpec[Any, Any], method: str, path: str) -> Any:
    """The answer to a request that waits for its task."""
    asked = Deferred.fromCoroutine(server.admin(method, path, {}))
    while not await server.database.read(
        lambda txn: txn.rows("SELECT 1 FROM scheduled_tasks WHERE status = 'scheduled'")
    ):
        pass
    await server.run_task(spec)
    server.clock.advance(1)
    return await asked


async def sees(server: AdminServer, token: str, media: str) -> bool:
    """Whether a user gets the file."""
    return (await server.call("GET", f"{NEW}/download/{media}", token=token)).status == 200


def media_id(media: str) -> str:
    return media.rpartition("/")[2]


@ensureDeferred
async def test_info(server: AdminServer, tmp_path: Path) -> None:
    """All keys of a file of ours, and of a copy of another server's; 404 for what is not here."""
    alice = await server.user("alice")
    media = await upload(server, alice, b"hello", "a.txt")
    info = (await server.admin("GET", f"{V1}/media/{media}"))["media_info"]
    created, accessed = info.pop("created_ts"), info.pop("last_access_ts")
    assert created == accessed > 1_600_000_000_000
    assert info == {
        "media_origin": None,
        "user_id": ALICE,
        "media_id": media_id(media),
        "media_type": "text/plain",
        "media_length": 5,
        "upload_name": "a.txt",
        "filesystem_id": None,
        "url_cache": None,
        "quarantined_by": None,
        "authenticated": True,
        "safe_from_quarantine": False,
        "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    }
    await Shelf(server.database, tmp_path).add("copy", b"x", origin="else.test", user_id=None)
    info = (await server.admin("GET", f"{V1}/media/else.test/copy"))["media_info"]
    assert (info["media_origin"], info["user_id"], info["safe_from_quarantine"]) == ("else.test", None, None)
    assert isinstance(info["filesystem_id"], str)
    assert await server.refusal("GET", f"{V1}/media/{SERVER}/none", token=server.token) == (
        404,
        "M_NOT_FOUND",
    )


@ensureDeferred
async def test_quarantine(server: AdminServer) -> None:
    """A file is hidden from everybody, its thumbnails and equal files too; an administrator may insist."""
    alice = await server.user("alice")
    media, same = await upload(server, alice, b"bad"), await upload(server, alice, b"bad")
    path = f"{V1}/media/{{}}/{media}"
    assert await server.admin("POST", path.format("quarantine"), {}) == {}
    for one in (media, same, await upload(server, alice, b"bad")):
        assert not await sees(server, alice, one)
        thumbnail = f"{NEW}/thumbnail/{one}?width=1&height=1"
        assert (await server.call("GET", thumbnail, token=alice)).status == 404
        insisting = f"{NEW}/download/{one}?admin_unsafely_bypass_quarantine=true"
        assert (await server.call("GET", insisting, token=alice)).status == 404
        assert (await server.call("GET", insisting, token=server.token)).body == b"bad"
    info = (await server.admin("GET", f"{V1}/media/{media}"))["media_info"]
    assert info["quarantined_by"] == f"@admin:{SERVER}"
    assert await server.admin("POST", path.format("unquarantine"), {}) == {}
    assert await sees(server, alice, media)
    assert await sees(server, alice, same)
    assert await server.admin("POST", f"{V1}/media/quarantine/{SERVER}/unknown", {}) == {}


@ensureDeferred
async def test_protection(server: AdminServer) -> None:
    """What is protected is not hidden, until it is protected no more."""
    alice = await server.user("alice")
    media = await upload(server, alice, b"sticker")
    await server.admin("POST", f"{V1}/media/protect/{media_id(media)}", {})
    await server.admin("POST", f"{V1}/media/quarantine/{media}", {})
    assert await sees(server, alice, media)
    await server.admin("POST", f"{V1}/media/unprotect/{media_id(media)}", {})
    await server.admin("POST", f"{V1}/media/quarantine/{media}", {})
    assert not await sees(server, alice, media)
    for action in ("protect", "unprotect"):
        refused = await server.refusal("POST", f"{V1}/media/{action}/unknown", {}, server.token)
        assert refused == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_quarantine_changes(server: AdminServer) -> None:
    """The list of changes is read from a position onwards, each once; the future is refused."""
    alice = await server.user("alice")
    media = await upload(server, alice, b"bad")
    path = f"{V1}/media/quarantine_changes"
    assert await server.admin("GET", path) == {"next_batch": 0, "changes": []}
    await server.admin("POST", f"{V1}/media/quarantine/{media}", {})
    await server.admin("POST", f"{V1}/media/unquarantine/{media}", {})
    change = {"origin": SERVER, "media_id": media_id(media)}
    assert await server.admin("GET", path) == {
        "next_batch": 2,
        "changes": [change | {"quarantined": True}, change | {"quarantined": False}],
    }
    assert (await server.admin("GET", f"{path}?from=1"))["changes"] == [change | {"quarantined": False}]
    assert await server.admin("GET", f"{path}?from=2") == {"next_batch": 2, "changes": []}
    assert await server.refusal("GET", f"{path}?from=3", token=server.token) == (400, "M_INVALID_PARAM")


@ensureDeferred
async def test_delete_one(server: AdminServer) -> None:
    """One file of ours goes; another server's is refused."""
    alice = await server.user("alice")
    media = await upload(server, alice, b"x")
    assert await server.admin("DELETE", f"{V1}/media/{media}") == {
        "deleted_media": [media_id(media)],
        "total": 1,
    }
    assert not await sees(server, alice, media)
    for path, expected in ((media, (404, "M_NOT_FOUND")), ("else.test/x", (400, "M_UNKNOWN"))):
        assert await server.refusal("DELETE", f"{V1}/media/{path}", token=server.token) == expected


@ensureDeferred
async def test_delete_by_date_and_size(server: AdminServer) -> None:
    """Unused and large enough, not protected, not hidden, nobody's picture; a dry run deletes nothing."""
    alice = await server.user("alice")
    names = ("old", "small", "sticker", "hidden", "avatar", "roomavatar", "memberavatar")
    media = {
        name: await upload(server, alice, f"{name}".encode() * (1 if name == "small" else 100))
        for name in names
    }
    await server.admin("POST", f"{V1}/media/protect/{media_id(media['sticker'])}", {})
    await server.admin("POST", f"{V1}/media/quarantine/{media['hidden']}", {})
    avatar = {"avatar_url": f"mxc://{media['avatar']}"}
    await server.ok("PUT", f"profile/{path_part(ALICE)}/avatar_url", avatar, alice)
    room = await server.room(alice)
    picture = {"url": f"mxc://{media['roomavatar']}"}
    await server.ok("PUT", f"{room}/state/m.room.avatar/", picture, alice)
    member = {"membership": "join", "avatar_url": f"mxc://{media['memberavatar']}"}
    await server.ok("PUT", f"{room}/state/m.room.member/{path_part(ALICE)}", member, alice)
    query = f"before_ts={LATER_MS}&size_gt=50"
    dry = await finish(server, DELETE_MEDIA, "POST", f"{V1}/media/delete?{query}&dry_run=true")
    assert (dry["deleted_media"], dry["total"]) == ([media_id(media["old"])], 1)
    assert await sees(server, alice, media["old"])
    done = await finish(server, DELETE_MEDIA, "POST", f"{V1}/media/delete?{query}")
    assert (done["deleted_media"], done["total"]) == ([media_id(media["old"])], 1)
    left = {name for name in names if await sees(server, alice, media[name])}
    assert left == {*names} - {"old", "hidden"}
    done = await finish(
        server, DELETE_MEDIA, "POST", f"{V1}/media/{SERVER}/delete?{query}&keep_profiles=false"
    )
    assert done["total"] == 3
    early = f"{V1}/media/delete?before_ts=100000000000"
    assert (await finish(server, DELETE_MEDIA, "POST", early))["total"] == 0


@pytest.mark.parametrize("path", ["media/delete", "purge_media_cache"])
@ensureDeferred
async def test_dates_are_milliseconds(server: AdminServer, path: str) -> None:
    """Seconds, microseconds, negative and absent times are refused, with the date that was understood."""
    for query, expected in (
        ("", (400, "M_MISSING_PARAM")),
        ("?before_ts=1700000000", (400, "M_INVALID_PARAM")),
        ("?before_ts=1700000000000000", (400, "M_INVALID_PARAM")),
        ("?before_ts=-1", (400, "M_INVALID_PARAM")),
        ("?before_ts=today", (400, "M_INVALID_PARAM")),
    ):
        assert await server.refusal("POST", f"{V1}/{path}{query}", {}, server.token) == expected
    answer = await server.call("POST", f"{V1}/{path}?before_ts=1700000000", {}, server.token)
    assert "1970-01-20" in answer.json()["error"]


@ensureDeferred
async def test_purge_the_cache(server: AdminServer, tmp_path: Path) -> None:
    """Copies of other servers' media go, ours stay."""
    alice = await server.user("alice")
    ours = await upload(server, alice, b"ours")
    shelf = Shelf(server.database, tmp_path)
    for name in ("a", "b"):
        await shelf.add(name, name.encode(), origin="else.test", user_id=None)
    path = f"{V1}/purge_media_cache?before_ts={LATER_MS}"
    done = await finish(server, DELETE_MEDIA, "POST", path)
    assert done["deleted"] == 2
    assert await shelf.ids() == [media_id(ours)]


@ensureDeferred
async def test_media_of_a_user(server: AdminServer) -> None:
    """Paged, in any order, newest first by default; deleted page by page."""
    alice = await server.user("alice")
    media = [media_id(await upload(server, alice, bytes(size), f"{size}.txt")) for size in (3, 1, 2)]
    listed = await server.admin("GET", OF_ALICE)
    assert [one["media_id"] for one in listed["media"]] == media[::-1]
    assert listed["total"] == 3
    assert "next_token" not in listed
    assert set(listed["media"][0]) == {
        "media_id", "media_type", "media_length", "upload_name", "created_ts", "url_cache", "last_access_ts",
        "quarantined_by", "safe_from_quarantine", "user_id", "authenticated", "sha256",
    }  # fmt: skip
    page = await server.admin("GET", f"{OF_ALICE}?order_by=media_length&limit=2")
    assert [one["media_length"] for one in page["media"]] == [1, 2]
    assert page["next_token"] == 2
    page = await server.admin("GET", f"{OF_ALICE}?order_by=media_length&limit=2&from=2")
    assert [one["media_length"] for one in page["media"]] == [3]
    page = await server.admin("GET", f"{OF_ALICE}?dir=b&order_by=upload_name")
    assert [one["upload_name"] for one in page["media"]] == ["3.txt", "2.txt", "1.txt"]
    deleted = await server.admin("DELETE", f"{OF_ALICE}?limit=2")
    assert (deleted["total"], sorted(deleted["deleted_media"])) == (2, sorted(media[1:]))
    assert (await server.admin("GET", OF_ALICE))["total"] == 1
    for name, expected in (("@nobody:hs.test", 404), ("@x:else.test", 400)):
        answer = await server.call("GET", f"{V1}/users/{path_part(name)}/media", token=server.token)
        assert answer.status == expected


@ensureDeferred
async def test_media_of_a_room(server: AdminServer) -> None:
    """Wherever an event names them; all of them are hidden at once, others' equal files too, and shown again."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice)
    picture, thumbnail = await upload(server, alice, b"picture"), await upload(server, alice, b"thumbnail")
    elsewhere = await upload(server, bob, b"picture")
    other = await upload(server, bob, b"other")
    content = {
        "msgtype": "m.image",
        "body": "x",
        "url": f"mxc://{picture}",
        "info": {"thumbnail_url": f"mxc://{thumbnail}", "more": ["mxc://else.test/far", "mxc://", 1]},
    }
    await server.ok("PUT", f"{room}/send/m.room.message/1", content, alice)
    room_id = path_part(room.removeprefix("rooms/"))
    listed = await server.admin("GET", f"{V1}/room/{room_id}/media")
    assert listed == {
        "local": [f"mxc://{picture}", f"mxc://{thumbnail}"],
        "remote": ["mxc://else.test/far"],
    }
    path = f"{V1}/room/{room_id}/media/quarantine"
    dry = await finish(server, QUARANTINE_MEDIA, "POST", f"{path}?dry_run=true")
    assert dry["num_quarantined"] == 4
    assert await sees(server, alice, picture)
    done = await finish(server, QUARANTINE_MEDIA, "POST", path)
    assert done["num_quarantined"] == 4
    seen = [await sees(server, bob, media) for media in (picture, thumbnail, elsewhere, other)]
    assert seen == [False, False, False, True]
    undo = f"{V1}/quarantine_media/undo/{done['task_id']}"
    assert (await finish(server, QUARANTINE_MEDIA, "POST", undo))["num_quarantined"] == 4
    assert await sees(server, bob, elsewhere)
    old = await finish(server, QUARANTINE_MEDIA, "POST", f"{V1}/quarantine_media/{room_id}")
    assert old["num_quarantined"] == 4


@ensureDeferred
async def test_quarantine_a_user_or_a_server(server: AdminServer, tmp_path: Path) -> None:
    """All that a user has uploaded, or all copies from a server, and nothing else."""
    alice, bob = await server.user("alice"), await server.user("bob")
    mine = [await upload(server, alice, bytes([number])) for number in range(3)]
    theirs = await upload(server, bob, b"bob")
    path = f"{V1}/user/{path_part(ALICE)}/media/quarantine"
    assert (await finish(server, QUARANTINE_MEDIA, "POST", path))["num_quarantined"] == 3
    assert [await sees(server, bob, media) for media in (*mine, theirs)] == [False, False, False, True]
    shelf = Shelf(server.database, tmp_path)
    for origin in ("bad.test", "good.test"):
        await shelf.add("file", origin.encode(), origin=origin, user_id=None)
    path = f"{V1}/server/bad.test/media/quarantine"
    assert (await finish(server, QUARANTINE_MEDIA, "POST", path))["num_quarantined"] == 1
    seen = [await sees(server, bob, f"{name}/file") for name in ("bad.test", "good.test")]
    assert seen == [False, True]


@ensureDeferred
async def test_statistics(server: AdminServer) -> None:
    """Who has uploaded how much, searched, ordered, paged, within a time."""
    for name, sizes in (("alice", (1, 2)), ("bob", (10,))):
        token = await server.user(name)
        for size in sizes:
            await upload(server, token, bytes(size))
    path = f"{V1}/statistics/users/media"
    listed = await server.admin("GET", path)
    assert listed == {
        "users": [
            {"user_id": ALICE, "displayname": None, "media_count": 2, "media_length": 3},
            {"user_id": f"@bob:{SERVER}", "displayname": None, "media_count": 1, "media_length": 10},
        ],
        "total": 2,
    }
    page = await server.admin("GET", f"{path}?order_by=media_length&dir=b&limit=1")
    assert (page["users"][0]["media_length"], page["next_token"], page["total"]) == (10, 1, 2)
    assert (await server.admin("GET", f"{path}?search_term=LIC"))["total"] == 1
    assert (await server.admin("GET", f"{path}?search_term=%25"))["total"] == 0
    assert (await server.admin("GET", f"{path}?until_ts=1"))["total"] == 0
    for query in ("from_ts=5&until_ts=5", "search_term=", "order_by=x"):
        assert (await server.refusal("GET", f"{path}?{query}", token=server.token))[0] == 400
