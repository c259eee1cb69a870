"""The admin page in a real browser: who gets in, whom it can be used by, and servers that fail."""

import threading

import pytest

from tests.interop.browser.admin_page import (
    TASKS,
    a_busy_server,
    check_page,
    choose,
    picture,
    sign_in,
    use_token,
)
from tests.interop.browser.stage import ADMIN, ADMIN_TOKEN, UNRECOGNIZED, USER_TOKEN, Refusal, Stage, a_task
from tests.interop.browser.webdriver import ESCAPE, Browser
from tests.processes.harness import wait_until


def test_only_administrators_get_in(browser: Browser, stage: Stage) -> None:
    """A wrong password and an ordinary account are told apart; the session of the latter is closed again."""
    browser.fill("#user", "admin")
    browser.fill("#password", "wrong")
    browser.click("#password-form button")
    browser.wait_for("#sign-in-problem", "Wrong user or password")
    picture(browser, "sign-in-refused")
    browser.fill("#user", "ada")
    browser.fill("#password", "secret")
    browser.click("#password-form button")
    browser.wait_for("#sign-in-problem", "not an administrator")
    assert USER_TOKEN not in stage.tokens
    sign_in(browser)
    assert browser.text("#who-name") == "@admin:hs.test"
    assert browser.text("#sign-in") == ""


def test_a_token_stays_in_its_tab(browser: Browser, stage: Stage) -> None:
    """It outlives a reload; signing out ends the session on the server, and nothing of it is left here."""
    stage.tasks = [a_task(1)]
    sign_in(browser)
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
    use_token(browser, "nonsense")
    browser.wait_for("#sign-in-problem", "token is not valid")
    use_token(browser, USER_TOKEN)
    browser.wait_for("#sign-in-problem", "not an administrator")
    assert USER_TOKEN in stage.tokens
    use_token(browser, ADMIN_TOKEN)
    browser.wait_for("#console")
    browser.click("#sign-out")
    choose(browser, "Only forget it here")
    browser.wait_for("#sign-in")
    assert ADMIN_TOKEN in stage.tokens
    assert browser.script("return sessionStorage.length") == 0


@pytest.mark.parametrize(
    "refusal", [UNRECOGNIZED, Refusal(501, "M_UNRECOGNIZED", "No"), Refusal(405, "M_UNRECOGNIZED", "No")]
)
def test_an_older_server(browser: Browser, stage: Stage, refusal: Refusal) -> None:
    """What it does not have is named; the rest works; a dry run is not sent to who might redact."""
    stage.tasks = [a_task(1)]
    for path in (f"{TASKS}/", f"{ADMIN}/task_runners", f"{ADMIN}/task_actions"):
        stage.refusals[path] = refusal
    sign_in(browser)
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
    sign_in(signed_in)
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
    picture(signed_in, "problem")
    stage.refusals.clear()
    signed_in.wait_gone("#problem")
    signed_in.wait_for("#live", "Live")


USERS = "/_synapse/admin/v2/users"


def test_a_slow_list_holds_up_no_other(browser: Browser, stage: Stage) -> None:
    """While the users are waited for, everything else is there, and the tasks are live."""
    stage.tasks = [task := a_task(1, progress={"done": 1, "total": 9, "phase": None})]
    stage.held[USERS] = released = threading.Event()
    browser.script("AbortSignal.timeout = () => new AbortController().signal")
    sign_in(browser)
    try:
        browser.wait_for("#runners", "alive")
        browser.wait_for("#task-rows tr", "1 of 9")
        task["progress"]["done"] = 5
        browser.wait_for("#task-rows tr", "5 of 9")
        assert len(stage.called("GET", USERS)) == 1
    finally:
        released.set()
    wait_until(lambda: len(stage.called("GET", USERS)) > 1, "users are asked for again")


def test_a_list_that_fails_stops_no_other(signed_in: Browser, stage: Stage) -> None:
    """The page says so until it is there again, and the tasks go on."""
    stage.refusals[USERS] = Refusal(500, "M_UNKNOWN", "Internal server error")
    stage.tasks = [a_task(1)]
    signed_in.wait_for("#problem", "Internal server error. Next try in")
    signed_in.wait_for("#task-rows", "@spam1")
    polls = len(stage.called("GET", TASKS))
    wait_until(lambda: len(stage.called("GET", TASKS)) > polls + 3, "tasks are asked for")
    assert signed_in.text("#live") == "No answer"
    assert "Internal server error" in signed_in.text("#problem")
    stage.refusals.clear()
    signed_in.wait_gone("#problem")
    signed_in.wait_for("#live", "Live")


def test_what_was_refused_can_be_read(signed_in: Browser, stage: Stage) -> None:
    """Also when the lists are read again meanwhile."""
    stage.tasks = [a_task(1)]
    stage.refusals[f"{TASKS}/task1/cancel"] = Refusal(400, "M_UNKNOWN", "Not now")
    signed_in.click("#task-rows td:last-child button")
    choose(signed_in, "Cancel the task")
    signed_in.wait_for("#problem", "Not now")
    polls = len(stage.called("GET", TASKS))
    wait_until(lambda: len(stage.called("GET", TASKS)) > polls + 3, "tasks are asked for")
    assert signed_in.text("#problem") == "Not now"


def test_a_problem_is_seen_wherever_one_is(signed_in: Browser, stage: Stage) -> None:
    """At the other end of the page, too."""
    signed_in.look(width=400, height=500)
    signed_in.wait_for("#runners", "alive")
    stage.refusals[ADMIN] = Refusal(500, "M_UNKNOWN", "Internal server error")
    signed_in.wait_for("#problem", "Internal server error")
    signed_in.script("window.scrollTo(0, document.body.scrollHeight - 700)")
    assert signed_in.script("return window.scrollY") > 0
    place = signed_in.script("return document.getElementById('problem').getBoundingClientRect().toJSON()")
    assert 0 <= place["top"] < place["bottom"] <= 500


def test_a_list_is_marked_while_it_is_searched(signed_in: Browser) -> None:
    """It shows what fitted before."""
    signed_in.wait_for("#runners", "alive")
    busy = "return document.getElementById('users').getAttribute('aria-busy')"
    typing = "document.getElementById('user-search').dispatchEvent(new Event('input'))"
    assert signed_in.script(f"{typing}; {busy}") == "true"
    wait_until(lambda: signed_in.script(busy) is None, "the list is what was searched for")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 800, 360])
def test_everybody_can_read_and_use_it(browser: Browser, stage: Stage, width: int, scheme: str) -> None:
    """No sideways scrolling, contrast of at least 4.5, a name for every control, at any width, in both schemes."""
    browser.look(width=width, height=900, scheme=scheme)
    a_busy_server(stage)
    check_page(browser, f"sign-in-{scheme}-{width}")
    sign_in(browser)
    for status in ("complete", "cancelled"):
        browser.click(f"#filters [value={status}]")
    browser.wait_for("#task-rows", "@spam7")
    browser.wait_for("#unserved")
    browser.look(width=width, height=_height(browser), scheme=scheme)
    check_page(browser, f"tasks-{scheme}-{width}")
    browser.look(width=width, height=900, scheme=scheme)
    browser.click("#task-rows .link")
    browser.wait_for("#detail-body", "rescued")
    check_page(browser, f"detail-{scheme}-{width}")


def _height(browser: Browser) -> int:
    return browser.script("return document.documentElement.scrollHeight")
