"""How many users may be active (`limit_usage_by_mau`)."""

from typing import Any

from prometheus_client import CollectorRegistry
from pytest_twisted import ensureDeferred

from synapse_lite.storage.active_users import MONTH_MS
from tests.rest.conftest import BuildServer
from tests.rest.sliding_sync import ALL, PATH
from tests.server import OPEN, TestServer

REFUSED = (403, "M_RESOURCE_LIMIT_EXCEEDED")
DAY = 24 * 60 * 60
LIMITED = {**OPEN, "limit_usage_by_mau": True, "max_mau_value": 1, "allow_guest_access": True}
HELLO = {"msgtype": "m.text", "body": "hello"}


async def say(server: TestServer, room: str, token: str) -> tuple[int, str | None]:
    return await server.refusal("PUT", f"{room}/send/m.room.message/1", HELLO, token)


@ensureDeferred
async def test_one_too_many(build_server: BuildServer) -> None:
    """They read on, and neither sync nor write; nobody registers or logs in any more. Who counts goes on."""
    server = await build_server(**LIMITED, admin_contact="mailto:a@b.test")
    alice = await server.register("alice")
    room = await server.room(alice)
    bob = await server.user("bob")
    answer = await server.call("GET", "sync", token=bob)
    assert (answer.status, answer.json()) == (
        403,
        {
            "errcode": "M_RESOURCE_LIMIT_EXCEEDED",
            "error": "Monthly Active User Limit Exceeded",
            "limit_type": "monthly_active_user",
            "admin_contact": "mailto:a@b.test",
        },
    )
    refused: list[tuple[str, str, Any]] = [
        ("POST", PATH, ALL),
        ("GET", "events?timeout=0", None),
        ("POST", "createRoom", {}),
        ("POST", f"join/{room.removeprefix('rooms/')}", {}),
        ("PUT", f"{room}/send/m.room.message/1", HELLO),
    ]
    for method, path, body in refused:
        assert await server.refusal(method, path, body, bob) == REFUSED, path
    assert (await server.ok("GET", "account/whoami", token=bob))["user_id"] == "@bob:hs.test"
    for kind in ("user", "guest"):
        body = {"username": "carol", "password": "secret", "auth": {"type": "m.login.dummy"}}
        assert await server.refusal("POST", f"register?kind={kind}", body) == REFUSED
    assert await server.refusal("GET", "sync", token=alice) == (200, None)
    password = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}}
    await server.ok("POST", "login", {**password, "password": "secret"})


@ensureDeferred
async def test_a_month_later(build_server: BuildServer) -> None:
    """Who has not been there for so long makes room; who goes on coming does not."""
    server = await build_server(**LIMITED)
    alice, bob = await server.user("alice"), await server.user("bob")
    await server.ok("GET", "sync", token=alice)
    for _ in range(2):
        server.clock.step(20 * DAY)
        await server.ok("GET", "sync", token=alice)
        assert await server.refusal("GET", "sync", token=bob) == REFUSED
    server.clock.step(MONTH_MS / 1000 + 1)
    await server.ok("GET", "sync", token=bob)
    assert await server.refusal("GET", "sync", token=alice) == REFUSED


@ensureDeferred
async def test_who_is_gone_makes_room(build_server: BuildServer) -> None:
    """A deactivated account does not count."""
    server = await build_server(**LIMITED)
    alice, bob = await server.user("alice"), await server.user("bob")
    await server.ok("GET", "sync", token=alice)
    gone = "UPDATE users SET deactivated = true WHERE user_id = '@alice:hs.test'"
    await server.database.transact(lambda txn: txn.execute(gone))
    await server.ok("GET", "sync", token=bob)


@ensureDeferred
async def test_who_is_shut_out_takes_no_place(build_server: BuildServer) -> None:
    """Clients of locked and expired accounts go on asking."""
    server = await build_server(**LIMITED)
    alice, bob, carol = [await server.user(name) for name in ("alice", "bob", "carol")]
    shut = "UPDATE users SET locked = user_id = '@alice:hs.test', expires_ts = CASE user_id WHEN '@bob:hs.test' THEN 1 END"
    await server.database.transact(lambda txn: txn.execute(shut))
    assert await server.refusal("GET", "sync", token=alice) == (401, "M_USER_LOCKED")
    assert await server.refusal("GET", "sync", token=bob) == (403, "ORG_MATRIX_EXPIRED_ACCOUNT")
    await server.ok("GET", "sync", token=carol)


@ensureDeferred
async def test_who_does_not_count(build_server: BuildServer) -> None:
    """Users on trial, as long as they are; those with a reserved address count, and are let in all the same."""
    reserved = [{"medium": "email", "address": "Boss@b.test"}]
    server = await build_server(**LIMITED, mau_trial_days=2, mau_limit_reserved_threepids=reserved)
    names = ("alice", "bob", "boss")
    alice, bob, boss = [await server.user(name) for name in names]
    add = "INSERT INTO user_threepids (user_id, medium, address, validated_ts, added_ts) VALUES ('@boss:hs.test', 'email', 'boss@b.test', 1, 1)"
    await server.database.transact(lambda txn: txn.execute(add))
    for token in (alice, bob, boss):
        await server.ok("GET", "sync", token=token)
    server.clock.step(3 * DAY)
    await server.ok("GET", "sync", token=alice)
    assert await server.refusal("GET", "sync", token=bob) == REFUSED
    await server.ok("GET", "sync", token=boss)
    active = await server.database.read(lambda txn: txn.rows("SELECT user_id FROM active_users ORDER BY 1"))
    assert [name for (name,) in active] == ["@alice:hs.test", "@boss:hs.test"]


@ensureDeferred
async def test_they_are_counted_only(build_server: BuildServer) -> None:
    """`mau_stats_only`: among the metrics; without it, there is no such number."""
    server = await build_server(**OPEN, mau_stats_only=True, max_mau_value=1)
    for name in ("alice", "bob"):
        await server.ok("GET", "sync", token=await server.user(name))
    active = server.core.accounts.active
    assert active is not None
    await active._count()
    assert number(server.core.metrics) == 2
    plain = await build_server(**OPEN)
    assert plain.core.accounts.active is None


def number(metrics: CollectorRegistry) -> float | None:
    return metrics.get_sample_value("synapse_lite_active_users")
