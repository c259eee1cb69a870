"""synadm's commands for users and registration tokens, against our processes: the keys and types that it knows."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from synapse_lite.cli.demo.connection import User
from tests.processes.conftest import BuildSite
from tests.processes.site import SERVER, Site, create_room
from tests.processes.test_synadm import MAYBE_TEXT, NUMBER, TEXT, TRUTH, Synadm, differences, status_of

MAYBE_NUMBER = {int, type(None)}
LISTED = {
    "name": TEXT,
    "user_type": MAYBE_TEXT,
    "is_guest": TRUTH,
    "admin": TRUTH,
    "deactivated": TRUTH,
    "shadow_banned": TRUTH,
    "displayname": MAYBE_TEXT,
    "avatar_url": MAYBE_TEXT,
    "creation_ts": NUMBER,
    "erased": TRUTH,
    "last_seen_ts": MAYBE_NUMBER,
    "locked": TRUTH,
    "suspended": TRUTH,
}
THREEPID = {"medium": TEXT, "address": TEXT, "added_at": NUMBER, "validated_at": NUMBER}
DETAILS = LISTED | {"threepids": [THREEPID], "external_ids": {list}}
LIST = {"users": [LISTED], "total": NUMBER}
TOKEN = {
    "token": TEXT,
    "uses_allowed": MAYBE_NUMBER,
    "pending": NUMBER,
    "completed": NUMBER,
    "expiry_time": MAYBE_NUMBER,
}
PRINTED: Mapping[str, Any] = {
    "user list": LIST,
    "user list --deactivated": LIST,
    "user list --locked": LIST,
    "user search": LIST,
    "user details": DETAILS,
    "user modify": DETAILS,
    "user membership --ids": {"joined_rooms": [TEXT], "total": NUMBER},
    "user whois": {"user_id": TEXT, "devices": {"": {"sessions": [{"connections": {list}}]}}},
    "user login": {"access_token": TEXT},
    "user password": {},
    "user shadow-ban": {},
    "user shadow-ban --unban": {},
    "user 3pid": {"user_id": TEXT},
    "user deactivate": {"id_server_unbind_result": TEXT},
    "user suspend": {},
    "user suspend --unsuspend": {},
    "regtok list": {"registration_tokens": [TOKEN]},
    "regtok list --valid": {"registration_tokens": [TOKEN]},
    "regtok new": TOKEN,
    "regtok details": TOKEN,
    "regtok update": TOKEN,
}


class UserCommands(Synadm):
    """What these commands print is a document after some text."""

    def run(self, command: str, *words: str) -> Any:
        text, warnings = self.output(command, words)
        assert warnings == ""
        answer = json.loads(text[text.rfind("\n{") + 1 :])
        assert differences(answer, PRINTED[command], command) == []
        return answer


@pytest.fixture(scope="module")
def site(build_site: BuildSite) -> Site:
    site = build_site("background")
    site.start("main", "background")
    return site


@pytest.fixture(scope="module")
def synadm(site: Site, tmp_path_factory: pytest.TempPathFactory) -> UserCommands:
    return UserCommands(tmp_path_factory.mktemp("synadm"), site.user("admin", admin=True))


@pytest.fixture(scope="module")
def alice(site: Site) -> User:
    return site.user("alice")


def names(answer: Any) -> list[str]:
    return [user["name"].partition(":")[0][1:] for user in answer["users"]]


def test_users_are_found_and_shown(synadm: UserCommands, alice: User) -> None:
    """Lists, searches, details, rooms, sessions."""
    assert names(synadm.run("user list")) == ["admin", "alice"]
    assert names(synadm.run("user search", "alic")) == ["alice"]
    room_id = create_room(alice)
    assert synadm.run("user details", alice.user_id)["displayname"] == "alice"
    assert synadm.run("user membership --ids", alice.user_id) == {"joined_rooms": [room_id], "total": 1}
    assert synadm.run("user whois", alice.user_id)["user_id"] == alice.user_id


def test_users_are_made_changed_and_closed(site: Site, synadm: UserCommands) -> None:
    """With all that can be set; what is set shows in the details."""
    user_id = f"@made:{SERVER}"
    words = (user_id, "--display-name", "Made", "--threepid", "email", "a@b.test")
    _, warnings = synadm.output("user modify", words)
    assert "404" in warnings  # it looks first whether there is such a user
    made = synadm.run("user details", user_id)
    assert (made["displayname"], made["threepids"][0]["address"]) == ("Made", "a@b.test")
    assert synadm.run("user 3pid", "a@b.test") == {"user_id": user_id}
    assert synadm.run("user modify", user_id, "--lock")["locked"] is True
    assert "made" in names(synadm.run("user list --locked"))
    changed = synadm.run("user modify", user_id, "--unlock", "--user-type", "bot", "--clear-threepids")
    assert (changed["locked"], changed["user_type"], changed["threepids"]) == (False, "bot", [])
    assert synadm.run("user deactivate", user_id) == {"id_server_unbind_result": "success"}
    assert "made" in names(synadm.run("user list --deactivated"))
    assert "made" not in names(synadm.run("user list"))
    assert synadm.run("user modify", user_id, "--activate", "-P", "a password")["deactivated"] is False


def test_users_are_moderated(site: Site, synadm: UserCommands, alice: User) -> None:
    """Suspended, shadow-banned, logged in as, given another password."""
    assert synadm.run("user suspend", alice.user_id) == {f"user_{alice.user_id}_suspended": True}
    assert synadm.run("user suspend --unsuspend", alice.user_id) == {f"user_{alice.user_id}_suspended": False}
    for command, banned in (("user shadow-ban", True), ("user shadow-ban --unban", False)):
        assert synadm.run(command, alice.user_id) == {}
        assert synadm.run("user details", alice.user_id)["shadow_banned"] is banned
    token = synadm.run("user login", alice.user_id)["access_token"]
    assert token != alice.access_token
    assert status_of(alice, "/_matrix/client/v3/account/whoami") == 200
    assert synadm.run("user password", alice.user_id, "--password", "new one", "--no-logout") == {}
    assert status_of(alice, "/_matrix/client/v3/account/whoami") == 200


def test_registration_tokens(synadm: UserCommands) -> None:
    """Made, listed, changed, deleted."""
    assert synadm.run("regtok new", "--token", "welcome", "--uses-allowed", "3")["uses_allowed"] == 3
    made = synadm.run("regtok new", "--length", "20")
    assert len(made["token"]) == 20
    assert synadm.run("regtok details", "welcome")["token"] == "welcome"
    assert synadm.run("regtok update", "welcome", "--uses-allowed", "-1")["uses_allowed"] is None
    assert synadm.run("regtok update", "welcome", "--uses-allowed", "0")["uses_allowed"] == 0
    assert len(synadm.run("regtok list")["registration_tokens"]) == 2
    assert synadm.run("regtok list --valid")["registration_tokens"] == [made]
    assert synadm.output("regtok delete", ("welcome",)) == ("Registration token successfully deleted.\n", "")
    assert synadm.run("regtok list")["registration_tokens"] == [made]
