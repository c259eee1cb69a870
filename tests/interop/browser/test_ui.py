"""The admin page in a real browser. `SCREENSHOTS=directory` keeps the pictures."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.browser.stage import (
    ADMIN,
    ADMIN_TOKEN,
    UNRECOGNIZED,
    USER_TOKEN,
    Call,
    Refusal,
    Stage,
    a_runner,
    a_task,
    now,
)
from tests.interop.browser.webdriver import ESCAPE, Browser, install
from tests.processes.harness import Server, wait_until

TASKS = f"{ADMIN}/scheduled_tasks"
HOSTILE = "<img src=x onerror=\"document.title='taken'\">"
LOW_CONTRAST = Path(__file__).with_name("contrast.js").read_text()


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    install()
    with Browser() as browser:
        yield browser


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


@pytest.fixture
def browser(window: Browser, stage: Stage) -> Iterator[Browser]:
    """A fresh tab on the page; at the end the policy was not violated and no script has failed."""
    window.look(width=1280, height=900)
    window.open(stage.url)
    window.forget()
    window.open(stage.url)
    window.wait_for("#sign-in")
    window.log()
    yield window
    faults = [entry for entry in window.log() if "Failed to load resource" not in entry["message"]]
    window.open("about:blank")
    assert not faults


@pytest.fixture
def signed_in(browser: Browser) -> Browser:
    _sign_in(browser)
    return browser


def _sign_in(browser: Browser, user: str = "admin", password: str = "secret") -> None:
    browser.fill("#user", user)
    browser.fill("#password", password)
    browser.click("#password-form button")
    browser.wait_for("#console")


def _use_token(browser: Browser, token: str) -> None:
    if not browser.text("#token-form"):
        browser.click("summary")
    browser.fill("#token", token)
    browser.click("#token-form button")


def _choose(browser: Browser, words: str) -> None:
    """Press the button of the question that has the words."""
    browser.wait_for("#question", words)
    number = browser.texts("#question-buttons button").index(words) + 1
    browser.click(f"#question-buttons button:nth-child({number})")


def _picture(browser: Browser, name: str) -> None:
    if "SCREENSHOTS" in os.environ:
        browser.screenshot(Path(os.environ["SCREENSHOTS"]) / f"{name}.png")


def _busy(stage: Stage) -> None:
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


def test_only_administrators_get_in(browser: Browser, stage: Stage) -> None:
    """A wrong password and an ordinary account are told apart; the session of the latter is closed again."""
    browser.fill("#user", "admin")
    browser.fill("#password", "wrong")
    browser.click("#password-form button")
    browser.wait_for("#sign-in-problem", "Wrong user or password")
    _picture(browser, "sign-in-refused")
    browser.fill("#user", "ada")
    browser.fill("#password", "secret")
    browser.click("#password-form button")
    browser.wait_for("#sign-in-problem", "not an administrator")
    assert USER_TOKEN not in stage.tokens
    _sign_in(browser)
    assert browser.text("#who-name") == "@admin:hs.test"
    assert browser.text("#sign-in") == ""


def test_a_token_stays_in_its_tab(browser: Browser, stage: Stage) -> None:
    """It outlives a reload; signing out ends the session on the server, and nothing of it is left here."""
    stage.tasks = [a_task(1)]
    _sign_in(browser)
    browser.wait_for("#task-rows", "@spam1:hs.test")
    browser.open(stage.url)
    browser.wait_for("#task-rows", "@spam1:hs.test")
    assert browser.script("return [localStorage.length, document.cookie]") == [0, ""]
    assert not any("token" in str(call.query) for call in stage.calls)
    browser.click("#sign-out")
    browser.wait_for("#sign-in")
    wait_until(lambda: ADMIN_TOKEN not in stage.tokens, "the session is closed")
    assert browser.script("return sessionStorage.length") == 0
    assert "@spam1" not in browser.script("return document.body.textContent")


def test_a_pasted_token_is_checked_and_may_live_on(browser: Browser, stage: Stage) -> None:
    """Bad ones are refused; at the end the operator says whether it is only forgotten here."""
    _use_token(browser, "nonsense")
    browser.wait_for("#sign-in-problem", "token is not valid")
    _use_token(browser, USER_TOKEN)
    browser.wait_for("#sign-in-problem", "not an administrator")
    assert USER_TOKEN in stage.tokens
    _use_token(browser, ADMIN_TOKEN)
    browser.wait_for("#console")
    browser.click("#sign-out")
    _choose(browser, "Only forget it here")
    browser.wait_for("#sign-in")
    assert ADMIN_TOKEN in stage.tokens
    assert browser.script("return sessionStorage.length") == 0


def test_tasks_are_shown_live(signed_in: Browser, stage: Stage) -> None:
    """Progress, phase, runner, who asked and what is left change without a click, and focus stays."""
    task = a_task(1, progress={"done": 100, "total": 1000, "phase": "redacting"})
    stage.tasks = [task]
    signed_in.wait_for("#task-rows tr", "100 of 1,000 · 10 %")
    row = signed_in.text("#task-rows tr")
    for words in ("active", "redacting", "@spam1:hs.test", "background1", "@admin:hs.test", "1 h 3"):
        assert words in row, words
    signed_in.script("document.querySelector('#task-rows .link').focus()")
    task["progress"] = {"done": 600, "total": 1000, "phase": "erasing"}
    signed_in.wait_for("#task-rows tr", "600 of 1,000 · 60 %")
    signed_in.wait_for("#task-rows td[data-label=Left]", "≈")
    assert signed_in.script("return document.querySelector('#task-rows progress').value") == 0.6
    assert signed_in.script("return document.activeElement.className") == "link"
    task.update(status="scheduled", runner=None, waiting_reason="backoff", timestamp_ms=now() + 36_000_000)
    signed_in.wait_for("#task-rows .remarks", "begins in 9 h 5")
    task.update(status="complete", waiting_reason=None, timestamp_ms=now())
    signed_in.click("#filters [value=complete]")
    signed_in.wait_for("#task-rows .badge", "complete")


def _listed(stage: Stage) -> list[Call]:
    """The requests for what people asked for."""
    return [call for call in stage.called("GET", TASKS) if call.query.get("periodic") != ["true"]]


def test_what_the_server_does_by_itself_stands_apart(signed_in: Browser, stage: Stage) -> None:
    """It is asked for by itself, and the list asks for the rest, newest first."""
    stage.periodic = [
        a_task(1, id="p", action="prune_tasks", status="scheduled", timestamp_ms=now() + 36_000_000)
    ]
    assert "in 9 h 5" in signed_in.wait_for("#periodic", "prune_tasks")
    assert "prune_tasks" not in signed_in.text("#tasks-empty")
    query = _listed(stage)[-1].query
    assert (query["periodic"], query["order_by"], query["dir"]) == (["false"], ["created_ts"], ["b"])
    stage.periodic[0].update(status="active")
    signed_in.wait_for("#periodic", "running")


def test_filters_and_pages(signed_in: Browser, stage: Stage) -> None:
    """They are asked of the server, start at the first page, and outlive a reload."""
    stage.tasks = [a_task(number) for number in range(60)]
    signed_in.wait_for("#task-rows", "@spam24:hs.test")
    assert _listed(stage)[-1].query["status"] == ["scheduled", "active", "failed"]
    signed_in.click("#next")
    signed_in.wait_for("#page", "Page 2")
    signed_in.wait_for("#task-rows", "@spam49:hs.test")
    signed_in.click("#next")
    signed_in.wait_for("#task-rows", "@spam59:hs.test")
    assert len(signed_in.texts("#task-rows tr")) == 10
    assert signed_in.script("return document.querySelector('#next').disabled")
    signed_in.click("#previous")
    signed_in.wait_for("#task-rows", "@spam49:hs.test")
    signed_in.fill("#filter-resource", "@spam7:hs.test")
    signed_in.click("#filter-action")
    signed_in.script(
        "const s = document.querySelector('#filter-action'); s.value = 'purge_room';"
        "s.dispatchEvent(new Event('change', {bubbles: true}))"
    )
    signed_in.wait_for("#page", "Page 1")
    wanted = {"resource_id": ["@spam7:hs.test"], "action_name": ["purge_room"]}

    def asked() -> bool:
        query = _listed(stage)[-1].query
        return query.items() >= wanted.items() and "from" not in query

    wait_until(asked, "the filters are sent")
    stage.calls.clear()
    signed_in.script("location.reload()")
    wait_until(lambda: _listed(stage) and asked(), "the filters are sent after a reload")


def test_names_are_text(signed_in: Browser, stage: Stage) -> None:
    """HTML in anything that users or servers choose is shown as it is, and does not run."""
    stage.tasks = [
        a_task(1, action=HOSTILE, resource_id=HOSTILE, requester=HOSTILE, runner=HOSTILE, error=HOSTILE),
    ]
    stage.details["task1"] = {
        "params": {HOSTILE: HOSTILE},
        "items": {HOSTILE: 1},
        "history": [{"ts": now(), "kind": HOSTILE, "runner": HOSTILE, "detail": HOSTILE}],
    }
    stage.runners = [a_runner(HOSTILE, HOSTILE)]
    stage.unserved = [
        {"action": HOSTILE, "version": 1, "count": 1, "oldest_ts": now(), "last_seen_runner": HOSTILE}
    ]
    signed_in.wait_for("#task-rows", HOSTILE)
    signed_in.wait_for("#runners", HOSTILE)
    signed_in.wait_for("#unserved", HOSTILE)
    signed_in.click("#task-rows .link")
    signed_in.wait_for("#detail-body", HOSTILE)
    assert signed_in.script("return document.querySelectorAll('img').length") == 1
    assert signed_in.script("return document.title") == "Tasks · synapse-lite"


def test_a_task_is_cancelled_after_a_question(signed_in: Browser, stage: Stage) -> None:
    """Keeping it does nothing; cancelling is sent once, and the button says so until it has ended."""
    stage.tasks = [a_task(1)]
    signed_in.click("#task-rows td:last-child button")
    signed_in.wait_for("#question", "redact_all_events for @spam1:hs.test")
    _picture(signed_in, "question")
    _choose(signed_in, "Keep it")
    signed_in.wait_gone("#question")
    assert not stage.called("POST", f"{TASKS}/task1/cancel")
    signed_in.click("#task-rows td:last-child button")
    _choose(signed_in, "Cancel the task")
    signed_in.wait_for("#task-rows", "Cancelling…")
    assert len(stage.called("POST", f"{TASKS}/task1/cancel")) == 1


@pytest.mark.parametrize(
    ("words", "start"), [("From the start", "start"), ("Go on where it stopped", "cursor")]
)
def test_a_task_that_failed_runs_again(signed_in: Browser, stage: Stage, words: str, start: str) -> None:
    """The operator says from where; the new task appears."""
    stage.tasks = [a_task(1, status="failed", error="out of luck")]
    signed_in.click("#task-rows td:last-child button")
    _choose(signed_in, words)
    signed_in.wait_for("#task-rows .badge[data-tone=scheduled]")
    assert [call.body for call in stage.called("POST", f"{TASKS}/task1/retry")] == [{"from": start}]


def test_a_refused_retry_is_told(signed_in: Browser, stage: Stage) -> None:
    """In the words of the server, in the panel where it was asked."""
    stage.tasks = [a_task(1, status="failed")]
    stage.refusals[f"{TASKS}/task1/retry"] = Refusal(400, "M_UNKNOWN", "Another one is pending")
    signed_in.click("#task-rows .link")
    signed_in.click("#detail .headline button")
    _choose(signed_in, "From the start")
    signed_in.wait_for("#detail-notice", "Another one is pending")


def test_the_panel_tells_everything(signed_in: Browser, stage: Stage) -> None:
    """History, error, result, items, parameters, what is left; live; Escape closes it and focus goes back."""
    _busy(stage)
    stage.details["task1"] |= {"error": "it went wrong", "result": {"redacted": 3}}
    signed_in.click("#task-rows .link")
    shown = signed_in.wait_for("#detail-body", "rescued")
    for words in (
        "it went wrong",
        '"redacted": 3',
        "from background2",
        '"reason": "spam"',
        "about 2 min 31 s",
    ):
        assert words in shown, words
    history = [line.split("\n")[0] for line in signed_in.texts("#detail .listing li")]
    assert history[-3:] == ["rescued", "claimed", "enqueued"]
    stage.tasks[0]["progress"] = {"done": 128_000, "total": 128_000, "phase": "erasing"}
    signed_in.wait_for("#detail-body", "100 %")
    signed_in.press(ESCAPE)
    signed_in.wait_gone("#detail")
    assert signed_in.script("return document.activeElement.className") == "link"
    stage.calls.clear()
    wait_until(lambda: len(stage.called("GET", TASKS)) > 1, "two more polls")
    assert not stage.called("GET", f"{TASKS}/task1")


def test_a_task_that_is_gone(signed_in: Browser, stage: Stage) -> None:
    """The panel says so; the page goes on."""
    stage.tasks = [a_task(1)]
    signed_in.wait_for("#task-rows .link")
    stage.refusals[f"{TASKS}/task1"] = Refusal(404, "M_NOT_FOUND", "No such task")
    signed_in.click("#task-rows .link")
    signed_in.wait_for("#detail-notice", "no longer exists")
    assert signed_in.text("#problem") == ""


def test_what_nobody_can_run_is_red(signed_in: Browser, stage: Stage) -> None:
    """With the process that was last able to; the runners show what they can run and whether they live."""
    _busy(stage)
    words = signed_in.wait_for("#unserved", "reindex_search v1")
    assert "3 waiting" in words
    assert "2 h 3" in words
    assert "last seen on background3" in words
    assert "no process is able to run it" in signed_in.text("#task-rows tr.unserved")
    red = signed_in.script("return getComputedStyle(document.querySelector('.unserved .remarks')).color")
    assert red == "rgb(163, 32, 32)"
    runners = signed_in.texts("#runners > li")
    assert [line.split("\n")[0] for line in runners] == ["background1", "background2", "background3"]
    assert "alive" in runners[0]
    assert "purge_room v1" in runners[0]
    assert "gone" in runners[2]
    stage.unserved = []
    signed_in.wait_gone("#unserved")


def test_nothing_is_asked_while_nobody_looks(signed_in: Browser, stage: Stage) -> None:
    """A hidden tab is silent; it goes on at once when it is seen."""
    stage.tasks = [a_task(1)]
    signed_in.wait_for("#task-rows", "@spam1")
    _set_visibility(signed_in, "hidden")
    signed_in.wait_for("#live", "Paused")
    wait_until(lambda: _is_quiet(signed_in, stage), "no more calls")
    stage.tasks = [a_task(2)]
    _set_visibility(signed_in, "visible")
    signed_in.wait_for("#task-rows", "@spam2")
    signed_in.wait_for("#live", "Live")


def _set_visibility(browser: Browser, state: str) -> None:
    browser.script(
        "Object.defineProperty(document, 'visibilityState', {value: arguments[0], configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))",
        state,
    )


def _is_quiet(browser: Browser, stage: Stage) -> bool:
    """By the clock of the page, more than two polls pass without a call."""
    before = len(stage.calls)
    browser.command(
        "Runtime.evaluate", expression="new Promise((done) => setTimeout(done, 2500))", awaitPromise=True
    )
    return len(stage.calls) == before


@pytest.mark.parametrize(
    "refusal", [UNRECOGNIZED, Refusal(501, "M_UNRECOGNIZED", "No"), Refusal(405, "M_UNRECOGNIZED", "No")]
)
def test_an_older_server(browser: Browser, stage: Stage, refusal: Refusal) -> None:
    """What it does not have is named; the rest works; a dry run is not sent to who might redact."""
    stage.tasks = [a_task(1)]
    for path in (f"{TASKS}/", f"{ADMIN}/task_runners", f"{ADMIN}/task_actions"):
        stage.refusals[path] = refusal
    _sign_in(browser)
    browser.wait_for("#runners-notice", "no list of runners")
    browser.click("#task-rows .link")
    browser.wait_for("#detail-notice", "no details")
    browser.press(ESCAPE)
    browser.fill("#redact-user", "@spam:hs.test")
    browser.click("#redact-button")
    browser.wait_for("#redact-problem", "not able to do a dry run")
    assert not stage.called("POST", f"{ADMIN}/user/%40spam%3Ahs.test/redact")
    stage.refusals[TASKS] = refusal
    browser.wait_for("#tasks-notice", "no list of tasks")
    assert browser.text("#problem") == ""


def test_a_session_that_ends(signed_in: Browser, stage: Stage) -> None:
    """Back to the form with the reason: a token that ended, an administrator who is none any more."""
    stage.tasks = [a_task(1)]
    signed_in.wait_for("#task-rows", "@spam1")
    stage.tokens.clear()
    signed_in.wait_for("#sign-in-problem", "session has ended")
    assert "@spam1" not in signed_in.script("return document.body.textContent")
    _sign_in(signed_in)
    stage.refusals[ADMIN] = Refusal(403, "M_FORBIDDEN", "You are not a server admin")
    signed_in.wait_for("#sign-in-problem", "not an administrator")


def test_a_server_with_a_problem(signed_in: Browser, stage: Stage) -> None:
    """Its words and the next try are shown, the old rows stay, and it goes on by itself."""
    stage.tasks = [a_task(1)]
    signed_in.wait_for("#task-rows", "@spam1")
    stage.refusals[ADMIN] = Refusal(500, "M_UNKNOWN", "Internal server error")
    signed_in.wait_for("#problem", "Internal server error. Next try in")
    assert signed_in.text("#live") == "No answer"
    assert "@spam1" in signed_in.text("#task-rows")
    _picture(signed_in, "problem")
    stage.refusals.clear()
    signed_in.wait_gone("#problem")
    signed_in.wait_for("#live", "Live")


def test_a_user_is_counted_then_redacted(signed_in: Browser, stage: Stage) -> None:
    """A dry run is what is offered; the real one asks first; the panel of the new task opens."""
    path = f"{ADMIN}/user/%40spam%3Ahs.test/redact"
    signed_in.fill("#redact-user", "spam")
    signed_in.click("#redact-button")
    signed_in.wait_for("#redact-problem", "looks like @user:example.com")
    signed_in.fill("#redact-user", "@spam:hs.test")
    signed_in.fill("#redact-reason", "spam")
    signed_in.click("#redact-button")
    signed_in.wait_for("#detail-title", "redact_all_events")
    assert stage.called("POST", path)[-1].body == {"rooms": [], "reason": "spam", "dry_run": True}
    signed_in.click("#detail-close")
    signed_in.click("#redact [name=dry]")
    signed_in.click("#redact-button")
    signed_in.wait_for("#question", "It cannot be undone")
    assert len(stage.called("POST", path)) == 1
    _choose(signed_in, "Redact everything")
    signed_in.wait_for("#detail-title", "redact_all_events")
    assert stage.called("POST", path)[-1].body == {"rooms": [], "reason": "spam"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 800, 360])
def test_everybody_can_read_and_use_it(browser: Browser, stage: Stage, width: int, scheme: str) -> None:
    """No sideways scrolling, contrast of at least 4.5, a name for every control, at any width, in both schemes."""
    browser.look(width=width, height=900, scheme=scheme)
    _busy(stage)
    _check_page(browser, f"sign-in-{scheme}-{width}")
    _sign_in(browser)
    for status in ("complete", "cancelled"):
        browser.click(f"#filters [value={status}]")
    browser.wait_for("#task-rows", "@spam7")
    browser.wait_for("#unserved")
    browser.look(width=width, height=_height(browser), scheme=scheme)
    _check_page(browser, f"tasks-{scheme}-{width}")
    browser.look(width=width, height=900, scheme=scheme)
    browser.click("#task-rows .link")
    browser.wait_for("#detail-body", "rescued")
    _check_page(browser, f"detail-{scheme}-{width}")


def _height(browser: Browser) -> int:
    return browser.script("return document.documentElement.scrollHeight")


def _check_page(browser: Browser, name: str) -> None:
    _picture(browser, name)
    assert browser.script("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.script(LOW_CONTRAST) == []
    nameless = browser.script(
        "return [...document.querySelectorAll('input, select, button')]"
        ".filter((n) => !n.labels?.length && !n.getAttribute('aria-label') && !n.textContent.trim())"
        ".map((n) => n.outerHTML)"
    )
    assert nameless == []


def test_a_user_is_redacted_on_a_real_server(window: Browser, tmp_path: Path) -> None:
    """From the password of an administrator to the task that has ended, on the server as it is installed."""
    with Server(tmp_path) as server:
        admin: dict[str, Any] = server.ready["admin"]
        server.register("spam")
        window.look(width=1280, height=900)
        window.open(f"{server.base_url}/_synapse/admin/ui")
        _sign_in(window, "admin", admin["password"])
        window.wait_for("#live", "Live")
        window.fill("#redact-user", "@spam:localhost")
        window.click("#redact [name=dry]")
        window.click("#redact-button")
        _choose(window, "Redact everything")
        panel = window.wait_for("#detail-body", "complete")
        assert {"enqueued", "claimed", "background1", "@spam:localhost"} <= set(panel.split())
        _picture(window, "real-detail")
        window.press(ESCAPE)
        assert "redact_all_events v1" in window.wait_for("#runners", "alive")
        window.click("#filters [value=complete]")
        window.wait_for("#task-rows tr", "complete")
        row = window.text("#task-rows tr")
        assert "redact_all_events" in row
        assert "@spam:localhost" in row
        assert "@admin:localhost" in row
        _picture(window, "real-tasks")
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
        _sign_in(window, "admin", admin["password"])
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
        _picture(window, "moderation")
        window.click("#reports li:nth-child(1) button[aria-label^=Redact]")
        assert window.script("return document.activeElement.value") == "@victim:localhost"
        window.click("#rooms li:nth-child(1) button")
        question = window.wait_for("#question", "1 users of this server")
        assert "rows are deleted" in question
        _picture(window, "shut-down-question")
        _choose(window, "Shut down and block")
        panel = window.wait_for("#detail-body", "complete")
        assert room_id in panel
        window.press(ESCAPE)
        window.wait_for("#rooms-notice", "No room matches.")
        for left in ("1 reported", "No report matches."):
            window.click("#reports li:nth-child(1) button[aria-label^=Dismiss]")
            _choose(window, "Dismiss")
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
        _sign_in(window, "admin", admin["password"])
        window.fill("#user-search", "SPA")
        assert "@spam:localhost" in window.wait_for("#users", "spam")
        window.wait_gone("#users-notice")
        window.click("#users li:nth-child(1) summary")
        assert spam["device_id"] in window.wait_for("#users", room_id)
        assert window.script(LOW_CONTRAST) == []
        _picture(window, "users")
        window.click("#users button[aria-label='Redact everything by @spam:localhost']")
        assert "events in 1 rooms are redacted" in window.wait_for("#question", "Redact everything by")
        _choose(window, "Redact everything")
        window.wait_for("#detail-body", "complete")
        window.press(ESCAPE)
        window.click("#users button[aria-label='Erase @spam:localhost']")
        assert "0 files are deleted" in window.wait_for("#question", "closed for good")
        _picture(window, "erase-question")
        _choose(window, "Erase the user")
        window.fill("#question-input", "@spam:localhos")
        _choose(window, "Erase the user")
        window.type("#question-input", "t")
        assert window.script(LOW_CONTRAST) == []
        _picture(window, "erase-typed")
        _choose(window, "Erase the user")
        window.wait_for("#detail-title", "erase_user")
        window.wait_for("#detail-body .headline", "complete")
        _picture(window, "erased")
        window.press(ESCAPE)
        window.fill("#user-search", "@spam")
        window.wait_for("#users-notice", "No user matches.")
        window.click("#sign-out")
        window.wait_for("#sign-in")
        window.open("about:blank")
