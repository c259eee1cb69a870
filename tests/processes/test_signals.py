"""What a running process does with signals, and tells who runs it."""

import logging
import signal
import socket
from pathlib import Path
from typing import Any

import yaml

from synapse_lite.workers.service_manager import READY, STOPPING
from tests.processes.conftest import BuildSite
from tests.processes.harness import wait_until


def log_config(file: Path, level: str) -> dict[str, Any]:
    handler = {"class": "logging.FileHandler", "filename": str(file)}
    return {"version": 1, "handlers": {"file": handler}, "root": {"level": level, "handlers": ["file"]}}


def test_sighup_reads_the_log_configuration_anew(build_site: BuildSite, tmp_path: Path) -> None:
    """Logs go elsewhere from then on; a file with a mistake changes nothing, and the process goes on in any case.

    What is logged at start says who runs the background tasks; the process id is in a file, whose directory is made.
    """
    description, first, second = (tmp_path / name for name in ("log.yaml", "first.log", "second.log"))
    description.write_text(yaml.safe_dump(log_config(first, "INFO")))
    pid_file = tmp_path / "made" / "main.pid"
    site = build_site("elsewhere", log_config=str(description), pid_file=str(pid_file))
    site.start("main")
    process = site.processes["main"].running
    assert pid_file.read_text().strip() == str(process.pid)
    assert "elsewhere: background tasks (run_background_tasks_on: elsewhere)" in first.read_text()
    description.write_text("handlers: [")
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: "what was in force remains" in first.read_text(), "the mistake is told")
    description.write_text(yaml.safe_dump(log_config(second, "NOLEVEL")))
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: "NOLEVEL" in first.read_text(), "the other mistake is told")
    description.write_text(yaml.safe_dump(log_config(second, logging.getLevelName(logging.INFO))))
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: second.exists() and "SIGHUP" in second.read_text(), "the second file is written")
    site.stop("main")
    assert "main stops" in second.read_text()


def test_a_service_manager_hears_of_start_and_stop(
    build_site: BuildSite, tmp_path: Path, monkeypatch: Any
) -> None:
    """`Type=notify` of systemd."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        site = build_site("main")
        site.start("main")
        assert manager.recv(100) == READY.encode()
        site.stop("main")
        assert manager.recv(100) == STOPPING.encode()
