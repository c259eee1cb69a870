"""Processes of one name hear of each other."""

import pytest

from synapse_lite.replication.bus import LocalBus
from synapse_lite.workers.namesakes import TOPIC, Namesakes


def test_both_say_so_once(caplog: pytest.LogCaptureFixture) -> None:
    """One of another name does not, nor does who is alone, or missed messages."""
    bus = LocalBus()
    old, other, new = Namesakes(bus, "main"), Namesakes(bus, "a name"), Namesakes(bus, "main")
    other.ask()
    bus.publish(TOPIC)
    assert caplog.records == []
    new.ask()
    assert ["is named main, too" in one.getMessage() for one in caplog.records] == [True, True]
    for process in (old, other, new):
        process.stop()
    caplog.clear()
    new.ask()
    assert caplog.records == []
