"""`synapse-lite demo`: with real processes, and what its proof finds."""

import signal
from pathlib import Path
from typing import Any

import orjson
import pytest

from synapse_lite.cli.demo.reading import Reading, examine
from synapse_lite.cli.demo.redaction import Redaction
from synapse_lite.cli.demo.report import find_problems
from synapse_lite.cli.demo.traffic import Plan, Room, Stance
from tests.processes.harness import STOP, Process, processes_of, wait_until

SPAMMER, OWNER = "@spammer:demo.test", "@owner:demo.test"
MARKER = "spam1234"
WORKERS = ["background1", "background2"]


def _event(type_: str = "m.room.message", sender: str = SPAMMER, **fields: Any) -> dict[str, Any]:
    return {"event_id": "$it", "type": type_, "sender": sender, "content": {}, **fields}


REDACTED = {"unsigned": {"redacted_because": {"type": "m.room.redaction"}}}
WELCOME = _event(sender=OWNER, content={"body": "Welcome!"})
CLEAN = [
    WELCOME,
    _event(**REDACTED),
    _event("m.room.member", state_key=SPAMMER, content={"membership": "join"}, **REDACTED),
    _event("m.room.member", state_key=SPAMMER, content={"membership": "leave"}),
    _event("m.room.redaction", content={"reason": "spam"}, redacts="$it"),
]


def test_a_spammer_is_redacted_by_a_worker_and_nothing_is_left(tmp_path: Path) -> None:
    """The report is one JSON object that says who did it, how much and how fast; no process outlives the demo."""
    data = tmp_path / "data"
    words = ["demo", "--json", "--messages", "100", "--rooms", "5", "--data-dir", str(data)]
    with Process("demo", words, tmp_path) as process:
        report = orjson.loads(process.line())
        assert process.running.wait(STOP) == 0
        assert process._lines.get(timeout=STOP) == "", "there is more than one line"
    assert (report["ok"], report["problems"], report["readable"]) == (True, [], 0)
    assert report["workers"] == WORKERS
    assert len(report["runners"]) == 1
    assert set(report["runners"]) < set(WORKERS)
    assert (report["messages"], report["redactions"], report["failed_redactions"]) == (100, 105, 0)
    assert [room["spammer"] for room in report["rooms"]] == ["banned", "left", "joined", "joined", "joined"]
    assert all((room["messages"], room["redacted"]) == (20, 21) for room in report["rooms"])
    assert all(room["issuer"].startswith("@spammer") for room in report["rooms"])
    assert report["events_read"] > 205
    assert min(report[key] for key in ("seconds", "sends_per_second", "redactions_per_second")) > 0
    assert not processes_of(data)


def test_an_interrupted_demo_stops_everything(tmp_path: Path) -> None:
    """SIGINT while messages are being sent ends all processes; the exit code says that nothing was proved."""
    data = tmp_path / "data"
    words = ["demo", "--messages", "100000", "--workers", "1", "--data-dir", str(data)]
    with Process("demo", words, tmp_path) as process:
        process.wait_for_log("Sending messages")
        process.running.send_signal(signal.SIGINT)
        assert process.running.wait(STOP) == 3
        assert "stopped by SIGINT before the end" in process.log()
    wait_until(lambda: not processes_of(data), "the end of PostgreSQL", STOP)


def test_a_redacted_room_has_nothing_readable() -> None:
    """What redaction leaves is not content, and what others wrote is theirs."""
    assert examine(CLEAN, SPAMMER, MARKER) == Reading(events=5, messages=1, redacted=2, others=1, readable=())


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(_event(content={"body": "Buy"}), id="content"),
        pytest.param(_event(content={"body": "Buy"}, **REDACTED), id="content of a redacted event"),
        pytest.param(_event(), id="not redacted"),
        pytest.param(
            _event("m.room.member", state_key=SPAMMER, content={"membership": "join"}), id="join not redacted"
        ),
        pytest.param(
            _event(
                "m.room.member",
                state_key=SPAMMER,
                content={"membership": "join", "displayname": "x"},
                **REDACTED,
            ),
            id="name in a join",
        ),
        pytest.param(
            _event(
                "m.room.member",
                OWNER,
                state_key=SPAMMER,
                content={"membership": "ban"},
                unsigned={"prev_content": {"displayname": MARKER}},
            ),
            id="name in the previous content",
        ),
    ],
)
def test_whatever_can_be_read_is_found(event: dict[str, Any]) -> None:
    """Content, a name, or an event that was forgotten."""
    assert examine([*CLEAN, event], SPAMMER, MARKER).readable == ("$it",)


def _problems(reading: Reading, *, failed: dict[str, str] | None = None, runner: str = WORKERS[0]) -> str:
    redaction = Redaction("task", 1.0, 2, {}, failed or {})
    rooms = [Room("!room", Stance.BANNED, 1)]
    return "\n".join(find_problems(rooms, [reading], redaction, workers=WORKERS, runners=[runner]))


def test_each_fault_is_a_problem() -> None:
    """Readable, missing, harmed, miscounted, failed, or run where no task should run."""
    good = Reading(events=5, messages=1, redacted=2, others=1, readable=())
    assert not _problems(good)
    assert "still readable in !room: $a" in _problems(Reading(5, 1, 2, 1, ("$a",)))
    assert "1 messages sent to !room, 0 read back" in _problems(Reading(5, 0, 2, 1, ()))
    assert "the owner's message in !room cannot be read" in _problems(Reading(5, 1, 2, 0, ()))
    assert "2 events redacted, but 1 found to be" in _problems(Reading(5, 1, 1, 1, ()))
    assert "could not be redacted: $b" in _problems(good, failed={"$b": "M_FORBIDDEN"})
    assert "run by main, not by background1, background2" in _problems(good, runner="main")


def test_every_message_has_a_room() -> None:
    """Messages are shared out evenly, and a single room is one from which the spammer was banned."""
    assert Plan(rooms=3, messages=10).shares() == [4, 3, 3]
    assert Plan(rooms=1, messages=10).stances() == [Stance.BANNED]
