"""What is said of servers that do not agree."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing

from attrs import evolve, frozen

from tests.chaos.agreement import misjudged
from tests.chaos.records import (
    ACCEPTED,
    OUTLIER,
    REJECTED,
    SOFT_FAILED,
    Record,
    RoomRecords,
    explain,
    passed_over,
)

TOPIC = ("m.room.topic", "")
SAID = Record(ACCEPTED, "", "m.room.message", "@a:one", "a message", 1, {TOPIC: "$old"})


@frozen
class Told:
    records: RoomRecords

    def of(self, _room: str) -> RoomRecords:
        return self.records

    def waiting(self) -> int:
        return 0


def test_where_servers_differ() -> None:
    """Their ends, what waits, who refuses an event and why, who lacks one, and after which one their states differ."""
    refused = evolve(SAID, standing=REJECTED, reason="not in the room")
    one = RoomRecords(
        ["$b"], {"$a": SAID, "$b": evolve(SAID, depth=2, after={TOPIC: "$new"})}, ["staged: $c"]
    )
    other = RoomRecords(["$a"], {"$a": refused, "$b": evolve(SAID, depth=2)})
    third = RoomRecords(["$a"], {"$a": SAID})
    told = explain({"one": Told(one), "other": Told(other), "third": Told(third)}, "!room")
    assert told.splitlines() == [
        "one ends at $b",
        "other ends at $a",
        "third ends at $a",
        "one has staged: $c",
        "$a a message",
        "    one: accepted ",
        "    other: rejected not in the room",
        "    third: accepted ",
        "$b a message",
        "    one: accepted ",
        "    other: accepted ",
        "    third: unknown",
        "after $b a message",
        "    ('m.room.topic', ''): one $new, other $old",
    ]


def test_servers_that_agree() -> None:
    records = RoomRecords(["$a"], {"$a": SAID})
    assert (
        explain({"one": Told(records), "other": Told(records)}, "!room") == "one ends at $a\nother ends at $a"
    )


def judged(passed_over: tuple[str, ...] = (), **standings: str | None) -> Mapping[str, list[str]]:
    """Of a message of the moderator in a room of two servers of ours, and a Synapse that passes over these."""
    return misjudged(
        {
            name: RoomRecords(
                events={"$a": evolve(SAID, standing=standing)} if standing else {}, passed_over=passed_over
            )
            for name, standing in standings.items()
        },
        {SAID.sender},
        "synapse",
    )


def test_what_synapse_passes_over() -> None:
    """It may be unknown there, or an outlier, but neither refused nor hidden; nor may ours lack it; nor it, what it has not on record."""
    hole = ("$a",)
    for has in (None, OUTLIER):
        assert judged(hole, one=ACCEPTED, other=ACCEPTED, synapse=has)["synapse"] == []
        assert judged(("$b",), one=ACCEPTED, other=ACCEPTED, synapse=has)["synapse"] == ["lacks $a"]
        assert judged(hole, one=ACCEPTED, other=has, synapse=has)["other"] == ["lacks $a"]
    assert judged(hole, one=ACCEPTED, synapse=SOFT_FAILED)["synapse"] == ["does not show $a"]
    assert judged(hole, one=ACCEPTED, synapse=REJECTED)["synapse"][0] == "rejects $a"


def test_what_only_leads_to_what_synapse_passes_over() -> None:
    """It cannot be reached either, however much of it there is; unless it is on record as missing below something else."""
    said = {"$a": SAID, "$b": evolve(SAID, previous=["$a"]), "$c": evolve(SAID, previous=["$b"])}
    ours = RoomRecords(events={**said, "$d": evolve(SAID, previous=["$c"])})
    for missing, lacks in (
        (["$c"], []),
        (["$c", "$b"], ["lacks $a", "lacks $b"]),
        (["$c", "$a"], ["lacks $a"]),
    ):
        theirs = RoomRecords(
            events={"$d": evolve(SAID, previous=["$c"])}, missing=missing, passed_over=["$c"]
        )
        assert misjudged({"one": ours, "synapse": theirs}, {SAID.sender}, "synapse")["synapse"] == lacks


def test_what_may_be_soft_failed() -> None:
    """By anybody, what others than moderators say, and who is let in by whom; only Synapse may lack that."""
    for doubtful in (evolve(SAID, sender="@b:one"), evolve(SAID, kind="m.room.member")):
        has = RoomRecords(events={"$a": doubtful})
        hidden = RoomRecords(events={"$a": evolve(doubtful, standing=SOFT_FAILED)})
        lacking = RoomRecords()
        assert misjudged({"one": has, "other": hidden, "synapse": lacking}, {SAID.sender}, "synapse") == {
            "one": [], "other": [], "synapse": [],
        }  # fmt: skip
        judged = misjudged({"one": has, "other": lacking, "synapse": lacking}, {SAID.sender}, "synapse")
        assert judged["other"] == ["lacks $a"]


def test_what_is_below_redactions_only() -> None:
    """An event that is missing below anything else as well is fetched, as is one of another room."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(
            "CREATE TABLE event_backward_extremities (event_id, room_id);"
            "CREATE TABLE event_edges (event_id, prev_event_id);"
            "CREATE TABLE events (event_id, type, outlier);"
            "INSERT INTO event_backward_extremities VALUES ('$a', '!r'), ('$b', '!r'), ('$c', '!r'), ('$d', '!s');"
            "INSERT INTO event_edges VALUES ('$redacts', '$a'), ('$outside', '$a'), ('$redacts', '$b'), ('$says', '$b'),"
            " ('$says', '$c');"
            "INSERT INTO events VALUES ('$redacts', 'm.room.redaction', 0), ('$says', 'm.room.message', 0),"
            " ('$outside', 'm.room.message', 1);"
        )
        assert passed_over(connection, "!r") == ["$a"]
