"""What the tests of commands share."""

from collections.abc import Iterator

import pytest

from tests.cli.admin_server import AdminServer


@pytest.fixture
def admin_server() -> Iterator[AdminServer]:
    """A server that answers nothing but what the test tells it to."""
    server = AdminServer()
    with server.listening():
        yield server
