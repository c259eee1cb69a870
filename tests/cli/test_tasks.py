"""`tasks ...`, against a server of the test's own."""

import io
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import Result
from rich.console import Console

from synapse_lite.cli import admin_api
from synapse_lite.cli.api import ApiError
from synapse_lite.cli.output import duration, plain
from synapse_lite.cli.tasks import watching
from synapse_lite.cli.tasks.screen import LineScreen, LiveScreen
from tests.cli.admin_server import ADMIN, TOKEN, AdminServer, Answer, Call, new_task, run

TASK = "/scheduled_tasks/AbCd"
FAST = ("--interval", "0.05")
COMPLETE = new_task(status="complete", finished_ts=1_700_000_100_000, result={"redacted": 9})
FAILED = new_task(status="failed", finished_ts=1_700_000_100_000, error="no such room")
CANCELLED = new_task(status="cancelled", finished_ts=1_700_000_100_000)


def active(done: int, **changes: Any) -> dict[str, Any]:
    progress = {"done": done, "total": 1000, "phase": "redacting"}
    return new_task(status="active", runner="background1", progress=progress, eta_ms=65_000) | changes


def document(result: Result) -> Any:
    """Standard output, which must be one JSON document and nothing else."""
    assert result.stdout.count("\n") == 1
    return orjson.loads(result.stdout)


def test_list_gives_the_filters_to_the_server(admin_server: AdminServer) -> None:
    """Each filter reaches the query, several values too, and the tasks become a table."""
    admin_server.on("GET", "/scheduled_tasks", {"scheduled_tasks": [active(300)]})
    words = ("--status", "active", "--status", "failed", "--action", "purge_room", "--resource", "@a:b")
    result = admin_server.run("tasks", "list", *words, "--limit", "7", "--from", "5_x")
    assert result.exit_code == 0
    assert admin_server.calls[0].query == {
        "status": ["active", "failed"],
        "action_name": ["purge_room"],
        "resource_id": ["@a:b"],
        "from": ["5_x"],
        "limit": ["7"],
    }
    for word in ("AbCd", "redact_all_events", "@spam:hs.test", "300/1000 30 %", "background1", "redacting"):
        assert word in result.stdout


def _many(total: int) -> Any:
    """Pages of numbered tasks; the token is the number of the next one."""

    def answer(call: Call) -> Answer:
        start = int(call.query.get("from", ["0"])[0])
        end = min(total, start + int(call.query["limit"][0]))
        page: dict[str, Any] = {
            "scheduled_tasks": [new_task(id=f"n{number}") for number in range(start, end)]
        }
        return 200, page | ({"next_token": str(end)} if end < total else {})

    return answer


def test_list_joins_pages(admin_server: AdminServer) -> None:
    """`--all` is everything, a limit above the page of the API is kept, and a cut list says how to go on."""
    admin_server.compute("GET", "/scheduled_tasks", _many(2500))
    everything = document(admin_server.run("tasks", "list", "--all", "--json"))
    assert [task["id"] for task in everything["scheduled_tasks"]] == [f"n{number}" for number in range(2500)]
    assert "next_token" not in everything
    some = document(admin_server.run("tasks", "list", "--limit", "1500", "--json"))
    assert (len(some["scheduled_tasks"]), some["next_token"]) == (1500, "1500")
    assert "--from 2" in admin_server.run("tasks", "list", "--limit", "2").stdout


def test_list_refuses_a_status_that_there_is_not(admin_server: AdminServer) -> None:
    """A typing mistake is a usage error, not an empty list."""
    result = admin_server.run("tasks", "list", "--status", "done")
    assert result.exit_code == 2
    assert "cancelled" in result.stderr
    assert not admin_server.calls


def test_nobody_to_run_it_is_said(admin_server: AdminServer) -> None:
    """A task that nobody can run names the process that could."""
    task = new_task(runnable_by=[], waiting_reason="no_runner", last_seen_runner="background7")
    admin_server.on("GET", "/scheduled_tasks", {"scheduled_tasks": [task]})
    assert "no live process can run it; last one: background7" in admin_server.run("tasks", "list").stdout


@pytest.mark.parametrize(("attempt", "words"), [(0, "its time has not come"), (3, "waits after a failure")])
def test_why_one_waits_for_its_time_is_said(admin_server: AdminServer, attempt: int, words: str) -> None:
    """What the server does every day has not failed because it is due tomorrow."""
    task = new_task(waiting_reason="backoff", attempt=attempt)
    admin_server.on("GET", "/scheduled_tasks", {"scheduled_tasks": [task]})
    assert words in admin_server.run("tasks", "list").stdout


