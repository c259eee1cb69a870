"""Every command of synadm, to Synapse and to this server: what it prints has the same keys and the same types."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import synadm.cli
import yaml
from attrs import define, field
from click.testing import CliRunner

from tests.interop.synapse import Synapse
from tests.processes.harness import Server, wait_until

CLIENT = "/_matrix/client/v3"
TASKS_END = {"complete", "failed"}
TOMORROW_MS = f"{(datetime.now(UTC) + timedelta(days=1)).timestamp() * 1000:.0f}"

COMMANDS = """
version
user list
user list --guests --limit 1 --from 1
user list --deactivated --sort-by creation_ts --reverse
user list --locked --admins
user list --exclude-user-type bot --non-admins
user list --user-id alice
user search alic
user details {alice}
user details @nobody:{server}
user membership {alice}
user membership --ids {alice}
user whois {alice}
user media {alice}
user media --sort media_length --reverse {alice}
user 3pid --medium email alice@example.org
user 3pid --medium email nobody@example.org
user auth-provider --provider oidc sub-alice
user auth-provider --provider oidc sub-nobody
user login {alice}
user password {bob} --password changed --no-logout
user modify {bob} --display-name Robert --user-type support
user modify {bob} --lock
user modify {bob} --unlock
user shadow-ban {bob}
user shadow-ban --unban {bob}
user suspend {bob}
user suspend --unsuspend {bob}
user prune-devices --list-only --min-days 0 --min-surviving 0 {alice}
user prune-devices --min-days 0 --min-surviving 1 {alice}
room list
room list --sort joined_members --reverse --limit 1 --from 1
room list --empty
room list --not-empty --name den
room search den
room details {den}
room details !nowhere:{server}
room members {den}
room state {den}
room power-levels --room-id {den}
room power-levels --all-details
room resolve {alias}
room resolve --reverse {den}
room join {den} {bob}
room make-admin --user-id {bob} {den}
room block {plain}
room block-status {plain}
room block --unblock {plain}
room block-status {plain}
room block nonsense
media list --user-id {alice}
media list --room-id {den}
media quarantine --media-id {file}
media unquarantine --media-id {file}
media quarantine --mxc-uri {mxc}
media unquarantine --mxc-uri {mxc}
media protect {file}
media quarantine --user-id {bob}
media quarantine --room-id {den}
media delete --media-id {file}
media delete --media-id unknown
media delete --before-ts {now_ms} --size 1
media purge --before-days 1
history purge {plain} --before-ts {tomorrow_ms}
history purge {plain} --before-event-id $unknown
history purge-status unknown
regtok new --token welcome --uses-allowed 3
regtok new --length 12
regtok new --token welcome
regtok list
regtok list --valid
regtok details welcome
regtok details unknown
regtok update welcome --uses-allowed 5
regtok delete welcome
regtok delete welcome
notice send {alice} hello
matrix raw client/versions
matrix login --password secret {alice}
raw v1/whois/{alice}
raw v1/event_reports
raw v1/user_reports
raw v1/scheduled_tasks
raw v1/statistics/users/media
raw v1/background_updates/status
raw v1/background_updates/enabled
raw v1/experimental_features/{alice}
raw v1/search_users/{alice}?term=alic
raw v1/users/{alice}/accountdata
raw v1/users/{alice}/pushers
raw v1/users/{alice}/memberships
raw v1/users/{alice}/sent_invite_count?from_ts=0
raw v1/users/{alice}/cumulative_joined_room_count?from_ts=0
raw v1/users/{alice}/override_ratelimit
raw v1/users/{alice}/admin
raw v1/username_available?username=free
raw v1/username_available?username=alice
raw v1/rooms/{quoted_den}/messages
raw v1/rooms/{quoted_den}/hierarchy
raw v1/rooms/{quoted_den}/forward_extremities
raw v1/rooms/{quoted_den}/timestamp_to_event?ts=0
raw v1/media/{server}/{second_file}
raw v1/unknown
raw v2/users/{alice}/devices
raw v3/users
user redact {alice} --room {den} --reason spam --limit 10
user redact-status unknown
room purge-empty --dry-run
room delete {plain}
room delete-status --delete-id unknown
room delete-status --room-id !nowhere:{server}
room delete --v1 --block {bad}
user deactivate {bob}
user deactivate --gdpr-erase {carol}
user deactivate-regex nobody-has-this-name
user modify {bob} --activate --password again
group delete +gone:{server}
"""

HTTP_STATUS = "HTTP status"
SQLITE = "their SQLite has no booleans"
UPLOADED = "an upload is the first look at a file"
DIFFERENCES: Mapping[str, str] = {
    "user list --locked --admins: .users[].last_seen_ts": "the administrator of `up` was never there",
    "raw v1/background_updates/status: .current_updates": "Synapse may be migrating its new database",
    "raw v1/scheduled_tasks: .scheduled_tasks[].result": "each task reports in its own words",
    "raw v1/search_users: [].password_hash": "hashes of passwords are shown to nobody",
    "matrix raw client/versions: .unstable_features": "each server has experiments of its own",
    "user media: .media[].authenticated": SQLITE,
    "media list: .media[].authenticated": SQLITE,
    "raw v1/media: .media_info.authenticated": SQLITE,
    "raw v1/media: .media_info.safe_from_quarantine": SQLITE,
    "user media: .media[].last_access_ts": UPLOADED,
    "media list: .media[].last_access_ts": UPLOADED,
    "raw v1/media: .media_info.last_access_ts": UPLOADED,
}
"""What Synapse prints and this server does not, or as another type, on purpose: where, and why."""


ATTEMPTS = 3


@define
class Home:
    """A server with the same people, rooms and files, and synadm with its administrator's token."""

    server: Synapse | Server
    directory: Path
    names: dict[str, str] = field(factory=dict)

    def seed(self) -> None:
        admin = self.server.register("operator", admin=True)
        people = {name: self.server.register(name) for name in ("alice", "bob", "carol")}
        server_name = admin["user_id"].partition(":")[2]
        self._configure(admin, server_name)
        alice = people["alice"]["access_token"]
        den = self._room(alice, name="A den", room_alias_name="den", preset="public_chat")
        bad = self._room(alice, preset="public_chat")
        # No two rooms have as many members: their order by members is one.
        for room_id, user in ((den, people["bob"]), (den, admin), (bad, admin)):
            self._call("POST", f"{CLIENT}/join/{quote(room_id)}", {}, user["access_token"])
        files = [self._upload(alice) for _ in range(2)]
        active = [admin, people["alice"], people["bob"]]
        wait_until(lambda: all(self._is_seen(admin, one) for one in active), "all who did something are seen")
        content = {"msgtype": "m.image", "body": "x", "url": files[1]}
        self._call("PUT", f"{CLIENT}/rooms/{quote(den)}/send/m.room.message/1", content, alice)
        change = {
            "threepids": [{"medium": "email", "address": "alice@example.org"}],
            "external_ids": [{"auth_provider": "oidc", "external_id": "sub-alice"}],
        }
        admin_path = f"/_synapse/admin/v2/users/{quote(people['alice']['user_id'])}"
        self._call("PUT", admin_path, change, admin["access_token"])
        self.names = {
            **{name: person["user_id"] for name, person in people.items()},
            "server": server_name,
            "den": den,
            "quoted_den": quote(den),
            "plain": self._room(alice),
            "bad": bad,
            "alias": f"#den:{server_name}",
            "mxc": files[0],
            "file": files[0].rpartition("/")[2],
            "second_file": files[1].rpartition("/")[2],
            "now_ms": f"{datetime.now(UTC).timestamp() * 1000:.0f}",
            "tomorrow_ms": TOMORROW_MS,
        }

    def run(self, command: str) -> list[Any]:
        """The JSON documents that it prints; and the status of an answer that was no success."""
        words = [word.format(**self.names) for word in command.split()]
        options = ["--config-file", str(self.directory / "synadm.yaml"), "--batch", "-o", "json"]
        result = CliRunner().invoke(synadm.cli.root, [*options, *words])
        assert result.exit_code in {0, 1}, (command, result.output)
        statuses = [int(status) for status in re.findall(r"status code (\d+)", result.output)]
        return [*documents(result.stdout), *({HTTP_STATUS: status} for status in statuses)]

    def run_steadily(self, command: str) -> list[Any]:
        """As `run`; again where Synapse fails because it still does in the background what it was asked for before."""
        printed = self.run(command)
        for _ in range(ATTEMPTS):
            if {HTTP_STATUS: 500} not in printed:
                break
            time.sleep(1)
            printed = self.run(command)
        return printed

    def until_ended(self, command: str, status: str) -> list[Any]:
        """What `status` prints at last for the task that `command` has started."""
        task_id = next(iter(self.run(command)[-1].values()))

        def ended() -> list[Any]:
            printed = self.run(f"{status} {task_id}")
            return printed if printed[-1]["status"] in TASKS_END else []

        found: list[Any] = wait_until(ended, f"the end of {command}")
        return found

    def _is_seen(self, admin: Mapping[str, str], user: Mapping[str, str]) -> bool:
        """Whether the server has written down when the user was there: it takes some seconds."""
        path = f"/_synapse/admin/v2/users/{quote(user['user_id'])}"
        seen: int | None = self._call("GET", path, None, admin["access_token"])["last_seen_ts"]
        return seen is not None

    def _configure(self, admin: Mapping[str, str], server_name: str) -> None:
        options = {
            "user": admin["user_id"],
            "token": admin["access_token"],
            "base_url": self.server.base_url,
            "admin_path": "/_synapse/admin",
            "matrix_path": "/_matrix",
            "timeout": 300,
            "server_discovery": "well-known",
            "homeserver": server_name,
            "ssl_verify": True,
            "format": "json",
        }
        (self.directory / "synadm.yaml").write_text(yaml.safe_dump(options))

    def _room(self, token: str, **body: Any) -> str:
        room_id: str = self._call("POST", f"{CLIENT}/createRoom", {"room_version": "10", **body}, token)[
            "room_id"
        ]
        return room_id

    def _upload(self, token: str) -> str:
        uri: str = self._call("POST", "/_matrix/media/v3/upload?filename=a.txt", {"some": "file"}, token)[
            "content_uri"
        ]
        return uri

    def _call(self, method: str, path: str, body: Any, token: str) -> Any:
        return self.server.request(method, path, body, token)


