"""Where a command's requests go."""

import pytest

from synapse_lite.cli.api import answers
from tests.healthy import healthy
from tests.ports import free_port


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_asked_directly(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all goes by a proxy, a new server is found all the same: `up` and `demo` wait for its answer."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with healthy() as server:
        assert answers(f"http://{host}:{server.server_port}/health")
        assert server.asked == ["/health"]


def test_others_are_asked_by_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """As every program does that heeds the environment."""
    with healthy() as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
        assert answers("http://hs.test/health")
        assert server.asked == ["http://hs.test/health"]
