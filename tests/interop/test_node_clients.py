"""Clients that are built on matrix-js-sdk, as Element is."""

import signal
from base64 import b64decode, b64encode
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.handlers.test_media_thumbnails import encoded, photo, read
from tests.interop import node
from tests.interop.two_processes import TRANSPORTS, parties, site
from tests.processes.conftest import BuildSite, build_site
from tests.processes.harness import Server, wait_until
from tests.processes.site import SERVER, Site
from tests.processes.test_push import Gateway, gateway

__all__ = ["build_site", "gateway", "site"]

TEXTS = ["from alice", "from bob", "to the new device", "without the lost one"]


def test_a_web_client_talks(tmp_path: Path) -> None:
    """It logs in, syncs with members loaded lazily, makes and joins a room; what one sends the other shows."""
    with Server(tmp_path, "--server-name", "web.test") as server:
        users = [{"name": name, "password": "secret"} for name in ("writer", "reader")]
        for user in users:
            server.register(user["name"], user["password"])
        shown = node.run(
            "conversation.mjs", tmp_path / "client", baseUrl=server.base_url, users=users, text="hello"
        )
    assert shown["seen"] == shown["sent"]
    assert (shown["sender"], shown["name"], shown["members"]) == ("@writer:web.test", "A room", 2)


def test_a_lost_device_loses_no_history(build_site: BuildSite, tmp_path: Path) -> None:
    """Identities, a backup of room keys, its restoration, emoji, a deleted device, another identity: on two processes."""
    site = build_site("main")
    site.start("main", "second")
    users = [{"name": name, "password": "secret"} for name in ("alice", "bob")]
    for user in users:
        site.user(user["name"])
    shown = node.run(
        "encryption.mjs",
        tmp_path / "client",
        baseUrls=[site.url("main"), site.url("second"), site.url("second")],
        users=users,
        texts=TEXTS,
    )
    check_encryption(shown)


def test_two_devices_begin_at_once(build_site: BuildSite, tmp_path: Path) -> None:
    """Of two first identities one is stored, whole, though a process is killed meanwhile; the other device is asked who it is."""
    site = build_site("main")
    site.start("main", "second")
    site.user("alice")
    urls = [site.url("main"), site.url("second")]
    client = tmp_path / "client"
    with ThreadPoolExecutor(1) as pool:
        user = {"name": "alice", "password": "secret"}
        running = pool.submit(node.run, "identities.mjs", client, baseUrls=urls, user=user)
        wait_until(lambda: running.done() or (client / "ready").exists(), "two devices", 300)
        site.signal("second", signal.SIGKILL)
        site.processes["second"].running.wait()
        site.launch("second")
        shown = running.result()
    assert sorted(shown["asked"]) == [False, True]
    assert shown["stored"] == [shown["own"]]
    assert shown["isSigned"]


def check_encryption(shown: Mapping[str, Any]) -> None:
    assert shown["backedUp"] == shown["restored"] == 2
    assert shown["signedByOwner"]
    one, other = shown["emoji"]
    assert one == other
    assert len(one) >= 7
    assert shown["devices"] == [["FOUND", "LOST"], ["FOUND"]]
    assert shown["isAsked"]
    assert shown["isReset"]


def test_media_of_a_web_client(build_site: BuildSite, tmp_path: Path) -> None:
    """What it uploads to one process comes back from another, with the token and only with it; encrypted ones too."""
    site = build_site("main")
    site.start("main", "second")
    site.user("painter")
    data = encoded(photo(80, 60))
    shown = node.run(
        "media.mjs",
        tmp_path / "client",
        baseUrl=site.url(),
        readUrl=site.url("second"),
        user={"name": "painter", "password": "secret"},
        picture=b64encode(data).decode(),
    )
    assert read(b64decode(shown.pop("thumbnail"))).size == (32, 32)
    assert shown == {
        "same": True,
        "type": "image/png",
        "disposition": "inline; filename*=utf-8''cat%20%C3%A9.png",
        "anonymous": 404,
        "limit": 50 * 1024 * 1024,
        "read": "a secret",
    }


def test_sliding_sync_of_a_web_client(build_site: BuildSite, tmp_path: Path) -> None:
    """Windows that grow, invites, encrypted talk, counts, typing, receipts, tags, a kick: on two processes by turns.

    One of them dies while a room that one left is subscribed to.
    """
    site = build_site("main")
    site.start("main", "second")
    users = [{"name": name, "password": "secret"} for name in ("ann", "ben")]
    for user in users:
        site.user(user["name"])
    shown = node.run(
        "sliding.mjs",
        tmp_path / "client",
        baseUrls=[site.url("main"), site.url("second")],
        users=users,
        texts=["from ann", "from ben"],
        rooms=["one", "two", "three", "four", "five"],
        second=site.processes["second"].running.pid,
    )
    site.processes["second"].kill()
    assert shown["left"] == {"name": "Left", "after": False}
    assert shown["unread"] == [0, 1, 0]
    assert all(polls > 5 for polls in shown["polls"])


