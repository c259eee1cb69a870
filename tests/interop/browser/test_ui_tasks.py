"""The tasks on the admin page, in a real browser."""

import pytest

from tests.interop.browser.admin_page import HOSTILE, TASKS, a_busy_server, choose, picture
from tests.interop.browser.stage import ADMIN, Call, Refusal, Stage, a_runner, a_task, now
from tests.interop.browser.webdriver import ESCAPE, Browser
from tests.processes.harness import wait_until


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


def test_who_was_at_a_row_that_goes_stays_at_the_list(signed_in: Browser, stage: Stage) -> None:
    """With the keyboard one would begin again at the top of the page, or be on the button of another row."""
    stage.tasks = [a_task(1), a_task(2)]
    signed_in.wait_for("#task-rows", "@spam1")
    signed_in.script("document.querySelector('#task-rows .link').focus()")
    stage.tasks = [a_task(2)]
    wait_until(lambda: "@spam1" not in signed_in.text("#task-rows"), "the task is gone")
    assert signed_in.script("return document.activeElement.id") == "tasks-title"


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
    picture(signed_in, "question")
    choose(signed_in, "Keep it")
    signed_in.wait_gone("#question")
    assert not stage.called("POST", f"{TASKS}/task1/cancel")
    signed_in.click("#task-rows td:last-child button")
    choose(signed_in, "Cancel the task")
    signed_in.wait_for("#task-rows", "Cancelling…")
    assert len(stage.called("POST", f"{TASKS}/task1/cancel")) == 1


@pytest.mark.parametrize(
    ("words", "start"), [("From the start", "start"), ("Go on where it stopped", "cursor")]
)
def test_a_task_that_failed_runs_again(signed_in: Browser, stage: Stage, words: str, start: str) -> None:
    """The operator says from where; the new task appears."""
    stage.tasks = [a_task(1, status="failed", error="out of luck")]
    signed_in.click("#task-rows td:last-child button")
    choose(signed_in, words)
    signed_in.wait_for("#task-rows .badge[data-tone=scheduled]")
    assert [call.body for call in stage.called("POST", f"{TASKS}/task1/retry")] == [{"from": start}]


@pytest.mark.parametrize("failed", [0, 1])
def test_what_is_complete_can_only_be_done_anew(signed_in: Browser, stage: Stage, failed: int) -> None:
    """Unless parts of it are not."""
    stage.tasks = [a_task(1, status="complete", children={"failed": failed, "cancelled": 0})]
    signed_in.click("#filters [value=complete]")
    signed_in.wait_for("#task-rows .badge[data-tone=complete]")
    signed_in.click("#task-rows .link")
    signed_in.click("#detail .headline button")
    signed_in.wait_for("#question-buttons", "From the start")
    assert ("Go on where it stopped" in signed_in.text("#question-buttons")) == (failed > 0)
    choose(signed_in, "Leave it")


def test_a_refused_retry_is_told(signed_in: Browser, stage: Stage) -> None:
    """In the words of the server, in the panel where it was asked."""
    stage.tasks = [a_task(1, status="failed")]
    stage.refusals[f"{TASKS}/task1/retry"] = Refusal(400, "M_UNKNOWN", "Another one is pending")
    signed_in.click("#task-rows .link")
    signed_in.click("#detail .headline button")
    choose(signed_in, "From the start")
    signed_in.wait_for("#detail-notice", "Another one is pending")


def test_the_panel_tells_everything(signed_in: Browser, stage: Stage) -> None:
    """History, error, result, items, parameters, what is left; live; Escape closes it and focus goes back."""
    a_busy_server(stage)
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
    a_busy_server(stage)
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
    choose(signed_in, "Redact everything")
    signed_in.wait_for("#detail-title", "redact_all_events")
    assert stage.called("POST", path)[-1].body == {"rooms": [], "reason": "spam"}
