"""The rooms of real Synapse become rooms of this server: its users read the same, and go on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Any
from urllib.parse import quote

import pytest
from attrs import frozen
from click.testing import CliRunner

from synapse_lite.cli import main
from synapse_lite.cli.api import call
from synapse_lite.cli.import_synapse import rooms
from synapse_lite.cli.import_synapse.target import Import
from synapse_lite.storage.database import Transaction
from tests.interop.synapse import Arguments, Synapse, synapse_database
from tests.processes.conftest import BuildSite, build_site
from tests.processes.site import SERVER, Site

__all__ = ["build_site", "synapse_database"]

quoted = partial(quote, safe="")
CLIENT = "/_matrix/client/v3"
VERSIONS = ("1", "2", "3", "6", "10", "11", "12")
NAMES = ("alice", "bob", "carol")


class Scene:
    """What three users do on Synapse."""

    def __init__(self, synapse: Synapse) -> None:
        self.synapse = synapse
        self.tokens = {name: synapse.register(name)["access_token"] for name in NAMES}
        self.rooms = [self._room(version) for version in VERSIONS]

    def do(self, name: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return self.synapse.request(method, CLIENT + path, body, self.tokens[name])

    def say(self, name: str, room: str, body: str, **more: Any) -> str:
        content = {"msgtype": "m.text", "body": body, **more}
        path = f"/rooms/{quoted(room)}/send/m.room.message/{abs(hash((room, body)))}"
        return str(self.do(name, "PUT", path, content)["event_id"])

    def _room(self, version: str) -> str:
        options = {
            "name": f"Room of version {version}",
            "room_version": version,
            "preset": "public_chat",
            "visibility": "public",
            "room_alias_name": f"version{version}",
        }
        room = str(self.do("alice", "POST", "/createRoom", options)["room_id"])
        place = f"/rooms/{quoted(room)}"
        for name in ("bob", "carol"):
            self.do(name, "POST", f"/join/{quoted(room)}", {})
        ids = [self.say("bob", room, f"message {number}") for number in range(12)]
        self.do("alice", "PUT", f"{place}/redact/{quoted(ids[1])}/{version}", {"reason": "spam"})
        self.do("bob", "PUT", f"{place}/redact/{quoted(ids[2])}/{version}", {})
        for topic in ("one", "two", "three"):
            self.do("alice", "PUT", f"{place}/state/m.room.topic", {"topic": topic})
        thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": ids[4]}}
        self.say("alice", room, "in the thread", **thread)
        self.say("carol", room, "more in the thread", **thread)
        annotation = {"m.relates_to": {"rel_type": "m.annotation", "event_id": ids[5], "key": "👍"}}
        self.do("carol", "PUT", f"{place}/send/m.reaction/r{version}", annotation)
        self.do("alice", "POST", f"{place}/receipt/m.read/{quoted(ids[8])}", {})
        self.do("bob", "POST", f"{place}/receipt/m.read.private/{quoted(ids[9])}", {})
        self.do("alice", "PUT", f"/user/@alice:{SERVER}{place}/tags/m.favourite", {"order": 0.25})
        self.do("alice", "PUT", f"/user/@alice:{SERVER}{place}/account_data/org.test", {"of": version})
        self.do("alice", "POST", f"{place}/kick", {"user_id": f"@carol:{SERVER}", "reason": "out"})
        self.say("bob", room, f"@alice:{SERVER} look", **{"m.mentions": {"user_ids": [f"@alice:{SERVER}"]}})
        return room


KEPT = {
    "events": "SELECT r.room_id, e.event_id, e.standing, p.event_id, array_length(e.auth_nids, 1), e.received_ts"
    " FROM events e JOIN rooms r USING (room_nid) LEFT JOIN events p ON p.event_nid = e.replaces_nid ORDER BY 1, 2",
    "order": "SELECT e.event_id FROM stream s JOIN rooms r USING (room_nid) JOIN events e USING (event_nid)"
    " WHERE s.kind = 1 ORDER BY r.room_id, s.position",
    "state": "SELECT r.room_id, c.type, c.state_key, e.event_id FROM current_state c JOIN rooms r USING (room_nid)"
    " JOIN events e USING (event_nid) ORDER BY 1, 2, 3",
    "members": "SELECT r.room_id, m.user_id, m.membership, m.forgotten FROM memberships m JOIN rooms r USING (room_nid)"
    " ORDER BY 1, 2",
    "ends": "SELECT r.room_id, e.event_id, r.depth FROM rooms r JOIN events e ON e.event_nid = ANY(r.extremities)"
    " ORDER BY 1, 2",
    "redactions": "SELECT e.event_id, x.redacts, x.applied FROM redactions x JOIN events e USING (event_nid) ORDER BY 1",
    "relations": "SELECT e.event_id, x.parent_id, x.rel_type FROM relations x JOIN events e USING (event_nid) ORDER BY 1",
    "summaries": "SELECT r.room_id, s.name, s.topic, s.joined, s.joined_local, s.invited, s.state_events"
    " FROM room_summary s JOIN rooms r USING (room_nid) ORDER BY 1",
    "notices": "SELECT e.event_id, n.thread_id, n.notifies, n.mentioned FROM notices n JOIN events e USING (event_nid) ORDER BY 1",
    "receipts": "SELECT user_id, receipt_type, thread_id, event_id, position IS NULL FROM receipts ORDER BY 4, 1, 2",
    "account data": "SELECT user_id, r.room_id, type, json FROM account_data LEFT JOIN rooms r USING (room_nid) ORDER BY 2, 1, 3",
    "aliases": "SELECT alias, creator FROM room_aliases ORDER BY 1",
}
"""What must be there, whatever the numbers."""


@frozen
class Moved:
    """Both servers, and what ours had of `KEPT` after the import."""

    scene: Scene
    site: Site
    kept: Mapping[str, list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def moved(
    build_site: BuildSite, tmp_path_factory: pytest.TempPathFactory, synapse_database: Arguments
) -> Iterator[Moved]:
    """Both servers, after the import."""
    directory = tmp_path_factory.mktemp("synapse")
    options = {"room_list_publication_rules": [{"action": "allow"}]}
    with Synapse(directory, server_name=SERVER, options=options, database=synapse_database) as synapse:
        scene = Scene(synapse)
        scene.do("carol", "POST", f"/rooms/{quoted(scene.rooms[0])}/forget", {})
        scene.do("bob", "POST", f"/rooms/{quoted(scene.rooms[1])}/leave", {})
        scene.do("alice", "POST", f"/rooms/{quoted(scene.rooms[2])}/invite", {"user_id": f"@carol:{SERVER}"})
        site = build_site("main")
        site.start("main")
        site.stop("main")
        command = ["import-synapse", *site.config_words("main"), "--database", synapse.database]
        synapse.wait_for_updates()
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
        kept = {what: site.rows(sql) for what, sql in KEPT.items()}
        site.start("main")
        yield Moved(scene, site, kept)


class KilledError(BaseException):
    """As if the process had ended there."""


def test_an_import_that_is_killed_goes_on(
    moved: Moved, build_site: BuildSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any transaction: what is there in the end is what is there without an interruption."""
    site = build_site("main")
    site.start("main")
    site.stop("main")
    monkeypatch.setattr(rooms, "EVENTS_AT_ONCE", 7)
    transaction, left = Import.transaction, 0

    @contextmanager
    def counted(self: Import, *, read_only: bool = False) -> Iterator[Transaction]:
        nonlocal left
        with transaction(self, read_only=read_only) as txn:
            yield txn
            if left == 0:
                raise KilledError
        left -= 1

    monkeypatch.setattr(Import, "transaction", counted)
    command = ["import-synapse", *site.config_words("main"), "--database", moved.scene.synapse.database]
    for steps in range(3, 1000):
        left = steps
        try:
            result = CliRunner().invoke(main, command)
        except KilledError:
            continue
        assert result.exit_code == 0, result.output
        break
    assert steps > 10
    for what, sql in KEPT.items():
        assert site.rows(sql) == moved.kept[what], what
    site.start("main")
    rooms_go_on(moved.scene, site)  # here, as the other tests compare the rooms of `moved` with Synapse's


