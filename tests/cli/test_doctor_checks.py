"""What the checks of `doctor` make of what they find."""

from typing import Any

import pytest

from synapse_lite.cli.doctor.database import Skew, check_clock, check_facts, check_schema
from synapse_lite.cli.doctor.duties import check_duties, named_for_duties
from synapse_lite.cli.doctor.engine import check_followers, check_passed_over
from synapse_lite.cli.doctor.findings import Finding, Level
from synapse_lite.config.model import Config
from synapse_lite.storage.diagnosis import DatabaseFacts
from synapse_lite.storage.tasks import FollowerState, PassedOver


@pytest.mark.parametrize(
    ("ahead_ms", "uncertainty_ms", "level"),
    [
        (0, 0, Level.OK),
        (900, 0, Level.OK),
        (1900, 1000, Level.OK),
        (-5000, 0, Level.WARNING),
        (120_000, 0, Level.ERROR),
    ],
)
def test_clocks(ahead_ms: float, uncertainty_ms: float, level: Level) -> None:
    """A slow answer is not taken for a wrong clock."""
    assert check_clock(Skew(ahead_ms, uncertainty_ms)).level is level


def test_the_direction_of_the_skew() -> None:
    """Which of the two clocks is ahead is what the operator must know."""
    assert "5 s behind that of this machine" in check_clock(Skew(-5000, 0)).summary
    assert "5 s ahead of that of this machine" in check_clock(Skew(5000, 0)).summary


def facts(version: int = 160_004, encoding: str = "UTF8", locale: str = "C") -> DatabaseFacts:
    return DatabaseFacts(version, f"{version // 10_000}.4", encoding, locale, locale, 0)


@pytest.mark.parametrize(
    ("found", "level", "words"),
    [
        (facts(), Level.OK, "PostgreSQL 16.4"),
        (facts(version=130_004), Level.ERROR, "13.4 is too old"),
        (facts(encoding="LATIN1"), Level.ERROR, "encoding is LATIN1"),
        (facts(locale="de_DE.UTF-8"), Level.WARNING, "locale is de_DE.UTF-8"),
    ],
)
def test_the_fitness_of_the_database(found: DatabaseFacts, level: Level, words: str) -> None:
    """Version and encoding are required, the locale is advice."""
    (finding,) = check_facts(found, any_locale=False)
    assert finding.level is level
    assert words in finding.summary


def test_an_unsafe_locale_may_be_allowed() -> None:
    """`allow_unsafe_locale` means that the operator knows."""
    (finding,) = check_facts(facts(locale="de_DE.UTF-8"), any_locale=True)
    assert finding.level is Level.OK


def test_migrations_that_are_missing() -> None:
    """They are named."""
    finding: Finding = check_schema(["0001_a.sql"], ["0001_a.sql", "0002_b.sql"])
    assert (finding.level, finding.details) == (Level.ERROR, ["0002_b.sql"])


def test_a_database_of_synapse() -> None:
    """It is not called empty: a migration would break it, and the server refuses it."""
    finding: Finding = check_schema([], ["0001_a.sql"], ["access_tokens", "applied_schema_deltas"])
    assert (finding.level, finding.details) == (Level.ERROR, ())
    assert finding.summary == "it has 2 tables of Synapse, such as access_tokens"


def test_a_database_that_is_ahead() -> None:
    """Migrations of a newer program keep this one from starting."""
    finding: Finding = check_schema(["0001_a.sql", "0009_new.sql"], ["0001_a.sql"])
    assert (finding.level, finding.details) == (Level.ERROR, ["0009_new.sql"])


def follower(**more: Any) -> FollowerState:
    usual: dict[str, Any] = {"name": "push", "shard": 0, "position": 5, "lag": 0, "slowest": True}
    usual |= {"owner": "w#1", "owner_alive": True, "attempt": 0, "error": None, "paused": False}
    return FollowerState(**{**usual, "updated_at_ms": 1, **more})


@pytest.mark.parametrize(
    ("found", "level", "words"),
    [
        ([], Level.OK, "0 changes"),
        ([follower(lag=3)], Level.OK, "3 changes"),
        ([follower(owner_alive=None)], Level.OK, "0 changes"),
        ([follower(lag=3, owner=None, owner_alive=None, paused=True)], Level.WARNING, "push/0"),
        ([follower(lag=3, owner_alive=False)], Level.WARNING, "push/0"),
        ([follower(lag=3, error="KeyError", attempt=4)], Level.ERROR, "push/0"),
    ],
)
def test_followers(found: list[FollowerState], level: Level, words: str) -> None:
    """One that nobody runs holds up the trimming of the stream; one that fails is an error."""
    (finding,) = check_followers(found)
    assert finding.level is level
    assert words in finding.summary


def test_changes_that_were_passed_over() -> None:
    """They are named, for a week."""
    one = PassedOver("push", 0, 7, "!a:hs.test", "$b", "KeyError in f, line 1", 0)
    (finding,) = check_passed_over(12, [one], 60_000)
    assert (finding.level, finding.summary[:3]) == (Level.WARNING, "12 ")
    assert finding.details == ["push/0, 1 min ago: $b in !a:hs.test: KeyError in f, line 1"]
    assert [*check_passed_over(0, [], 0)] == []


def duties(connected: set[str], **options: Any) -> dict[str, Finding]:
    written = {"server_name": "hs.test", "database": {"name": "psycopg2"}, **options}
    config = Config.model_validate(written)
    assert connected <= set(named_for_duties(config))
    return {finding.check: finding for finding in check_duties(config, connected)}


def test_who_is_to_push_and_to_send() -> None:
    """Those named and not connected are told: all of them absent, nobody does it."""
    named: dict[str, Any] = {"pusher_instances": ["p1", "p2"], "federation_sender_instances": ["s1"]}
    found = duties({"p1"}, **named)
    assert found["pushers"].level is Level.WARNING
    assert found["pushers"].summary == "not running now: p2; the others do their share of pushing"
    assert found["senders"].level is Level.ERROR
    assert found["senders"].summary == "nobody does it: sending to other servers is for s1, not running now"
    assert found["senders"].advice == "start them, or take them out of federation_sender_instances"
    found = duties({"p1", "p2", "s1"}, **named)
    assert {finding.level for finding in found.values()} == {Level.OK}
    assert set(duties({"s1"}, **named, push={"enabled": False})) == {"senders"}
    assert duties(set()) == {}
