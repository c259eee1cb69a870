"""`redact`, against a server of the test's own."""

from typing import Any

import orjson
from click.testing import Result

from tests.cli.admin_server import ADMIN, AdminServer, Answer, Call, new_task

USER = "@spam:hs.test"
FAST = ("--interval", "0.05")
COMPLETE = new_task(status="complete", finished_ts=1_700_000_100_000)
ROOM = {"redacted": 3, "issuer": "@admin:hs.test", "truncated": False}


def status(**changes: Any) -> dict[str, Any]:
    return {
        "status": "complete",
        "failed_redactions": {},
        "progress": {"done": 3, "total": 3, "phase": None},
        "rooms": {"!a:hs.test": ROOM},
        "unknown_rooms": [],
        "result": {"redacted": 3},
    } | changes


def start(server: AdminServer, task: dict[str, Any], last: dict[str, Any]) -> None:
    server.on("POST", f"/user/{USER}/redact", {"redact_id": "AbCd"})
    server.on("GET", "/scheduled_tasks/AbCd", new_task(), task)
    server.on("GET", "/user/redact_status/AbCd", last)


def document(result: Result) -> Any:
    assert result.stdout.count("\n") == 1
    return orjson.loads(result.stdout)


def test_redact_returns_at_once(admin_server: AdminServer) -> None:
    """Only what was asked for is in the request, and the id of the task is printed."""
    start(admin_server, COMPLETE, status())
    result = admin_server.run("redact", USER)
    assert result.exit_code == 0
    assert result.stdout.startswith("AbCd\n")
    assert document(admin_server.run("redact", USER, "--json")) == {"redact_id": "AbCd"}
    words = ("--room", "!a:b", "--room", "!c:d", "--reason", "spam", "--limit", "5", "--use-admin")
    more = ("--delete-media", "--withdraw-invites")
    admin_server.run("redact", USER, *words, *more)
    assert [call.path for call in admin_server.calls] == [f"{ADMIN}/user/{USER}/redact"] * 3
    assert admin_server.calls[0].body == {"rooms": []}
    assert admin_server.calls[2].body == {
        "rooms": ["!a:b", "!c:d"],
        "reason": "spam",
        "limit": 5,
        "use_admin": True,
        "delete_media": True,
        "withdraw_invites": True,
    }


def test_redact_and_watch(admin_server: AdminServer) -> None:
    """The report names rooms and issuers; the JSON is the status of the redaction."""
    start(admin_server, COMPLETE, status(unknown_rooms=["!x:y"]))
    result = admin_server.run("redact", USER, "--watch", *FAST)
    assert result.exit_code == 0
    for word in ("!a:hs.test", "@admin:hs.test", "unknown rooms: !x:y", "redacted 3 events, 0 failed"):
        assert word in result.stdout
    start(admin_server, COMPLETE, status())
    watched = admin_server.run("redact", USER, "--watch", "--json", *FAST)
    assert document(watched) == {"redact_id": "AbCd", **status()}
    assert "scheduled" in watched.stderr


def test_what_could_not_be_redacted_is_an_error(admin_server: AdminServer) -> None:
    """Failed events are named and make the exit code 3, as a failed task does."""
    start(admin_server, COMPLETE, status(failed_redactions={"$e": "no power"}))
    partly = admin_server.run("redact", USER, "--watch", *FAST)
    assert partly.exit_code == 3
    assert "$e: no power" in partly.stdout
    assert "1 events could not be redacted" in partly.stderr
    failed = new_task(status="failed", error="broken", finished_ts=1)
    start(admin_server, failed, status(status="failed", error="broken", result=None, rooms={}))
    result = admin_server.run("redact", USER, "--watch", *FAST, "--json")
    assert (result.exit_code, document(result)["status"]) == (3, "failed")
    assert "broken" in result.stderr


def knows_dry_run(call: Call) -> Answer:
    """As a server that reads the field."""
    if not isinstance(call.body["dry_run"], bool):
        return 400, {"errcode": "M_BAD_JSON", "error": "dry_run: Input should be a valid boolean"}
    return 200, {"redact_id": "AbCd"}


def test_a_dry_run_waits_for_its_counts(admin_server: AdminServer) -> None:
    """The counts are its purpose: no --watch is needed."""
    result = {"would_redact": 12, "rooms": {"!a:hs.test": 12}}
    start(admin_server, COMPLETE, status(rooms={}, result=result))
    admin_server.compute("POST", f"/user/{USER}/redact", knows_dry_run)
    counted = admin_server.run("redact", USER, "--dry-run", *FAST)
    assert counted.exit_code == 0
    assert "would redact 12 events" in counted.stdout
    assert "!a:hs.test" in counted.stdout
    assert admin_server.calls[1].body == {"rooms": [], "dry_run": True}


def test_a_server_that_ignores_dry_run_gets_none(admin_server: AdminServer) -> None:
    """It is asked about a room that cannot exist only, and never about the user's own rooms."""
    start(admin_server, COMPLETE, status())
    refused = admin_server.run("redact", USER, "--dry-run", *FAST)
    assert refused.exit_code == 3
    assert "ignores dry_run" in refused.stderr
    admin_server.on("POST", f"/user/{USER}/redact", (400, {"errcode": "M_UNKNOWN", "error": "in progress"}))
    assert "ignores dry_run" in admin_server.run("redact", USER, "--dry-run").stderr
    assert [call.body["rooms"] for call in admin_server.calls] == [["!nothing:dry-run.invalid"]] * 2


def test_a_dry_run_that_was_none_is_an_error(admin_server: AdminServer) -> None:
    """Whoever asked for counts must learn that something has changed."""
    start(admin_server, COMPLETE, status())
    admin_server.compute("POST", f"/user/{USER}/redact", knows_dry_run)
    result = admin_server.run("redact", USER, "--dry-run", *FAST)
    assert result.exit_code == 3
    assert "has redacted" in result.stderr


def test_the_refusal_of_the_server_is_shown(admin_server: AdminServer) -> None:
    """A second redaction of the user is refused in the server's words."""
    refusal = {"errcode": "M_UNKNOWN", "error": "Redact already in progress for user @spam:hs.test"}
    admin_server.on("POST", f"/user/{USER}/redact", (400, refusal))
    result = admin_server.run("redact", USER, "--watch")
    assert result.exit_code == 3
    assert "already in progress" in result.stderr
