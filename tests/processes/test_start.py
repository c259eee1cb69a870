"""A process that cannot start says so and ends, so that whoever supervises it can act."""

import socket

from tests.processes.conftest import BuildSite

CANNOT_START = 3


def test_a_port_that_is_taken_ends_the_process(build_site: BuildSite) -> None:
    """The exit code tells, the log names the cause, and no thread keeps the process alive."""
    site = build_site("main")
    with socket.socket() as other:
        other.bind(("127.0.0.1", site.port("main")))
        other.listen()
        process = site.launch("main")
        assert process.running.wait(30) == CANNOT_START
    assert "main cannot start" in process.log()
    assert "Address already in use" in process.log()
