"""The admin page in a real browser, on the server as it is installed."""

from pathlib import Path
from typing import Any

from tests.interop.browser.admin_page import HOSTILE, LOW_CONTRAST, choose, picture, sign_in
from tests.interop.browser.webdriver import ESCAPE, Browser
from tests.processes.harness import Server


def test_a_user_is_redacted_on_a_real_server(window: Browser, tmp_path: Path) -> None:
    """From the password of an administrator to the task that has ended, on the server as it is installed."""
    with Server(tmp_path) as server:
        admin: dict[str, Any] = server.ready["admin"]
        server.register("spam")
        window.look(width=1280, height=900)
        window.open(f"{server.base_url}/_synapse/admin/ui")
        sign_in(window, "admin", admin["password"])
        window.wait_for("#live", "Live")
        window.fill("#redact-user", "@spam:localhost")
        window.click("#redact [name=dry]")
        window.click("#redact-button")
        choose(window, "Redact everything")
        panel = window.wait_for("#detail-body", "complete")
        assert {"enqueued", "claimed", "background1", "@spam:localhost"} <= set(panel.split())
        picture(window, "real-detail")
        window.press(ESCAPE)
        assert "redact_all_events v1" in window.wait_for("#runners", "alive")
        window.click("#filters [value=complete]")
        window.wait_for("#task-rows tr", "complete")
        row = window.text("#task-rows tr")
        assert "redact_all_events" in row
        assert "@spam:localhost" in row
        assert "@admin:localhost" in row
        picture(window, "real-tasks")
        window.click("#sign-out")
        window.wait_for("#sign-in")
        window.open("about:blank")


def test_a_reported_room_is_shut_down_on_a_real_server(window: Browser, tmp_path: Path) -> None:
    """The report is shown, a dry run says how much would go, a yes shuts the room down; reports stay until dismissed."""
    client = "/_matrix/client/v3"
    with Server(tmp_path) as server:
        admin: dict[str, Any] = server.ready["admin"]
        user = server.register("victim")
        token = user["access_token"]
        body = {"name": "Den of spam", "preset": "public_chat"}
        room_id = server.request("POST", f"{client}/createRoom", body, token)["room_id"]
        server.request("POST", f"{client}/rooms/{room_id}/report", {"reason": HOSTILE}, token)
        server.request("POST", f"{client}/users/{user['user_id']}/report", {"reason": "rude"}, token)
        window.look(width=1280, height=900)
        window.open(f"{server.base_url}/_synapse/admin/ui")
        sign_in(window, "admin", admin["password"])
        reports = window.wait_for("#reports", "Den of spam")
        assert HOSTILE in reports
        assert "by @victim:localhost" in reports
        for words, found in (
            (room_id, "1 reported"),
            ("@nobody", "No report matches."),
            ("@vict", "2 reported"),
        ):
            window.fill("#report-search", words)
            window.wait_for("#reports-count", found)
        window.fill("#room-search", "DEN OF")
        assert room_id in window.wait_for("#rooms", "1 joined, 1 of this server")
        assert window.script(LOW_CONTRAST) == []
        picture(window, "moderation")
        window.click("#reports li:nth-child(1) button[aria-label^=Redact]")
        assert window.script("return document.activeElement.value") == "@victim:localhost"
        window.click("#rooms li:nth-child(1) button")
        question = window.wait_for("#question", "1 users of this server")
        assert "rows are deleted" in question
        picture(window, "shut-down-question")
        choose(window, "Shut down and block")
        panel = window.wait_for("#detail-body", "complete")
        assert room_id in panel
        window.press(ESCAPE)
        window.wait_for("#rooms-notice", "No room matches.")
        for left in ("1 reported", "No report matches."):
            window.click("#reports li:nth-child(1) button[aria-label^=Dismiss]")
            choose(window, "Dismiss")
            window.wait_for("#reports-count", left)
        assert window.script("return document.title") == "Tasks · synapse-lite"
        window.click("#sign-out")
        window.wait_for("#sign-in")
        window.open("about:blank")


def test_a_user_is_looked_at_and_erased_on_a_real_server(window: Browser, tmp_path: Path) -> None:
    """Found by name, with rooms and sessions; counted before the question; redacted, then erased, and seen to be."""
    client = "/_matrix/client/v3"
    with Server(tmp_path) as server:
        admin: dict[str, Any] = server.ready["admin"]
        spam = server.register("spam")
        body = {"name": "Den", "preset": "public_chat"}
        room_id = server.request("POST", f"{client}/createRoom", body, spam["access_token"])["room_id"]
        for number in range(3):
            path = f"{client}/rooms/{room_id}/send/m.room.message/{number}"
            server.request("PUT", path, {"msgtype": "m.text", "body": "buy"}, spam["access_token"])
        window.look(width=1280, height=900)
        window.open(f"{server.base_url}/_synapse/admin/ui")
        sign_in(window, "admin", admin["password"])
        window.fill("#user-search", "SPA")
        assert "@spam:localhost" in window.wait_for("#users", "spam")
        window.wait_gone("#users-notice")
        window.click("#users li:nth-child(1) summary")
        assert spam["device_id"] in window.wait_for("#users", room_id)
        assert window.script(LOW_CONTRAST) == []
        picture(window, "users")
        window.click("#users button[aria-label='Redact everything by @spam:localhost']")
        assert "events in 1 rooms are redacted" in window.wait_for("#question", "Redact everything by")
        choose(window, "Redact everything")
        window.wait_for("#detail-body", "complete")
        window.press(ESCAPE)
        window.click("#users button[aria-label='Erase @spam:localhost']")
        assert "0 files are deleted" in window.wait_for("#question", "closed for good")
        picture(window, "erase-question")
        choose(window, "Erase the user")
        window.fill("#question-input", "@spam:localhos")
        choose(window, "Erase the user")
        window.type("#question-input", "t")
        assert window.script(LOW_CONTRAST) == []
        picture(window, "erase-typed")
        choose(window, "Erase the user")
        window.wait_for("#detail-title", "erase_user")
        window.wait_for("#detail-body .headline", "complete")
        picture(window, "erased")
        window.press(ESCAPE)
        window.fill("#user-search", "@spam")
        window.wait_for("#users-notice", "No user matches.")
        window.click("#sign-out")
        window.wait_for("#sign-in")
        window.open("about:blank")
