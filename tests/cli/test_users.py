"""`users ...`, against a server of the test's own."""

from typing import Any

import orjson
import pytest
from click.testing import Result

from synapse_lite.cli.exits import Exit
from tests.cli.admin_server import ADMIN, AdminServer, new_task

USER = "@spam:hs.test"
V2 = "/_synapse/admin/v2/users"
SHOWN = {"name": USER, "displayname": "Spam\x1b[2J", "user_type": "bot", "admin": True, "locked": True}
FAST = ("--interval", "0.05")


def document(result: Result) -> Any:
    assert result.stdout.count("\n") == 1
    return orjson.loads(result.stdout)


def answer_users(server: AdminServer, **more: Any) -> None:
    page = {"users": [SHOWN], "total": 9, **more}
    server.answers["GET", V2] = [(200, page)]
    for method in ("GET", "PUT"):
        server.answers[method, f"{V2}/{USER}"] = [(200, SHOWN)]


def test_users_are_listed(admin_server: AdminServer) -> None:
    """Filters reach the query; what they are is in words, and nothing steers the terminal."""
    answer_users(admin_server, next_token="5")
    words = ("--search", "sp", "--admins", "--deactivated", "--limit", "5", "--from", "3")
    result = admin_server.run("users", "list", *words)
    assert result.exit_code == 0, result.output
    assert admin_server.calls[0].query == {
        "limit": ["5"],
        "locked": ["true"],
        "name": ["sp"],
        "admins": ["true"],
        "deactivated": ["true"],
        "from": ["3"],
    }
    assert "\x1b" not in result.stdout
    for word in (USER, "admin, locked, bot", "9 in all", "--from 5"):
        assert word in result.stdout
    assert document(admin_server.run("users", "list", "--json"))["users"] == [SHOWN]
    assert document(admin_server.run("users", "show", USER, "--json")) == SHOWN


def test_users_are_changed(admin_server: AdminServer) -> None:
    """Only what was asked for is in the request; asking for nothing is a mistake."""
    answer_users(admin_server)
    words = ("--displayname", "X", "--no-admin", "--lock", "--type", "none", "--reactivate")
    assert admin_server.run("users", "set", USER, *words).exit_code == 0
    assert admin_server.run("users", "set", USER, "--unlock").exit_code == 0
    assert [call.body for call in admin_server.calls] == [
        {"displayname": "X", "admin": False, "locked": True, "user_type": None, "deactivated": False},
        {"locked": False},
    ]
    assert admin_server.run("users", "set", USER).exit_code == 2


def test_users_are_moderated(admin_server: AdminServer) -> None:
    """Each command is one request; a refusal of the server is an error."""
    for method, path in (
        ("PUT", f"/suspend/{USER}"),
        ("POST", f"/users/{USER}/shadow_ban"),
        ("POST", f"/deactivate/{USER}"),
        ("POST", f"/reset_password/{USER}"),
    ):
        admin_server.on(method, path, {})
    for words in (
        ("suspend", USER),
        ("suspend", USER, "--lift"),
        ("deactivate", USER, "--erase"),
        ("password", USER, "--new-password", "x", "--keep-sessions"),
    ):
        result = admin_server.run("users", *words)
        assert result.exit_code == 0, result.output
        assert USER in result.stdout
    assert [(call.method, call.path.removeprefix(ADMIN), call.body) for call in admin_server.calls] == [
        ("PUT", f"/suspend/{USER}", {"suspend": True}),
        ("PUT", f"/suspend/{USER}", {"suspend": False}),
        ("POST", f"/deactivate/{USER}", {"erase": True}),
        ("POST", f"/reset_password/{USER}", {"new_password": "x", "logout_devices": False}),
    ]
    refused = admin_server.run("users", "show", USER)
    assert (refused.exit_code, "no such task" in refused.stderr) == (Exit.FAILURE.value, True)


def test_users_are_erased(admin_server: AdminServer) -> None:
    """At once with the id of the task; watched with its report, and an error when it fails."""
    admin_server.on("POST", f"/users/{USER}/erase", {"task_id": "AbCd"})
    assert document(admin_server.run("users", "erase", USER, "--reason", "r", "--json")) == {
        "task_id": "AbCd"
    }
    assert admin_server.calls[0].body == {"dry_run": False, "reason": "r"}
    report = {"redact": {"status": "complete"}}
    complete = new_task(status="complete", finished_ts=1_700_000_100_000, result=report)
    admin_server.on("GET", "/scheduled_tasks/AbCd", new_task(), complete)
    result = admin_server.run("users", "erase", USER, "--dry-run", "--json", *FAST)
    assert (result.exit_code, document(result)) == (0, report)
    failed = new_task(status="failed", finished_ts=1_700_000_100_000, error="no")
    admin_server.on("GET", "/scheduled_tasks/AbCd", failed)
    assert admin_server.run("users", "erase", USER, "--watch", *FAST).exit_code == Exit.FAILURE.value


