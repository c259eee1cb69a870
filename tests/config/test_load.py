"""What is read of configuration files."""

from pathlib import Path
from typing import Any

import pytest

from synapse_lite.config.load import load
from synapse_lite.config.losses import describe_losses, without_loss
from synapse_lite.config.media import S3_MODULE
from synapse_lite.config.model import Config
from synapse_lite.config.rate_limits import FederationLimits, RateLimit, RateLimitOptions, no_rate_limits
from synapse_lite.errors import ConfigError
from tests.config.files import FULL, SMALL

DAY = 86_400_000


def test_full_file():
    """A long-lived homeserver.yaml of Synapse is understood."""
    config = load([FULL], {})
    assert config.server_name == "matrix.example.com"
    assert config.public_baseurl == config.base_url == "https://matrix.example.com/"
    assert config.password_config.enabled == "only_for_reauth"
    assert config.password_config.policy.minimum_length == 12
    assert config.max_upload_size == 100 * 1024**2
    assert config.session_lifetime == 30 * 86_400_000
    assert config.redaction_retention_period is None
    assert config.forgotten_room_retention_period == 28 * 86_400_000
    assert config.default_room_version == "10"
    assert config.encryption_enabled_by_default_for_room_type == "off"
    assert config.enable_metrics
    assert config.federation_domain_whitelist is None
    assert config.auto_join_rooms == ()
    assert config.default_power_level_content_override["private_chat"] is None
    assert config.old_signing_keys["ed25519:a_old"].expired_ts == 1_600_000_000_000
    assert config.trusted_key_servers[0].verify_keys == {"ed25519:auto": "abc"}
    assert config.room_prejoin_state.additional_event_types == (
        ("m.room.topic", None),
        ("org.example.badge", None),
        ("org.example.badge", "key"),
    )
    assert (config.tasks.concurrency, config.tasks.lease, config.tasks.step_target) == (4, 30_000, 200)


