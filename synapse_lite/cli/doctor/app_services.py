"""Checks of application services: do they answer, and is each name kept for one of them only?"""

from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import quote, urlsplit

from synapse_lite.cli.doctor.findings import Finding, error, ok, warning
from synapse_lite.config.app_services import Namespace, Registration, read_registrations
from synapse_lite.config.model import Config
from synapse_lite.errors import ConfigError

_TIMEOUT = 5.0
_ANSWERS = frozenset((200, 404, 405))
"""Also of a service from before there were pings."""
_REFUSALS = frozenset((401, 403))


def check_app_services(config: Config) -> Iterator[Finding]:
    """Nothing, where there are none."""
    try:
        services = read_registrations(config.app_service_config_files, config.server_name)
    except ConfigError as mistakes:  # made since the configuration was read
        lines = str(mistakes).splitlines()
        yield error("services", "the server would not start", "correct every line", lines)
        return
    for service in services:
        yield _check_answer(service, legacy=config.use_appservice_legacy_authorization)
    yield from check_names(services)


def check_names(services: Sequence[Registration]) -> Iterator[Finding]:
    kept: dict[tuple[str, str], list[str]] = {}
    for service in services:
        names = service.namespaces
        for kind, namespaces in (("users", names.users), ("aliases", names.aliases)):
            for regex in _exclusive(namespaces):
                kept.setdefault((kind, regex), []).append(service.id)
    shared = [f"{kind} {regex}: {', '.join(ids)}" for (kind, regex), ids in kept.items() if len(ids) > 1]
    if shared:
        yield warning(
            "services",
            "several keep the same names, so that none of them can make one",
            "give each service names of its own, or make these not exclusive",
            shared,
        )


def _exclusive(namespaces: Sequence[Namespace] | None) -> list[str]:
    """Each once, in order."""
    return list(dict.fromkeys(one.regex for one in namespaces or () if one.exclusive))


def _check_answer(service: Registration, *, legacy: bool) -> Finding:
    if not service.url:
        return ok("services", f"{service.id} has no address: it is told nothing")
    try:
        status = _ping(service.url, service.hs_token, legacy=legacy)
    except (OSError, HTTPException, ValueError) as problem:
        return _silent(service, str(problem) or type(problem).__name__)
    if status in _REFUSALS:
        return error(
            "services",
            f"{service.id} at {service.url} refuses the hs_token of its registration: status {status}",
            "give the service and the server the same registration file",
        )
    if status not in _ANSWERS:
        return _silent(service, f"status {status}")
    return ok("services", f"{service.id} answers at {service.url}")


def _silent(service: Registration, problem: str) -> Finding:
    return error(
        "services",
        f"{service.id} does not answer at {service.url}: {problem}",
        "start it, or correct its url; what it has to be told waits for it",
    )


def _ping(url: str, token: str, *, legacy: bool) -> int:
    """The status. Raises OSError, HTTPException, and ValueError for an address that is none."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    query = f"?access_token={quote(token, safe='')}" if legacy else ""
    try:
        connection.request("POST", f"{parts.path}/_matrix/app/v1/ping{query}", b"{}", headers)
        return connection.getresponse().status
    finally:
        connection.close()