def test_show_tells_everything(admin_server: AdminServer) -> None:
    """Fields, counts of items, params and the history; the JSON is the server's own."""
    admin_server.on("GET", TASK, active(300, attempt=2))
    shown = admin_server.run("tasks", "show", "AbCd").stdout
    for word in (
        "300/1000 30 %",
        "1 min 5 s",
        "attempt 2 of 10",
        "items: failed",
        "enqueued",
        '{"rooms":[]}',
    ):
        assert word in shown
    assert max(map(len, shown.splitlines())) < 200
    assert document(admin_server.run("tasks", "show", "AbCd", "--json")) == active(300, attempt=2)
    missing = admin_server.run("tasks", "show", "nothing", "--json")
    assert (missing.exit_code, missing.stdout) == (3, "")
    assert "M_NOT_FOUND" in missing.stderr


def test_text_of_others_cannot_steer_the_terminal(admin_server: AdminServer) -> None:
    """Escape sequences and markup in errors are shown, not obeyed."""
    admin_server.on("GET", TASK, FAILED | {"error": "\x1b[2J[bold]boo[/bold]\n"})
    shown = admin_server.run("tasks", "show", "AbCd").stdout
    assert "\x1b" not in shown
    assert "[bold]boo[/bold]" in shown
    assert plain("a\x9bb\u202e") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"


def test_watch_ends_well_when_the_task_is_complete(admin_server: AdminServer) -> None:
    """Without a terminal: a line for each change of state, and exit code 0."""
    admin_server.on("GET", TASK, new_task(), active(300), active(900), COMPLETE)
    result = admin_server.run("tasks", "watch", "AbCd", *FAST)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert "300/1000 30 %  1 min 5 s left  on background1" in lines[1]
    assert "complete" in lines[2]


@pytest.mark.parametrize("last", [FAILED, CANCELLED])
def test_watch_ends_badly_when_the_task_does(admin_server: AdminServer, last: dict[str, Any]) -> None:
    """The exit code is 3 for a failed and for a cancelled task; the JSON is its last state, all the same."""
    admin_server.on("GET", TASK, active(5), last)
    result = admin_server.run("tasks", "watch", "AbCd", *FAST, "--json")
    assert result.exit_code == 3
    assert document(result) == last
    assert last["status"] in result.stderr.splitlines()[-1]


