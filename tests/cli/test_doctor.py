"""`doctor`, on real databases and real sockets."""

import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

import orjson
import psycopg2
import pytest
import yaml
from click.testing import Result

from synapse_lite.cli.doctor.findings import Level
from synapse_lite.cli.doctor.listeners import probe
from synapse_lite.config.listeners import Listener
from synapse_lite.config.losses import LOSSES
from synapse_lite.config.synapse_options import IGNORED
from synapse_lite.workers.keys import load_signing_key
from tests.cli.admin_server import run
from tests.rest.registered_services import registered


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass

    def address_string(self) -> str:
        return "a client"


@pytest.fixture
def port() -> Iterator[int]:
    """Of a server whose /health is well."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join(300)


def config_file(directory: Path, database: dict[str, Any], port: int, **others: Any) -> Path:
    listener = {"port": port, "type": "http", "resources": [{"names": ["client"]}]}
    options = {
        "server_name": "hs.test",
        "database": {"name": "psycopg2", "args": database, "allow_unsafe_locale": True},
        "listeners": [listener],
    }
    file = directory / "homeserver.yaml"
    file.write_text(yaml.safe_dump(options | others))
    return file


def execute(database: dict[str, Any], *statements: str) -> None:
    with closing(psycopg2.connect(**database)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


def runner(name: str, seconds: int) -> str:
    """A process whose lease ends in so many seconds."""
    return (
        "INSERT INTO task_runners (runner, name, started_at, expires_at)"
        f" VALUES ('{name}#1', '{name}', now_ms() - 9000, now_ms() + {seconds * 1000})"
    )


def checks(result: Result) -> list[dict[str, Any]]:
    """Those of the one JSON document on standard output."""
    assert result.stdout.count("\n") == 1
    document = orjson.loads(result.stdout)
    assert document["ok"] == (result.exit_code == 0)
    for check in document["checks"]:
        assert set(check) == {"check", "level", "summary", "details", "advice"}
        assert (check["advice"] is None) == (check["level"] == "ok")
    return document["checks"]


def worst(found: list[dict[str, Any]], check: str) -> dict[str, Any]:
    order = ["ok", "warning", "error"]
    return max((c for c in found if c["check"] == check), key=lambda c: order.index(c["level"]))


def test_all_is_well(tmp_path: Path, database_arguments: dict[str, Any], port: int) -> None:
    """A migrated database, a live process and an open port: exit code 0, and nothing but ok."""
    execute(database_arguments, runner("main", 3600))
    file = config_file(tmp_path, database_arguments, port, **registered(tmp_path))
    result = run("doctor", "-c", str(file), "--json")
    found = checks(result)
    assert {check["level"] for check in found} == {"ok"}, found
    assert {check["check"] for check in found} == {
        "config",
        "database",
        "clock",
        "schema",
        "owner",
        "runners",
        "startup",
        "synapse",
        "tasks",
        "followers",
        "listeners",
        "services",
    }
    shown = run("doctor", "-c", str(file))
    assert shown.exit_code == 0
    assert "0 errors, 0 warnings" in shown.stdout


def test_a_wrong_configuration_is_1(tmp_path: Path) -> None:
    """Every mistake is listed, in both forms, and nothing else is looked at."""
    file = tmp_path / "homeserver.yaml"
    file.write_text("server_name: hs.test\ndatabase: {name: sqlite3}\nlisteners: 7\n")
    result = run("doctor", "-c", str(file), "--json")
    assert result.exit_code == 1
    (check,) = checks(result)
    assert (check["check"], check["level"], len(check["details"])) == ("config", "error", 2)
    shown = run("doctor", "-c", str(file))
    assert shown.exit_code == 1
    assert "listeners: should be a list" in shown.stdout
    assert run("doctor").exit_code == 1


def test_options_without_effect_are_warnings(
    tmp_path: Path, database_arguments: dict[str, Any], port: int
) -> None:
    """Unknown ones and those of Synapse that are not implemented are named; the exit code stays 0."""
    execute(database_arguments, runner("main", 3600))
    file = config_file(
        tmp_path, database_arguments, port, enable_registraton=True, cas_config={"enabled": True}
    )
    result = run("doctor", "-c", str(file), "--json")
    assert result.exit_code == 0
    warnings = [check for check in checks(result) if check["level"] == "warning"]
    assert [check["details"] for check in warnings] == [
        ["enable_registraton"],
        ["cas_config: no login by CAS"],
    ]


def test_a_database_that_does_not_answer(tmp_path: Path, port: int) -> None:
    """It is one error, and the listeners are looked at all the same."""
    file = config_file(tmp_path, {"host": str(tmp_path), "dbname": "x"}, port)
    result = run("doctor", "-c", str(file), "--json")
    assert result.exit_code == 3
    found = checks(result)
    assert worst(found, "database")["level"] == "error"
    assert str(tmp_path) in worst(found, "database")["details"][0]
    assert worst(found, "listeners")["level"] == "ok"
    assert "> start PostgreSQL" in run("doctor", "-c", str(file)).stdout
    details = worst(found, "database")["details"]
    assert all(line.isprintable() and line == line.strip() for line in details), "a driver's tabs are shown"


def test_an_empty_database(tmp_path: Path, postgres: dict[str, Any], port: int) -> None:
    """It is said; the tables that migrations would make are not asked."""
    execute(postgres, "CREATE DATABASE doctor_empty TEMPLATE template0")
    file = config_file(tmp_path, {**postgres, "dbname": "doctor_empty"}, port)
    result = run("doctor", "-c", str(file), "--json")
    execute(postgres, "DROP DATABASE doctor_empty WITH (FORCE)")
    assert result.exit_code == 3
    schema = worst(checks(result), "schema")
    assert schema["summary"] == "the database is empty"
    assert "synapse-lite migrate" in schema["advice"]


def test_what_nobody_can_run_and_who_is_missing(
    tmp_path: Path, database_arguments: dict[str, Any], port: int
) -> None:
    """An unserved action names the process that knew it; names never seen, dead and unnamed ones are told apart."""
    execute(
        database_arguments,
        runner("main", 3600),
        runner("background1", -60),
        "INSERT INTO task_actions_seen (action, version, name, last_seen_at)"
        " VALUES ('purge_room', 2, 'background2', now_ms() - 5000)",
        "INSERT INTO scheduled_tasks (id, action, version, requester, endpoint, priority, run_at, params,"
        " max_attempts, created_at, updated_at) SELECT 'task' || n, 'purge_room', 2, '@a:b', 'x', 0, now_ms() - 90000,"
        " '{}', 1, 0, 0 FROM generate_series(1, 3) n",
    )
    named = ["background1", "background2", "bakground3"]
    file = config_file(tmp_path, database_arguments, port, run_background_tasks_on=named)
    result = run("doctor", "-c", str(file), "--json")
    assert result.exit_code == 3
    found = checks(result)
    tasks = worst(found, "tasks")
    assert tasks["level"] == "error"
    assert "purge_room v2: 3, the oldest for 1 min 3" in tasks["details"][0]
    assert "background2 could" in tasks["details"][0]
    by_level = {
        level.value: [c["summary"] for c in found if c["check"] == "runners" and c["level"] == level]
        for level in Level
    }
    assert by_level["ok"] == ["alive: main; tasks running: 0"]
    assert by_level["warning"] == [
        "not running now: background1, background2",
        "not named in the configuration, but running tasks: main",
    ]
    assert by_level["error"] == ["named to run tasks, but never seen: bakground3"]


def test_nobody_runs_tasks(tmp_path: Path, database_arguments: dict[str, Any], port: int) -> None:
    """Without a live process every task waits: that is an error; and so without one that is to push."""
    execute(database_arguments, runner("main", -1))
    file = config_file(tmp_path, database_arguments, port, pusher_instances=["pusher1"])
    result = run("doctor", "-c", str(file), "--json")
    assert result.exit_code == 3
    assert (
        worst(checks(result), "pushers")["summary"]
        == "nobody does it: pushing is for pusher1, not running now"
    )
    assert worst(checks(result), "runners")["summary"] == "no process runs tasks: all of them wait"


def test_losses_are_of_options_that_are_lost() -> None:
    """What has come to work since is not called lost."""
    assert not LOSSES.keys() - IGNORED


def test_a_listener_that_does_not_answer(tmp_path: Path, database_arguments: dict[str, Any]) -> None:
    """The process and the address are named; those of a worker are looked at when its file is given."""
    execute(database_arguments, runner("main", 3600))
    main = config_file(tmp_path, database_arguments, 1)
    worker = tmp_path / "worker.yaml"
    options = {"worker_app": "synapse_lite", "worker_name": "w1", "worker_listeners": []}
    worker.write_text(yaml.safe_dump(options))
    result = run("doctor", "-c", str(main), "--json")
    assert result.exit_code == 3
    assert worst(checks(result), "listeners")["summary"].startswith("main does not answer on localhost:1")
    of_worker = checks(run("doctor", "-c", str(main), "-c", str(worker), "--json"))
    assert worst(of_worker, "listeners")["summary"] == "w1 listens nowhere"


def test_sockets_and_strange_servers(tmp_path: Path, port: int) -> None:
    """A Unix socket is asked too; TLS to a server without it, and a file that is no socket, are problems."""
    path = tmp_path / "main.sock"
    listener = Listener.model_validate({"path": str(path), "type": "http"})
    with ThreadingUnixStreamServer(str(path), Health) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        assert probe(listener) is None
        server.shutdown()
        thread.join(300)
    assert probe(listener) is not None
    secure = Listener.model_validate(
        {"port": port, "type": "http", "tls": True, "bind_addresses": ["127.0.0.1"]}
    )
    assert "SSL" in (probe(secure) or "")


def test_whatever_keeps_the_server_from_starting(
    tmp_path: Path, database_arguments: dict[str, Any], port: int
) -> None:
    """Key, certificates, logging and directories are looked at as the server would use them, all of them at once."""
    (tmp_path / "signing.key").write_text("ed25519 a_1 nonsense")
    (tmp_path / "log.yaml").write_text(
        yaml.safe_dump({"version": 1, "handlers": {"file": {"class": "logging.NoSuchHandler"}}})
    )
    (tmp_path / "file").write_text("")
    file = config_file(
        tmp_path,
        database_arguments,
        port,
        signing_key_path=str(tmp_path / "signing.key"),
        log_config=str(tmp_path / "log.yaml"),
        media_store_path=str(tmp_path / "file" / "media"),
        tls_certificate_path=str(tmp_path / "fullchain.pem"),
        tls_private_key_path=str(tmp_path / "privkey.pem"),
        listeners=[{"port": port, "type": "http", "tls": True, "resources": [{"names": ["client"]}]}],
    )
    startup = worst(checks(run("doctor", "-c", str(file), "--json")), "startup")
    assert startup["level"] == "error"
    assert [line.partition(":")[0] for line in startup["details"]] == [
        "signing_key_path",
        str(tmp_path / "log.yaml"),
        "tls_certificate_path",
        "media_store_path",
    ]


def test_the_database_of_another_server(
    tmp_path: Path, database_arguments: dict[str, Any], port: int
) -> None:
    """The name or the key does not fit: the server would not start. A key that is gone is asked for."""
    file = config_file(tmp_path, database_arguments, port)

    def owner() -> dict[str, Any]:
        return worst(checks(run("doctor", "-c", str(file), "--json")), "owner")

    execute(
        database_arguments,
        "INSERT INTO server_identity (server_name, key_id, public_key) VALUES ('hs.test', 'ed25519:a_1', 'x')",
    )
    assert (owner()["level"], "put the file" in owner()["advice"]) == ("warning", True)
    load_signing_key(tmp_path / "hs.test.signing.key", "hs.test")
    assert (owner()["level"], "put that key back" in owner()["advice"]) == ("error", True)
    execute(database_arguments, "UPDATE server_identity SET server_name = 'other.test'")
    assert "belongs to other.test, not to hs.test" in owner()["advice"]
