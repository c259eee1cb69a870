"""What `doctor` finds out about application services, on real sockets."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from synapse_lite.cli.doctor.app_services import check_app_services
from synapse_lite.cli.doctor.findings import Finding, Level
from synapse_lite.config.model import Config
from tests.ports import free_port
from tests.rest.registered_services import registration


class Bridge(ThreadingHTTPServer):
    """Answers each request with `status`; `asked` are requests and their tokens, in order."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Bridge

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, self.headers["Authorization"]))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with Bridge() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join(300)


def found(*files: str, **options: Any) -> list[Finding]:
    given = {"server_name": "hs.test", "database": {"name": "psycopg2"}, "app_service_config_files": files}
    return list(check_app_services(Config.model_validate({**given, **options})))


@pytest.mark.parametrize(
    ("status", "level", "words"),
    [
        (200, Level.OK, "irc answers at http"),
        (404, Level.OK, "irc answers at http"),
        (405, Level.OK, "irc answers at http"),
        (403, Level.ERROR, "refuses the hs_token"),
        (502, Level.ERROR, "does not answer"),
    ],
)
def test_answers(tmp_path: Path, bridge: Bridge, status: int, level: Level, words: str) -> None:
    """One that knows no pings is there; one that knows another token would take nothing of ours."""
    bridge.status = status
    file = registration(tmp_path, url=f"{bridge.url}/below/")
    (finding,) = found(file)
    assert (finding.level, words in finding.summary) == (level, True)
    assert found(file, use_appservice_legacy_authorization=True)[0].level is level
    path = "/below/_matrix/app/v1/ping"
    assert bridge.asked == [(path, "Bearer hs_irc"), (f"{path}?access_token=hs_irc", "Bearer hs_irc")]


def test_who_cannot_be_reached(tmp_path: Path) -> None:
    """Nobody is there; one without an address is well, and without services there is nothing to say."""
    away = registration(tmp_path, "away", url=f"http://127.0.0.1:{free_port()}")
    wrong = registration(tmp_path, "wrong", url="http://127.0.0.1:x")
    levels = [one.level for one in found(away, wrong, registration(tmp_path, "mute"))]
    assert levels == [Level.ERROR, Level.ERROR, Level.OK]
    assert found() == []


def test_names_that_several_keep(tmp_path: Path) -> None:
    """Users and aliases, each kind for itself; names that are for all are no quarrel, nor is one service's twice."""
    kept, loose = ([{"regex": "[@#]x_.*", "exclusive": exclusive}] for exclusive in (True, False))
    first = registration(tmp_path, "a", namespaces={"users": kept * 2, "aliases": kept})
    second = registration(tmp_path, "b", namespaces={"users": loose, "aliases": kept})
    *_, finding = found(first, second)
    assert (finding.level, list(finding.details)) == (Level.WARNING, ["aliases [@#]x_.*: a, b"])
    assert [one.level for one in found(first)] == [Level.OK]


def test_files_that_changed(tmp_path: Path) -> None:
    """What is wrong with one is said as at the start of the server."""
    (finding,) = found(str(tmp_path / "none.yaml"))
    assert (finding.level, "none.yaml" in finding.details[0]) == (Level.ERROR, True)
