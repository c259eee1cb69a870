"""`synapse-lite up`, with real processes and its own PostgreSQL."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import psycopg2
import pytest
import yaml

from synapse_lite.cli.api import answers
from tests.ports import free_port
from tests.processes.harness import START, STOP, Process, Server, is_running, processes_of, wait_until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, "--server-name", "up.test") as server:
        yield server


def _postmaster(server: Server) -> int:
    return int((server.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])


def test_a_server_from_nothing_and_back(server: Server) -> None:
    """The first start gives an administrator and private files; a worker that is killed comes back; SIGTERM ends all."""
    assert server.ready["server_name"] == "up.test"
    assert server.ready["admin"]["user_id"] == "@admin:up.test"
    assert (
        server.request("GET", "/_matrix/client/v3/account/whoami", token=server.admin_token)["user_id"]
        == "@admin:up.test"
    )
    assert server.login("admin", server.ready["admin"]["password"])["user_id"] == "@admin:up.test"
    assert server.register("ada")["user_id"] == "@ada:up.test"
    for name in ("homeserver.yaml", "up.yaml", "registration_shared_secret", "workers/background1.yaml"):
        assert stat.S_IMODE((server.data_dir / name).stat().st_mode) == 0o600, name
    with closing(psycopg2.connect(**server.postgres)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) > 0 FROM schema_migrations")
        assert cursor.fetchone() == (True,)

    killed = server.ready["pids"]["background1"]
    os.kill(killed, signal.SIGKILL)
    restarted = server.wait_for_restart("background1", killed)
    assert is_running(restarted)

    postgres = _postmaster(server)
    pids = [server.pid("main"), restarted, postgres]
    assert server.stop() == 0
    assert not any(map(is_running, pids))
    assert not processes_of(server.data_dir)

    server.start()
    assert server.ready["admin"] is None
    assert server.login("ada")["user_id"] == "@ada:up.test"


def test_nothing_outlives_a_killed_supervisor(server: Server) -> None:
    """After SIGKILL of `up` its children and PostgreSQL end, and the next start finds the data."""
    pids = [*server.ready["pids"].values(), _postmaster(server)]
    server.kill()
    wait_until(lambda: not any(map(is_running, pids)), "the end of the children", STOP)
    wait_until(lambda: not processes_of(server.data_dir), "the end of PostgreSQL", STOP)
    server.start()
    assert server.ready["admin"] is None
    assert answers(f"{server.base_url}/health")


def test_a_data_directory_has_one_server_with_one_name(server: Server) -> None:
    """A second `up` is refused while the first runs, and the name of a server is for ever."""

    def up(*options: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "synapse_lite",
            "up",
            "--port",
            "0",
            "--data-dir",
            str(server.data_dir),
        ]
        return subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=START, check=False
        )

    second = up()
    assert second.returncode == 1
    assert "is in use by another" in second.stderr
    assert answers(f"{server.base_url}/health")

    server.stop()
    renamed = up("--server-name", "other.test")
    assert renamed.returncode == 1
    assert "its name cannot be changed to other.test" in renamed.stderr
    assert not processes_of(server.data_dir)


def test_the_files_of_an_operator_are_used_as_they_are(
    tmp_path: Path, database_arguments: dict[str, Any]
) -> None:
    """With -c and a database in it, no PostgreSQL is started, no administrator made, and its listener stands."""
    port = free_port()
    options = {
        "server_name": "mine.test",
        "database": {"name": "psycopg2", "args": database_arguments},
        "signing_key_path": str(tmp_path / "signing.key"),
        "media_store_path": str(tmp_path / "media"),
        "listeners": [{"port": port, "type": "http", "resources": [{"names": ["client"]}]}],
    }
    file = tmp_path / "homeserver.yaml"
    file.write_text(yaml.safe_dump(options))
    command = ["up", "--json", "--workers", "1", "--data-dir", str(tmp_path / "data"), "-c", str(file)]
    with Process("up", command, tmp_path) as process:
        ready = orjson.loads(process.line())
        assert (ready["server_name"], ready["admin"]) == ("mine.test", None)
        assert ready["base_url"] == f"http://localhost:{port}"
        assert ready["postgres"]["dbname"] == database_arguments["dbname"]
        assert not (tmp_path / "data" / "postgres").exists()
        assert process.stop() == 0
