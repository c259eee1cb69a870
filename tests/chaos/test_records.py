"""What is said of servers that do not agree."""

from attrs import evolve, frozen

from tests.chaos.records import ACCEPTED, REJECTED, Record, RoomRecords, explain

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
