"""`media ...`, against a server of the test's own."""

import time
from typing import Any

import orjson
import pytest

from synapse_lite.cli import admin_api
from synapse_lite.cli.api import call
from synapse_lite.handlers.media.admin import PATIENCE_SECONDS
from tests.cli.admin_server import ADMIN, AdminServer

USER, ROOM, MXC = "@spam:hs.test", "!room:hs.test", "mxc://hs.test/abc"
FILE = {
    "media_id": "abc",
    "media_type": "image/png",
    "media_length": 5,
    "upload_name": "x\x1b.png",
    "created_ts": 1_700_000_000_000,
    "last_access_ts": None,
    "quarantined_by": "@admin:hs.test",
    "safe_from_quarantine": False,
}


def test_files_of_a_user_are_listed(admin_server: AdminServer) -> None:
    """The newest first unless an order is asked for; the next page is named; a room's are their addresses."""
    page = {"media": [FILE], "total": 9, "next_token": 1}
    admin_server.answers["GET", f"{ADMIN}/users/{USER}/media"] = [(200, page)]
    result = admin_server.run("media", "list", "--of", USER, "--limit", "1")
    assert result.exit_code == 0, result.output
    assert admin_server.calls[0].query == {"limit": ["1"]}
    assert "\x1b" not in result.stdout
    for word in ("abc", "image/png", "@admin:hs.test", "9 in all: --from 1"):
        assert word in result.stdout
    admin_server.run("media", "list", "--of", USER, "--order-by", "media_length", "--reverse", "--from", "1")
    assert admin_server.calls[1].query == {
        "limit": ["100"],
        "order_by": ["media_length"],
        "dir": ["b"],
        "from": ["1"],
    }
    admin_server.answers["GET", f"{ADMIN}/room/{ROOM}/media"] = [(200, {"local": [MXC], "remote": []})]
    assert admin_server.run("media", "list", "--in", ROOM).stdout == f"{MXC}\n"
    assert admin_server.run("media", "list").exit_code == 2
    assert admin_server.run("media", "list", "--in", ROOM, "--of", USER).exit_code == 2


@pytest.mark.parametrize(
    ("words", "method", "path", "said"),
    [
        (("show", MXC), "GET", "media/hs.test/abc", "image/png"),
        (("quarantine", MXC), "POST", "media/quarantine/hs.test/abc", "1 quarantined"),
        (("quarantine", "--of", USER), "POST", f"user/{USER}/media/quarantine", "4 quarantined"),
        (("quarantine", "--in", ROOM, "--dry-run"), "POST", f"room/{ROOM}/media/quarantine", "4 would be"),
        (("unquarantine", MXC), "POST", "media/unquarantine/hs.test/abc", "not in quarantine"),
        (("protect", MXC), "POST", "media/protect/abc", "protected"),
        (("protect", MXC, "--lift"), "POST", "media/unprotect/abc", "not protected"),
        (("delete", MXC), "DELETE", "media/hs.test/abc", "1 deleted"),
        (("clean", "--unused-days", "30"), "POST", "media/delete", "1 deleted"),
        (("clean-remote", "--unused-days", "30"), "POST", "purge_media_cache", "3 deleted"),
    ],
)
def test_each_command_is_a_request(
    admin_server: AdminServer, words: tuple[str, ...], method: str, path: str, said: str
) -> None:
    """Said in words, or as the server's JSON."""
    answer = {"deleted_media": ["abc"], "total": 1, "deleted": 3, "media_info": FILE}
    if "media/quarantine" in path and not path.startswith("media"):
        answer["num_quarantined"] = 4
    admin_server.answers[method, f"{ADMIN}/{path}"] = [(200, answer)]
    result = admin_server.run("media", *words)
    assert result.exit_code == 0, result.output
    assert said in result.stdout
    as_json = orjson.loads(admin_server.run("media", *words, "--json").stdout)
    assert as_json == (FILE if words[0] == "show" else answer)
    query = admin_server.calls[0].query
    if "--unused-days" in words:
        assert abs(int(query["before_ts"][0]) - (time.time() - 30 * 86_400) * 1000) < 600_000
    assert ("dry_run" in query) == ("--dry-run" in words)


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (("quarantine", "--of", USER), f"user/{USER}/media/quarantine"),
        (("clean", "--unused-days", "30"), "media/delete"),
        (("clean-remote", "--unused-days", "30"), "purge_media_cache"),
    ],
)
def test_a_task_is_waited_for_as_long_as_the_server_does(
    admin_server: AdminServer, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], path: str
) -> None:
    """Its answer comes when the task is done, or names the task: whoever hangs up before learns neither."""
    patience = []

    def note(*arguments: Any, timeout: float, **others: Any) -> Any:
        patience.append(timeout)
        return call(*arguments, timeout=timeout, **others)

    monkeypatch.setattr(admin_api, "call", note)
    running = {"errcode": "M_UNKNOWN", "error": "The task AbCd is still running", "task_id": "AbCd"}
    admin_server.answers["POST", f"{ADMIN}/{path}"] = [(504, running)]
    result = admin_server.run("media", *words)
    assert result.exit_code == 3
    assert "AbCd" in result.stderr
    assert patience[-1] > PATIENCE_SECONDS


def test_mistakes(admin_server: AdminServer) -> None:
    """Nothing to quarantine, two things at once, no address: no request is made."""
    for words in (
        ("quarantine",),
        ("quarantine", MXC, "--of", USER),
        ("quarantine", MXC, "--dry-run"),
        ("delete", "abc"),
        ("clean",),
    ):
        assert admin_server.run("media", *words).exit_code == 2, words
    assert admin_server.calls == []
