"""A log that cannot be written."""

import io
import logging

import pytest

from synapse_lite.workers.log_trouble import AGAIN_SECONDS, LogTrouble


class FullDisk(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


def record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, "", 0, message, arguments, None)


def test_a_full_disk_is_told_once_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    """In a line, however much is logged and by how many handlers."""
    now = 1000.0
    trouble, handlers = LogTrouble(lambda: now), [logging.StreamHandler(FullDisk()) for _ in range(2)]
    for handler in handlers:
        trouble.watch(handler)
    for _ in range(5):
        for handler in handlers:
            handler.handle(record("hello"))
    line = "the log cannot be written, and goes on when it can: [Errno 28] No space left on device\n"
    assert capsys.readouterr().err == line
    now += AGAIN_SECONDS
    handlers[0].handle(record("hello"))
    assert capsys.readouterr().err == line


def test_a_mistake_of_ours_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler(FullDisk())
    LogTrouble().watch(handler)
    handler.handle(record("%d", "no number"))
    assert "Traceback" in capsys.readouterr().err
