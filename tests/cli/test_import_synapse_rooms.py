"""`import-synapse`, the rooms' side, from a database as Synapse lays it out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from synapse_lite.cli.import_synapse import command, target
from synapse_lite.cli.import_synapse.target import Import
from synapse_lite.storage.database import Transaction
from tests.builders import ALICE, BOB
from tests.cli import synapse_accounts, synapse_rooms
from tests.cli.synapse_accounts import NOW
from tests.cli.synapse_rooms import ROOM, SynapseRoom, event_id
from tests.cli.test_import_synapse_accounts import Move

FAR = "@far:else.test"


class MoveRoom(Move):
    """With its users."""

    def write_room(self, room: SynapseRoom) -> None:
        rows = {**synapse_accounts.rows(), **room.end()}
        Path(self.source).unlink(missing_ok=True)
        synapse_accounts.write_sqlite(
            Path(self.source), rows, {**synapse_accounts.SCHEMA, **synapse_rooms.SCHEMA}
        )

    def take(self, room: SynapseRoom) -> list[str]:
        """What was left out."""
        self.write_room(room)
        result = self.run()
        assert result.exit_code == 0, result.output
        return sorted(line for line in result.stderr.splitlines() if "not valid" in line)

    def stored(self) -> list[str]:
        return [one for (one,) in self.rows("SELECT event_id FROM events ORDER BY event_nid")]


@pytest.fixture
def move(tmp_path: Path, database_arguments: dict[str, Any]) -> MoveRoom:
    return MoveRoom(tmp_path, database_arguments)


def test_events_that_cannot_be_read_or_stored(move: MoveRoom) -> None:
    """They are named; what stands beside them comes, and the room goes on."""
    room = SynapseRoom.begin()
    room.add("surrogate", text='{"content": {"body": "\\ud800"}}')
    room.add("list", text="[]")
    room.add("half", text="{")
    room.add("metadata", metadata="{")
    room.add("between")
    room.add("nul", "m.room.name", {"name": "a\0b"}, state_key="")
    room.add("relation", content={"m.relates_to": {"rel_type": "m.thread", "event_id": "$\0"}})
    room.add("redaction", "m.room.redaction", redacts="$\0")
    room.add("depth", depth=2**70)
    room.add("depths", depth="x")
    room.add("time", origin_server_ts="x")
    room.add("auth", auth_events=5)
    room.add("dicts", content={"m.relates_to": {"rel_type": ["m.thread"], "event_id": {}}, "membership": {}})
    room.add("body", content=5)
    room.add("membership", "m.room.member", {"membership": {}}, state_key=FAR)
    room.add(
        "key", "m.room.member", {"membership": "join", "displayname": "\0", "avatar_url": {}}, state_key=FAR
    )
    room.add("after")
    left = {"half", "list", "metadata", "surrogate", "redaction", "depth", "depths", "time", "auth", "body"}
    left_out = move.take(room)
    stored = move.stored()
    assert {event_id(name) for name in ("between", "after", "bob")} <= set(stored)
    assert [line.split(":")[2].strip() for line in left_out] == [f"${name}" for name in sorted(left)]
    assert move.rows("SELECT user_id FROM memberships ORDER BY 1") == [(ALICE,), (BOB,), (FAR,)]


def test_what_users_keep_of_a_room(move: MoveRoom) -> None:
    """What is broken is named, and left out; receipts of other servers' users come."""
    room = SynapseRoom.begin()
    data = [(ALICE, "m.good", '{"a": 1}'), (BOB, "m.bad", "{"), (FAR, "m.far", "{}")]
    room.rows["room_account_data"] = [
        {"user_id": user, "room_id": ROOM, "account_data_type": kind, "content": text}
        for user, kind, text in data
    ]
    tags = [(ALICE, "u.a", "{}"), (ALICE, "u.b", '{"order": 0.5}'), (BOB, "u.c", "[")]
    room.rows["room_tags"] = [
        {"user_id": user, "room_id": ROOM, "tag": tag, "content": text} for user, tag, text in tags
    ]
    receipts = [(FAR, "bob", '{"ts": 5}'), (BOB, "alice", "{"), (ALICE, "gone", '{"ts": 6}')]
    room.rows["receipts_linearized"] = [
        {"stream_id": number, "room_id": ROOM, "receipt_type": "m.read", "user_id": user, "event_id": event_id(name),
         "data": text}
        for number, (user, name, text) in enumerate(receipts)
    ]  # fmt: skip
    assert move.take(room) == [
        f"account data of rooms: not valid: {BOB} m.bad {ROOM}",
        f"account data of rooms: not valid: {BOB} m.tag {ROOM}",
        f"account data of rooms: not valid: {FAR} m.far {ROOM}",
        f"receipts: not valid: {BOB} m.read {event_id('alice')}",
    ]
    found = move.rows("SELECT user_id, type, json::jsonb FROM account_data WHERE room_nid > 0 ORDER BY 2")
    assert found == [
        (ALICE, "m.good", {"a": 1}),
        (ALICE, "m.tag", {"tags": {"u.a": {}, "u.b": {"order": 0.5}}}),
    ]
    told = move.rows("SELECT user_id, event_id, ts FROM receipts ORDER BY 3")
    assert told == [(FAR, event_id("bob"), 5), (ALICE, event_id("gone"), 6)]


