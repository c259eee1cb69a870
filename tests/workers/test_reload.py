"""What SIGHUP asks for, part by part."""

import logging

import pytest

from synapse_lite.errors import ConfigError
from synapse_lite.workers.reload import Reload


def test_a_mistake_keeps_no_other_part_back(caplog: pytest.LogCaptureFixture) -> None:
    """It is told; that all was read anew is only said where it is so."""
    caplog.set_level(logging.INFO)
    done: list[str] = []

    def fail() -> None:
        if not done:
            raise ConfigError("log.yaml: 5")

    reload = Reload(None, fail, lambda: done.append("certificates"))
    reload.reload()
    assert done == ["certificates"]
    assert caplog.messages == ["SIGHUP: what was in force remains: log.yaml: 5"]
    reload.reload()
    assert caplog.messages[1:] == ["SIGHUP: the log configuration and the certificates are read anew"]