def test_retention(write):
    """Every part has a default; without jobs there is one a day for all rooms, and none when it is off."""
    retention = load([FULL], {}).retention
    assert (retention.default_policy.max_lifetime, retention.allowed_lifetime_min) == (365 * DAY, None)
    assert [
        (job.shortest_max_lifetime, job.longest_max_lifetime, job.interval)
        for job in retention.effective_jobs
    ] == [(None, 3 * DAY, DAY // 2), (3 * DAY, None, DAY)]
    assert load([write(SMALL)], {}).retention.effective_jobs == ()
    (job,) = load([write(SMALL + "retention: {enabled: true}\n")], {}).retention.effective_jobs
    assert (job.shortest_max_lifetime, job.longest_max_lifetime, job.interval) == (None, None, DAY)


def test_listeners():
    """Ports and sockets get the defaults of their kind."""
    http, metrics, unix, manhole = load([FULL], {}).effective_listeners
    assert (http.port, http.bind_addresses, http.resource_names) == (
        8008,
        ("127.0.0.1",),
        {"client", "federation"},
    )
    assert http.resources[0].compress
    assert (metrics.bind_addresses, metrics.x_forwarded) == (("0.0.0.0",), False)
    assert (unix.path, unix.mode, unix.x_forwarded) == (Path("/run/main.sock"), 0o660, True)
    assert manhole.bind_addresses == ("::1",)


def test_database_arguments():
    """Pool sizes stay here, everything else goes to libpq, and `database` is `dbname`."""
    database = load([FULL], {}).database
    assert database.pool_size == 20
    assert database.dsn_kwargs() == {
        "user": "synapse",
        "password": "12345",
        "dbname": "synapse",
        "host": "db.example.com",
        "port": 5432,
        "keepalives_idle": 10,
        "sslmode": "require",
    }


def test_rates_given_in_part():
    """What a rate or a group of rates leaves out keeps its default."""
    config = load([FULL], {})
    assert config.rc_message == RateLimit(per_second=5, burst_count=10)
    assert config.rc_login.address == RateLimit(per_second=1, burst_count=20)
    assert config.rc_login.account == RateLimit(per_second=0.003, burst_count=9)
    assert config.rc_login.failed_attempts == RateLimit(per_second=0.17, burst_count=3)
    assert config.rc_joins.local == RateLimit(per_second=0.1, burst_count=10)
    assert config.rc_admin_redaction is None


def test_flat_rates(write):
    """The old flat forms of rc_message and rc_federation are read, and are not called unknown; the new form counts."""
    flat = (
        "rc_messages_per_second: 3\nrc_message_burst_count: 7\n"
        "federation_rc_window_size: 2000\nfederation_rc_sleep_limit: 20\nfederation_rc_sleep_delay: 100\n"
        "federation_rc_reject_limit: 30\nfederation_rc_concurrent: 4\n"
    )
    config = load([write(SMALL + flat)], {})
    assert config.rc_message == RateLimit(per_second=3, burst_count=7)
    limits = FederationLimits(
        window_size=2000, sleep_limit=20, sleep_delay=100, reject_limit=30, concurrent=4
    )
    assert config.rc_federation == limits
    assert config.unknown == config.ignored == ()
    both = load([write(SMALL + flat + "rc_federation: {concurrent: 9}\n")], {})
    assert both.rc_federation == FederationLimits(concurrent=9)


def test_ignored_options():
    """Options of Synapse that change nothing here are listed, also those inside sections."""
    ignored = load([FULL], {}).ignored
    assert {"redis", "worker_replication_secret"} <= {*ignored}
    assert {"database.txn_limit", "listeners.request_id_header"} <= {*ignored}
    effective = {"server_name", "rc_message", "rc_federation", "tasks", "trusted_key_servers"}
    assert not effective & {*ignored}
    assert load([FULL], {}).unknown == ()


def test_options_at_their_default(write):
    """What a file of Synapse says as it is anyway is not missed."""
    text = "enable_registration_captcha: false\nregistrations_require_3pid: []\ndaemonize: false\n"
    assert load([write(SMALL + text)], {}).ignored == ()
    assert load([write(SMALL + "registrations_require_3pid: [email]\n")], {}).ignored == (
        "registrations_require_3pid",
    )


def test_unknown_options(write):
    """Options that nobody knows do not stop the server and are listed with their place."""
    config = load(
        [
            write(
                SMALL + "server_nmae: x\nlisteners: [{port: 1, type: http, prot: 2}]\nlog: {levle: 1}\n7: 8\n"
            )
        ],
        {},
    )
    assert config.unknown == ("7", "listeners.prot", "log.levle", "server_nmae")
    assert config.ignored == ()


def test_directory(write, tmp_path):
    """A directory gives its *.yaml files in order; later top-level keys replace earlier ones as a whole."""
    write(SMALL + "log: {level: DEBUG, format: json}\n", "10.yaml")
    write("log: {level: ERROR}\n", "20.yaml")
    write("server_name: other\n", "30.yml")
    config = load([tmp_path], {})
    assert (config.server_name, config.log.level, config.log.format) == ("example.com", "ERROR", "console")
    assert config.signing_key_path == tmp_path / "example.com.signing.key"


def test_path_from_environment(write):
    """Without -c the variable of Synapse's image names the file, and without both there is an error."""
    path = write(SMALL)
    assert load([], {"SYNAPSE_CONFIG_PATH": str(path)}).server_name == "example.com"
    with pytest.raises(ConfigError, match="-c"):
        load([], {})


def test_worker(write):
    """A worker's file on top of the main one makes a worker, with its own listeners."""
    worker = write("""\
worker_app: synapse.app.generic_worker
worker_name: worker1
worker_listeners: [{type: http, port: 8083, resources: [{names: [client]}]}]
worker_pid_file: /run/worker1.pid
worker_log_config: /data/worker.log.config
worker_replication_host: main
""")
    main, config = load([FULL], {}), load([FULL, worker], {})
    assert config.is_worker
    assert [listener.port for listener in config.effective_listeners] == [8083]
    assert config.effective_pid_file == Path("/run/worker1.pid")
    assert config.effective_log_config == Path("/data/worker.log.config")
    assert config.runs_background_tasks
    assert not main.is_worker
    assert not main.runs_background_tasks
    assert main.worker_name == "main"
    assert main.effective_log_config == Path("/data/log.config")


@pytest.mark.parametrize(
    ("text", "names"),
    [("", ("main",)), ("run_background_tasks_on: null", ("main",)), ("run_background_tasks_on: w1", ("w1",))],
)
def test_run_background_tasks_on(write, text, names):
    """One name, a list (see the full file) or nothing, which is the main process."""
    assert load([write(SMALL + text)], {}).run_background_tasks_on == names


def test_main_app(write):
    """`worker_app: synapse.app.homeserver` is the main process."""
    assert not load([write(SMALL + "worker_app: synapse.app.homeserver")], {}).is_worker


@pytest.mark.parametrize(
    ("text", "is_open"),
    [
        ("", False),
        ("enable_registration_without_verification: true", False),
        ("enable_registration: true\nenable_registration_without_verification: true", True),
        ("enable_registration: true\nregistration_requires_token: true", True),
        ("enable_registration: true\nenable_registration_captcha: true", False),
        ("enable_registration: true\nregistrations_require_3pid: [email]", False),
    ],
)
def test_open_registration(write, text, is_open):
    """Registration is open only on an explicit yes, and never when a check is wanted that we lack."""
    assert load([write(SMALL + text)], {}).registration_is_open is is_open


def test_no_variables(write):
    """Text that looks like a variable stays as it is, as in Synapse."""
    config = load([write(SMALL + "registration_shared_secret: ${SECRET}\n")], {"SECRET": "x"})
    assert config.registration_shared_secret == "${SECRET}"


def test_secrets_are_not_printed():
    """A configuration in a log or traceback does not show its secrets."""
    printed = repr(load([FULL], {}))
    assert "server_name='matrix.example.com'" in printed
    assert not [secret for secret in ("'shared'", "'12345'", "'salt and'") if secret in printed]


def test_cache_factor(write):
    """`caches.global_factor` sizes what is kept in memory, `event_cache_size` that of events; what else Synapse has there is accepted and listed."""
    plain = load([write(SMALL)], {})
    config = load([write(SMALL + "caches: {global_factor: 2, cache_entry_ttl: 1h}\n")], {})
    assert plain.event_cache_bytes == 30 * 1024**2
    assert (config.event_cache_bytes, config.caches.state_bytes) == (
        4 * plain.event_cache_bytes,
        4 * plain.caches.state_bytes,
    )
    assert (
        load([write(SMALL + "event_cache_size: 20K\n")], {}).event_cache_bytes == 2 * plain.event_cache_bytes
    )
    assert config.ignored == ("caches.cache_entry_ttl",)
    assert config.unknown == ()
    with pytest.raises(ConfigError, match=r"caches\.global_factor: should be greater than 0"):
        load([write(SMALL + "caches: {global_factor: 0}\n")], {})


def test_no_rate_limits() -> None:
    """Every limit that there is becomes so wide that nobody meets it."""
    limits = RateLimitOptions(**no_rate_limits()).model_dump()
    assert limits.keys() == no_rate_limits().keys()
    of_servers = limits.pop("rc_federation")
    assert min(of_servers[name] for name in ("sleep_limit", "reject_limit", "concurrent")) >= 100_000
    assert min(_rates(limits)) == max(_rates(limits))


def _rates(limits: dict[str, Any]) -> list[float]:
    rates: list[float] = []
    for value in limits.values():
        rates += _rates(value) if isinstance(value, dict) else [value]
    return rates


def test_what_is_lost_and_what_is_not_needed(write):
    """Who brings a file of Synapse is told what they will miss, apart from what is done otherwise here."""
    config = load([write(SMALL + "email: {smtp_host: x}\nredis: {enabled: true}\nbcrypt_rounds: 10\n")], {})
    assert list(describe_losses(config)) == [
        "email: no mail: neither notifications nor a new password by e-mail"
    ]
    assert without_loss(config) == ["bcrypt_rounds", "redis"]


def test_options_of_the_object_storage_of_synapse(write):
    """Its module has more of them: they are no mistakes, and one is told whose lack is felt."""
    provider = (
        f"{{module: {S3_MODULE}, store_local: true, store_remote: true, store_synchronous: true,"
        " config: {bucket: b, storage_class: COLD, threadpool_size: 40}}"
    )
    config = load([write(SMALL + f"media_storage_providers: [{provider}]\n")], {})
    assert config.unknown == ()
    assert list(describe_losses(config)) == [
        "media_storage_providers.config.storage_class: objects have the class that the bucket gives"
    ]


def test_what_is_off_is_not_lost(write):
    """Sample files are full of what is empty or off; one that is unknown is a mistake all the same."""
    text = """\
modules: []
opentracing: {enabled: false}
sso: {}
saml2_config: {sp_config: null}
sentry: {dsn: ""}
allow_device_name_lookup_over_federation: false
cas_config: {enabled: false, server_url: "https://cas"}
enable_serach: false
"""
    config = load([write(SMALL + text)], {})
    assert config.ignored == ()
    assert config.unknown == ("enable_serach",)


def test_experimental_features_by_name(write):
    """Those that are here anyway are not told; of the others which are on, and not there."""
    flags = (
        "{msc4222_enabled: true, msc3814_enabled: false, msc2654_enabled: true, msc3866: {enabled: false}}"
    )
    config = load([write(SMALL + f"experimental_features: {flags}\n")], {})
    assert list(describe_losses(config)) == [
        "experimental_features.msc2654_enabled: there is no such feature here"
    ]
    assert config.unknown == ()


def test_a_manhole_is_told(write):
    listeners = "[{type: manhole, port: 9000}, {type: metrics, port: 9001}]"
    config = load([write(SMALL + f"listeners: {listeners}\n")], {})
    assert list(describe_losses(config)) == ["listeners.manhole: no debugging shell"]


def test_numbers_where_text_is_meant(write):
    """YAML reads a bare 1.2 as a number; so Synapse's own example has it."""
    config = load([write(SMALL + "federation_client_minimum_tls_version: 1.3\n")], {})
    assert config.federation_client_minimum_tls_version == "1.3"


def test_options_left_empty(write):
    """A name without a value, as files that were made from a template have many, is the default."""
    empty = "".join(f"{name}:\n" for name in Config.model_fields if name not in ("server_name", "database"))
    given, default = load([write(SMALL + empty)], {}), load([write(SMALL)], {})
    assert {name for name in Config.model_fields if getattr(given, name) != getattr(default, name)} == {
        "audit_log_retention_period",  # of these null is a value: for ever
        "redaction_retention_period",
        "refreshable_access_token_lifetime",
        "user_ips_max_age",
    }


def test_who_logs_in_by_mas_is_lost(write):
    """The old way of Synapse to hand logins over is told as what it means, not as a feature that is missing."""
    options = "experimental_features: {msc3861: {enabled: true}, msc4354_enabled: true}\n"
    first, second = describe_losses(load([write(SMALL + options)], {}))
    assert first.startswith("experimental_features.msc3861: no login by Matrix Authentication Service")
    assert second == "experimental_features.msc4354_enabled: there is no such feature here"


def test_connections_keep_the_names_of_their_processes(write):
    """Who looks into pg_stat_activity, such as the doctor, finds each process there."""
    args = "server_name: a\ndatabase: {name: psycopg2, args: {application_name: synapse, sslmode: disable}}\n"
    assert load([write(args)], {}).database.dsn_kwargs() == {"sslmode": "disable"}