def rooms_go_on(scene: Scene, site: Site) -> None:
    """In each something can be said, and what was said is found."""
    token = scene.tokens["alice"]
    for room in scene.rooms:
        place = f"{site.url()}{CLIENT}/rooms/{quoted(room)}"
        sent = call(
            "PUT", f"{place}/send/m.room.message/after", {"msgtype": "m.text", "body": "moved"}, token=token
        )
        read = call("GET", f"{place}/event/{quoted(sent['event_id'])}", None, token=token)
        assert read["content"]["body"] == "moved"
        call("PUT", f"{place}/state/m.room.topic", {"topic": "moved"}, token=token)
    found = call(
        "POST",
        f"{site.url()}{CLIENT}/search",
        {"search_categories": {"room_events": {"search_term": "thread"}}},
        token=token,
    )
    assert found["search_categories"]["room_events"]["count"] == 2 * len(scene.rooms)
    public = call("GET", f"{site.url()}{CLIENT}/publicRooms", None, token=token)
    assert {one["room_id"] for one in public["chunk"]} == set(scene.rooms)


def both(moved: Moved, name: str, path: str) -> tuple[Any, Any]:
    """The answers of Synapse and of ours."""
    scene, site = moved.scene, moved.site
    theirs = scene.do(name, "GET", path)
    return theirs, call("GET", site.url() + CLIENT + path, None, token=scene.tokens[name])


