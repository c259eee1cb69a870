"""A process that cannot start says so and ends, so that whoever supervises it can act."""

import socket
from pathlib import Path

import yaml

from tests.processes.conftest import BuildSite
from tests.processes.harness import START
from tests.processes.site import SERVER

CANNOT_START = 3
WRONG_CONFIGURATION = 1


def test_a_port_that_is_taken_ends_the_process(build_site: BuildSite) -> None:
    """The exit code tells, the log names the cause, and no thread keeps the process alive."""
    site = build_site("main")
    with socket.socket() as other:
        other.bind(("127.0.0.1", site.port("main")))
        other.listen()
        process = site.launch("main")
        assert process.running.wait(START) == CANNOT_START
    assert "main cannot start: listeners: Couldn't listen on" in process.log()
    assert "Address already in use" in process.log()
    assert "Traceback" not in process.log()
    assert "lost its connection" not in process.log(), "what ends with the process is no news"


def test_a_process_that_is_started_twice(build_site: BuildSite) -> None:
    """Does its work, and both say that there is another one."""
    site = build_site("main")
    site.start("main")
    site.move("main")
    site.start("main")
    said = "another process is named main, too"
    site.processes["main"].wait_for_log(f"(?s){said}.*{said}")


def test_the_database_of_another_server_is_refused(build_site: BuildSite) -> None:
    """A process with another name, or another key for the name, would sign as somebody else: it ends at once."""
    site = build_site("main")
    site.start("main")
    site.stop("main")
    original = site.homeserver_file.read_text()

    def refusal(configuration: str) -> str:
        site.homeserver_file.write_text(configuration)
        process = site.launch("main")
        assert process.running.wait(START) == WRONG_CONFIGURATION
        return process.log()

    assert f"belongs to {SERVER}, not to other.test" in refusal(original.replace(SERVER, "other.test"))
    assert "put that key back" in refusal(original.replace("signing.key", "another.key"))


def test_one_that_cannot_start_leaves_the_pid_file_of_the_other(
    build_site: BuildSite, tmp_path: Path
) -> None:
    """It tells whoever started it why, too, where the log goes to a file."""
    pid_file, description, log = (tmp_path / name for name in ("main.pid", "log.yaml", "main.log"))
    pid_file.write_text("4711\n")
    handler = {"class": "logging.FileHandler", "filename": str(log)}
    logging = {"version": 1, "handlers": {"file": handler}, "root": {"level": "INFO", "handlers": ["file"]}}
    description.write_text(yaml.safe_dump(logging))
    site = build_site("main", pid_file=str(pid_file), log_config=str(description))
    with socket.socket() as other:
        other.bind(("127.0.0.1", site.port("main")))
        other.listen()
        process = site.launch("main")
        assert process.running.wait(START) == CANNOT_START
    assert pid_file.read_text() == "4711\n"
    for told in (process.log(), log.read_text()):
        assert told.count("main cannot start: listeners: Couldn't listen on") == 1


def test_a_database_that_is_put_back_ends_the_process(build_site: BuildSite) -> None:
    """As a restore of a dump under running processes does: what they remember is of another past."""
    site = build_site("main")
    site.start("main")
    site.processes["main"].wait_for_log("main is ready")
    site.rows("UPDATE stream_position SET position = position - 1 RETURNING position")
    process = site.processes["main"]
    assert process.running.wait(START) == CANNOT_START
    assert process.log().count("the database was restored under this process") == 1
    assert "Traceback" not in process.log()
