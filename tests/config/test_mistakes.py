"""What is wrong in a configuration, and how that is told."""

import pytest

from synapse_lite.config.load import load
from synapse_lite.config.media import S3_MODULE
from synapse_lite.errors import ConfigError
from tests.config.files import SMALL


def mistakes(*paths):
    with pytest.raises(ConfigError) as caught:
        load(paths, {})
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("allowed_lifetime_min: 2d, allowed_lifetime_max: 1d", "retention.allowed_lifetime_max"),
        (
            "purge_jobs: [{shortest_max_lifetime: 3d, longest_max_lifetime: 3d}]",
            "retention.purge_jobs[0].longest_max_lifetime",
        ),
        ("purge_jobs: [{interval: 999}]", "retention.purge_jobs[0].interval"),
        ("default_policy: {max_lifetime: soon}", "retention.default_policy.max_lifetime"),
    ],
)
def test_mistakes_in_retention(write, text, place):
    """Each is told with its place."""
    (mistake,) = mistakes(write(SMALL + f"retention: {{{text}}}\n"))
    assert place in mistake


def test_every_mistake_at_once(write):
    """One run names every mistake, each on its line, with file and place."""
    path = write("""\
server_name: "not a name"
public_baseurl: example.com
listeners:
  - {port: 8008, path: /x, type: http}
  - {port: 8009, type: replication}
  - {port: 8010, type: http, resources: [{names: [clients]}]}
  - {type: http, port: 99999}
database: {name: sqlite3, args: {cp_max: 0}}
max_upload_size: big
bcrypt_rounds: 2
enable_registration: true
forget_rooms_on_leave: maybe
rc_login: {account: {per_second: 0}}
password_config: {enabled: sometimes, policy: {minimum_length: -1}}
run_background_tasks_on: []
worker_name: extra
tasks: {lease: 10ms}
registration_shared_secret: a
registration_shared_secret_path: b
redaction_retention_period: 7 days
auto_join_rooms: yes
password_providers: 7
""")
    found = dict(line.removeprefix(f"{path}: ").split(": ", 1) for line in mistakes(path))
    assert set(found) == {
        "server_name",
        "public_baseurl",
        "listeners[0]",
        "listeners[1].type",
        "listeners[2].resources[0].names[0]",
        "listeners[3].port",
        "database.name",
        "database.args.cp_max",
        "max_upload_size",
        "bcrypt_rounds",
        "enable_registration_without_verification",
        "forget_rooms_on_leave",
        "rc_login.account.per_second",
        "password_config.enabled",
        "password_config.policy.minimum_length",
        "run_background_tasks_on",
        "worker_name",
        "tasks.lease",
        "registration_shared_secret_path",
        "redaction_retention_period",
        "auto_join_rooms",
    }
    assert found["listeners[0]"] == "should have exactly one of port and path"
    assert found["auto_join_rooms"] == "should be a list"
    assert "psycopg2" in found["database.name"]
    assert "synapse-lite up" in found["database.name"]


def test_required_options(write):
    """An empty file lacks a name and a database; the latter names the ways out."""
    path = write("")
    database, name = mistakes(path)
    assert name == f"{path}: server_name: is required"
    assert database.startswith(f"{path}: database: is required: give a PostgreSQL database")


def test_unreadable_files(write, tmp_path):
    """Files that are missing, no YAML, or no mapping are all named, with the line where there is one."""
    broken = write("a: 1\nb: [\n", "broken.yaml")
    listing = write("- a\n", "list.yaml")
    absent = tmp_path / "absent.yaml"
    lines = mistakes(broken, listing, absent)
    assert lines[0].startswith(f"{broken}:3: is not YAML: ")
    assert lines[1:] == [
        f"{listing}: should be a mapping of options",
        f"{absent}: cannot be read: No such file or directory",
    ]