def test_devices_are_pruned(admin_server: AdminServer) -> None:
    """Of the users that are named; a dry run is waited for, and says how many there are."""
    admin_server.on("POST", "/prune_devices", {"task_id": "AbCd"})
    result = admin_server.run("users", "prune-devices", USER, "--unused-days", "90")
    assert result.exit_code == 0, result.output
    assert "AbCd" in result.stdout
    body = admin_server.calls[0].body
    assert (body["users"], body["dry_run"]) == ([USER], False)
    done = new_task(status="complete", result={"dry_run": True, "devices": 5})
    admin_server.answers["GET", f"{ADMIN}/scheduled_tasks/AbCd"] = [(200, done)]
    result = admin_server.run("users", "prune-devices", "--unused-days", "90", "--dry-run", *FAST, "--json")
    assert document(result) == {"dry_run": True, "devices": 5}


FOUND = {
    "user_id": USER,
    "displayname": "Spam\x1b[2J",
    "created_ts": 1_700_000_000_000,
    "last_seen_ts": None,
    "sent_events": 7,
    **dict.fromkeys(("suspended", "locked", "deactivated"), False),
    "shadow_banned": True,
}
WAVE = ("users", "select", "--localpart", "spam*", "--not-locked", "--created-after", "2026-11-25")


def test_users_are_selected(admin_server: AdminServer) -> None:
    """By what they have in common; listed, and nothing more."""
    admin_server.on("GET", "/user_selection", {"users": [FOUND], "total": 9, "next_token": USER})
    result = admin_server.run(*WAVE, "--sent-nothing", "--limit", "5")
    assert result.exit_code == 0, result.output
    (call,) = admin_server.calls
    assert abs(int(call.query.pop("created_after")[0]) - 1_795_564_800_000) < 86_400_000
    expected = {"localpart": "spam*", "locked": "false", "sent_nothing": "true", "limit": "5"}
    assert call.query == {name: [value] for name, value in expected.items()}
    assert "\x1b" not in result.stdout
    for word in (USER, "shadow-banned", "9 in all", f"--from {USER}"):
        assert word in result.stdout
    assert document(admin_server.run(*WAVE, "--json"))["total"] == 9


@pytest.mark.parametrize(("action", "path"), [("redact", "redact"), ("erase", "erase_users")])
def test_a_wave_is_one_request(admin_server: AdminServer, action: str, path: str) -> None:
    """Shown first, and asked about; for no more users than were shown; without a question only if told so."""
    admin_server.on("GET", "/user_selection", {"users": [FOUND], "total": 9})
    admin_server.on("POST", f"/{path}", {"task_id": "AbCd", "users": 9})
    result = admin_server.run(*WAVE, f"--{action}")
    assert result.exit_code != 0
    assert f"{action.capitalize()} 9 users?" in result.output
    assert [call.method for call in admin_server.calls] == ["GET"]
    assert admin_server.run(*WAVE, f"--{action}", "--reason", "spam", "--yes").exit_code == 0
    body = admin_server.calls[-1].body
    assert body["select"].pop("created_after") > 0
    assert body == {
        "select": {"localpart": "spam*", "locked": False},
        "max_users": 9,
        "dry_run": False,
        "reason": "spam",
    }
    admin_server.on("GET", "/scheduled_tasks/AbCd", new_task(status="complete", result={"complete": 9}))
    counted = admin_server.run(*WAVE, f"--{action}", "--dry-run", "--json", *FAST)
    assert document(counted) == {"complete": 9}
    assert admin_server.calls[-2].body["dry_run"] is True


def test_rooms_are_shut_down_by_list(admin_server: AdminServer) -> None:
    """Of several rooms one task: counted, asked about, done."""
    counts = {"complete": 2, "sums": {"members": 5, "rows": 70}}
    admin_server.on("POST", "/shutdown_rooms", {"task_id": "AbCd"})
    admin_server.on("GET", "/scheduled_tasks/AbCd", new_task(status="complete", result=counts))
    words = ("rooms", "shutdown", "!a", "!b", "--block", *FAST)
    refused = admin_server.run(*words)
    assert "Shut down these 2 rooms?" in refused.output
    assert "members" in refused.output
    assert refused.exit_code == Exit.INTERRUPTED.value
    body = {"block": True, "purge": True, "force_purge": False, "rooms": ["!a", "!b"]}
    assert [call.body for call in admin_server.calls if call.method == "POST"] == [{**body, "dry_run": True}]
    assert document(admin_server.run(*words, "--yes", "--json"))["result"] == counts
    assert [call.body for call in admin_server.calls if call.method == "POST"][1:] == [body]
