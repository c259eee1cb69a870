"""Clients that are built on matrix-nio, mautrix and simplematrixbotlib, as bots and bridges are."""

from pathlib import Path

from tests.interop import python
from tests.interop.two_processes import parties, site
from tests.processes.conftest import build_site
from tests.processes.site import SERVER, Site

__all__ = ["build_site", "site"]


def test_matrix_nio(site: Site, tmp_path: Path) -> None:
    """Its rules, receipts, threads, directories, spaces, knocks and upgrades do what it expects of them."""
    shown = python.run("nio_client.py", tmp_path, **parties(site, "nio-alice", "nio-bob"))
    assert shown == {
        "unread": {"again": "M_NOT_FOUND", "marker": True},
        "threads": {"listed": True, "mine": True, "replies": True},
        "rooms": {
            "directory": True,
            "space": True,
            "knock": ["knock", "please"],
            "upgraded": [True, "hi"],
            "visibility": "public",
        },
    }


def test_mautrix(site: Site, tmp_path: Path) -> None:
    """Relations that it builds, data that it keeps, and a room that one comes into by a knock."""
    shown = python.run("mautrix_client.py", tmp_path, **parties(site, "mautrix-bridge", "mautrix-human"))
    assert shown == {
        "relations": {"thread": True, "edit": [True, "root"], "reaction": True, "after": True, "gone": {}},
        "kept": {
            "tags": {"m.favourite": 0.25},
            "data": {"puppet": True},
            "marker": True,
            "rule": ["tea", True],
            "removed": "M_NOT_FOUND",
            "presence": "bridging",
        },
        "members": {
            "found": True,
            "knock": [True, "me"],
            "again": "M_FORBIDDEN",
            "people": [f"@mautrix-human:{SERVER}"],
        },
    }


def test_simplematrixbotlib(site: Site, tmp_path: Path) -> None:
    """A bot comes when it is invited, answers a command with formatted text and a reaction, and hears reactions."""
    shown = python.run("simple_bot.py", tmp_path, **parties(site, "person", "robot"))
    assert shown == {
        "said": ["<p><strong>hello there</strong></p>", True],
        "liked": ["✅", True],
        "thanks": "🎉 to you",
    }
