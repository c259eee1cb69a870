"""synadm, an admin client for Synapse, against our processes: it gets the keys and types that it knows."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from synapse_lite.cli.api import ApiError
from synapse_lite.cli.demo.connection import User
from synapse_lite.cli.demo.traffic import room_path
from tests.processes.conftest import BuildSite
from tests.processes.site import SERVER, Site, act, create_room, flood, readable, say

TEXT, NUMBER, TRUTH, OBJECT = {str}, {int}, {bool}, {dict}
MAYBE_TEXT = {str, type(None)}
LISTED = {
    "room_id": TEXT,
    "name": MAYBE_TEXT,
    "canonical_alias": MAYBE_TEXT,
    "joined_members": NUMBER,
    "joined_local_members": NUMBER,
    "version": TEXT,
    "creator": TEXT,
    "encryption": MAYBE_TEXT,
    "federatable": TRUTH,
    "public": TRUTH,
    "join_rules": MAYBE_TEXT,
    "guest_access": MAYBE_TEXT,
    "history_visibility": MAYBE_TEXT,
    "state_events": NUMBER,
    "room_type": MAYBE_TEXT,
}
DETAILS = LISTED | {
    "avatar": MAYBE_TEXT,
    "topic": MAYBE_TEXT,
    "joined_local_devices": NUMBER,
    "forgotten": TRUTH,
    "tombstoned": TRUTH,
    "replacement_room": MAYBE_TEXT,
}
STATE_EVENT = {
    "type": TEXT,
    "state_key": TEXT,
    "content": OBJECT,
    "event_id": TEXT,
    "room_id": TEXT,
    "sender": TEXT,
    "user_id": TEXT,
    "origin_server_ts": NUMBER,
    "age": NUMBER,
    "unsigned": {"age": NUMBER},
}
LEVELS = {
    "room_id": TEXT,
    "name": MAYBE_TEXT,
    "canonical_alias": MAYBE_TEXT,
    "room_type": MAYBE_TEXT,
    "power_levels": OBJECT,
}
MEMBERS = {"members": [TEXT], "total": NUMBER}
SHUTDOWN = {
    "kicked_users": [TEXT],
    "failed_to_kick_users": [TEXT],
    "local_aliases": [TEXT],
    "new_room_id": MAYBE_TEXT,
}
DELETION = {"delete_id": TEXT, "room_id": TEXT, "status": TEXT, "shutdown_room": SHUTDOWN}
PAGE = {"rooms": [LISTED], "offset": NUMBER, "total_rooms": NUMBER}
REFUSAL = {"errcode": TEXT, "error": TEXT}

# What each command prints when it talks to Synapse 1.163.2: JSON documents, one after the other.
PRINTED: Mapping[str, list[Any]] = {
    "version": [{"server_version": TEXT}],
    "room list": [PAGE],
    "room list --limit 1 --from 1": [PAGE | {"prev_batch": NUMBER, "next_batch": NUMBER}],
    "room search": [PAGE],
    "room details": [DETAILS],
    "room members": [MEMBERS],
    "room state": [{"state": [STATE_EVENT]}],
    "room power-levels --room-id": [
        {
            "rooms": [LEVELS],
            "offset": NUMBER,
            "total_rooms": NUMBER,
            "rooms_w_power_levels_curr_batch": NUMBER,
        }
    ],
    "room resolve": [TEXT],
    "room resolve --reverse": [{"aliases": [TEXT]}],
    "room block": [{"block": TRUTH}],
    "room block --unblock": [{"block": TRUTH}],
    "room block-status": [{"block": TRUTH, "user_id": TEXT}],
    "room delete": [DETAILS, MEMBERS, {"delete_id": TEXT}],
    "room delete --v1": [DETAILS, MEMBERS, SHUTDOWN],
    "room delete-status --delete-id": [DELETION],
    "room delete-status --room-id": [{"results": [DELETION]}],
    "history purge": [{"purge_id": TEXT}],
    "history purge-status": [{"status": TEXT}],
    "user redact": [{"redact_id": TEXT}],
    "user redact-status": [{"status": TEXT, "failed_redactions": OBJECT}],
}
UNKNOWN = f"!unknown:{SERVER}"
# Synapse's answers to mistakes: status and `errcode`.
REFUSED = {
    f"room details {UNKNOWN}": (404, "M_NOT_FOUND"),
    f"room members {UNKNOWN}": (404, "M_NOT_FOUND"),
    f"room state {UNKNOWN}": (404, "M_NOT_FOUND"),
    "room block nonsense": (400, "M_UNKNOWN"),
    "room block-status nonsense": (400, "M_UNKNOWN"),
    "raw --method delete --data {} v2/rooms/nonsense": (400, "M_UNKNOWN"),
    "room delete-status --delete-id unknown": (404, "M_NOT_FOUND"),
    f"room delete-status --room-id {UNKNOWN}": (404, "M_NOT_FOUND"),
    f"history purge {UNKNOWN} --before-event-id $unknown": (404, "M_NOT_FOUND"),
    f"history purge {UNKNOWN} --before-ts 1700000000000": (404, "M_NOT_FOUND"),
    "history purge nonsense --before-ts 1700000000000": (404, "M_NOT_FOUND"),
    f"history purge {UNKNOWN} --before-ts 1700000000": (400, "M_INVALID_PARAM"),
    "history purge-status unknown": (404, "M_NOT_FOUND"),
    "user redact-status unknown": (404, "M_NOT_FOUND"),
}


class Synadm:
    """The program of this environment, with an administrator's configuration."""

    def __init__(self, directory: Path, admin: User) -> None:
        self.admin = admin
        self._config = directory / "synadm.yaml"
        options = {
            "user": admin.user_id,
            "token": admin.access_token,
            "base_url": admin.base_url,
            "admin_path": "/_synapse/admin",
            "matrix_path": "/_matrix",
            "timeout": 300,
            "server_discovery": "well-known",
            "homeserver": SERVER,
            "ssl_verify": True,
            "format": "json",
        }
        self._config.write_text(yaml.safe_dump(options))

    def run(self, command: str, *words: str) -> Any:
        """The last of the documents; all of them are as in `PRINTED`."""
        documents, warnings = self._run(command, words)
        assert warnings == ""
        assert differences(documents, PRINTED[command], command) == []
        return documents[-1]

    def refusal(self, command: str) -> tuple[int, str]:
        ((answer,), warnings) = self._run(command, ())
        assert differences(answer, REFUSAL, command) == []
        (status,) = re.findall(r"status code (\d+)", warnings)
        return int(status), answer["errcode"]

    def _run(self, command: str, words: tuple[str, ...]) -> tuple[list[Any], str]:
        """The documents that it prints, and what it says on standard error."""
        text, warnings = self.output(command, words)
        return read_documents(text), warnings

    def output(self, command: str, words: tuple[str, ...]) -> tuple[str, str]:
        """What it prints, and what it says on standard error."""
        program = Path(sys.executable).parent / "synadm"
        ended = subprocess.run(
            [program, "--config-file", self._config, "--batch", "-o", "json", *command.split(), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ended.returncode == 0, ended
        return ended.stdout, ended.stderr


def read_documents(text: str) -> list[Any]:
    documents, decoder = [], json.JSONDecoder()
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        documents.append(document)
        text = text[end:]
    return documents


def differences(value: Any, shape: Any, path: str) -> list[str]:
    """What is missing or of another type. A shape is a set of types, an object with at least these keys,
    a list of one shape for all items, or for documents one shape each.
    """
    if isinstance(shape, set):
        return [] if type(value) in shape else [f"{path}: {value!r}"]
    if isinstance(shape, dict):
        if not isinstance(value, dict) or not shape.keys() <= value.keys():
            return [f"{path}: {value!r} should have {sorted(shape)}"]
        return [line for key in shape for line in differences(value[key], shape[key], f"{path}.{key}")]
    if not isinstance(value, list) or (len(shape) != 1 and len(shape) != len(value)):
        return [f"{path}: {value!r}"]
    shapes = shape * len(value) if len(shape) == 1 else shape
    return [
        line
        for number, (item, wanted) in enumerate(zip(value, shapes, strict=True))
        for line in differences(item, wanted, f"{path}[{number}]")
    ]


@pytest.fixture(scope="module")
def site(build_site: BuildSite) -> Site:
    site = build_site("background")
    site.start("main", "background")
    return site


@pytest.fixture(scope="module")
def synadm(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Synadm:
    return Synadm(tmp_path_factory.mktemp("synadm"), site.user("admin", admin=True))


@pytest.fixture(scope="module")
def owner(site: Site) -> User:
    return site.user("owner")


@pytest.fixture(scope="module")
def member(site: Site) -> User:
    return site.user("member")


def status_of(user: User, path: str) -> int:
    """Of a GET in the client API."""
    try:
        with user.connect() as connection:
            connection.call("GET", path)
    except ApiError as error:
        return error.status
    return 200


def refusal_to_join(user: User, room_id: str) -> tuple[int, str]:
    with pytest.raises(ApiError) as refused:
        act(user, room_id, "join")
    return refused.value.status, refused.value.errcode


def test_rooms_are_shown(synadm: Synadm, owner: User, member: User) -> None:
    """Lists, pages, searches, details, members, state, power levels, aliases."""
    for _ in range(2):
        create_room(owner)
    room_id = create_room(owner, member, name="A den", room_alias_name="den", room_version="11")
    assert synadm.run("version")["server_version"].startswith("1.")
    listed = synadm.run("room list")
    assert (len(listed["rooms"]), listed["total_rooms"]) == (3, 3)
    page = synadm.run("room list --limit 1 --from 1")
    assert (len(page["rooms"]), page["prev_batch"], page["next_batch"]) == (1, 0, 2)
    assert [room["room_id"] for room in synadm.run("room search", "den")["rooms"]] == [room_id]
    details = synadm.run("room details", room_id)
    assert (details["name"], details["joined_members"]) == ("A den", 2)
    assert synadm.run("room members", room_id)["members"] == sorted([owner.user_id, member.user_id])
    state = synadm.run("room state", room_id)["state"]
    assert {"m.room.create", "m.room.member", "m.room.name"} <= {event["type"] for event in state}
    (levels,) = synadm.run("room power-levels --room-id", room_id)["rooms"]
    assert levels["power_levels"] == {owner.user_id: 100}
    alias = f"#den:{SERVER}"
    assert synadm.run("room resolve", alias) == room_id
    assert synadm.run("room resolve --reverse", room_id) == {"aliases": [alias]}


def test_a_room_is_blocked(synadm: Synadm, owner: User, member: User) -> None:
    """Nobody joins it, until it is unblocked."""
    room_id = create_room(owner)
    assert synadm.run("room block", room_id) == {"block": True}
    assert synadm.run("room block-status", room_id) == {"block": True, "user_id": synadm.admin.user_id}
    assert refusal_to_join(member, room_id) == (403, "M_FORBIDDEN")
    assert synadm.run("room block --unblock", room_id) == {"block": False}
    act(member, room_id, "join")


@pytest.mark.parametrize("way", ["--before-event-id", "--before-days", "--before", "--before-ts"])
def test_history_is_purged(site: Site, synadm: Synadm, owner: User, way: str) -> None:
    """Up to an event; and up to a moment, when the last event stays."""
    room_id = create_room(owner)
    with owner.connect() as connection:
        events = [say(connection, room_id, f"{number}") for number in range(5)]
    now = datetime.now().astimezone()
    point, kept = {
        "--before-event-id": (events[2], 3),
        "--before-days": ("0", 1),
        "--before": (f"{now + timedelta(days=1):%Y-%m-%d}", 1),
        "--before-ts": (f"{(now + timedelta(hours=1)).timestamp() * 1000:.0f}", 1),
    }[way]
    purge_id = synadm.run("history purge", room_id, way, point, "--delete-local")["purge_id"]
    site.wait_for_end(purge_id)
    assert synadm.run("history purge-status", purge_id)["status"] == "complete"
    found = [status_of(owner, room_path(room_id, f"event/{quote(event)}")) for event in events]
    assert found == [404] * (5 - kept) + [200] * kept


def test_a_user_is_redacted(site: Site, synadm: Synadm, owner: User) -> None:
    """In the named room, with the reason, and nowhere else; then everywhere."""
    spammer = site.user("spammer")
    rooms = [create_room(owner, spammer) for _ in range(2)]
    flood(spammer, rooms, 3)
    words = ("--room", rooms[0], "--reason", "spam", "--limit", "500")
    for more, left in ((words, 3), ((), 0)):
        redact_id = synadm.run("user redact", spammer.user_id, *more)["redact_id"]
        site.wait_for_end(redact_id)
        status = synadm.run("user redact-status", redact_id)
        assert (status["status"], status["failed_redactions"]) == ("complete", {})
        assert readable(owner, rooms[:1], spammer.user_id) == []
        assert len(readable(owner, rooms[1:], spammer.user_id)) >= left
    assert readable(owner, rooms, spammer.user_id) == []


def test_a_room_is_deleted(site: Site, synadm: Synadm, owner: User, member: User) -> None:
    """In the background: the status is found by either id, and the room is gone."""
    room_id = create_room(owner, member)
    delete_id = synadm.run("room delete", room_id)["delete_id"]
    site.wait_for_end(delete_id)
    deletion = synadm.run("room delete-status --delete-id", delete_id)
    assert (deletion["status"], deletion["room_id"]) == ("complete", room_id)
    assert set(deletion["shutdown_room"]["kicked_users"]) == {owner.user_id, member.user_id}
    assert synadm.run("room delete-status --room-id", room_id) == {"results": [deletion]}
    assert synadm.refusal(f"room details {room_id}") == (404, "M_NOT_FOUND")
    assert status_of(owner, room_path(room_id, "state")) == 403
    assert refusal_to_join(member, room_id)[0] == 404


def test_members_are_moved(synadm: Synadm, owner: User, member: User) -> None:
    """At once: the members and the alias are in the new room, the old one is gone and blocked."""
    room_id = create_room(owner, member, room_alias_name="bad")
    words = ("--block", "--new-room-user-id", synadm.admin.user_id, "--room-name", "News", "--message", "Bye")
    shutdown = synadm.run("room delete --v1", room_id, *words)
    assert set(shutdown["kicked_users"]) == {owner.user_id, member.user_id}
    assert shutdown["local_aliases"] == [f"#bad:{SERVER}"]
    people = {owner.user_id, member.user_id, synadm.admin.user_id}
    assert set(synadm.run("room members", shutdown["new_room_id"])["members"]) == people
    assert synadm.refusal(f"room details {room_id}") == (404, "M_NOT_FOUND")
    assert synadm.run("room block-status", room_id) == {"block": True, "user_id": synadm.admin.user_id}
    assert refusal_to_join(member, room_id) == (403, "M_FORBIDDEN")


def test_mistakes(synadm: Synadm) -> None:
    """Unknown rooms, events and tasks, and what is no room id, are refused as Synapse does."""
    with ThreadPoolExecutor(4) as executor:
        answers = executor.map(synadm.refusal, REFUSED)
        assert dict(zip(REFUSED, answers, strict=True)) == REFUSED
