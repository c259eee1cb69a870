"""The commands that operators use, on a real server of several processes."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from tests.cli.admin_server import run
from tests.processes.harness import Server

FAST = ("--interval", "0.1")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("live")) as server:
        yield server


def command(server: Server, *words: str) -> Any:
    """The JSON of a command that must succeed."""
    result = run(*words, "--url", server.base_url, "--token", server.admin_token, "--json")
    assert result.exit_code == 0, result.stderr
    return orjson.loads(result.stdout)


def spam(server: Server, name: str, messages: int) -> str:
    """A user who has filled a room."""
    user = server.register(name)
    token = user["access_token"]
    room = server.request("POST", "/_matrix/client/v3/createRoom", {}, token)["room_id"]
    for number in range(messages):
        path = f"/_matrix/client/v3/rooms/{room}/send/m.room.message/{number}"
        server.request("PUT", path, {"msgtype": "m.text", "body": "spam"}, token)
    return user["user_id"]


def test_redact_a_user_from_the_first_look_to_the_last(server: Server) -> None:
    """A dry run counts what the redaction then does; the task can be listed, shown, retried and not cancelled."""
    user_id = spam(server, "spammer", 5)
    expected = 6  # five messages and the join
    assert command(server, "redact", user_id, "--dry-run", *FAST)["result"]["would_redact"] == expected
    done = command(server, "redact", user_id, "--watch", *FAST)
    assert (done["status"], done["result"]["redacted"]) == ("complete", expected)
    listed = command(server, "tasks", "list", "--resource", user_id, "--status", "complete", "--all")
    assert done["redact_id"] in [task["id"] for task in listed["scheduled_tasks"]]
    shown = command(server, "tasks", "show", done["redact_id"])
    assert shown["history"][0]["kind"] == "enqueued"
    again = command(server, "tasks", "retry", done["redact_id"], "--from-start")
    assert command(server, "tasks", "watch", again["id"], *FAST)["status"] == "complete"
    options = ("--url", server.base_url, "--token", server.admin_token)
    assert run("tasks", "cancel", again["id"], *options).exit_code == 3
    for words in (("list",), ("show", again["id"]), ("runners",), ("actions",), ("watch", again["id"])):
        result = run("tasks", *words, *options)
        assert result.exit_code == 0, result.exception
        assert "background1" in result.stdout or again["id"] in result.stdout


def test_a_paused_action_waits_and_says_why(server: Server) -> None:
    """Its task is cancelled while it waits; after the resumption the next one runs."""
    user_id = spam(server, "paused", 1)
    assert command(server, "tasks", "pause", "redact_all_events")["paused"] is True
    waiting = command(server, "redact", user_id)["redact_id"]
    assert command(server, "tasks", "show", waiting)["waiting_reason"] == "paused"
    assert command(server, "tasks", "cancel", waiting, "--wait", *FAST)["status"] == "cancelled"
    assert command(server, "tasks", "resume", "redact_all_events")["paused"] is False
    assert command(server, "redact", user_id, "--watch", *FAST)["result"]["redacted"] == 2


def test_the_doctor_finds_a_server_in_good_health(server: Server) -> None:
    """With the files of `up`, all processes are found; after the files of a worker, that worker answers."""
    files = [server.data_dir / "homeserver.yaml", server.data_dir / "up.yaml"]
    for more in ([], [server.data_dir / "workers" / "background1.yaml"]):
        words = [word for file in (*files, *more) for word in ("-c", str(file))]
        result = run("doctor", *words, "--json")
        assert result.exit_code == 0, result.stdout
        found = orjson.loads(result.stdout)["checks"]
        assert {check["level"] for check in found} == {"ok"}, found


def test_a_password_is_enough(server: Server) -> None:
    """The command logs in, and the address comes from the files of the server."""
    files = ("-c", str(server.data_dir / "homeserver.yaml"), "-c", str(server.data_dir / "up.yaml"))
    password = server.ready["admin"]["password"]
    result = run(
        "tasks", "runners", "--json", "-u", "admin", *files, environ={"SYNAPSE_LITE_PASSWORD": password}
    )
    assert result.exit_code == 0, result.stderr
    assert [runner["name"] for runner in orjson.loads(result.stdout)["runners"]] == ["background1"]


def refused(server: Server, *words: str, text: str | None = None) -> str:
    """What a command that must fail says on standard error."""
    result = run(*words, "--url", server.base_url, "--token", server.admin_token, text=text)
    assert result.exit_code != 0
    return result.stderr


def test_a_room_from_the_list_to_its_end(server: Server) -> None:
    """It is found, shown, blocked, ruled, joined; it is shut down after a yes, and then it is gone."""
    owner, guest = server.register("owner"), server.register("guest")
    token = owner["access_token"]
    body = {"name": "Doomed hall", "preset": "public_chat", "room_version": "11"}
    room_id = server.request("POST", "/_matrix/client/v3/createRoom", body, token)["room_id"]
    found = command(
        server, "rooms", "list", "--search", "doomed", "--order-by", "joined_members", "--not-empty"
    )
    assert [room["room_id"] for room in found["rooms"]] == [room_id]
    assert command(server, "rooms", "list", "--search", "doomed", "--empty")["total_rooms"] == 0
    assert command(server, "rooms", "join", room_id, guest["user_id"]) == {"room_id": room_id}
    assert command(server, "rooms", "make-admin", room_id, guest["user_id"]) == {}
    members = command(server, "rooms", "members", room_id)["members"]
    assert sorted(members) == sorted([owner["user_id"], guest["user_id"]])
    assert command(server, "rooms", "block", room_id) == {"block": True}
    assert command(server, "rooms", "show", room_id)["blocked"] is True
    assert command(server, "rooms", "unblock", room_id) == {"block": False}
    options = ("--url", server.base_url, "--token", server.admin_token)
    for words in (("list",), ("show", room_id), ("members", room_id)):
        result = run("rooms", *words, *options)
        assert result.exit_code == 0, result.exception
        assert room_id in result.stdout or owner["user_id"] in result.stdout
    counted = command(server, "rooms", "shutdown", room_id, "--dry-run", *FAST)
    assert (counted["dry_run"], counted["members"]) == (True, 2)
    assert "Aborted" in refused(server, "rooms", "shutdown", room_id, *FAST, text="n\n")
    assert command(server, "rooms", "show", room_id)["joined_members"] == 2
    done = run("rooms", "shutdown", room_id, *FAST, *options, text="y\n")
    assert done.exit_code == 0, done.stderr
    assert "Room not found" in refused(server, "rooms", "show", room_id)


def test_reports_from_the_list_to_their_end(server: Server) -> None:
    """Of events, rooms and users: listed, shown with the event, deleted."""
    user = server.register("reporter")
    token = user["access_token"]
    client = "/_matrix/client/v3"
    room_id = server.request("POST", f"{client}/createRoom", {"name": "Den"}, token)["room_id"]
    path = f"{client}/rooms/{room_id}/send/m.room.message/1"
    event_id = server.request("PUT", path, {"msgtype": "m.text", "body": "bad words"}, token)["event_id"]
    for subject in (
        f"rooms/{room_id}/report/{event_id}",
        f"rooms/{room_id}/report",
        f"users/{user['user_id']}/report",
    ):
        server.request("POST", f"{client}/{subject}", {"reason": "because"}, token)
    options = ("--url", server.base_url, "--token", server.admin_token)
    for kind in ("event", "room", "user"):
        (report,) = command(server, "reports", "list", kind, "--by", "reporter")[f"{kind}_reports"]
        assert report["reason"] == "because"
        shown = command(server, "reports", "show", kind, str(report["id"]))
        assert report.items() <= shown.items()
        assert ("event_json" in shown) == (kind == "event")
        listed = run("reports", "list", kind, *options)
        assert "because" in listed.stdout, listed.exception
        assert command(server, "reports", "delete", kind, str(report["id"])) == {}
        assert "not found" in refused(server, "reports", "show", kind, str(report["id"]))
