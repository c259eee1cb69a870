"""What the tests of the admin page do on it. `SCREENSHOTS=directory` keeps the pictures."""

import os
from pathlib import Path

from tests.interop.browser.stage import ADMIN, Stage, a_runner, a_task, now
from tests.interop.browser.webdriver import Browser

TASKS = f"{ADMIN}/scheduled_tasks"
HOSTILE = "<img src=x onerror=\"document.title='taken'\">"
LOW_CONTRAST = Path(__file__).with_name("contrast.js").read_text()


def sign_in(browser: Browser, user: str = "admin", password: str = "secret") -> None:
    browser.fill("#user", user)
    browser.fill("#password", password)
    browser.click("#password-form button")
    browser.wait_for("#console")


def use_token(browser: Browser, token: str) -> None:
    if not browser.text("#token-form"):
        browser.click("summary")
    browser.fill("#token", token)
    browser.click("#token-form button")


def choose(browser: Browser, words: str) -> None:
    """Press the button of the question that has the words."""
    browser.wait_for("#question", words)
    number = browser.texts("#question-buttons button").index(words) + 1
    browser.click(f"#question-buttons button:nth-child({number})")


def picture(browser: Browser, name: str) -> None:
    if "SCREENSHOTS" in os.environ:
        browser.screenshot(Path(os.environ["SCREENSHOTS"]) / f"{name}.png")


def a_busy_server(stage: Stage) -> None:
    """One task of each kind that an operator meets."""
    stage.tasks = [
        a_task(1, progress={"done": 41_200, "total": 128_000, "phase": "redacting"}),
        a_task(
            2,
            action="purge_room",
            resource_id="!conference-2023-planning-and-logistics:hs.test",
            attempt=2,
            progress={"done": 880, "total": 1_000, "phase": "deleting events"},
        ),
        a_task(3, status="scheduled", runner=None, waiting_reason="lock"),
        a_task(
            4,
            action="reindex_search",
            status="scheduled",
            runner=None,
            resource_id=None,
            runnable_by=[],
            waiting_reason="no_runner",
            last_seen_runner="background3",
            created_ts=now() - 9_000_000,
        ),
        a_task(
            5,
            status="failed",
            runner=None,
            error="@admin:hs.test is no longer a server admin",
            attempt=5,
            progress={"done": 300, "total": 1_200, "phase": "redacting"},
            created_ts=now() - 260_000_000,
        ),
        a_task(
            6,
            status="complete",
            runner=None,
            progress={"done": 1_200, "total": 1_200, "phase": None},
            result={"redacted": 1_198, "failed": 2, "rooms": 14},
            finished_ts=now(),
        ),
        a_task(7, status="cancelled", runner=None, progress={"done": 12, "total": None, "phase": None}),
    ]
    stage.runners = [
        a_runner("background1", "redact_all_events", "purge_room", "prune_tasks"),
        a_runner("background2", "redact_all_events", "prune_tasks"),
        a_runner("background3", "reindex_search", alive=False),
    ]
    stage.unserved = [
        {
            "action": "reindex_search",
            "version": 1,
            "count": 3,
            "oldest_ts": now() - 9_000_000,
            "last_seen_runner": "background3",
        }
    ]
    stage.details["task1"] = {
        "eta_ms": 151_000,
        "history": [
            {"ts": now() - 95_000, "kind": "enqueued", "runner": None, "detail": None},
            {"ts": now() - 94_900, "kind": "claimed", "runner": "background2", "detail": None},
            {
                "ts": now() - 30_000,
                "kind": "rescued",
                "runner": "background1",
                "detail": "from background2",
            },
        ],
        "items": {"failed": 2, "room": 14},
        "params": {"user_id": "@spam1:hs.test", "rooms": [], "reason": "spam"},
    }


def check_page(browser: Browser, name: str) -> None:
    picture(browser, name)
    assert browser.script("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.script(LOW_CONTRAST) == []
    nameless = browser.script(
        "return [...document.querySelectorAll('input, select, button')]"
        ".filter((n) => !n.labels?.length && !n.getAttribute('aria-label') && !n.textContent.trim())"
        ".map((n) => n.outerHTML)"
    )
    assert nameless == []
