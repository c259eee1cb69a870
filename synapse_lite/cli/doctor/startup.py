"""Checks of what a process needs before it opens a port: its files, as it would use them."""

from collections.abc import Callable, Iterator

from synapse_lite.cli.doctor.findings import Finding, error, ok
from synapse_lite.config.model import Config
from synapse_lite.config.private_files import check_writable
from synapse_lite.errors import ConfigError
from synapse_lite.matrix.signing import SigningKey, read_signing_key
from synapse_lite.workers import logs
from synapse_lite.workers.media import build_store
from synapse_lite.workers.preparation import check_files_to_write
from synapse_lite.workers.tls import TlsFiles


def check_startup(config: Config) -> Finding:
    """Everything for which the process would end at once, each with its reason."""
    problems = [problem for check in CHECKS for problem in _problems(check, config)]
    if problems:
        return error("startup", "the server would not start", "correct every line", problems)
    return ok("startup", "keys, certificates, logging and directories are in order")


def signing_key(config: Config) -> SigningKey | None:
    """None when it has yet to be made. Raises ConfigError, OSError, ValueError."""
    path = config.signing_key_path
    if not path.exists():
        check_writable(path)
        return None
    return read_signing_key(path.read_text("utf-8"), config.server_name)


def _check_signing_key(config: Config) -> None:
    try:
        signing_key(config)
    except (OSError, ValueError, ConfigError) as error:
        raise ConfigError(f"signing_key_path: {config.signing_key_path}: {error}") from None


def _check_log_config(config: Config) -> None:
    if config.effective_log_config is not None:
        logs.check(config.effective_log_config)


def _check_certificates(config: Config) -> None:
    if any(listener.tls for listener in config.effective_listeners):
        TlsFiles(config.tls_certificate_path, config.tls_private_key_path).options()


def _problems(check: Callable[[Config], object], config: Config) -> Iterator[str]:
    try:
        check(config)
    except ConfigError as error:
        yield from str(error).splitlines()


CHECKS = (_check_signing_key, _check_log_config, _check_certificates, check_files_to_write, build_store)