def test_mistake_names_its_file(write):
    """With several files a mistake names the file that holds the option."""
    main = write(SMALL + "bcrypt_rounds: 12\n")
    later = write("bcrypt_rounds: 99\n", "later.yaml")
    (line,) = mistakes(main, later)
    assert line.startswith(f"{later}: bcrypt_rounds: should be less than or equal to 31")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("worker_app: synapse.app.generic_worker", "worker_name: is required in a worker"),
        ("worker_app: synapse_lite\nworker_name: main", "worker_name: is required in a worker"),
        ("worker_name: worker1", "worker_name: is for workers only"),
        (
            "worker_app: synapse.app.toaster\nworker_name: a",
            "worker_app: should be one of synapse.app.appservice",
        ),
    ],
)
def test_worker_mistakes(write, text, expected):
    """A worker needs an app that exists and a name of its own; only a worker has them."""
    path = write(SMALL + text)
    (line,) = mistakes(path)
    assert line.startswith(f"{path}: {expected}")


def test_tls_needs_a_certificate(write):
    """A TLS listener without certificate and key is a mistake, named where the option belongs."""
    path = write(
        SMALL + "listeners: [{port: 8448, type: http, tls: true}]\n"
        "tls_certificate_path: /c.pem\ntls_private_key_path: null\n"
    )
    assert mistakes(path) == [f"{path}: tls_private_key_path: is required by a listener with tls: true"]
    absent = write(SMALL + "listeners: [{port: 8448, type: http, tls: true}]\n", "absent.yaml")
    assert len(mistakes(absent)) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{dbname: a, database: b}", "database.args: has both database and dbname; give one"),
        ("{cp_min: 5, cp_max: 4}", "database.args.cp_max: should not be less than cp_min"),
    ],
)
def test_database_mistakes(write, text, expected):
    """Contradictions in the database's arguments are named."""
    path = write(f"server_name: a.b\ndatabase: {{name: psycopg2, args: {text}}}\n")
    assert mistakes(path) == [f"{path}: {expected}"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("database: 7", "database: should be a mapping"),
        ("database: {name: psycopg2, args: {port: x}}", "database.args.port: should be a whole number"),
        ("rc_joins_per_room: {per_second: x}", "rc_joins_per_room.per_second: should be a number"),
        ("rc_federation: {concurrent: 0}", "rc_federation.concurrent: should be greater than or equal to 1"),
        ("media_store_path: 3", "media_store_path: should be a path"),
        ("old_signing_keys: [a]", "old_signing_keys: should be a mapping"),
        ("log: {level: loud}", "log.level: should be 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'"),
        (
            "listeners: [{port: 1, type: http, mode: rw}]",
            "listeners[0].mode: should be an octal number, such as 0660",
        ),
        (
            "room_prejoin_state: {additional_event_types: [[a, b, c]]}",
            "room_prejoin_state.additional_event_types[0]: should be a type, or a list of a type and a state key",
        ),
        (
            "media_storage_providers: [{module: file_system, store_local: true, config: {directory: /d}}]",
            f"media_storage_providers[0]: module file_system is not there: only {S3_MODULE} is, and media_store_path alone",
        ),
    ],
)
def test_words(write, text, expected):
    """Mistakes are told in the words of YAML, not of Python."""
    first_line = SMALL.splitlines()[0]
    path = write(f"{first_line}\n{text}" if text.startswith("database:") else SMALL + text)
    assert mistakes(path) == [f"{path}: {expected}"]


def test_what_is_neither_true_nor_false(write):
    """It is told in the words of YAML, also where a third word is possible."""
    path = write(
        SMALL + "enable_search: perhaps\npresence: {enabled: sometimes}\nforget_rooms_on_leave: [1]\n"
    )
    assert mistakes(path) == [
        f"{path}: enable_search: should be true or false",
        f"{path}: forget_rooms_on_leave: should be true or false",
        f"{path}: presence.enabled: should be True, False or 'untracked'",
    ]
