"""Processes that push are not always those that run tasks (`pusher_instances`)."""

from pytest_twisted import ensureDeferred

from synapse_lite.handlers.push import PUSH
from synapse_lite.replication.bus import LocalBus
from tests.gateway import Gateway
from tests.rest.conftest import BuildServer
from tests.rest.push.phone import build_phone

ELSEWHERE = {"pusher_instances": ["pusher1"]}
PUSHER = {"worker_app": "synapse.app.generic_worker", "worker_name": "pusher1", **ELSEWHERE}


@ensureDeferred
async def test_another_process_pushes(build_server: BuildServer, gateway: Gateway) -> None:
    """It hears of it on the bus at once: by its own clock, which stands still here, it would never look."""
    bus = LocalBus()
    phone = await build_phone(build_server, gateway, bus=bus, **ELSEWHERE)
    await phone.say()
    await phone.follow()
    assert gateway.requests == 0
    pusher = await build_server(bus=bus, ip_range_whitelist=["127.0.0.1"], **PUSHER)
    assert [one.spec for one in pusher.core.extensions.followers if one.spec is PUSH] == []
    assert (await gateway.next())["content"]["body"] == "hello"
    await phone.settled()
    await phone.say("again")
    assert (await phone.heard())["content"]["body"] == "again"