def test_what_is_unread(site: Site, gateway: Gateway, tmp_path: Path) -> None:
    """Counts of a room and of its threads go up and down on both devices; lists, rules and a pusher agree with them."""
    shown = node.run(
        "unread.mjs", tmp_path / "client", **parties(site, "unread-alice", "unread-bob"), gateway=gateway.url
    )
    assert shown == {
        "threadOnly": 1,
        "publicly": None,
        "quiet": [0, 0],
        "listed": [[text, True] for text in ("five", "in the thread", "a cup of tea", "two", "one")],
        "muted": [0, 0],
        "pushers": [[f"@unread-bob:{SERVER}", "Laptop"]],
    }


def test_threads_of_a_web_client(site: Site, tmp_path: Path) -> None:
    """Twenty threads are listed, paged and summed up alike by the server and by the client."""
    shown = node.run(
        "threads.mjs", tmp_path / "client", **parties(site, "thread-alice", "thread-bob"), count=20
    )
    assert (shown.pop("shorter"), shown.pop("gone")) == (2, {})
    assert all(shown.values()), shown


def test_rooms_of_a_web_client(site: Site, tmp_path: Path) -> None:
    """Directory, search, a space, a knock, an upgrade and reports."""
    words = {"english": ["the kettle whistles", "kettle"], "chinese": ["我们明天去北京喝茶", "北京"]}
    shown = node.run("rooms.mjs", tmp_path / "client", **parties(site, "host", "guest"), words=words)
    assert shown == {
        "directory": [["Tea house", 1]],
        "summary": ["Tea house", "All about tea", "public"],
        "highlights": ["kettle"],
        "hierarchy": ["House", "Tea house", "Lobby"],
        "suggested": ["House", "Tea house"],
        "knocking": ["M_FORBIDDEN", "let me in", "M_FORBIDDEN"],
        "upgrade": [True, True, "M_FORBIDDEN", True],
        "shared": True,
    }


def test_people_of_a_web_client(site: Site, tmp_path: Path) -> None:
    """Names, presence, data of the account, ignored users, and what calls need."""
    shown = node.run("people.mjs", tmp_path / "client", **parties(site, "ann", "ben"))
    assert shown == {
        "people": [[f"@ben:{SERVER}", "Ben 李小龍"]],
        "profile": {
            "displayname": "Ben 李小龍",
            "m.tz": "Asia/Shanghai",
            "org.example.team": {"name": "kung fu"},
        },
        "gone": True,
        "status": "at lunch",
        "unheard": 0,
        "delayed": [True],
        "turn": ["turn:turn.test"],
        "transports": TRANSPORTS,
        "openId": ["Bearer", SERVER],
        "protocols": {},
        "version": "12",
    }


def test_accounts_of_a_web_client(site: Site, tmp_path: Path) -> None:
    """A registration token, a guest, what needs mail, a meeting of devices; reports, suspension, a lock, and the end."""
    shown = node.run("accounts.mjs", tmp_path / "client", **parties(site, admin="warden", newcomer="novice"))
    assert shown == {
        "registered": [True, f"@novice:{SERVER}", "M_UNAUTHORIZED"],
        "further": "M_GUEST_ACCESS_FORBIDDEN",
        "snapshot": [True, "join", 5],
        "directory": ["public", [f"#open-house:{SERVER}"]],
        "mail": [[], "M_UNKNOWN", "M_UNRECOGNIZED"],
        "met": ["hello", "and hello"],
        "whois": True,
        "quiet": "M_USER_SUSPENDED",
        "locked": "M_USER_LOCKED",
        "gone": "M_FORBIDDEN",
    }


def test_a_bot(site: Site, tmp_path: Path) -> None:
    """It comes when invited, answers, moderates as far as it may, keeps spaces, and follows an upgrade."""
    shown = node.run("bot.mjs", tmp_path / "client", **parties(site, "bot", "person"), server=SERVER)
    assert shown == {
        "related": [True],
        "fallback": True,
        "may": [True, True],
        "redacted": "curious",
        "forbidden": "M_FORBIDDEN",
        "children": True,
        "visibility": "public",
        "resolved": True,
        "data": [1, True],
        "presence": "moderating",
        "members": True,
        "openId": SERVER,
        "history": [[True], "12"],
    }
