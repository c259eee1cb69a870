"""The small commands and their exit codes."""

import hmac
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import orjson
import psycopg2
import pytest
import yaml
from click.testing import CliRunner, Result

from synapse_lite.cli import main
from synapse_lite.config.load import load
from synapse_lite.storage.migrate import available


def _run(*words: str | Path, text: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], input=text)


def _write(path: Path, options: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(options))
    return path


@pytest.fixture
def homeserver_file(tmp_path: Path) -> Path:
    options = {
        "server_name": "hs.test",
        "database": {"name": "psycopg2", "args": {"dbname": "x"}},
        "registration_shared_secret": "sesame",
    }
    return _write(tmp_path / "homeserver.yaml", options)


def test_help_explains_the_exit_codes() -> None:
    """A script's author finds them where they look first."""
    result = _run("--help")
    assert result.exit_code == 0
    assert "1    the configuration is wrong" in result.stdout
    assert "3    it failed" in result.stdout


def test_a_wrong_command_line_is_2() -> None:
    """Usage errors have the code that shells expect."""
    assert _run("up", "--no-such-option").exit_code == 2
    assert _run("register-user", "-u", "a", "-p", "b").exit_code == 2


@pytest.mark.parametrize("command", ["main", "worker", "migrate"])
def test_a_wrong_configuration_is_1(command: str, tmp_path: Path) -> None:
    """Every mistake is on standard error, with its file and option."""
    file = _write(
        tmp_path / "wrong.yaml", {"server_name": "hs.test", "database": {"name": "sqlite3"}, "listeners": 7}
    )
    result = _run(command, "-c", file)
    assert result.exit_code == 1
    assert f"{file}: database.name: sqlite3 is not supported" in result.stderr
    assert f"{file}: listeners: should be a list" in result.stderr
    assert not result.stdout


def test_main_and_worker_refuse_each_other(homeserver_file: Path, tmp_path: Path) -> None:
    """The configuration of a worker does not start a second main process, nor the other way round."""
    worker = _write(tmp_path / "w.yaml", {"worker_app": "synapse.app.generic_worker", "worker_name": "w1"})
    assert "is required in the configuration of a worker" in _run("worker", "-c", homeserver_file).stderr
    result = _run("main", "-c", homeserver_file, "-c", worker)
    assert result.exit_code == 1
    assert "is the configuration of worker w1" in result.stderr


def test_generate_config_prints_what_can_be_loaded(tmp_path: Path) -> None:
    """The file is complete, has the given name, keeps data where asked, and is never overwritten."""
    file = tmp_path / "homeserver.yaml"
    words = ("generate-config", "-H", "example.com", "--data-dir", tmp_path / "data", "--report-stats", "yes")
    assert _run(*words, "-o", file).exit_code == 0
    config = load([file], {})
    assert config.server_name == "example.com"
    assert config.media_store_path == tmp_path / "data" / "media_store"
    assert config.report_stats is True
    assert _run(*words).stdout == file.read_text()
    again = _run(*words, "-o", file)
    assert again.exit_code == 1
    assert "exists already" in again.stderr
    assert "'@'" in _run("generate-config", "-H", "@").stderr


def test_migrate_brings_an_empty_database_up_to_date(postgres: dict[str, Any], tmp_path: Path) -> None:
    """The first run names the migrations, the second has nothing to do."""
    connection = psycopg2.connect(**postgres)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE cli_migrate TEMPLATE template0")
        database = {"name": "psycopg2", "args": {**postgres, "dbname": "cli_migrate"}}
        file = _write(tmp_path / "hs.yaml", {"server_name": "hs.test", "database": database})
        assert _run("migrate", "-c", file).stdout.split() == available()
        assert _run("migrate", "-c", file).stdout == "The schema is up to date.\n"
        cursor.execute("DROP DATABASE cli_migrate WITH (FORCE)")
    connection.close()


def test_a_database_that_does_not_answer_is_3(tmp_path: Path) -> None:
    """What went wrong is one message, without a traceback."""
    database = {"name": "psycopg2", "args": {"host": str(tmp_path), "dbname": "x"}}
    file = _write(tmp_path / "hs.yaml", {"server_name": "hs.test", "database": database})
    result = _run("migrate", "-c", file)
    assert result.exit_code == 3
    assert str(tmp_path) in result.stderr
    assert "Traceback" not in result.stderr


@attrs.define
class Registrar:
    """A server that checks the MAC and knows the user `taken`."""

    url: str = ""
    bodies: list[dict[str, Any]] = attrs.Factory(list)

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.bodies.append(body)
        words = ["n0", body["username"], body["password"], "admin" if body["admin"] else "notadmin"]
        words += [body["user_type"]] if "user_type" in body else []
        if body["mac"] != hmac.digest(b"sesame", "\0".join(words).encode(), "sha1").hex():
            return 403, {"errcode": "M_UNKNOWN", "error": "HMAC incorrect"}
        if body["username"] == "taken":
            return 400, {"errcode": "M_USER_IN_USE", "error": "User ID already taken."}
        return 200, {"user_id": f"@{body['username']}:hs.test", "access_token": "syt_x"}


@pytest.fixture
def registrar() -> Iterator[Registrar]:
    registrar = Registrar()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(200, {"nonce": "n0"})

        def do_POST(self) -> None:
            body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._send(*registrar.answer(body))

        def log_message(self, *_: Any) -> None:
            pass

        def _send(self, status: int, body: dict[str, Any]) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(orjson.dumps(body))

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        registrar.url = f"http://127.0.0.1:{server.server_port}"
        yield registrar
        server.shutdown()
        thread.join(300)


def test_register_user_with_the_secret_of_the_configuration(
    registrar: Registrar, homeserver_file: Path
) -> None:
    """The MAC covers name, password, admin and type, and the user's ID is printed."""
    words = ("register-user", "-u", "ada", "-p", "pass", "-a", "-t", "bot", "-c", homeserver_file)
    result = _run(*words, registrar.url)
    assert (result.exit_code, result.stdout) == (0, "Registered @ada:hs.test\n")
    assert registrar.bodies[0]["admin"] is True


def test_register_user_asks_for_what_is_missing(registrar: Registrar) -> None:
    """Name and password may be typed; nobody becomes an admin by accident."""
    result = _run("register-user", "-k", "sesame", registrar.url, text="ada\npass\npass\n")
    assert result.exit_code == 0
    assert registrar.bodies[0] | {"mac": ""} == {
        "nonce": "n0",
        "username": "ada",
        "password": "pass",
        "admin": False,
        "mac": "",
    }


def test_a_user_that_exists_is_an_error_unless_told_otherwise(registrar: Registrar) -> None:
    """`--exists-ok` makes the command repeatable."""
    words = ("register-user", "-u", "taken", "-p", "pass", "-k", "sesame", registrar.url)
    refused = _run(*words)
    assert refused.exit_code == 3
    assert "M_USER_IN_USE" in refused.stderr
    assert _run(*words, "--exists-ok").exit_code == 0


def test_register_user_reports_what_the_server_says(registrar: Registrar) -> None:
    """A wrong secret, a wrong address and a server that is not there are exit code 3 with a reason."""
    user = ("register-user", "-u", "ada", "-p", "pass", "-k")
    assert "HMAC incorrect" in _run(*user, "wrong", registrar.url).stderr
    assert "should start with http" in _run(*user, "sesame", "file:///etc/passwd").stderr
    gone = _run(*user, "sesame", "http://127.0.0.1:1")
    assert gone.exit_code == 3
    assert "refused" in gone.stderr