def test_watch_outlives_a_restart_of_the_server(
    admin_server: AdminServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors of the server are told and survived; a refusal ends the watching."""
    monkeypatch.setattr(watching, "_PAUSE", 0.0)
    admin_server.on("GET", TASK, active(5), (503, {"errcode": "M_UNKNOWN", "error": "down"}), COMPLETE)
    result = admin_server.run("tasks", "watch", "AbCd", *FAST)
    assert result.exit_code == 0
    assert "down; trying again" in result.stdout
    admin_server.on("GET", TASK, (403, {"errcode": "M_FORBIDDEN", "error": "no admin"}))
    assert admin_server.run("tasks", "watch", "AbCd", *FAST).exit_code == 3


def test_the_patience_of_watch_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not come back is an error, not an endless wait."""
    monkeypatch.setattr(watching, "PATIENCE", -1.0)
    result = run("tasks", "watch", "AbCd", "--url", "http://127.0.0.1:1", "--token", "x")
    assert result.exit_code == 3
    assert "refused" in result.stderr


def test_ctrl_c_ends_the_watching_only(admin_server: AdminServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the exit code of shells, not that of a mistake in the configuration."""

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    admin_server.on("GET", TASK, active(5))
    assert admin_server.run("tasks", "watch", "AbCd").exit_code == 130
    assert {call.method for call in admin_server.calls} == {"GET"}


def test_an_interrupted_request_is_no_wrong_configuration(
    admin_server: AdminServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is the one that shells expect, whatever was under way."""

    def interrupt(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(admin_api, "call", interrupt)
    assert admin_server.run("tasks", "show", "AbCd").exit_code == 130


def test_watch_all_until_nothing_is_pending(admin_server: AdminServer) -> None:
    """Tasks that come later are seen too, one that is pruned is forgotten, and one failure is remembered."""
    admin_server.on(
        "GET",
        "/scheduled_tasks",
        {"scheduled_tasks": [new_task(id="a"), new_task(id="gone")]},
        {"scheduled_tasks": [new_task(id="b")]},
        {"scheduled_tasks": []},
    )
    admin_server.on("GET", "/scheduled_tasks/a", new_task(id="a"), FAILED | {"id": "a"})
    admin_server.on("GET", "/scheduled_tasks/b", COMPLETE | {"id": "b"})
    result = admin_server.run("tasks", "watch", "--resource", "@a:b", *FAST, "--json")
    assert result.exit_code == 3
    shown = document(result)
    assert [(task["id"], task["status"]) for task in shown["scheduled_tasks"]] == [
        ("a", "failed"),
        ("b", "complete"),
    ]
    assert shown["ended"] == {"failed": 1, "complete": 1}
    assert "1 failed" in result.stderr
    listing = next(call for call in admin_server.calls if call.path == f"{ADMIN}/scheduled_tasks")
    assert listing.query["status"] == ["scheduled", "active"]
    assert listing.query["resource_id"] == ["@a:b"]


def test_a_retried_task_is_watched_again(admin_server: AdminServer) -> None:
    """It is shown once, with the state of its last run."""
    pending = {"scheduled_tasks": [new_task()]}
    admin_server.on("GET", "/scheduled_tasks", pending, pending, {"scheduled_tasks": []})
    admin_server.on("GET", TASK, FAILED, COMPLETE)
    shown = document(admin_server.run("tasks", "watch", *FAST, "--json"))
    assert [task["status"] for task in shown["scheduled_tasks"]] == ["complete"]


def test_watch_takes_an_id_or_filters(admin_server: AdminServer) -> None:
    """Both at once would leave one of them out."""
    assert admin_server.run("tasks", "watch", "AbCd", "--action", "x").exit_code == 2


def test_the_live_view_shows_progress_eta_and_runner() -> None:
    """On a terminal, the table is drawn again at each look, and a warning does not push it away."""
    output = io.StringIO()
    with LiveScreen(Console(file=output, force_terminal=True, width=200)) as screen:
        screen.show([active(300)])
        screen.warn("the server is away")
    drawn = output.getvalue()
    for word in ("300/1000 30 %", "1 min 5 s", "background1", "━", "the server is away"):
        assert word in drawn


def test_lines_do_not_repeat_what_has_not_changed() -> None:
    """Numbers alone are told now and then only; another runner at once."""
    output = io.StringIO()
    with LineScreen(Console(file=output, width=200)) as screen:
        for task in (active(1), active(1), active(2), active(3, runner="background2")):
            screen.show([task])
    assert [line.split()[-2] for line in output.getvalue().splitlines()] == ["background1", "background2"]


def test_cancel(admin_server: AdminServer) -> None:
    """Says whether it happened or will; `--wait` returns when it has; a task that had ended is an error."""
    admin_server.on("POST", f"{TASK}/cancel", active(5, cancel_requested=True))
    admin_server.on("GET", TASK, active(5, cancel_requested=True), CANCELLED)
    assert "at its next step" in admin_server.run("tasks", "cancel", "AbCd").stdout
    waited = admin_server.run("tasks", "cancel", "AbCd", "--wait", *FAST, "--json")
    assert (waited.exit_code, document(waited)["status"]) == (0, "cancelled")
    admin_server.on("POST", f"{TASK}/cancel", COMPLETE)
    late = admin_server.run("tasks", "cancel", "AbCd")
    assert late.exit_code == 3
    assert "has ended already" in late.stderr


def test_retry(admin_server: AdminServer) -> None:
    """From the cursor, unless told otherwise; the id of the new task is printed."""
    admin_server.on("POST", f"{TASK}/retry", new_task(id="New"))
    assert admin_server.run("tasks", "retry", "AbCd").stdout == "New: scheduled\n"
    assert document(admin_server.run("tasks", "retry", "AbCd", "--from-start", "--json"))["id"] == "New"
    assert [call.body for call in admin_server.calls] == [{"from": "cursor"}, {"from": "start"}]


def test_runners(admin_server: AdminServer) -> None:
    """Who is alive, what each can run, and in words what nobody can."""
    answer = {
        "runners": [
            {
                "name": "background1",
                "runner": "background1#x",
                "alive": True,
                "started_ts": 1_700_000_000_000,
                "expires_ts": 4_000_000_000_000,
                "running": 2,
                "actions": [{"action": "noop", "version": 1}],
            }
        ],
        "unserved": [
            {
                "action": "purge_room",
                "version": 3,
                "count": 4,
                "oldest_ts": 1_700_000_000_000,
                "last_seen_runner": None,
            }
        ],
    }
    admin_server.on("GET", "/task_runners", answer)
    shown = admin_server.run("tasks", "runners").stdout
    assert "noop v1" in shown
    assert "No live process can run purge_room v3: 4 waiting" in shown
    assert "none, ever" in shown
    assert document(admin_server.run("tasks", "runners", "--json")) == answer


def test_actions_pause_and_resume(admin_server: AdminServer) -> None:
    """An action is paused and resumed by name, and the listing shows it."""
    action = {
        "action": "noop",
        "versions": [1],
        "paused": True,
        "max_running": None,
        "pending": 3,
        "active": 0,
        "runnable_by": [],
    }
    admin_server.on("PUT", "/task_actions/noop", action, action | {"paused": False})
    admin_server.on("GET", "/task_actions", {"actions": [action]})
    assert "paused" in admin_server.run("tasks", "pause", "noop").stdout
    assert document(admin_server.run("tasks", "resume", "noop", "--json"))["paused"] is False
    assert [call.body for call in admin_server.calls] == [{"paused": True}, {"paused": False}]
    assert "nobody" in admin_server.run("tasks", "actions").stdout


def test_a_user_is_logged_in_for_the_command_only(admin_server: AdminServer) -> None:
    """The password may be typed, and the token does not outlive the command."""
    admin_server.on("GET", TASK, COMPLETE)
    words = ("tasks", "show", "AbCd", "--json", "--url", f"{admin_server.url}/", "-u", "admin")
    result = run(*words, text="sesame\n")
    assert result.exit_code == 0
    assert document(result)["id"] == "AbCd"
    assert [call.path.rsplit("/", 1)[1] for call in admin_server.calls] == ["login", "AbCd", "logout"]
    assert admin_server.calls[0].body["password"] == "sesame"
    assert admin_server.calls[0].body["identifier"] == {"type": "m.id.user", "user": "admin"}


def test_a_wrong_token_and_no_token(admin_server: AdminServer) -> None:
    """The first is the server's refusal, the second a wrong command line."""
    refused = run("tasks", "list", "--url", admin_server.url, "--token", "wrong")
    assert refused.exit_code == 3
    assert "M_UNKNOWN_TOKEN" in refused.stderr
    assert "wrong" not in refused.stderr
    nobody = run("tasks", "list", "--url", admin_server.url)
    assert nobody.exit_code == 2
    assert "--token or --user" in nobody.stderr


def test_where_and_who(admin_server: AdminServer, tmp_path: Path) -> None:
    """The environment says it as well as options do; -c gives the address of its client listener."""
    admin_server.on("GET", "/task_actions", {"actions": []})
    words = ("tasks", "actions", "--json")
    environ = {"SYNAPSE_LITE_URL": admin_server.url, "SYNAPSE_LITE_TOKEN": TOKEN}
    assert document(run(*words, environ=environ)) == {"actions": []}
    port = admin_server.url.rsplit(":", 1)[1]
    file = tmp_path / "homeserver.yaml"
    file.write_text(
        "server_name: hs.test\ndatabase: {name: psycopg2, args: {dbname: x}}\n"
        f"listeners: [{{port: {port}, type: http, resources: [{{names: [client]}}]}}]\n"
    )
    assert document(run(*words, "--token", TOKEN, "-c", str(file))) == {"actions": []}


def test_durations_are_short() -> None:
    """The two largest units, and never a negative one."""
    assert [duration(ms) for ms in (0, 999, 61_000, 3_600_000, 90_061_000, -5)] == [
        "0 s",
        "0 s",
        "1 min 1 s",
        "1 h",
        "1 d 1 h",
        "0 s",
    ]


def test_no_method_of_the_api_hides_an_error(admin_server: AdminServer) -> None:
    """A server without the new routes is told apart from one without tasks."""
    api = admin_api.AdminApi(admin_server.url, TOKEN)
    for ask in (api.runners, api.actions, lambda: api.pause("x", paused=True)):
        with pytest.raises(ApiError, match="404"):
            ask()
