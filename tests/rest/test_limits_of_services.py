"""Application services without limits: each kind of thing that is counted for others."""

from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.config.rate_limits import RateLimit
from synapse_lite.workers.features import media
from tests.rest.conftest import BuildServer
from tests.rest.registered_services import TOKEN, registered
from tests.server import OPEN

BURST = 2
TIGHT = {"per_second": 1e-6, "burst_count": BURST}
PREVIEWS = {"url_preview_enabled": True, "url_preview_ip_range_blacklist": ["127.0.0.0/8"]}
DELAYED = {"rc_delayed_event_mgmt": TIGHT, "max_event_delay_duration": "1h"}
HELLO = {"msgtype": "m.text", "body": "hello"}
JOIN = "join/{room}"
BOT = "@irc_bot:hs.test"
CALLS: dict[str, tuple[dict[str, Any], str, str, Any]] = {
    "joins": ({"rc_joins": {"local": TIGHT}}, "POST", JOIN, {}),
    "keys": ({"rc_key_uploads": TIGHT}, "POST", f"keys/upload?user_id={BOT}&device_id=D", {}),
    "upgrades": ({"rc_room_creation": TIGHT}, "POST", "rooms/{room}/upgrade", {"new_version": "11"}),
    "media": ({"rc_media_create": TIGHT}, "POST", "/_matrix/media/v1/create", {}),
    "previews": (PREVIEWS, "GET", "/_matrix/client/v1/media/preview_url?url=http://127.0.0.1/{n}", None),
    "delays": (DELAYED, "PUT", "rooms/{room}/send/m.room.message/{n}?org.matrix.msc4140.delay=9000", HELLO),
}
"""By what is limited. In the path, `{n}` is the number of the call, `{room}` a room that somebody has made for it."""


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("subject", CALLS)
@ensureDeferred
async def test_what_services_do(
    build_server: BuildServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    subject: str,
    limited: bool,
) -> None:
    """Too many are refused to one that has limits, and none to one that has none."""
    monkeypatch.setattr(media, "PREVIEW_RATE", RateLimit(per_second=1e-6, burst_count=BURST))
    options, method, path, body = CALLS[subject]
    server = await build_server(**OPEN, **options, **registered(tmp_path, rate_limited=limited))
    await server.call("PUT", "devices/D", {}, TOKEN)
    refused = []
    for number in range(BURST + 1):
        user = await server.user(f"user{number}")
        levels = {"users": {BOT: 100}}
        made = await server.room(user, preset="public_chat", power_level_content_override=levels)
        room = made.removeprefix("rooms/")
        if path != JOIN:
            await server.ok("POST", f"join/{room}", {}, TOKEN)
        answer = await server.call(method, path.format(n=number, room=room), body, TOKEN)
        assert answer.status in (200, 403, 429, 502), answer.json()
        refused.append(answer.status == 429)
    assert refused == [False] * BURST + [limited]