def documents(text: str) -> list[Any]:
    """All JSON in it; the rest is for people to read."""
    found, decoder = [], json.JSONDecoder()
    while (start := re.search(r"^[\[{]", text, re.MULTILINE)) is not None:
        text = text[start.start() :]
        try:
            document, end = decoder.raw_decode(text)
        except json.JSONDecodeError:
            text = text[1:]
        else:
            found.append(document)
            text = text[end:]
    return found


def shape(value: Any, path: str = "") -> dict[str, set[str]]:
    """Paths to the types that stand there: of all items of a list together, and of all keys that are ids."""
    kind = {bool: "boolean", int: "number", float: "number", str: "text", type(None): "null"}.get(type(value))
    if kind is not None:
        return {path: {kind}}
    found: dict[str, set[str]] = {path: {type(value).__name__}}
    inner = (
        [(f"{path}.{_name(key)}", item) for key, item in value.items()]
        if isinstance(value, dict)
        else [(f"{path}[]", item) for item in value]
    )
    for below, item in inner:
        for where, kinds in shape(item, below).items():
            found.setdefault(where, set()).update(kinds)
    return found


def _name(key: str) -> str:
    return re.sub(r"[@!$#][^ _]*", "*", key)


def lacks(theirs: list[Any], ours: list[Any]) -> list[str]:
    """What is in theirs and not in ours, and what is of another type. That ours has more keys is allowed."""
    if len(theirs) != len(ours):
        return [f": {len(theirs)} documents, not {len(ours)}: {theirs} {ours}"]
    wanted, found = shape(theirs), shape(ours)
    missing = [f"{path[2:]}: not there" for path in wanted.keys() - found.keys()]
    other = [
        f"{path[2:]}: {sorted(found[path])}, not {sorted(kinds)}"
        for path, kinds in wanted.items()
        if path in found and found[path] != kinds
    ]
    if refusals(theirs) != refusals(ours):
        other.append(f".{HTTP_STATUS}: {refusals(ours)}, not {refusals(theirs)}")
    return sorted(missing + other)


