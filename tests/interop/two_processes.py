"""A server with two processes for the clients of others, each of them on another one."""

from typing import Any

import pytest

from tests.processes.conftest import BuildSite
from tests.processes.site import Site

TRANSPORTS = [{"type": "livekit", "livekit_service_url": "https://calls.test"}]


@pytest.fixture(scope="module")
def site(build_site: BuildSite) -> Site:
    site = build_site(
        "main",
        ip_range_whitelist=["127.0.0.1"],  # the gateway of pushes
        room_list_publication_rules=[{"action": "allow"}],
        max_event_delay_duration="1h",
        turn_uris=["turn:turn.test"],
        turn_shared_secret="secret of turn",
        matrix_rtc={"transports": TRANSPORTS},
        enable_registration=True,
        registration_requires_token=True,
        allow_guest_access=True,
        experimental_features={"msc4108_enabled": True},
    )
    site.start("main", "second")
    return site


def parties(site: Site, *names: str, admin: str | None = None, newcomer: str | None = None) -> dict[str, Any]:
    """What a script is told: its users, who exist now, and where the processes answer. `newcomer` is none of them yet."""
    if admin is not None:
        site.user(admin, admin=True)
    for name in names:
        site.user(name)
    users = [{"name": name, "password": "secret"} for name in (admin, *names, newcomer) if name is not None]
    return {"baseUrls": [site.url("main"), site.url("second")], "users": users}
