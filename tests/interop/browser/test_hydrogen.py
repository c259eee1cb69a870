"""Hydrogen, a web client, in a real browser. `SCREENSHOTS=directory` keeps the pictures there."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from synapse_lite.cli.demo.connection import User
from tests.interop import node
from tests.interop.browser.webdriver import ENTER, Browser, install
from tests.interop.two_processes import site
from tests.processes.conftest import build_site
from tests.processes.harness import wait_until
from tests.processes.site import SERVER, Site, create_room, say

__all__ = ["build_site", "site"]

CLIENT = "/_matrix/client/v3"
KNOCK = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
SPACE = {"type": "m.space"}


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where Hydrogen is."""
    directory = tmp_path_factory.mktemp("hydrogen")
    node.build_hydrogen(directory)
    shutil.copy(Path(__file__).with_name("hydrogen.html"), directory / "index.html")
    handler = partial(_Handler, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def _picture(browser: Browser, directory: Path, name: str) -> None:
    browser.screenshot(Path(os.environ.get("SCREENSHOTS", directory)) / f"{name}.png")


@contextmanager
def _seen_at_the_end(browser: Browser, directory: Path) -> Iterator[None]:
    try:
        yield
    finally:
        _picture(browser, directory, "end")


def _call(user: User, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, object]:
    with user.connect() as connection:
        answer: dict[str, object] = connection.call(method, f"{CLIENT}/{path}", body)
    return answer


def _ask(browser: Browser, method: str, path: str, body: dict[str, object] | None = None) -> Any:
    """Over the session of the page. Hydrogen has no view of the directory, of search, of spaces and of knocking."""
    return browser.script("return ask(...arguments)", method, path, body)


def _is_found(browser: Browser, words: str) -> bool:
    criteria = {"room_events": {"search_term": words}}
    found = _ask(browser, "POST", f"{CLIENT}/search", {"search_categories": criteria})
    return bool(found["search_categories"]["room_events"]["results"])


def _enter(browser: Browser, alias: str) -> None:
    """Through the dialog for joining a room."""
    browser.click(".LeftPanel .create")
    browser.click(".menu li:nth-child(2) button")
    browser.wait_for("#id")
    browser.type("#id", f"{alias}{ENTER}")


def test_a_web_client_in_a_browser(site: Site, page: str, tmp_path: Path) -> None:
    """It logs in, shows a badge that another device's receipt takes away, joins from the directory, sends and finds it.

    It sees the rooms of a space, knocks at one of them and is let in.
    """
    install()
    reader, writer = site.user("reader", through="second"), site.user("writer")
    den = create_room(writer, reader)
    _call(writer, "PUT", f"rooms/{den}/state/m.room.name", {"name": "Den"})
    tea = {
        "name": "Tea house",
        "preset": "public_chat",
        "visibility": "public",
        "room_alias_name": "tea-house",
    }
    tea_house = _call(writer, "POST", "createRoom", tea)["room_id"]
    with Browser() as browser, _seen_at_the_end(browser, tmp_path):
        browser.look(width=1200, height=800)
        browser.open(f"{page}#/{site.url()}")
        browser.wait_for("#username")
        browser.type("#username", "reader")
        browser.type("#password", "secret")
        _picture(browser, tmp_path, "1-login")
        browser.type("#password", ENTER)
        browser.wait_for(".RoomList .name", "Den")

        with writer.connect() as connection:
            say(connection, den, "one")
            last = say(connection, den, "two")
        browser.wait_for(".RoomList .badge", "2")
        _picture(browser, tmp_path, "2-badge")
        _call(reader, "POST", f"rooms/{den}/receipt/m.read/{last}", {})
        browser.wait_gone(".RoomList .badge")

        wanted: dict[str, object] = {"filter": {"generic_search_term": "tea h"}}
        (listed,) = _ask(browser, "POST", f"{CLIENT}/publicRooms", wanted)["chunk"]
        assert (listed["room_id"], listed["name"]) == (tea_house, "Tea house")
        _enter(browser, listed["canonical_alias"])
        browser.wait_for(".RoomView .room-description", "Tea house")
        browser.type(".MessageComposer textarea", f"a cup of tea{ENTER}")
        browser.wait_for(".Timeline .Timeline_message:not(.unsent) .Timeline_messageBody", "a cup of tea")
        _picture(browser, tmp_path, "3-sent")

        wait_until(lambda: _is_found(browser, "cup of tea"), "the message is found")

        garden = _call(writer, "POST", "createRoom", {"name": "Garden", "initial_state": [KNOCK]})["room_id"]
        space = _call(writer, "POST", "createRoom", {"preset": "public_chat", "creation_content": SPACE})[
            "room_id"
        ]
        for child in (tea_house, garden):
            _call(writer, "PUT", f"rooms/{space}/state/m.space.child/{child}", {"via": [SERVER]})
        below = _ask(browser, "GET", f"/_matrix/client/v1/rooms/{space}/hierarchy")["rooms"][1:]
        assert {(room["room_id"], room.get("name")) for room in below} == {
            (tea_house, "Tea house"),
            (garden, "Garden"),
        }
        _ask(browser, "POST", f"{CLIENT}/knock/{garden}", {"reason": "May I?"})
        _call(writer, "POST", f"rooms/{garden}/invite", {"user_id": reader.user_id})
        browser.wait_for(f".RoomList a[href*='{garden}']", "Garden")
        browser.click(f".RoomList a[href*='{garden}']")
        browser.wait_for(".InviteView .primary")
        _picture(browser, tmp_path, "4-let-in")
        browser.click(".InviteView .primary")
        browser.wait_for(".RoomView .room-description", "Garden")
        _picture(browser, tmp_path, "5-garden")
        faults = [entry["message"] for entry in browser.log() if " 50" in entry["message"]]
    history = _call(writer, "GET", f"rooms/{tea_house}/messages?dir=b&limit=5")["chunk"]
    assert "a cup of tea" in [event["content"].get("body") for event in history]  # type: ignore[attr-defined]
    assert not faults