def bare(event: dict[str, Any]) -> dict[str, Any]:
    """Without what differs from moment to moment."""
    unsigned = event.get("unsigned", {})
    kept = {
        key: unsigned[key] for key in ("m.relations", "prev_content", "replaces_state") if key in unsigned
    }
    redacted = "redacted_because" in unsigned
    shown = {
        key: value
        for key, value in event.items()
        if key not in {"unsigned", "age", "user_id", "prev_content", "replaces_state", "redacted_because"}
    }
    return {**shown, "kept": sorted(kept), "redacted": redacted}


@pytest.mark.parametrize("number", range(len(VERSIONS)), ids=VERSIONS)
def test_history_and_state(moved: Moved, number: int) -> None:
    """Event by event, with what is redacted, and the state of the room."""
    place = f"/rooms/{quoted(moved.scene.rooms[number])}"
    theirs, ours = both(moved, "alice", f"{place}/messages?dir=b&limit=100")
    assert [bare(one) for one in ours["chunk"]] == [bare(one) for one in theirs["chunk"]]
    theirs, ours = both(moved, "alice", f"{place}/state")
    by_id = lambda one: one["event_id"]  # noqa: E731
    assert sorted(map(bare, ours), key=by_id) == sorted(map(bare, theirs), key=by_id)
    theirs, ours = both(moved, "alice", f"{place}/members")
    assert {one["state_key"]: one["content"] for one in ours["chunk"]} == {
        one["state_key"]: one["content"] for one in theirs["chunk"]
    }
    theirs, ours = both(moved, "alice", f"{place}/aliases")
    assert ours == theirs


@pytest.mark.parametrize("name", NAMES)
def test_first_sync(moved: Moved, name: str) -> None:
    """The same rooms, timelines, counts, receipts and account data."""
    lazy = quoted('{"room": {"state": {"lazy_load_members": true}}}')
    theirs, ours = both(moved, name, f"/sync?timeout=0&filter={lazy}")
    theirs, ours = theirs.get("rooms", {}), ours.get("rooms", {})
    assert {kind: sorted(rooms) for kind, rooms in ours.items() if rooms} == {
        kind: sorted(rooms) for kind, rooms in theirs.items() if rooms
    }
    for room, shown in theirs.get("join", {}).items():
        mine = ours["join"][room]
        assert mine["unread_notifications"] == shown["unread_notifications"], room
        for count in ("m.joined_member_count", "m.invited_member_count"):
            assert mine["summary"][count] == shown["summary"][count], room
        assert [one["event_id"] for one in mine["timeline"]["events"]] == [
            one["event_id"] for one in shown["timeline"]["events"]
        ]
        for part in ("account_data", "ephemeral"):
            key = lambda one: one["type"]  # noqa: E731
            assert sorted(mine[part]["events"], key=key) == sorted(shown[part]["events"], key=key), (
                room,
                part,
            )


@pytest.mark.parametrize("number", [0, 4, 6], ids=lambda number: VERSIONS[number])
def test_pages_go_on(moved: Moved, number: int) -> None:
    """A client remembers rooms with tokens of Synapse: of /sync, and of pages, in both directions."""
    room = moved.scene.rooms[number]
    place = f"/rooms/{quoted(room)}"
    latest = quoted('{"room": {"timeline": {"limit": 5}}}')
    synced = moved.scene.do("alice", "GET", f"/sync?timeout=0&filter={latest}")
    page = moved.scene.do("alice", "GET", f"{place}/messages?dir=b&limit=9")
    tokens = [synced["next_batch"], synced["rooms"]["join"][room]["timeline"]["prev_batch"], page["end"]]
    for token, direction in product(tokens, "bf"):
        theirs, ours = both(moved, "alice", f"{place}/messages?dir={direction}&limit=6&from={quoted(token)}")
        assert list(map(bare, ours["chunk"])) == list(map(bare, theirs["chunk"])), (token, direction)
    theirs, ours = both(moved, "alice", f"{place}/messages?dir=f&limit=50&from={tokens[2]}&to={tokens[1]}")
    assert list(map(bare, ours["chunk"])) == list(map(bare, theirs["chunk"])) != []
    theirs, ours = both(moved, "alice", f"{place}/members?at={quoted(tokens[2])}")
    assert {one["event_id"] for one in ours["chunk"]} == {one["event_id"] for one in theirs["chunk"]}


def test_a_client_goes_on(moved: Moved) -> None:
    """It comes with its old session, and the token of its last /sync: it is told all there is."""
    token = moved.scene.do("alice", "GET", "/sync?timeout=0")["next_batch"]
    url = f"{moved.site.url()}{CLIENT}/sync?timeout=30000&since={quoted(token)}"
    answer = call("GET", url, None, token=moved.scene.tokens["alice"])
    assert set(answer["rooms"]["join"]) == set(moved.scene.rooms)