def refusals(printed: list[Any]) -> list[int]:
    return [one[HTTP_STATUS] for one in printed if isinstance(one, dict) and HTTP_STATUS in one]


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Home]]:
    """Synapse's and ours."""
    theirs, ours = tmp_path_factory.mktemp("synapse"), tmp_path_factory.mktemp("ours")
    with Synapse(theirs) as synapse, Server(ours) as server:
        homes = [Home(synapse, theirs), Home(server, ours)]
        for home in homes:
            home.seed()
        yield homes


def known(command: str, line: str) -> bool:
    """Whether the line is a difference on purpose."""
    return any(
        command.startswith(where.partition(": ")[0]) and line.startswith(where.partition(": ")[2])
        for where in DIFFERENCES
    )


def test_all_commands_print_the_same(homes: list[Home]) -> None:
    """One after the other, on both servers."""
    wrong = []
    for command in COMMANDS.split("\n"):
        if command:
            theirs, ours = homes[0].run_steadily(command), homes[1].run(command)
            if {HTTP_STATUS: 500} in theirs:  # nothing to compare with: it must do here what was asked for
                wrong += [f"{command}: {status}" for status in refusals(ours)]
                continue
            wrong += [f"{command}: {line}" for line in lacks(theirs, ours) if not known(command, line)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("user redact {carol}", "user redact-status"),
        ("history purge {den} --before-days 0", "history purge-status"),
    ],
)
def test_tasks_end_alike(homes: list[Home], command: str, status: str) -> None:
    """What is printed of a task that is over."""
    theirs, ours = (home.until_ended(command, status) for home in homes)
    assert lacks(theirs, ours) == []


def test_every_command_is_there() -> None:
    """But those that ask no server, and those that ask questions only."""
    listed = {" ".join(line.split()[:2]) for line in COMMANDS.split("\n") if line}
    every = {
        f"{group} {command}"
        for group, sub in synadm.cli.root.commands.items()
        for command in getattr(sub, "commands", {})
    }
    assert every - listed - {"history purge-status", "user redact-status"} == set()