def test_an_outlier_that_leans_on_the_history(move: MoveRoom) -> None:
    """It is a part of the states that name it, and its auth chain is whole in the end."""
    room = SynapseRoom.begin()
    room.add("far", "m.room.member", {"membership": "join"}, sender=FAR, state_key=FAR, auth=("create", "public"),
             is_outlier=True)  # fmt: skip
    room.state["m.room.member", FAR] = event_id("far")
    room.add("said")
    assert move.take(room) == []
    states = move.rows(
        "SELECT e.event_id FROM events said JOIN state_snapshots s ON s.snapshot_nid = said.after_nid"
        " CROSS JOIN unnest(s.event_nids) AS nid JOIN events e ON e.event_nid = nid"
        f" WHERE said.event_id = '{event_id('said')}'"
    )
    assert (event_id("far"),) in states
    chain = move.rows(
        "SELECT a.event_id FROM events e CROSS JOIN unnest(e.auth_nids) AS nid JOIN events a ON a.event_nid = nid"
        f" WHERE e.event_id = '{event_id('far')}' ORDER BY 1"
    )
    assert chain == [(event_id("create"),), (event_id("public"),)]


def test_reports(move: MoveRoom) -> None:
    """Under their old numbers, with the event as it is; of an event that is gone there is nothing to show."""
    room = SynapseRoom.begin()
    room.add("spam", content={"body": "buy"})
    by_bob = {"received_ts": NOW, "user_id": BOB, "reason": "bad"}
    of_event = {**by_bob, "room_id": ROOM, "content": '{"score": -100, "reason": "bad"}'}
    room.rows["event_reports"] = [
        {"id": 7, "event_id": event_id("spam"), **of_event},
        {"id": 8, "event_id": event_id("gone"), **of_event},
        {"id": 9, "event_id": event_id("spam"), **of_event, "reason": None, "content": "{}"},
    ]
    room.rows["room_reports"] = [{"id": 3, "room_id": ROOM, **by_bob}]
    room.rows["user_reports"] = [{"id": 4, "target_user_id": FAR, **by_bob}]
    assert move.take(room) == ["event reports: not valid: 8"]
    found = move.rows(
        "SELECT report_nid, received_ts, user_id, reason, room_id, sender, score, event::jsonb ->> 'event_id',"
        " event::jsonb -> 'content' FROM event_reports ORDER BY 1"
    )
    told = (ALICE, event_id("spam"), {"body": "buy"})
    assert found == [
        (7, NOW, BOB, "bad", ROOM, told[0], -100, *told[1:]),
        (9, NOW, BOB, None, ROOM, told[0], None, *told[1:]),
    ]
    assert move.rows("SELECT report_nid, user_id, reason, room_id FROM room_reports") == [
        (3, BOB, "bad", ROOM)
    ]
    of_users = "SELECT report_nid, user_id, reason, target_user_id FROM user_reports"
    assert move.rows(of_users) == [(4, BOB, "bad", FAR)]
    move.execute(
        f"INSERT INTO user_reports (received_ts, target_user_id, user_id, reason) VALUES (1, '{BOB}', '{ALICE}', '')"
    )
    assert move.rows("SELECT max(report_nid) FROM user_reports") == [(5,)]


def test_where_events_stood(move: MoveRoom) -> None:
    """As tokens of Synapse name it: also of what an import that was interrupted had not noted."""
    room = SynapseRoom.begin()
    room.add("said")
    move.take(room)
    stood = (
        "SELECT p.ordering, e.event_id FROM imported_places p JOIN stream s ON s.kind = 1 AND s.position = p.position"
        " JOIN events e USING (event_nid) ORDER BY 1"
    )
    places = [(n, event_id(name)) for n, name in enumerate(("create", "alice", "public", "bob", "said"), 1)]
    assert move.rows(stood) == places
    move.execute("DELETE FROM imported_places WHERE ordering > 2; DELETE FROM imported_parts")
    assert move.run().exit_code == 0
    assert move.rows(stood) == places


def test_a_room_that_is_done_is_not_read_again(move: MoveRoom) -> None:
    """By an import that goes on."""
    move.take(SynapseRoom.begin())
    move.execute("DELETE FROM imported_parts WHERE name = 'rooms'")
    result = move.run()
    assert result.exit_code == 0
    assert "rooms …" in result.stderr
    assert "events:" not in result.stdout


def test_it_says_how_far_it_is(move: MoveRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every few seconds; with so few events that is after each transaction."""
    monkeypatch.setattr(target, "TELL_SECONDS", 0)
    move.write_room(SynapseRoom.begin())
    told = move.run().stderr.splitlines()
    assert {"users: 3", "one-time keys: 3", "rooms: room 1 of 1, event 4 of 4"} <= set(told)


def test_only_parts_wait_for_the_disk(move: MoveRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other commits are lost in their order, and done again; the last of a part takes all before it with it."""
    commits: list[str] = []
    transaction = Import.transaction

    @contextmanager
    def seen(self: Import, *, read_only: bool = False) -> Iterator[Transaction]:
        with transaction(self, read_only=read_only) as txn:
            yield txn
            commits.append(txn.value("SHOW synchronous_commit"))

    monkeypatch.setattr(Import, "transaction", seen)
    move.take(SynapseRoom.begin())
    assert commits.count("on") == len(command.PARTS)
    assert commits[-1] == "on"
    assert len(commits) > 2 * len(command.PARTS)
